//! Tests of explanations as text, and of their agreement with the program.

use super::explain;
use crate::{CheckProfile, Env, EvalScratch, Tape, TapeLimits, compile};

const EVENT: &str = r#"{"issue": {"key": "XYZ-12", "fields": {"priority": {"name": "High"},
    "assignee": null, "labels": ["a", "b"], "summary": "text"}}}"#;

fn event() -> Tape {
    let mut tape = Tape::new();
    tape.parse(EVENT.as_bytes(), &TapeLimits::default()).unwrap();
    tape
}

fn text(source: &str) -> String {
    explain(source, &event(), &Env::at(0)).unwrap().text()
}

#[test]
fn the_false_conjunct_is_the_one_that_decided() {
    let source =
        "event.issue.fields.priority.name == 'High' && event.issue.key.indexOf('ABC-') == 0";
    let expected = "\
false  (would not be delivered)
  event.issue.fields.priority.name == 'High'   true    \"High\"
  event.issue.key.indexOf('ABC-') == 0         false   \"XYZ-12\"   <- decided here
steps 29 of 50000 · index key: issue.fields.priority.name = \"High\"
left to decide for each candidate: event.issue.key.indexOf('ABC-') == 0";
    assert_eq!(text(source), expected);
}

#[test]
fn shows_what_was_not_evaluated() {
    let found = text("event.issue.key == 'A' && event.issue.fields.labels.includes('a')");
    assert!(found.contains("event.issue.fields.labels.includes('a')   not evaluated\n"), "{found}");
    assert!(found.contains("<- decided here"), "{found}");
}

#[test]
fn an_error_names_the_path_that_is_null() {
    let found = text("event.issue.fields.assignee.accountId == 'x' || event.issue.key == 'A'");
    assert!(found.contains("event.issue.fields.assignee is null   <- decided here"), "{found}");
}

#[test]
fn nested_conditions_are_shown_down_to_the_deciding_one() {
    let source = "event.issue.key == 'XYZ-12' \
        && (event.issue.fields.summary == 'no' || !(event.a == 1 || event.issue.key == 'XYZ-12'))";
    let found = text(source);
    let decided: Vec<&str> = found.lines().filter(|line| line.contains("<- decided")).collect();
    assert_eq!(decided.len(), 1, "{found}");
    let found = text("event.issue.fields.labels.length > 5 ? true : event.issue.key == 'A'");
    assert!(found.contains("event.issue.key == 'A'                 false"), "{found}");
    assert!(found.contains("true                                   not evaluated"), "{found}");
}

#[test]
fn declarations_branches_and_functions_are_explained() {
    let found = text(
        "let labels = event.issue.fields.labels; \
         if (labels.some(l => l == 'b')) { event.issue.key == 'A' } else { true }",
    );
    assert!(found.contains("labels.some(l => l == 'b')   true            List of 2\n"), "{found}");
    assert!(found.contains("\"XYZ-12\"   <- decided here"), "{found}");
}

#[test]
fn function_results_are_shown_for_each_element() {
    let expected = "\
true  (would be delivered)
  event.issue.fields.labels.some(l => l != null && l == 'b')   true    List of 2
    [0] l != null && l == 'b'                                  false
      l != null                                                true    \"a\"
      l == 'b'                                                 false   \"a\"
    [1] l != null && l == 'b'                                  true    <- decided here
      l != null                                                true    \"b\"
      l == 'b'                                                 true    \"b\"
steps 44 of 50000 · no index key";
    let source = "event.issue.fields.labels.some(l => l != null && l == 'b')";
    assert_eq!(text(source), expected);
    let json = explain(source, &event(), &Env::at(0)).unwrap().as_json();
    let function = &json["parts"][0]["functions"][0];
    assert_eq!(function["count"], 2);
    assert_eq!(function["source"], "l => l != null && l == 'b'");
    let call = &function["calls"][1];
    assert_eq!(
        (&call["index"], &call["element"], &call["value"]),
        (&1.into(), &"b".into(), &true.into())
    );
    assert_eq!(call["parts"][0]["decides"], true);
}

