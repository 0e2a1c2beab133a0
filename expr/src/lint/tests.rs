//! Tests of warnings that depend on the event types of a filter.

use crate::render::render;
use crate::{CheckProfile, Usage, compile_for};

const ISSUE: &[&str] = &["avi:jira:created:issue", "avi:jira:updated:issue"];

/// Codes of the findings on a filter, each with the text of its span.
fn findings(source: &str, events: &[&str]) -> Vec<String> {
    let usage = Usage { events, delivers_on_error: false };
    let found = match compile_for(source, CheckProfile::Filter, &usage) {
        Ok(compiled) => compiled.warnings,
        Err(rejected) => rejected.diagnostics,
    };
    found.iter().map(|d| format!("{} {}", d.code, d.span.text(source))).collect()
}

#[test]
fn unknown_paths_are_named_where_the_schema_is_closed() {
    for (source, expected) in [
        ("event.issue.fields.priorty == 'x'", vec!["SY-3103 priorty"]),
        ("event.issue.fields['priorty'] == 'x'", vec!["SY-3103 ['priorty']"]),
        ("event.isue.key == 'x'", vec!["SY-3103 isue"]),
        ("let f = event.issue.fields; f.projekt.key == 'x'", vec!["SY-3103 projekt"]),
        ("event.changelog?.items.some(i => i.feildId == 'x') == true", vec!["SY-3103 feildId"]),
        ("event.content.space.key == 'X'", vec!["SY-3103 content"]),
        ("event.issue.fields.customfield_10010?.value == 'x'", vec![]),
        ("event.runtime.issue.properties['a'].b.c == 1", vec![]),
        ("event.issue.fields.get('summary') == 'x'", vec![]),
    ] {
        assert_eq!(findings(source, ISSUE), expected, "{source}");
    }
}

#[test]
fn events_of_unknown_type_are_open_but_for_near_misses() {
    assert_eq!(findings("event.anything.at.all == 1", &["avi:x:y:z"]), Vec::<String>::new());
    assert_eq!(findings("event.isue.key == 'x'", &[]), vec!["SY-3103 isue"]);
    let board = ["avi:jira-software:created:board"];
    assert_eq!(findings("event.board.id == 1", &board), Vec::<String>::new());
}

#[test]
fn warns_about_plain_access_to_nullable_values() {
    for (source, expected) in [
        ("event.issue.fields.assignee.accountId == 'x'", vec!["SY-3105 .accountId"]),
        ("event.issue.fields.assignee['accountId'] == 'x'", vec!["SY-3105 ['accountId']"]),
        ("event.issue.fields.assignee?.accountId == 'x'", vec![]),
        ("event.issue.fields.labels.includes('x')", vec!["SY-3105 .includes"]),
        (
            "event.issue.fields.assignee != null && event.issue.fields.assignee.accountId == 'x'",
            vec![],
        ),
        (
            "event.issue.fields.assignee == null || event.issue.fields.assignee.accountId == 'x'",
            vec![],
        ),
        ("!event.issue.fields.assignee || event.issue.fields.assignee.accountId == 'x'", vec![]),
        (
            "event.issue.fields.assignee ? event.issue.fields.assignee.accountId == 'x' : false",
            vec![],
        ),
        ("event.issue.fields.parent?.key == 'A-1' && event.issue.fields.parent.id == '1'", vec![]),
        ("let a = event.issue.fields.assignee; a.accountId == 'x'", vec!["SY-3105 .accountId"]),
        ("try { event.issue.fields.assignee.accountId == 'x' } catch () { false }", vec![]),
        ("event.issue.fields.duedate < '2027'", vec!["SY-3105 event.issue.fields.duedate"]),
        ("event.issue.fields.duedate != null && event.issue.fields.duedate < '2027'", vec![]),
        ("event.changelog.items.some(i => i.toString == 'Done')", vec!["SY-3105 .items"]),
    ] {
        assert_eq!(findings(source, ISSUE), expected, "{source}");
    }
    let updated = &["avi:jira:updated:issue"];
    assert_eq!(
        findings("event.changelog.items.some(i => i.toString == 'Done')", updated),
        Vec::<String>::new()
    );
}

