//! Tests of rendered diagnostics.

use super::render;
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;
use crate::{CheckProfile, Usage, compile_for};

/// The first `count` findings, rendered.
fn drawn(source: &str, events: &[&str], count: usize) -> String {
    let usage = Usage { events, delivers_on_error: false };
    let findings = match compile_for(source, CheckProfile::Filter, &usage) {
        Ok(compiled) => compiled.warnings,
        Err(rejected) => rejected.diagnostics,
    };
    render(findings.get(..count).unwrap_or(&findings), source, "trigger.yaml#filter")
}

const UPDATED: &[&str] = &["avi:jira:updated:issue"];

#[test]
fn a_misspelt_field_shows_the_name_that_was_meant() {
    let source = "event.issue.fields.priorty.name == 'High' &&\n  event.issue.key == 'A-1'";
    let expected = "\
warning[SY-3103]: no field `priorty` on Issue.fields
 --> trigger.yaml#filter:1:20
  |
1 | event.issue.fields.priorty.name == 'High' &&
  |                    ^^^^^^^ unknown field
  |
help: a field with a similar name exists
  |
1 | event.issue.fields.priority.name == 'High' &&
  |                         +
";
    assert_eq!(drawn(source, UPDATED, 1), expected);
}

#[test]
fn a_comparison_of_two_types_shows_both() {
    let source = "event.issue.key == 'A-1' &&\n  event.issue.fields.labels.length > '2'";
    let expected = "\
error[SY-3201]: cannot compare Number with String
 --> trigger.yaml#filter:2:36
  |
2 |   event.issue.fields.labels.length > '2'
  |   -------------------------------- ^ --- String
  |   |                                |
  |   |                                `>` needs two values of the same ordered type
  |   Number
  |
help: write the number without quotes: `> 2`
";
    assert_eq!(drawn(source, UPDATED, 1), expected);
}

#[test]
fn an_assignment_is_reported_with_the_comparison_operator() {
    let source = "if (event.issue.fields.priority.name = 'High') { true }";
    let expected = "\
error[SY-3002]: expected `==`, found `=`
 --> trigger.yaml#filter:1:38
  |
1 | if (event.issue.fields.priority.name = 'High') { true }
  |                                      ^ assignment is not part of the language
  |
help: compare with `==`
  |
1 | if (event.issue.fields.priority.name == 'High') { true }
  |                                       +
note: parsing stopped here; later errors may be hidden
";
    assert_eq!(drawn(source, UPDATED, 1), expected);
}

#[test]
fn an_unknown_name_suggests_the_path_below_event() {
    let expected = "\
error[SY-3101]: `issue` is not defined in a filter
 --> trigger.yaml#filter:1:1
  |
1 | issue.fields.summary == 'x'
  | ^^^^^
  |
help: filters start at `event`: `event.issue...`
  |
1 | event.issue.fields.summary == 'x'
  | ++++++
";
    assert_eq!(drawn("issue.fields.summary == 'x'", UPDATED, 1), expected);
}

#[test]
fn the_vendors_spelling_of_the_issue_type_is_corrected() {
    let expected = "\
warning[SY-3103]: no field `issueType`; payload fields are spelt as Jira sends them
 --> trigger.yaml#filter:1:20
  |
1 | event.issue.fields.issueType.name == 'Bug'
  |                    ^^^^^^^^^ unknown field
  |
help: write `issuetype`
  |
1 | event.issue.fields.issuetype.name == 'Bug'
  |                         ~
";
    assert_eq!(drawn("event.issue.fields.issueType.name == 'Bug'", UPDATED, 1), expected);
}

#[test]
fn a_nullable_access_states_what_on_error_does() {
    let expected = "\
warning[SY-3105]: an error when `assignee` is null, and onError drops the event
 --> trigger.yaml#filter:1:28
  |
1 | event.issue.fields.assignee.accountId == 'x'
  |                            ^^^^^^^^^^ `accountId` of what may be null
  |
help: `?.` makes the whole chain null instead
  |
1 | event.issue.fields.assignee?.accountId == 'x'
  |                            +
";
    assert_eq!(drawn("event.issue.fields.assignee.accountId == 'x'", UPDATED, 1), expected);
}

