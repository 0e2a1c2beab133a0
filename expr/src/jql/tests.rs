//! Compares JQL queries with the verdicts of their expressions.

use super::translate;
use crate::limits::NESTING_MAX;
use crate::{
    CheckProfile, CompileError, Compiled, Env, EvalScratch, Tape, TapeLimits, Verdict, compile,
};

const EVENT: &str = r#"{"issue": {"id": "10001", "key": "ABC-1", "fields": {
    "project": {"id": "7", "key": "ABC", "name": "Alpha Beta"},
    "issuetype": {"id": "3", "name": "Bug"}, "status": {"id": "5", "name": "In Progress"},
    "assignee": null, "reporter": {"accountId": "u-1"},
    "customfield_10010": {"id": "88", "value": "Red"}}},
    "runtime": {"issue": {"properties": {
        "app.x": {"state": {"name": "on", "size": 3}}, "it's": {"a": true}}}}}"#;

fn compile_query(query: &str) -> Result<Compiled, CompileError> {
    compile(translate(query)?.as_deref().unwrap_or("true"), CheckProfile::Filter)
}

fn holds(query: &str) -> bool {
    holds_on(query, EVENT)
}

fn holds_on(query: &str, json: &str) -> bool {
    let mut event = Tape::new();
    event.parse(json.as_bytes(), &TapeLimits::default()).unwrap();
    let compiled = compile_query(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    match compiled.program.verdict(&event, &Env::at(0), &mut EvalScratch::new()) {
        Verdict::Failed(error) => panic!("{query}: {error}"),
        verdict => verdict == Verdict::Match,
    }
}

#[test]
fn queries_match_as_in_jira() {
    for (query, expected) in [
        ("", true),
        ("  ", true),
        ("project = ABC", true),
        ("PROJECT=ABC&&status!=Done", true),
        ("project = AB", false),
        ("project = 70", false),
        ("project = A OR project = ABC AND type = Bug", true),
        ("project = abc", true),
        ("project = 7", true),
        ("project = \"alpha beta\"", true),
        ("project != ABC", false),
        ("project in (XYZ, ABC)", true),
        ("project NOT IN (XYZ, 'ABC')", false),
        ("status = 'in progress' AND type = bug", true),
        ("status = Done OR issuetype = Bug", true),
        ("status = Done OR status = 5 OR status = EMPTY", true),
        ("status = Done OR status != 5", false),
        ("assignee in (u-2, EMPTY, 7)", true),
        ("status = Done OR issuetype = Bug AND project = XYZ", false),
        ("(status = Done OR issuetype = Bug) AND project = ABC", true),
        ("NOT (project = ABC)", false),
        ("not not project = ABC", true),
        ("!(project = XYZ)", true),
        ("issueKey = abc-1", true),
        ("issue = 10001", true),
        ("assignee = u-1", false),
        ("assignee != u-1", false),
        ("assignee = EMPTY", true),
        ("assignee != null", false),
        ("reporter in (u-1, EMPTY)", true),
        ("assignee not in (u-2, EMPTY)", false),
        ("cf[10010] = Red", true),
        ("cf[10010] = 88", true),
        ("cf[10011] = Red", false),
        ("issue.property[app.x].state.name = on", true),
        ("issue.property[app.x].state.name != on", false),
        ("priority = High", false),
        ("status = done", false),
        ("status not in (Done, 5)", false),
        ("type in (4, 3)", true),
        ("key in (A-1, abc-1)", true),
        ("issueKey = ABC-2", false),
        ("reporter = U-1", false),
        ("cf[10010] = red", false),
        ("issue.property[app.x].state.size = 3", true),
        ("issue.property[app.x].state.size in (4, 5)", false),
        ("issue.property[\"it's\"].a = true", true),
        ("issue.property['app.x'].state.name != off", true),
    ] {
        assert_eq!(holds(query), expected, "{query}");
    }
}

#[test]
fn one_word_names_match_as_well_as_keys() {
    let with = |name: &str| {
        format!(
            r#"{{"issue": {{"fields": {{
            "project": {{"id": "7", "key": "MKT", "name": "{name}"}},
            "priority": {{"id": "10", "name": "{name}"}}}}}}}}"#
        )
    };
    for (query, name, expected) in [
        ("project = marketing", "Marketing", true),
        ("project = Marketing", "MARKETING", true),
        ("project = OPS", "OPS", true),
        ("project = mkt", "Marketing", true),
        ("project = 2026", "2026", true),
        ("priority = 1", "1", true),
        ("priority = 10", "1", true),
        ("priority != 1", "1", false),
        ("project = Sales", "Marketing", false),
    ] {
        assert_eq!(holds_on(query, &with(name)), expected, "{query} of {name}");
    }
}

