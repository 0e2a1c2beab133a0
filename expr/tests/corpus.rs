//! Every case of `corpus/` on the compiled form and on the reference evaluator.

use std::path::Path;

use switchyard_expr::Env;
use switchyard_expr::cases::{self, Case};

/// The clock of the cases: 2026-01-01T00:00Z.
const NOW_MS: i64 = 1_767_225_600_000;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// The files of the corpus by name.
fn corpus() -> Fallible<Vec<(String, Vec<Case>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(entry.path())?;
        files.push((name.clone(), cases::parse(&text).map_err(|why| format!("{name}: {why}"))?));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

#[test]
fn yields_what_every_case_expects_on_both_evaluators() -> Fallible<()> {
    let mut failures = Vec::new();
    for (file, cases) in corpus()? {
        for case in cases {
            let report = cases::run(&case, &Env::at(NOW_MS));
            if let Some(failure) = report.failure {
                failures.push(format!("{file} {}: {}\n    {failure}", case.id, case.expr));
            }
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn knows_each_case_by_its_own_id() -> Fallible<()> {
    let mut ids = std::collections::HashSet::new();
    for (file, cases) in corpus()? {
        assert!(!cases.is_empty(), "{file} holds no case");
        for case in cases {
            assert!(ids.insert(case.id.clone()), "{file}: {} is used twice", case.id);
        }
    }
    Ok(())
}
