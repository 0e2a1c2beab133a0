//! Compares JQL queries with the verdicts of their expressions.

use super::{Query, translate};
use crate::frontend::parse_and_check_translated;
use crate::limits::NESTING_MAX;
use crate::value::Value;
use crate::{
    CheckProfile, CompileError, Compiled, Env, EvalScratch, Program, Tape, TapeLimits,
    TemplateCache, Verdict, compile, naive,
};

const EVENT: &str = r#"{"issue": {"id": "10001", "key": "ABC-1", "fields": {
    "project": {"id": "7", "key": "ABC", "name": "Alpha Beta"},
    "issuetype": {"id": "3", "name": "Bug"}, "status": {"id": "5", "name": "In Progress"},
    "assignee": null, "reporter": {"accountId": "u-1"},
    "customfield_10010": {"id": "88", "value": "Red"}}},
    "runtime": {"issue": {"properties": {
        "app.x": {"state": {"name": "on", "size": 3}}, "it's": {"a": true},
        "shelf": {"colours": ["teal", "amber"], "none": [], "length": 5,
            "parts": [{"size": -1.5, "tags": ["a", "b"]}, {"size": 2}, 7, null], "deep": [["x"]]},
        "get": {"set": "on"}}}}}"#;

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
        ("cf[10010] in (Blue, Red, 3)", true),
        ("cf[10010] = EMPTY", false),
    ] {
        assert_eq!(holds(query), expected, "{query}");
    }
}

