//! Snapshot of all rendered messages, compared with `messages.txt`.
//!
//! The sources are the examples of the code pages, the expressions of the corpus, and a list of
//! further mistakes. Of messages with the same wording the first is kept.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use switchyard_expr::{
    CheckProfile, Code, Diagnostic, Env, EvalScratch, Tape, TapeLimits, Usage, Verdict, cases,
    compile_for, jql, render::render,
};

const EVENTS: &[&str] = &["avi:jira:created:issue", "avi:jira:updated:issue"];

/// Mistakes that depend on the event types.
const ABOUT_EVENTS: &[(&str, &[&str])] = &[
    ("event.content.id == '1'", EVENTS),
    ("event.issue.key == 'A'", &["avi:confluence:created:page"]),
    ("event.changelog.items.length > 1", &["avi:jira:created:issue", "avi:jira:updated:issue"]),
    ("event.comment.body == 'x'", EVENTS),
    ("event.changelog?.items.some(i => i.field == 'Status')", &["avi:jira:updated:issue"]),
    ("event.changelog?.items.some(i => i.field == 'status')", &["avi:jira:created:issue"]),
    ("event.issue.fields.labels.length > '2'", EVENTS),
    ("event.issue.id == 10001", EVENTS),
    ("event.issue.fields.labels == 'x'", EVENTS),
    ("event.issue.fields.summary.includes(1)", EVENTS),
    ("event.issue.key", EVENTS),
    ("event.issue.fields.summary + 'x'", EVENTS),
    ("event.eventType == 'avi:jira:deleted:issue'", EVENTS),
    ("event.issue != null && event.issue.fields.assignee.accountId == 'x'", EVENTS),
    ("['OPS', 'WEB'].includes(event.issue.fields.project)", EVENTS),
    ("[10001, 10002].includes(event.issue.id)", EVENTS),
    ("['urgent', 'now'].includes(event.issue.fields.labels)", EVENTS),
    ("event.issue.key.match('^OPS-')", EVENTS),
    ("!event.issue.fields.assignee == null", EVENTS),
    ("event.issue.fields.labels == 'urgent'", EVENTS),
    ("new Date(event.issue.fields.created) < new Date() - 7", EVENTS),
    ("event.user.accountId == 'x'", EVENTS),
    ("event.worklog.timeSpentSeconds > 60", EVENTS),
    ("event.issue.fields['Story Points'] == 5", EVENTS),
    ("event.issue.fields.summary ~ 'crash' && event.issue.fields.summary !~ 'test'", EVENTS),
    ("event.issue.fields.summary contains 'crash'", EVENTS),
    ("event.issue.fields.project.key IN ['OPS', 'WEB']", EVENTS),
    ("event.issue.fields.labels not 'x'", EVENTS),
    ("event.issue.fields.assignee is EMPTY", EVENTS),
    ("event.issue.fields.assignee == EMPTY", EVENTS),
    ("not (event.issue.key == 'A')", EVENTS),
    ("not event.issue.fields.labels.includes('x')", EVENTS),
    ("event.issue.fields.assignee.accountId == currentUser()", EVENTS),
    ("event.issue.fields.created < now()", EVENTS),
    (r"event.issue.key.match(/OPS-\d+/) != null", EVENTS),
    ("event.issue.key.match(/ops/i) != null", EVENTS),
    ("event.issue.fields.summary.includes('crash') ? true", EVENTS),
    ("event.issue.fields.resolution is not null", EVENTS),
    ("false", EVENTS),
    ("'urgent' in event.issue.fields.labels", EVENTS),
    ("event.issue.fields.status.name not in ['Done', 'Closed']", EVENTS),
    ("event.issue.fields.reporter.accountId == context.accountId", EVENTS),
    ("event.comment.body.includes('fuse')", &["avi:jira:commented:issue"]),
    ("event.issue.fields.description == 'fuse'", EVENTS),
    ("event.changelog.items.some(i => i.toString() == 'Done')", &["avi:jira:updated:issue"]),
    ("event.issue.fields.updated - event.issue.fields.created > 1000", EVENTS),
    ("event.issue.fields.labels - 1 > 0", EVENTS),
    ("event.issue.key * 2 == 4", EVENTS),
    ("event.issue.fields.assignee && event.issue.fields.assignee.accountId == 'u-1'", EVENTS),
    ("event.issue.fields.labels?.includes('attic')", EVENTS),
    ("event.issue.fields.parent || event.issue.key == 'A-1'", EVENTS),
    ("event.changelog.items.some(i => i.field == 'component')", &["avi:jira:updated:issue"]),
    ("event.changelog.items.some(i => i.field == 'Assignee')", &["avi:jira:updated:issue"]),
    ("event.changelog.items.some(i => i.fieldId == 'Component')", &["avi:jira:updated:issue"]),
    ("event.eventType == 'avi:jira:update:issue'", &["avi:jira:updated:issue"]),
    ("event.a.map(a => event.a.map(b => event.a.map(c => event.a.map(d => d)))) == []", EVENTS),
    (
        "event.a.some(x => x) && event.b.some(x => x) && event.c.some(x => x) && event.d.some(x => x)",
        EVENTS,
    ),
];