#[test]
fn a_filter_that_is_too_long_says_by_how_much() {
    let source = format!("event.issue.key == '{}'", "x".repeat(10_391));
    let found = drawn(&source, UPDATED, 1);
    assert!(found.starts_with("error[SY-3301]: 10,412 of 10,000 characters\n"), "{found}");
    assert!(found.ends_with("help: move long lists into an entity property\n"), "{found}");
}

#[test]
fn draws_the_part_of_a_long_line_around_the_marks() {
    let keys = vec!["'ABC-1'"; 60].join(", ");
    let source = format!("[{keys}].includes(event.issue.keey) && [{keys}].includes('x')");
    let before = "'ABC-1', 'ABC-1'].includes(event.issue.";
    let after = "'ABC-1', 'ABC-1', 'ABC-1', 'ABC-1', 'ABC-1', 'ABC-1', 'ABC-1'";
    let (before, after) = (&before[before.len() - 39..], after);
    let found = drawn(&source, UPDATED, 1);
    let mut lines = found.lines().skip(3);
    let shown = lines.next().unwrap();
    assert!(shown.starts_with("1 | …"), "{found}");
    assert!(shown.contains(&format!("{before}keey) && [{after}")), "{found}");
    assert_eq!(shown.chars().count(), "1 | …".chars().count() + 121, "{found}");
    let caret = lines.next().unwrap();
    assert_eq!(&caret[caret.find('^').unwrap()..], "^^^^ unknown field");
    let column = |line: &str, text: &str| line[..line.find(text).unwrap()].chars().count();
    assert_eq!(column(shown, "keey"), column(caret, "^"), "{found}");
    assert!(found.lines().all(|line| line.chars().count() < 140), "{found}");
    assert!(found.contains("event.issue.key) &&"), "{found}");
}

#[test]
fn an_id_compared_with_a_number_is_put_in_quotes() {
    let expected = "\
warning[SY-3207]: String and Number are never equal
 --> trigger.yaml#filter:1:19
  |
1 | event.issue.id == 10001
  | --------------    ^^^^^ Number: always false
  | |
  | String
  |
help: payloads contain it as another type
  |
1 | event.issue.id == '10001'
  |                   ~~~~~~~
";
    assert_eq!(drawn("event.issue.id == 10001", UPDATED, 1), expected);
}

#[test]
fn places_on_several_lines_are_all_drawn() {
    let source = "event.issue.key == 'A-1'\n && true\n && event.issue.key == 'A-2'";
    let expected = "\
warning[SY-3209]: this is always false: it cannot be equal to both
 --> trigger.yaml#filter:3:24
  |
1 | event.issue.key == 'A-1'
  |                    ----- the other value
...
3 |  && event.issue.key == 'A-2'
  |                        ^^^^^
  |
help: for one or the other write `||`
";
    let found = drawn(source, UPDATED, 9);
    assert!(found.contains(expected), "{found}");
}

#[test]
fn reports_every_syntax_error_and_where_parsing_stopped() {
    let found = drawn("event.a === 1 & event.b = 2 &&\n) }", UPDATED, 9);
    let heads: Vec<&str> = found.lines().filter(|line| line.starts_with("error")).collect();
    assert!(heads.len() >= 4, "{found}");
    let found = drawn("if (event.a) { true }", UPDATED, 9);
    assert!(found.ends_with("note: parsing stopped here; later errors may be hidden\n"), "{found}");
}

#[test]
fn tabs_and_wide_letters_keep_carets_in_place() {
    let found = drawn("\tevent.issue.fields.priorty == 'ü'", UPDATED, 1);
    assert!(found.contains("1 |  event.issue.fields.priorty"), "{found}");
    assert!(found.contains("  |                     ^^^^^^^ unknown"), "{found}");
}

#[test]
fn a_missing_token_at_the_end_has_a_caret_after_the_line() {
    let found = drawn("event.issue.key ==", UPDATED, 1);
    assert!(found.contains("1 | event.issue.key ==\n  |                   ^\n"), "{found}");
}

#[test]
fn counts_what_it_does_not_draw() {
    let one = Diagnostic::error(Code::Expected, Span::new(0, 1), "x");
    let drawn = render(&vec![one; 14], "abc", "x");
    assert!(drawn.ends_with("and 4 more\n"), "{drawn}");
}
