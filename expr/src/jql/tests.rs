use super::{compile_query, translate};
use crate::predicate::Condition;
use crate::{Env, Scratch, Tape, TapeLimits, Verdict};

const EVENT: &str = r#"{"issue": {"id": "10001", "key": "ABC-1", "fields": {
    "project": {"id": "7", "key": "ABC", "name": "Alpha Beta"},
    "issuetype": {"id": "3", "name": "Bug"}, "status": {"id": "5", "name": "In Progress"},
    "assignee": null, "reporter": {"accountId": "u-1"},
    "customfield_10010": {"id": "88", "value": "Red"}}},
    "runtime": {"issue": {"properties": {"app.x": {"state": {"name": "on"}}}}}}"#;

fn holds(query: &str) -> bool {
    let mut event = Tape::new();
    event.parse(EVENT.as_bytes(), &TapeLimits::default()).unwrap();
    let compiled = compile_query(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    match compiled.program.verdict(&event, &Env::at(0), &mut Scratch::new()) {
        Verdict::Failed(error) => panic!("{query}: {error}"),
        verdict => verdict == Verdict::Match,
    }
}

#[test]
fn queries_mean_what_they_mean_in_jira() {
    for (query, expected) in [
        ("", true),
        ("project = ABC", true),
        ("project = abc", true),
        ("project = 7", true),
        ("project = \"alpha beta\"", true),
        ("project != ABC", false),
        ("project in (XYZ, ABC)", true),
        ("project NOT IN (XYZ, 'ABC')", false),
        ("status = 'in progress' AND type = bug", true),
        ("status = Done OR issuetype = Bug", true),
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
    ] {
        assert_eq!(holds(query), expected, "{query}");
    }
}

#[test]
fn keys_and_ids_can_be_indexed() {
    for (query, indexed) in [
        ("project = ABC", 1),
        ("project in (ABC, XYZ) AND issuetype = 3", 2),
        ("issuekey = ABC-1 AND status = Done", 1),
    ] {
        let compiled = compile_query(query).unwrap();
        let facts = compiled.program.facts();
        assert_eq!(facts.indexed().count(), indexed, "{query}");
        let total = |test: &Condition| !matches!(test, Condition::Opaque { can_fail: true });
        assert!(indexed == 1 || facts.condition.operands().iter().all(total), "{query}");
    }
}

#[test]
fn what_webhooks_do_not_support_is_refused_in_the_vendors_words() {
    for (query, code, message, place) in [
        ("watchCount = 1", "SY-3501", "The clause watchCount is unsupported", "watchCount"),
        ("a = b order by c", "SY-3501", "The clause ORDER BY is unsupported", "by"),
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
}

#[test]
fn values_cannot_leave_their_quotes() {
    assert!(!holds(r#"status = "' == '' || true || '""#));
    assert!(!holds(r#"status = 'a\' || true'"#));
    assert!(translate(r#"issue.property["k'] || true || event['"].x = 1"#).is_err());
    assert!(!holds("issue.property[k'||true||'].x = 1"));
}