/// Queries that are not JQL, or that webhooks do not support.
const QUERIES: &[&str] = &[
    "watchCount = 1",
    "project = OPS ORDER BY created",
    "assignee = currentUser()",
    "project ~ OPS",
    "project is EMPTY",
    "project",
    "project =",
    "project = OPS status = Done",
    "(project = OPS",
    "project in OPS",
    "project not OPS",
    "= OPS",
    "project is not EMPTY",
    "project in projectsLeadByUser()",
];

/// Queries with warnings.
const DOUBTFUL_QUERIES: &[&str] = &[
    "assignee = \"Ada Lampwright\"",
    "project = OPS AND status = Open AND project = WEB",
    "project = EMPTY",
];

fn findings(source: &str, events: &[&str]) -> Vec<Diagnostic> {
    let usage = Usage { events, delivers_on_error: false };
    match compile_for(source, CheckProfile::Filter, &usage) {
        Err(rejected) => rejected.diagnostics,
        Ok(compiled) => {
            let mut event = Tape::new();
            let json = br#"{"issue": {"key": "A-1", "fields": {"summary": "s"}}}"#;
            event.parse(json, &TapeLimits::default()).unwrap();
            let verdict = compiled.program.verdict(&event, &Env::at(0), &mut EvalScratch::new());
            let mut found = compiled.warnings;
            if let Verdict::Failed(error) = verdict {
                found.push(Diagnostic::error(error.code, error.span, error.message));
            }
            found
        }
    }
}

/// A message without its quoted parts: two messages that differ only in names are one.
fn words(message: &str) -> String {
    let parts = message.split(['`', '"', '\'']).step_by(2);
    parts.flat_map(str::chars).filter(|c| !c.is_ascii_digit()).collect()
}

fn corpus() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases = files
        .iter()
        .flat_map(|file| cases::parse(&std::fs::read_to_string(file).unwrap()).unwrap());
    cases.map(|case| case.expr).filter(|expr| expr.len() < 200).collect()
}

/// Every message with its code, once, in the order of codes.
fn drawn() -> String {
    let mut seen = HashSet::new();
    let mut messages: Vec<(Code, String)> = Vec::new();
    let mut add = |source: &str, diagnostics: Vec<Diagnostic>| {
        for found in diagnostics {
            let help = found.help.as_deref().map(words);
            if seen.insert((found.code, words(&found.message), words(&found.label), help)) {
                let text = render(std::slice::from_ref(&found), source, "filter");
                messages.push((found.code, text));
            }
        }
    };
    for query in QUERIES {
        add(query, jql::translate(query).unwrap_err().diagnostics);
    }
    for query in DOUBTFUL_QUERIES {
        add(query, jql::Query::parse(query).unwrap().warnings());
    }
    for (source, events) in ABOUT_EVENTS {
        add(source, findings(source, events));
    }
    let examples = Code::ALL.iter().filter(|code| code.number() / 100 != 35);
    let examples = examples.map(|code| code.page().example.to_owned());
    for source in examples.chain(corpus()) {
        add(&source, findings(&source, EVENTS));
    }
    messages.sort_by_key(|(code, _)| *code);
    let mut out = String::new();
    for (_, text) in messages {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    }
    out
}

#[test]
fn every_message_is_as_the_file_shows_it() {
    let kept = include_str!("messages.txt");
    let found = drawn();
    if found == kept {
        return;
    }
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("messages.txt");
    std::fs::write(&new, &found).unwrap();
    let differs = found.lines().zip(kept.lines()).position(|(a, b)| a != b);
    let line = differs.map_or(found.lines().count().min(kept.lines().count()), |at| at) + 1;
    panic!("messages differ from line {line} on; if they should, copy {}", new.display());
}

#[test]
fn every_code_that_has_a_text_to_draw_is_drawn() {
    let kept = include_str!("messages.txt");
    for code in Code::ALL {
        let is_drawn = kept.contains(&format!("[{code}]"));
        // Too large or too slow to render.
        let is_limit = code.number() / 100 == 33;
        // No source raises it.
        let is_internal = *code == Code::Internal;
        assert!(is_drawn || is_limit || is_internal, "{code}");
    }
}
