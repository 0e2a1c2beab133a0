//! Checks the tables of the manual against the codes and the evaluator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use switchyard_expr::cases::{Case, CaseOutcome, Expect, compiled};
use switchyard_expr::{
    CheckProfile, Code, Diagnostic, Env, EvalScratch, Tape, TapeLimits, Usage, Verdict, compile,
    compile_for, jql,
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
        if let Some((_, names)) = construct.split_once(' ').filter(|(on, _)| is_type(on)) {
            let shown = names.split('`').filter(|name| !name.trim().is_empty());
            let is_shown = |name: &str| case.expr.contains(&format!(".{name}"));
            assert!(shown.clone().any(is_shown), "{construct}: {id} does not show it");
        }
    }
}

fn is_type(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

#[test]
fn every_member_of_every_type_is_in_the_table_and_in_the_corpus() {
    // Map accepts any member name, and only `catch` creates an Error.
    let mut members = vec![("Map", ["get", "set", "entries"].map(String::from).to_vec())];
    members.push(("Error", ["message", "location"].map(String::from).to_vec()));
    for (on, value) in [
        ("String", "''"),
        ("List", "[]"),
        ("Date", "new Date(0)"),
        ("CalendarDate", "new CalendarDate('2020-01-01')"),
        ("RichText", "new RichText({})"),
    ] {
        // The message about an unknown member lists the known ones.
        let rejected = compile(&format!("{value}.nothing"), CheckProfile::Filter).unwrap_err();
        let message = rejected.to_string();
        let (_, listed) = message.split_once(" are: ").unwrap();
        members.push((on, listed.split(", ").map(String::from).collect()));
    }
    let corpus = corpus();
    for (on, name) in members.iter().flat_map(|(on, names)| names.iter().map(move |n| (on, n))) {
        let row = |[construct, ..]: &[&str; 4]| {
            construct.starts_with(&format!("{on} ")) && construct.contains(&format!("`{name}`"))
        };
        assert!(constructs().iter().any(row), "{on} `{name}` has no row");
        let shown = |(_, case): &(String, Case)| case.expr.contains(&format!(".{name}"));
        assert!(corpus.values().any(shown), "{on}.{name} has no case");
    }
    let count: usize = members.iter().map(|(_, names)| names.len()).sum();
    assert!(count > 65, "{count}");
}

#[test]
fn every_name_that_needs_no_value_is_in_the_table_and_in_the_corpus() {
    let corpus = corpus();
    // The help about an unknown constructor lists the known ones.
    let rejected = compile("new Nothing()", CheckProfile::Filter).unwrap_err();
    let help = rejected.diagnostics[0].help.clone().unwrap_or_default();
    let listed = help.strip_prefix("there are ").unwrap().replace(" and ", ", ");
    let constructors = listed.split(", ").map(|name| format!("new {name}"));
    let functions = ["Number", "JSON.parse", "JSON.stringify"].map(String::from);
    for shown in constructors.chain(functions) {
        let row = |[construct, ..]: &[&str; 4]| *construct == format!("`{shown}`");
        assert!(constructs().iter().any(row), "`{shown}` has no row");
        let call = format!("{shown}(");
        assert!(corpus.values().any(|(_, case)| case.expr.contains(&call)), "{shown} has no case");
    }
}