#[test]
fn named_functions_are_shown_in_each_part_that_calls_them() {
    let expected = "\
\x20 l => l == 'b'                          a function
  event.issue.fields.labels.some(isB)    true         List of 2
    [0] l == 'b'                         false        \"a\"
    [1] l == 'b'                         true         \"b\"
  event.issue.fields.labels.every(isB)   false        List of 2
    [0] l == 'b'                         false        \"a\"   <- decided here
";
    let source = "let isB = l => l == 'b'; \
        event.issue.fields.labels.some(isB) && event.issue.fields.labels.every(isB)";
    let found = text(source);
    let rows: String = found.lines().skip(1).take(6).map(|line| format!("{line}\n")).collect();
    assert_eq!(rows, expected, "{found}");
    let json = explain(source, &event(), &Env::at(0)).unwrap().as_json();
    let function = &json["parts"][1]["parts"][0]["functions"][0];
    assert_eq!((&function["source"], &function["count"]), (&"l => l == 'b'".into(), &2.into()));
}

#[test]
fn a_function_called_by_name_or_through_another_is_shown() {
    let flat = |source: &str| text(source).split_whitespace().collect::<Vec<_>>().join(" ");
    let direct = flat("let is = x => x == 'XYZ-1'; is(event.issue.key)");
    assert!(direct.contains("[0] x == 'XYZ-1' false \"XYZ-12\" <- decided here"), "{direct}");
    let through =
        flat("let is = x => x == 'b'; let any = f => event.issue.fields.labels.some(f); any(is)");
    assert!(through.contains("[1] x == 'b' true \"b\" <- decided here"), "{through}");
    assert_eq!(through.matches("<- decided here").count(), 1, "{through}");
}

#[test]
fn the_element_that_stopped_a_method_decides_also_behind_not_and_in_errors() {
    for (source, row) in [
        ("!event.issue.fields.labels.every(l => l == 'a')", "[1] l == 'a' false \"b\" <- decided"),
        ("event.issue.fields.labels.some(l => l.x.y)", "[0] l.x.y error Unrecognized property"),
        ("event.issue.fields.labels.every(l => l == 'z')", "[0] l == 'z' false \"a\" <- decided"),
        ("event.issue.fields.labels.some(l => l == 'z')", "false List of 2 <- decided here"),
    ] {
        let found = text(source).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(found.contains(row), "{source}: {found}");
        assert_eq!(found.matches("<- decided here").count(), 1, "{found}");
    }
}

#[test]
fn long_lists_show_the_first_elements_and_those_that_differ() {
    let list = format!("[{}]", (0..90).map(|n| n.to_string()).collect::<Vec<_>>().join(", "));
    let shown = |source: &str| -> Vec<usize> {
        let explained = explain(source, &event(), &Env::at(0)).unwrap();
        let calls = &explained.parts[0].functions[0];
        calls.shown.iter().map(|call| call.index).collect()
    };
    assert_eq!(shown(&format!("{list}.some(n => n == 80)")), [0, 1, 2, 3, 4, 80]);
    assert_eq!(shown(&format!("{list}.every(n => n < 7)")), [0, 1, 2, 3, 4, 7]);
    let many = [0, 1, 2, 3, 4, 50, 51, 52, 53, 54];
    assert_eq!(shown(&format!("{list}.filter(n => n >= 50).length == 1")), many);
    let explained = text(&format!("{list}.some(n => n == 80)"));
    assert!(explained.contains("… 75 more of 81"), "{explained}");
    // 90 × 90 calls, each of which could list 90 of its own.
    let nested = format!("{list}.map(a => {list}.filter(b => a == b).length).length == 1");
    assert!(text(&nested).lines().count() < 500);
}

#[test]
fn the_verdict_and_the_steps_are_those_of_the_program() {
    for source in [
        "event.issue.key == 'XYZ-12'",
        "event.issue.key",
        "event.a.b.c == 1",
        "event.issue.fields.labels.map(l => l + 'x').includes('bx') && event.a == null",
        "throw 'no'",
        "try { event.a.b == 1 } catch (e) { e.message != '' }",
        "event.issue.fields?.none?.b == 1 || 'a' < event.issue.key",
    ] {
        let explained = explain(source, &event(), &Env::at(0)).unwrap();
        let program = compile(source, CheckProfile::Filter).unwrap().program;
        let mut scratch = EvalScratch::new();
        let event = event();
        let verdict = program.verdict(&event, &Env::at(0), &mut scratch);
        assert_eq!(explained.verdict, verdict, "{source}");
        assert_eq!(explained.steps, scratch.steps(), "{source}");
        let json = explained.as_json();
        assert_eq!(json["steps"], scratch.steps(), "{source}");
        assert!(json["parts"].as_array().is_some_and(|parts| !parts.is_empty()));
    }
}

#[test]
fn filters_with_mistakes_are_not_explained() {
    assert!(explain("event.a ==", &event(), &Env::at(0)).is_err());
}