#[test]
fn fields_without_value_match_only_empty() {
    for event in ["{}", r#"{"issue": null}"#, r#"{"issue": {"key": "A-1"}}"#] {
        for query in ["project = OPS", "project != OPS", "status in (a, 1)", "cf[1] != a"] {
            assert!(!holds_on(query, event), "{query} on {event}");
        }
        assert!(holds_on("project = EMPTY and not project = A", event), "{event}");
    }
}

#[test]
fn keys_and_ids_can_be_indexed() {
    for (query, indexed) in [
        ("project = ABC", 1),
        ("status = 3", 1),
        ("project in (ABC, XYZ) AND issuetype = 3", 2),
        ("status = Done AND issuekey = ABC-1", 1),
        ("project = OPS OR issuetype = 3", 1),
        ("status = Done", 0),
    ] {
        let compiled = compile_query(query).unwrap();
        let facts = compiled.program.facts();
        assert_eq!(facts.indexed().count(), indexed, "{query}");
    }
}

#[test]
fn rejects_unsupported_clauses_with_the_vendors_message() {
    for (query, code, message, place) in [
        ("a = b order by c", "SY-3501", "The clause a is unsupported", "a"),
        ("watchCount = 1", "SY-3501", "The clause watchCount is unsupported", "watchCount"),
        ("project = b order by c", "SY-3501", "The clause ORDER BY is unsupported", "order by"),
        (
            "assignee = currentUser()",
            "SY-3501",
            "The clause currentUser() is unsupported",
            "currentUser",
        ),
        ("project ~ ABC", "SY-3501", "`~` is not supported for `project`", "~"),
        ("assignee is EMPTY", "SY-3501", "`is` is not supported for `assignee`", "is"),
        ("cf[x] = 1", "SY-3501", "The clause cf[x] is unsupported", "cf[x]"),
        ("project", "SY-3502", "expected =, !=, IN or NOT IN, found the end", ""),
        ("project =", "SY-3502", "expected a value of project, found the end", ""),
        (
            "project = ABC status = x",
            "SY-3502",
            "expected AND, OR or the end, found `status`",
            "status",
        ),
        ("(project = ABC", "SY-3502", "expected `)`, found the end", ""),
        ("project in ABC", "SY-3502", "expected `(`, found `ABC`", "ABC"),
        ("summary ~ crash", "SY-3501", "The clause summary is unsupported", "summary"),
        ("created > -1d", "SY-3501", "The clause created is unsupported", "created"),
        (
            "project in (A, projectsLeadByUser())",
            "SY-3501",
            "The clause projectsLeadByUser() is unsupported",
            "projectsLeadByUser",
        ),
        ("status was Done", "SY-3501", "`was` is not supported for `status`", "was"),
        ("foo[bar] = 1", "SY-3501", "The clause foo[bar] is unsupported", "foo[bar]"),
        ("and", "SY-3501", "The clause and is unsupported", "and"),
        ("cf[1 = A", "SY-3501", "The clause cf is unsupported", "cf"),
        ("()", "SY-3502", "expected a field, found `)`", ")"),
        ("not", "SY-3502", "expected a field, found the end", ""),
        ("project = 'ABC", "SY-3502", "expected a value of project, found `'ABC`", "'ABC"),
    ] {
        let found = translate(query).unwrap_err().diagnostics.remove(0);
        assert_eq!(found.code.to_string(), code, "{query}: {found:?}");
        assert_eq!((found.message.as_str(), found.span.text(query)), (message, place), "{query}");
    }
}

#[test]
fn hostile_queries_are_bounded() {
    for query in [
        "(".repeat(9_000),
        "not ".repeat(2_000),
        "a".repeat(10_001),
        vec!["status = x"; 900].join(" AND "),
        "'".repeat(9_999),
    ] {
        assert!(compile_query(&query).is_err());
    }
    let long = vec!["project = A"; 150].join(" OR ");
    assert!(compile_query(&long).is_ok());
    let keys: Vec<String> = (0..800).map(|number| format!("LONG-{number}")).collect();
    assert!(compile_query(&format!("issueKey in ({})", keys.join(","))).is_ok());
    let nested = |depth: usize| format!("{}project = A{}", "(".repeat(depth), ")".repeat(depth));
    assert!(compile_query(&nested(NESTING_MAX - 1)).is_ok());
    let refused = translate(&nested(NESTING_MAX)).unwrap_err();
    assert_eq!(refused.to_string(), "the query nests deeper than 128 levels");
}

#[test]
fn values_cannot_leave_their_quotes() {
    assert!(!holds(r#"status = "' == '' || true || '""#));
    assert!(!holds(r#"status = 'a\' || true'"#));
    assert!(!holds(r#"issue.property["k'] || true || event['"].x = 1"#));
    assert!(!holds("project = \"line\nbreak\r\t\u{1}\u{2028} \\\\\""));
    let sly = r#"{"issue": {"fields": {"project": {"name": "x' || true || '"}}}}"#;
    assert!(holds_on(r#"project = "x' || true || '""#, sly));
    assert!(!holds("issue.property[k'||true||'].x = 1"));
}