#[test]
fn warns_about_comparisons_between_types() {
    for (source, expected) in [
        ("event.issue.id == 10001", vec!["SY-3207 10001"]),
        ("10001 != event.issue.id", vec!["SY-3207 10001"]),
        ("event.issue.fields.labels == 'x'", vec!["SY-3207 'x'"]),
        ("event.issue.fields.assignee == null", vec![]),
        ("event.issue.key > 5", vec!["SY-3201 >"]),
        ("event.issue.fields.summary.length > '2'", vec!["SY-3201 >"]),
        ("event.issue.fields.summary.startsWith('x')", vec!["SY-3203 startsWith"]),
        ("event.issue.fields.components?.name == 'x'", vec!["SY-3203 name"]),
        ("event.issue.key", vec!["SY-3206 event.issue.key"]),
        ("event.issue", vec!["SY-3206 event.issue"]),
        ("event.issue.fields.customfield_1 == 5", vec![]),
    ] {
        assert_eq!(findings(source, ISSUE), expected, "{source}");
    }
}

#[test]
fn warns_about_outcomes_that_are_no_boolean() {
    let updated = &["avi:jira:updated:issue"];
    for (source, expected) in [
        ("event.issue.fields.assignee && true", vec!["SY-3206 event.issue.fields.assignee"]),
        (
            "event.issue.key == 'A' && event.issue.fields.labels?.includes('x')",
            vec!["SY-3206 event.issue.fields.labels?.includes('x')"],
        ),
        ("event.issue.fields.parent?.key == 'A-1'", vec![]),
        ("event.issue.fields.parent || true", vec!["SY-3206 event.issue.fields.parent"]),
        (
            "event.issue.fields.assignee?.active",
            vec!["SY-3206 event.issue.fields.assignee?.active"],
        ),
        ("event.issue.fields.labels?.includes('x') ?? false", vec![]),
        ("event.issue.fields.labels?.includes('x') || false", vec![]),
        ("!event.issue.fields.labels?.includes('x')", vec![]),
        ("event.issue.fields.labels != null && event.issue.fields.labels?.includes('x')", vec![]),
        ("event.changelog?.items.some(i => i.fieldId == 'x')", vec![]),
        (
            "event.issue.key == 'A' ? event.issue.fields.priority : true",
            vec!["SY-3206 event.issue.fields.priority"],
        ),
        (
            "if (event.issue.key == 'A') { event.issue.fields.labels?.includes('x') } else { false }",
            vec!["SY-3206 event.issue.fields.labels?.includes('x')"],
        ),
        ("event.issue.fields.labels?.some(l => l && l != 'x') == true", vec![]),
        ("event.issue.fields.customfield_1 && true", vec![]),
    ] {
        assert_eq!(findings(source, updated), expected, "{source}");
    }
}

#[test]
fn warns_about_calls_and_arithmetic_that_fail() {
    let updated = &["avi:jira:updated:issue"];
    for (source, expected) in [
        ("event.changelog.items.some(i => i.toString() == 'x')", vec!["SY-3204 ()"]),
        ("event.issue.key() == 'x'", vec!["SY-3204 ()"]),
        ("event.issue.key.toLowerCase() == 'x'", vec![]),
        (
            "event.issue.fields.updated - event.issue.fields.created > 1",
            vec!["SY-3202 event.issue.fields.updated"],
        ),
        ("new Date(event.issue.fields.updated).getTime() - 5 > 1", vec![]),
        ("event.issue.fields.timespent != null && event.issue.fields.timespent / 60 > 1", vec![]),
        ("event.issue.fields.labels * 2 == 4", vec!["SY-3202 event.issue.fields.labels"]),
        ("event.issue.fields.description?.includes('x') == true", vec!["SY-3203 includes"]),
        ("event.issue.fields.description == 'x'", vec!["SY-3207 event.issue.fields.description"]),
        ("event.issue.fields.description != null", vec![]),
    ] {
        assert_eq!(findings(source, updated), expected, "{source}");
    }
}

