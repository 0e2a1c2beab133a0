//! JQL is held against the verdicts of the expressions that it becomes.

use serde_json::{Value, json};
use switchyard_expr::{Env, Profile, Scratch, Tape, TapeLimits, Verdict, compile};

use super::{DEPTH_MAX, translate};

fn bug() -> Value {
    json!({"issue": {"id": "20311", "key": "OPS-1042", "fields": {
        "project": {"id": "10000", "key": "OPS", "name": "Operations Desk"},
        "issuetype": {"id": "10003", "name": "Bug"},
        "status": {"id": "3", "name": "In Progress"},
        "priority": {"id": "2", "name": "High"},
        "assignee": {"accountId": "acc-1"},
        "reporter": null,
        "customfield_10014": "OPS-1",
    }}, "runtime": {"issue": {"properties": {"it's": {"a": {"b": "x"}}}}}})
}

fn holds_on(jql: &str, event: &Value) -> bool {
    let expression = translate(jql).unwrap().unwrap_or_else(|| "true".into());
    let compiled = compile(&expression, Profile::Filter);
    let compiled = compiled.unwrap_or_else(|rejected| panic!("{expression}: {rejected:?}"));
    let mut tape = Tape::new();
    tape.parse(event.to_string().as_bytes(), &TapeLimits::default()).unwrap();
    match compiled.program.verdict(&tape, &Env::at(0), &mut Scratch::new()) {
        Verdict::Match => true,
        Verdict::NoMatch => false,
        Verdict::Failed(error) => panic!("{jql}: {expression}: {error:?}"),
    }
}

#[test]
fn fields_are_meant_by_key_id_or_name_in_any_case() {
    for jql in [
        "",
        "  ",
        "project = OPS",
        "project = ops",
        "PROJECT = 10000",
        "project = \"Operations desk\"",
        "issueKey = ops-1042",
        "key in (A-1, OPS-1042)",
        "issuetype = bug",
        "type = 10003",
        "status = 'in progress'",
        "status IN (Done, \"In Progress\")",
        "priority != Low",
        "assignee = acc-1",
        "reporter = EMPTY",
        "cf[10014] = OPS-1",
        "issue.property[\"it's\"].a.b = x",
        "assignee = \"acc-1\" AND issuetype = Bug",
        "project = A OR project = OPS AND type = Bug",
        "NOT project = A",
        "!(project = A or project = B)",
        "project not in (A, B)",
        "project=OPS&&status!=Done",
    ] {
        assert!(holds_on(jql, &bug()), "{jql}");
    }
}

#[test]
fn other_values_are_told_apart() {
    for jql in [
        "project = OP",
        "project != OPS",
        "project = 1000",
        "issueKey = OPS-1",
        "status = Done",
        "status not in (Done, 3)",
        "assignee = ACC-1",
        "assignee = EMPTY",
        "(project = OPS or project = A) and type = Task",
        "cf[10014] = ops-1",
        "cf[1] = OPS-1",
    ] {
        assert!(!holds_on(jql, &bug()), "{jql}");
    }
}

#[test]
fn what_has_no_value_is_found_by_no_value_and_by_no_other_than() {
    assert!(!holds_on("reporter = a", &bug()));
    assert!(!holds_on("reporter != a", &bug()));
    assert!(!holds_on("reporter not in (a, b)", &bug()));
    assert!(holds_on("not reporter = a", &bug()));
    for without_issue in [json!({}), json!({"issue": null}), json!({"issue": {"key": "A-1"}})] {
        for jql in ["project = OPS", "project != OPS", "status in (a, 1)", "cf[1] != a"] {
            assert!(!holds_on(jql, &without_issue), "{jql} on {without_issue}");
        }
    }
}

#[test]
fn what_is_beyond_the_subset_is_named() {
    for (jql, named) in [
        ("watchCount = 3", "The clause watchCount is unsupported"),
        ("summary ~ crash", "The clause summary is unsupported"),
        ("created > -1d", "The clause created is unsupported"),
        ("project = A ORDER BY created", "The clause ORDER BY is unsupported"),
        ("assignee = currentUser()", "The clause currentUser() is unsupported"),
        ("project in (A, projectsLeadByUser())", "The clause projectsLeadByUser() is unsupported"),
        ("status was Done", "The operator `was` is unsupported; =, !=, IN, NOT IN are"),
        ("foo[bar] = 1", "The clause foo[bar] is unsupported"),
        ("project = ", "the JQL ends where a value was expected"),
        ("project", "the JQL ends where an operator was expected"),
        ("project in A", "the JQL has `A` where `(` was expected"),
        ("(project = A", "the JQL ends where `)` was expected"),
        ("project = A project = B", "the JQL has `project` where AND, OR or its end was expected"),
        ("project = \"A", "the JQL has a quote without an end"),
        ("cf[1 = A", "the JQL has `=` where `]` was expected"),
    ] {
        assert_eq!(translate(jql).unwrap_err(), named, "{jql}");
    }
}

#[test]
fn values_cannot_leave_their_quotes() {
    let sly = json!({"issue": {"fields": {"project": {"name": "x' || true || '"}}}});
    assert!(holds_on(r#"project = "x' || true || '""#, &sly));
    assert!(!holds_on(r#"project = "y' || true || '""#, &sly));
    assert!(!holds_on(r#"project = "a\\' \u{7} b""#, &sly));
    assert!(!holds_on("project = \"line\nbreak\u{1}\"", &sly));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}project = A{}", "(".repeat(depth), ")".repeat(depth));
    assert!(translate(&nested(DEPTH_MAX - 1)).is_ok());
    assert!(translate(&nested(DEPTH_MAX)).unwrap_err().contains("nests deeper"));
    assert!(translate(&"not ".repeat(100_000)).is_err());
    assert!(translate("and").is_err() && translate("()").is_err() && translate("not").is_err());
}
