//! Checks the tables of the manual against the codes and the evaluator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use switchyard_expr::cases::{Case, CaseOutcome, Expect, compiled, reference, same};
use switchyard_expr::{
    CheckProfile, Code, Diagnostic, Env, EvalScratch, Tape, TapeLimits, Usage, Verdict, compile,
    compile_for, jql, manual,
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

/// All codes of a filter: of the checker, of its evaluation, and of its verdict. For a JQL code the
/// text is translated as a query.
fn codes_of(source: &str, code: Code) -> Vec<Code> {
    let codes = |diagnostics: &[Diagnostic]| diagnostics.iter().map(|d| d.code).collect();
    if code.number() / 100 == 35 {
        return jql::translate(source).map_or_else(|r| codes(&r.diagnostics), |_| Vec::new());
    }
    let mut event = Tape::new();
    let json = br#"{"event": {"a": 1, "issue": {"key": "A-1", "fields": {}}}}"#;
    assert!(event.parse_context(json, &TapeLimits::default()).is_ok());
    let usage = Usage { events: &["avi:jira:created:issue"], delivers_on_error: false };
    let mut found: Vec<Code> = match compile_for(source, CheckProfile::Filter, &usage) {
        Ok(accepted) => {
            let verdict = accepted.program.verdict(&event, &Env::at(0), &mut EvalScratch::new());
            let mut found: Vec<Code> = codes(&accepted.warnings);
            if let Verdict::Failed(error) = verdict {
                found.push(error.code);
            }
            found
        }
        Err(rejected) => codes(&rejected.diagnostics),
    };
    if let (CaseOutcome::Error { code, .. }, _) = compiled(source, &event, &Env::at(0)) {
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
        // Empty and very large sources have no example.
        if page.example.is_empty() {
            let is_large = code.number() / 100 == 33;
            let is_absent = matches!(code, Code::Empty | Code::Internal);
            assert!(is_large || is_absent, "{code} has no example");
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

/// All cases of the corpus, each with the name of its file.
fn corpus() -> HashMap<String, (String, Case)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let cases = switchyard_expr::cases::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        found.extend(cases.into_iter().map(|case| (case.id.clone(), (name.clone(), case))));
    }
    found
}

/// Rows `| construct | supported | source | case |`.
fn constructs() -> Vec<[&'static str; 4]> {
    let (_, table) = MANUAL.split_once("| construct |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches(['|', ' ']).split(" | ").collect::<Vec<_>>());
    cells.map(|cells| cells.try_into().unwrap()).collect()
}

#[test]
fn every_construct_of_the_table_has_a_case_that_proves_it() {
    let corpus = corpus();
    for [construct, supported, source, id] in constructs() {
        let (file, case) = corpus.get(id).unwrap_or_else(|| panic!("{construct}: no case {id}"));
        let yields = matches!(case.expect, Expect::Value(_));
        assert_eq!(yields, supported == "yes", "{construct}: {id} says otherwise");
        assert_eq!(file == "documented", source == "documented", "{construct}: {id}");
    }
}

/// The generated tables of the manual.
fn builtin_section() -> &'static str {
    let (_, rest) = MANUAL.split_once("<!-- builtins: printed by the tests -->\n\n").unwrap();
    rest.split_once("<!-- end of builtins -->").unwrap().0
}

#[test]
fn the_tables_of_builtins_are_those_of_the_signatures() {
    let tables = manual::builtin_tables();
    if tables == builtin_section() {
        return;
    }
    let new = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("builtins.md");
    std::fs::write(&new, &tables).unwrap();
    panic!("the tables differ; if they should, copy {} into the manual", new.display());
}

#[test]
fn every_builtin_has_an_example_or_a_case_of_its_own() {
    let corpus = corpus();
    for builtin in manual::builtins() {
        assert!(!builtin.examples.is_empty(), "{} `{}`", builtin.family, builtin.name);
        if builtin.case.is_empty() {
            continue;
        }
        let Some((_, case)) = corpus.get(builtin.case) else {
            panic!("{} `{}`: no case {}", builtin.family, builtin.name, builtin.case);
        };
        assert!(case.expr.contains(builtin.name), "{}: {}", builtin.name, builtin.case);
    }
    assert!(manual::builtins().count() > 75);
}

#[test]
fn every_example_of_a_builtin_has_its_value_on_both_evaluators() {
    let event = Tape::new();
    let env = Env::at(0);
    for builtin in manual::builtins() {
        for (source, expected) in builtin.examples {
            let found = compiled(source, &event, &env);
            assert_eq!(found, reference(source, &event, &env), "{source}");
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            match found.0 {
                CaseOutcome::Value(value) => assert!(same(&value, &expected), "{source}: {value}"),
                error @ CaseOutcome::Error { .. } => panic!("{source}: {error:?}"),
            }
        }
    }
}

#[test]
fn messages_list_all_members_and_constructors() {
    let members = |family: &str| -> Vec<&str> {
        manual::builtins().filter(|doc| doc.family == family).map(|doc| doc.name).collect()
    };
    for (family, value) in [
        ("String", "''"),
        ("List", "[]"),
        ("Date", "new Date(0)"),
        ("CalendarDate", "new CalendarDate('2020-01-01')"),
        ("RichText", "new RichText({})"),
    ] {
        let rejected = compile(&format!("{value}.nothing"), CheckProfile::Filter).unwrap_err();
        let message = rejected.to_string();
        let (_, listed) = message.split_once(" are: ").unwrap();
        assert_eq!(listed, members(family).join(", "));
    }
    let rejected = compile("new Nothing()", CheckProfile::Filter).unwrap_err();
    let help = rejected.diagnostics[0].help.clone().unwrap_or_default();
    assert_eq!(&*help, "there are Date, CalendarDate, Map and RichText");
    assert_eq!(members("constructors").len(), 4);
}