#[test]
fn warns_about_event_types_of_no_event() {
    for (source, expected) in [
        ("event.eventType == 'avi:jira:update:issue'", vec!["SY-3106 'avi:jira:update:issue'"]),
        ("event.eventType == 'avi:jira:created:issue'", vec![]),
        ("['a', 'b'].includes(event.eventType)", vec!["SY-3106 event.eventType"]),
        ("['a', 'avi:jira:created:issue'].includes(event.eventType)", vec![]),
    ] {
        assert_eq!(findings(source, ISSUE), expected, "{source}");
        assert_eq!(findings(source, &[]), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn warns_about_constant_conditions() {
    for (source, expected) in [
        ("event.issue.key == 'A-1' && event.issue.key == 'A-2'", vec!["SY-3209 'A-2'"]),
        ("event.issue.key != 'A-1' || event.issue.key != 'A-2'", vec!["SY-3209 'A-2'"]),
        ("event.issue.key == 'A-1' || event.issue.key == 'A-2'", vec![]),
        ("'A' && event.issue.key == 'A-1'", vec!["SY-3209 'A'"]),
        ("true ? event.issue.key == 'A-1' : false", vec!["SY-3209 true"]),
        ("true", vec![]),
        ("false", vec!["SY-3209 false"]),
    ] {
        assert_eq!(findings(source, ISSUE), expected, "{source}");
    }
    let updated = &["avi:jira:updated:issue"];
    assert_eq!(
        findings("event.changelog.items && true", updated),
        vec!["SY-3209 event.changelog.items"]
    );
}

#[test]
fn spellings_of_changelogs_depend_on_the_event() {
    let capital = "event.changelog?.items.some(i => i.field == 'Status') == true";
    let small = "event.changelog?.items.some(i => i.field == 'status') == true";
    let id = "event.changelog?.items.some(i => i.fieldId == 'status') == true";
    let updated = &["avi:jira:updated:issue"];
    for (member, written, right) in [
        ("field", "component", Some("`Component`")),
        ("field", "fix_version", Some("`Fix Version`")),
        ("field", "Summary", Some("`summary`")),
        ("field", "Fix Version", None),
        ("field", "summary", None),
        ("field", "Some custom field", None),
        ("fieldId", "Fix Version", Some("`fixVersions`")),
        ("fieldId", "fixVersions", None),
    ] {
        let source = format!("event.changelog.items.some(i => i.{member} == '{written}')");
        let usage = Usage { events: updated, delivers_on_error: false };
        let warnings = compile_for(&source, CheckProfile::Filter, &usage).unwrap().warnings;
        let found = warnings.first().map(|warning| warning.message.as_str());
        assert_eq!(found.is_some(), right.is_some(), "{source}: {found:?}");
        assert!(found.unwrap_or_default().contains(right.unwrap_or_default()), "{found:?}");
    }
    assert_eq!(findings(capital, ISSUE), vec!["SY-3106 'Status'"]);
    assert_eq!(findings(small, ISSUE), vec!["SY-3106 'status'"]);
    assert_eq!(findings(capital, updated), vec!["SY-3106 'Status'"]);
    assert_eq!(findings(small, updated), Vec::<String>::new());
    assert_eq!(findings(id, ISSUE), Vec::<String>::new());
}

#[test]
fn warning_states_what_on_error_does_with_the_event() {
    let source = "event.issue.fields.assignee.accountId == 'x'";
    for (delivers_on_error, word) in [(false, "drops"), (true, "delivers")] {
        let usage = Usage { events: ISSUE, delivers_on_error };
        let warnings = compile_for(source, CheckProfile::Filter, &usage).unwrap().warnings;
        assert!(warnings[0].message.ends_with(&format!("onError {word} the event")));
        assert!(render(&warnings, source, "x").contains("assignee?.accountId"));
    }
}

#[test]
fn a_filter_of_nothing_but_mistakes_is_linted_in_time() {
    let source = vec!["event.isue.x.y == 1"; 400].join(" && ");
    assert!(findings(&source, ISSUE).len() <= crate::limits::WARNINGS_MAX);
}

#[test]
fn members_of_some_events_are_nullable_in_any_order_of_types() {
    let source = "event.comment.author?.acountId == 'x' && event.issue.fields.status.nme == 'x'";
    let events = ["avi:jira:created:issue", "avi:jira:commented:issue"];
    let expected = ["SY-3105 .author", "SY-3103 acountId", "SY-3103 nme"];
    assert_eq!(findings(source, &events), expected);
    let reversed = [events[1], events[0]];
    assert_eq!(findings(source, &reversed), expected);
    let usage = Usage { events: &reversed, delivers_on_error: false };
    let warnings = compile_for(source, CheckProfile::Filter, &usage).unwrap().warnings;
    assert!(warnings[0].message.starts_with("`avi:jira:created:issue` has no `comment`"));
}

/// Help and replacement of the first finding.
fn advice(source: &str) -> (String, String) {
    let usage = Usage { events: ISSUE, delivers_on_error: false };
    let mut found = match compile_for(source, CheckProfile::Filter, &usage) {
        Ok(compiled) => compiled.warnings,
        Err(rejected) => rejected.diagnostics,
    };
    let first = found.remove(0);
    let text = |text: Option<Box<str>>| text.map_or_else(String::new, String::from);
    (text(first.help), text(first.replacement))
}

#[test]
fn dates_keep_their_type_when_they_are_moved() {
    for (source, message) in [
        ("event.issue.fields.created > new Date().minusDays(7)", "cannot compare String with Date"),
        (
            "event.issue.fields.summary == new Date().toCalendarDate().plusMonths(1)",
            "String and CalendarDate are never equal",
        ),
        ("new Date().getDay() == '1'", "Number and String are never equal"),
    ] {
        let usage = Usage { events: &["avi:jira:updated:issue"], delivers_on_error: false };
        let warnings = compile_for(source, CheckProfile::Filter, &usage).unwrap().warnings;
        assert!(warnings.iter().any(|found| found.message == message), "{source}: {warnings:?}");
    }
}

#[test]
fn suggested_replacements_compile() {
    for (source, help, replacement) in [
        ("event.fields.project.key == 'A'", "it is found at `issue.fields`", "issue.fields"),
        ("event.issue.project.key == 'A'", "it is found at `fields.project`", "fields.project"),
        (
            "event.project.key == 'A'",
            "it is found at `issue.fields.project`",
            "issue.fields.project",
        ),
        (
            "event.issue.key == High",
            "strings are quoted, `'High'`; filters start at `event`",
            "'High'",
        ),
        ("event.issue.key == 'A' or true", "write `||`", "||"),
        (
            "event.issue.fields.status == 'Done'",
            "compare a member of it: `event.issue.fields.status.name`",
            "",
        ),
        (
            "event.issue.fields.assignee == '5b10'",
            "compare a member of it: `event.issue.fields.assignee.accountId`",
            "",
        ),
        (
            "['OPS', 'WEB'].includes(event.issue.fields.project)",
            "look for a member of it: `event.issue.fields.project.key`",
            "",
        ),
        (
            "[10001].includes(event.issue.id)",
            "payloads contain it as text: put quotes around each",
            "",
        ),
        ("event.issue.fields.summary.toLowerCase.includes('x')", "call it: `toLowerCase()`", ""),
        (
            "event.issue.fields.components?.includes('API') == true",
            "write `some(x => x.name == 'API')`",
            "",
        ),
        (
            "event.issue.fields.created > new Date('2026-01-01')",
            "make it a Date: `new Date(event.issue.fields.created)`",
            "",
        ),
        ("event.issue.key in ['A']", "write `['A'].includes(event.issue.key)`", ""),
        (
            "event.issue.key not in ['A', event.x(1)[2]] && true",
            "write `!['A', event.x(1)[2]].includes(event.issue.key)`",
            "",
        ),
        (
            "true && event.xs.map(x => x.a)[0] in event.issue.fields.labels",
            "write `event.issue.fields.labels.includes(event.xs.map(x => x.a)[0])`",
            "",
        ),
        ("event.a contains 'x' || true", "write `event.a.includes('x')`", ""),
        ("in ['A']", "write `['a', 'b'].includes(value)`", ""),
        ("event.issue.fields.labels.contains('x')", "write `includes`", ""),
    ] {
        assert_eq!(advice(source), (help.to_owned(), replacement.to_owned()), "{source}");
    }
}