#[test]
fn lists_in_properties_are_found_by_any_element() {
    for (query, expected) in [
        ("issue.property[shelf].colours = amber", true),
        ("issue.property[shelf].colours = am", false),
        ("issue.property[shelf].colours != rose", true),
        ("issue.property[shelf].colours != teal", false),
        ("issue.property[shelf].colours in (rose, teal)", true),
        ("issue.property[shelf].colours not in (rose, lime)", true),
        ("issue.property[shelf].colours not in (rose, teal)", false),
        ("issue.property[shelf].colours != EMPTY", true),
        ("issue.property[shelf].none = EMPTY", true),
        ("issue.property[shelf].none != rose", false),
        ("issue.property[shelf].none in (rose, EMPTY)", true),
        ("issue.property[shelf].parts.size = -1.5", true),
        ("issue.property[shelf].parts.size = 1.5", false),
        ("issue.property[shelf].parts.size = 2", true),
        ("issue.property[shelf].parts.size in (-2, 3)", false),
        ("issue.property[shelf].parts.size in (-1.5, 3)", true),
        ("issue.property[shelf].parts.size not in (-1.5, 3)", false),
        ("issue.property[shelf].parts.size in (-7, -2, EMPTY)", false),
        ("issue.property[shelf].none in (-7, EMPTY)", true),
        ("issue.property[shelf].parts.size not in (-7, -2, 3)", true),
        ("issue.property[shelf].parts.size != 2", false),
        ("issue.property[shelf].parts.tags = b", true),
        ("issue.property[shelf].parts = 7", true),
        ("issue.property[shelf].deep = x", false),
        ("issue.property[shelf].length = 5", true),
        ("issue.property[shelf].colours.length = EMPTY", true),
        ("issue.property[get].set = on", true),
        ("issue.property[set] = EMPTY", true),
        ("issue.property[shelf].get != EMPTY", false),
        ("issue.property[other].x != a", false),
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
        ("project in (OPS, WEB)", 1),
        ("type in (1, 2, 3)", 1),
        ("issue.property[k].a = x AND project = OPS", 1),
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
        ("project ~ ABC", "SY-3501", "Operator ~ is unsupported", "~"),
        ("assignee is EMPTY", "SY-3501", "Operator is is unsupported", "is"),
        ("project Is  Not EMPTY", "SY-3501", "Operator is not is unsupported", "Is  Not"),
        ("priority >= High", "SY-3501", "Operator >= is unsupported", ">="),
        (
            "project in projectsLeadByUser()",
            "SY-3501",
            "The clause projectsLeadByUser() is unsupported",
            "projectsLeadByUser",
        ),
        (
            "assignee not in membersOf ('jira')",
            "SY-3501",
            "The clause membersOf() is unsupported",
            "membersOf",
        ),
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
        ("status was Done", "SY-3501", "Operator was is unsupported", "was"),
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

/// Compiles as the registry does, without the limit of what authors write.
fn compile_long(query: &str) -> Result<std::sync::Arc<Program>, CompileError> {
    let text = translate(query)?.unwrap_or_default();
    TemplateCache::new().compile(&text, CheckProfile::Filter)
}

#[test]
fn hostile_queries_are_bounded() {
    let clauses = |clause: &dyn Fn(usize) -> String, word: &str, count: usize| {
        (0..count).map(clause).collect::<Vec<_>>().join(word)
    };
    for query in [
        "(".repeat(9_000),
        "not ".repeat(2_000),
        "a".repeat(10_001),
        clauses(&|n| format!("cf[{n}] = a"), "|", 900),
        "'".repeat(9_999),
    ] {
        assert!(compile_long(&query).is_err(), "{}", &query[..40]);
    }
    let letters: Vec<String> = ('a'..='z').chain('A'..='Z').map(String::from).collect();
    let lists = clauses(&|n| format!("cf[{n}] in ({})", letters.join(",")), "|", 80);
    let refused = compile_long(&lists).unwrap_err();
    assert!(refused.to_string().contains("comparisons with values"), "{refused}");
    assert!(compile_long(&clauses(&|n| format!("status = x{n}"), " AND ", 500)).is_ok());
    let long = vec!["project = A"; 150].join(" OR ");
    assert!(compile_query(&long).is_ok());
    let nested = |depth: usize| format!("{}project = A{}", "(".repeat(depth), ")".repeat(depth));
    assert!(compile_query(&nested(NESTING_MAX - 1)).is_ok());
    let refused = translate(&nested(NESTING_MAX)).unwrap_err();
    assert_eq!(refused.to_string(), "the query nests deeper than 128 levels");
}

/// The shortest different values that fill a query of 10,000 characters.
fn shortest_values(before: &str, digits: &[u8]) -> String {
    let mut query = format!("{before} in (");
    let mut at = 0_usize;
    loop {
        let (mut rest, mut value) = (at, String::new());
        loop {
            value.push(char::from(digits[rest % digits.len()]));
            rest /= digits.len();
            if rest == 0 {
                break;
            }
            rest -= 1;
        }
        if query.len() + value.len() + 2 > crate::limits::SOURCE_CHARS_MAX {
            query.pop();
            return query + ")";
        }
        query = query + &value + ",";
        at += 1;
    }
}

#[test]
fn a_list_may_fill_the_whole_query() {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (field, digits) in [
        ("project", &letters[26..]),
        ("project", &letters[..]),
        ("status", &letters[..26]),
        ("key", &letters[..]),
        ("priority", b"123456789"),
        ("assignee", &letters[..]),
        ("cf[10011]", &letters[..]),
        ("cf[10011]", b"123456789"),
        ("issue.property[k].a", &letters[..]),
        ("issue.property[k].a", b"123456789"),
    ] {
        let query = shortest_values(field, digits);
        let program = compile_long(&query).unwrap_or_else(|e| panic!("{field}: {e}"));
        let mut event = Tape::new();
        event.parse(EVENT.as_bytes(), &TapeLimits::default()).unwrap();
        let mut scratch = EvalScratch::new();
        let verdict = program.verdict(&event, &Env::at(0), &mut scratch);
        assert!(!matches!(verdict, Verdict::Failed(_)), "{field}: {verdict:?}");
    }
    // The list is written once, although keys and names are compared with it.
    let text = translate("project in (AAA, BBB, CCC)").unwrap().unwrap();
    assert_eq!(text.matches("'AAA'").count(), 1, "{text}");
}

#[test]
fn the_normal_form_is_that_of_jira_and_means_the_same() {
    for (query, normal) in [
        ("", ""),
        ("project=ABC", "project = ABC"),
        ("PROJECT = 'Alpha Beta'  and status!=Done", "PROJECT = \"Alpha Beta\" AND status != Done"),
        ("a = 1", ""),
        ("project IN(A,B)||type NOT  IN ( C )", "project in (A, B) OR type not in (C)"),
        (
            "(project = A or key = A-1) && !(status = x)",
            "(project = A OR key = A-1) AND NOT status = x",
        ),
        ("not (project = A and status = B)", "NOT (project = A AND status = B)"),
        ("project = A or project = B", "project = A OR project = B"),
        ("((project = A))", "project = A"),
        ("assignee = null", "assignee = EMPTY"),
        ("status = 'empty'", "status = \"empty\""),
        ("status in ('a\\'b', \"c\\\\d\", '')", "status in (\"a'b\", c\\d, \"\")"),
        ("issue.property[ app.x ].state.size = -1.5", "issue.property[ app.x ].state.size = -1.5"),
    ] {
        let Ok(parsed) = Query::parse(query) else { continue };
        let found = parsed.normal_form();
        assert_eq!(found, normal, "{query}");
        let again = Query::parse(&found).unwrap();
        assert_eq!(again.normal_form(), found);
        assert_eq!(again.expression().unwrap(), parsed.expression().unwrap());
    }
}

#[test]
fn warnings_name_what_never_matches() {
    let warnings = |query: &str| {
        let found = Query::parse(query).unwrap().warnings();
        found.iter().map(|w| format!("{} {}", w.code, w.span.text(query))).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("assignee = \"Ada Lampwright\"", vec!["SY-3106 assignee"]),
        ("reporter in (u-1, ada@lamp.example)", vec!["SY-3106 reporter"]),
        ("assignee = 5b10ac8d82e05b22cc7d4ef5", vec![]),
        ("assignee = '557058:f58131cb-b67d-43c7-b30d-6b58d40bd077'", vec![]),
        ("assignee = EMPTY", vec![]),
        ("project = A AND status = x AND project = B", vec!["SY-3209 project"]),
        ("project in (A, B) AND project = b", vec![]),
        ("project = A AND project = 'Alpha Beta'", vec![]),
        ("status = 3 AND status = Done", vec![]),
        ("(project = A OR (type = a AND type = b))", vec!["SY-3209 type"]),
        ("NOT (type = a AND type = b)", vec![]),
        ("project = EMPTY", vec!["SY-3209 project"]),
        ("assignee = u-1 AND status in (null, EMPTY)", vec!["SY-3209 status"]),
        ("project in (A, EMPTY)", vec![]),
        ("NOT project = EMPTY", vec![]),
        ("priority = EMPTY", vec![]),
    ] {
        assert_eq!(warnings(query), expected, "{query}");
    }
}

#[test]
fn events_without_an_issue_match_as_they_are_evaluated() {
    for query in [
        "project = A",
        "project != A",
        "project = EMPTY",
        "not project = A",
        "status in (a, EMPTY)",
        "status not in (a, EMPTY)",
        "project != EMPTY",
        "cf[1] = a or reporter = null",
        "issue.property[k].a = EMPTY and not (key = A-1)",
        "issue.property[k].a != x",
    ] {
        let expected = holds_on(query, "{}");
        assert_eq!(Query::parse(query).unwrap().matches_without_issue(), expected, "{query}");
    }
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

/// The verdict and the steps, on which both evaluators agree.
fn verdict_and_steps(expression: &str, json: &str) -> (bool, u32) {
    let mut event = Tape::new();
    event.parse(json.as_bytes(), &TapeLimits::default()).unwrap();
    let (typed, _) = parse_and_check_translated(expression, CheckProfile::Filter).unwrap();
    let (reference, expected) = naive::eval(&typed, &event, &Env::at(0));
    let program = TemplateCache::new().compile(expression, CheckProfile::Filter).unwrap();
    let mut scratch = EvalScratch::new();
    let found = program.eval(&event, &Env::at(0), &mut scratch);
    assert_eq!(scratch.steps(), expected, "{expression:.60}");
    match (found, reference) {
        (Ok(Value::Bool(found)), Ok(Value::Bool(reference))) => {
            assert_eq!(found, reference, "{expression:.60}");
            (found, expected)
        }
        (found, reference) => panic!("{found:?} and {reference:?} of {expression:.60}"),
    }
}

fn event_with(property: &str) -> String {
    format!(
        r#"{{"issue": {{"key": "A-1"}}, "runtime": {{"issue": {{"properties": {{"k": {property}}}}}}}}}"#
    )
}

#[test]
fn long_lists_of_values_meet_long_lists_in_events() {
    const ELEMENTS: usize = 1_000;
    let joined = |each: &dyn Fn(usize) -> String, count: usize| {
        (0..count).map(each).collect::<Vec<_>>().join(",")
    };
    let values: [(&str, &dyn Fn(usize) -> String); 4] = [
        ("texts", &|n| format!("tag-{n}")),
        ("numbers", &|n| format!("{n}")),
        ("negative numbers", &|n| format!("-{n}.5")),
        ("texts with escapes", &|n| format!("\"it's {n}\"")),
    ];
    type Event<'a> = (&'a str, &'a dyn Fn(&str) -> String);
    let elements: [Event<'_>; 3] = [
        (".tags", &|found| {
            let misses = joined(&|n| format!("\"other {n}\""), ELEMENTS - 1);
            format!(r#"{{"tags": [{misses},{found}]}}"#)
        }),
        (".parts.tag", &|found| {
            let misses = joined(&|n| format!(r#"{{"tag": "other {n}"}}"#), ELEMENTS - 1);
            format!(r#"{{"parts": [{misses},{{"tag": {found}}}]}}"#)
        }),
        (".parts.tags", &|found| {
            let misses = joined(&|n| format!(r#"{{"tags": ["other {n}", 1{n}e9]}}"#), ELEMENTS / 2);
            format!(r#"{{"parts": [{misses},{{"tags": [{found}]}}]}}"#)
        }),
    ];
    for (kind, value) in values {
        let listed = joined(value, 600);
        let (hit, miss) = (value(599), value(600));
        let json = |text: &str| match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => text.to_owned(),
            Err(_) => format!("\"{text}\""),
        };
        for (path, event) in &elements {
            let (with, without) =
                (event_with(&event(&json(&hit))), event_with(&event(&json(&miss))));
            for (clause, on_hit, on_miss) in [
                (format!("in ({listed})"), true, false),
                (format!("not in ({listed})"), false, true),
                (format!("in ({listed}, EMPTY)"), true, false),
                (format!("!= {hit}"), false, true),
            ] {
                let expression = translate(&format!("issue.property[k]{path} {clause}"));
                let expression = expression.unwrap().unwrap();
                for (event, expected) in [(&with, on_hit), (&without, on_miss)] {
                    let (found, steps) = verdict_and_steps(&expression, event);
                    assert_eq!(found, expected, "{kind} {path} {clause:.30}");
                    assert!(steps < 30_000, "{steps} steps of {kind} {path} {clause:.30}");
                }
            }
        }
    }
}

#[test]
fn steps_grow_with_elements_and_not_with_values() {
    let steps = |values: usize, elements: usize| {
        let listed: Vec<String> = (0..values).map(|n| format!("v{n}")).collect();
        let tags: Vec<String> = (0..elements).map(|n| format!("\"t{n}\"")).collect();
        let query = format!("issue.property[k].tags in ({})", listed.join(","));
        let event = event_with(&format!(r#"{{"tags": [{}]}}"#, tags.join(",")));
        verdict_and_steps(&translate(&query).unwrap().unwrap(), &event).1
    };
    assert_eq!(steps(3, 200), steps(600, 200));
    assert_eq!(steps(600, 400) - steps(600, 200), steps(2, 400) - steps(2, 200));
    let (few, many) = (steps(600, 100), steps(600, 1_000));
    assert!(many < 11 * few, "{few} steps for 100 elements, {many} for 1,000");
    assert!(holds_on("issue.property[k].tags in (a, b)", &event_with(r#"{"tags": "b"}"#)));
}

#[test]
fn negative_numbers_take_as_many_steps_as_positive_ones() {
    let steps = |sign: &str| {
        let listed: Vec<String> = (1..600).map(|n| format!("{sign}{n}")).collect();
        let sizes: Vec<String> = (1..1_000).map(|n| format!("{n}.5")).collect();
        let event = event_with(&format!(r#"{{"sizes": [{}, {sign}7]}}"#, sizes.join(",")));
        let listed = listed.join(",");
        let query = format!("issue.property[k].sizes in ({listed})");
        let filter = format!(
            "event.runtime.issue.properties['k'].sizes.filter(x => [{listed}].includes(x)).length == 1"
        );
        [translate(&query).unwrap().unwrap(), filter].map(|expression| {
            let (found, steps) = verdict_and_steps(&expression, &event);
            assert!(found, "{sign} {expression:.60}");
            steps
        })
    };
    assert_eq!(steps("-"), steps(""));
}

#[test]
fn lists_of_constants_in_filters_are_looked_up() {
    let listed = |each: &dyn Fn(usize) -> String, count: usize| {
        (0..count).map(each).collect::<Vec<_>>().join(", ")
    };
    let ids = listed(&|n| format!("'customfield_{n}'"), 100);
    let items = listed(&|n| format!(r#"{{"field": "Field {n}", "fieldId": "f{n}"}}"#), 999);
    let event = format!(
        r#"{{"changelog": {{"items": [{items}, {{"field": "customfield_99"}}]}}, "n": -0.0, "list": [1]}}"#
    );
    let filter = format!(
        "(event.changelog?.items ?? []).some(item => [{ids}].includes(item?.fieldId ?? item?.field))"
    );
    let (found, steps) = verdict_and_steps(&filter, &event);
    assert!(found && steps < 35_000, "{steps} steps");
    let mixed = "'a\\n', null, true, 0, 1.5, 'x', ''";
    for (expression, expected) in [
        (format!("[{mixed}].includes(event.n)"), true),
        (format!("[{mixed}].includes(event.missing)"), true),
        (format!("[{mixed}].includes(event.list)"), false),
        (format!("[{mixed}].includes(1.5)"), true),
        (format!("[{mixed}].includes('1.5')"), false),
        (format!("[{mixed}].includes(false)"), false),
        (format!("[{mixed}].includes('a' + '\\n')"), true),
        (format!("[{mixed}].includes('')"), true),
        (format!("[{ids}].includes('customfield_99')"), true),
        (format!("[{ids}].includes('customfield_100')"), false),
        (format!("[{ids}, 7].includes(7)"), true),
        ("[].includes(null)".into(), false),
        ("['a'].includes(1)".into(), false),
        ("[event.list, 'a', 'b', 'c', 'd'].includes(event.list)".into(), true),
        (format!("[{ids}].includes(0 / 0)"), false),
        ("[-1, -2, -3, -4, -5, -6].includes(-(6))".into(), true),
        ("[-1, -2, -3, -4, -5, -6].includes(6)".into(), false),
        ("[-1, -2, -3, -4, -5, -0].includes(0)".into(), true),
    ] {
        assert_eq!(verdict_and_steps(&expression, &event).0, expected, "{expression:.60}");
    }
}
