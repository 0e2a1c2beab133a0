//! The manual's table of codes against the registry and the evaluator.

use switchyard_expr::cases::{Outcome, compiled};
use switchyard_expr::{
    Code, Diagnostic, Env, Profile, Scratch, Tape, TapeLimits, Usage, Verdict, compile_for, jql,
};

const MANUAL: &str = include_str!("../README.md");

/// Rows `| SY-nnnn | title | example |`.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    MANUAL
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| SY-")?.split(" | ");
            let cells = (cells.next()?, cells.next()?, cells.next().unwrap_or_default());
            Some((cells.0, cells.1.trim_end_matches(" (warning)"), cells.2))
        })
        .collect()
}

#[test]
fn lists_every_code_once_and_in_order() {
    let listed: Vec<String> = rows().iter().map(|(code, ..)| format!("SY-{code}")).collect();
    let known: Vec<String> = Code::ALL.iter().map(Code::to_string).collect();
    assert_eq!(listed, known);
    for ((_, title, _), code) in rows().iter().zip(Code::ALL) {
        assert_eq!(*title, code.title());
    }
}

/// All codes that a filter raises: when it is checked, when it is evaluated, and in its verdict. A
/// code of JQL is raised by translating the text as such.
fn codes_of(source: &str, code: Code) -> Vec<Code> {
    let codes = |diagnostics: &[Diagnostic]| diagnostics.iter().map(|d| d.code).collect();
    if code.number() / 100 == 35 {
        return jql::translate(source).map_or_else(|r| codes(&r.diagnostics), |_| Vec::new());
    }
    let mut event = Tape::new();
    let json = br#"{"event": {"a": 1, "issue": {"key": "A-1", "fields": {}}}}"#;
    assert!(event.parse_context(json, &TapeLimits::default()).is_ok());
    let usage = Usage { events: &["avi:jira:created:issue"], delivers_on_error: false };
    let mut found: Vec<Code> = match compile_for(source, Profile::Filter, &usage) {
        Ok(accepted) => {
            let verdict = accepted.program.verdict(&event, &Env::at(0), &mut Scratch::new());
            let mut found: Vec<Code> = codes(&accepted.warnings);
            if let Verdict::Failed(error) = verdict {
                found.push(error.code);
            }
            found
        }
        Err(rejected) => codes(&rejected.diagnostics),
    };
    if let (Outcome::Error { code, .. }, _) = compiled(source, &event, &Env::at(0)) {
        found.push(code);
    }
    found
}

#[test]
fn every_example_yields_its_code() {
    for ((_, _, example), code) in rows().into_iter().zip(Code::ALL) {
        let Some(source) = example.split('`').nth(1) else { continue };
        let found = codes_of(source, *code);
        assert!(found.contains(code), "{code}: {source}: {found:?}");
    }
}

#[test]
fn every_code_has_a_page_whose_example_yields_it_and_whose_fix_does_not() {
    for code in Code::ALL {
        let page = code.page();
        assert!(page.cause.ends_with('.') && !page.fix.is_empty(), "{code}");
        // Nothing to show of what is empty or too large to print.
        if page.example.is_empty() {
            let is_large = code.number() / 100 == 33 || *code == Code::Empty;
            assert!(is_large, "{code} has no example");
            continue;
        }
        let found = codes_of(page.example, *code);
        assert!(found.contains(code), "{code}: {found:?}");
        let is_sentence = page.fix.ends_with('.');
        assert!(is_sentence || !codes_of(page.fix, *code).contains(code), "{code}: {}", page.fix);
    }
    let pages: std::collections::HashSet<&str> = Code::ALL.iter().map(|c| c.page().cause).collect();
    assert_eq!(pages.len(), Code::ALL.len(), "each code has a page of its own");
}

#[test]
fn every_construct_of_the_table_has_its_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let mut ids = std::collections::HashSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        ids.extend(switchyard_expr::cases::parse(&text).unwrap().into_iter().map(|case| case.id));
    }
    let (_, table) = MANUAL.split_once("| construct |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names: Vec<&str> =
        rows.map(|row| row.trim_end_matches(" |").rsplit(' ').next().unwrap()).collect();
    assert!(names.len() > 50);
    for name in names {
        assert!(ids.contains(name), "{name}");
    }
}
