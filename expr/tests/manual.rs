//! The manual's table of codes against the registry and the evaluator.

use switchyard_expr::cases::{Outcome, compiled};
use switchyard_expr::{Code, Env, Profile, Tape, Usage, compile_for};

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

#[test]
fn every_example_yields_its_code() {
    let mut event = Tape::new();
    let json = br#"{"event": {"a": 1, "issue": {"fields": {}}}}"#;
    assert!(event.parse_context(json, &switchyard_expr::TapeLimits::default()).is_ok());
    for (code, _, example) in rows() {
        let Some(source) = example.split('`').nth(1) else { continue };
        let usage = Usage { events: &["avi:jira:created:issue"], delivers_on_error: false };
        let mut codes: Vec<String> = match compile_for(source, Profile::Filter, &usage) {
            Ok(accepted) => accepted.warnings.iter().map(|d| d.code.to_string()).collect(),
            Err(rejected) => rejected.diagnostics.iter().map(|d| d.code.to_string()).collect(),
        };
        if let (Outcome::Error { code, .. }, _) = compiled(source, &event, &Env::at(0)) {
            codes.push(code.to_string());
        }
        if code == "3206" {
            // A filter without a verdict is no error of the expression.
            continue;
        }
        assert!(codes.contains(&format!("SY-{code}")), "{source}: {codes:?}");
    }
}

#[test]
fn every_code_has_a_page_whose_example_yields_it_and_whose_fix_does_not() {
    let usage = Usage { events: &["avi:jira:created:issue"], delivers_on_error: false };
    let codes = |source: &str| -> Vec<Code> {
        let mut codes: Vec<Code> = match compile_for(source, Profile::Filter, &usage) {
            Ok(accepted) => accepted.warnings.iter().map(|d| d.code).collect(),
            Err(rejected) => rejected.diagnostics.iter().map(|d| d.code).collect(),
        };
        let mut event = Tape::new();
        let json = br#"{"event": {"a": 1, "issue": {"fields": {}}}}"#;
        assert!(event.parse_context(json, &switchyard_expr::TapeLimits::default()).is_ok());
        if let (Outcome::Error { code, .. }, _) = compiled(source, &event, &Env::at(0)) {
            codes.push(code);
        }
        codes
    };
    for code in Code::ALL {
        let page = code.page();
        assert!(page.cause.ends_with('.') && !page.fix.is_empty(), "{code}");
        if page.example.is_empty() || *code == Code::NotBoolean {
            continue;
        }
        assert!(codes(page.example).contains(code), "{code}: {:?}", codes(page.example));
        let is_sentence = page.fix.ends_with('.');
        assert!(is_sentence || !codes(page.fix).contains(code), "{code}: {}", page.fix);
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
