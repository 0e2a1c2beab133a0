use super::explain;
use crate::{Env, Profile, Scratch, Tape, TapeLimits, compile};

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
steps 24 of 50000 · index key: issue.fields.priority.name = \"High\"
left to evaluate for each candidate: event.issue.key.indexOf('ABC-') == 0";
    assert_eq!(text(source), expected);
}

#[test]
fn what_was_never_evaluated_is_said() {
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
fn nested_conditions_are_told_down_to_the_one_that_decided() {
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
        let program = compile(source, Profile::Filter).unwrap().program;
        let mut scratch = Scratch::new();
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
