//! Compares `switchyard match` with an independent evaluator in Python that has no parser: one test
//! of filter semantics, matcher and offline command. `make oracle` runs it at full size.

use std::path::Path;
use std::process::Command;

/// Enough for every shape of filter, and few enough for each run of the tests.
const SIZE: [&str; 10] = [
    "--triggers",
    "600",
    "--events",
    "2000",
    "--tenants",
    "12",
    "--seeds",
    "1,2,3",
    "--threads",
    "2",
];

#[test]
fn matches_and_errors_equal_those_of_an_independent_evaluator() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/oracle.py");
    let run = Command::new("python3")
        .arg(&script)
        .args(["--binary", env!("CARGO_BIN_EXE_switchyard")])
        .args(SIZE)
        .output()
        .unwrap_or_else(|error| panic!("python3 runs the oracle and cannot be started: {error}"));
    let report = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{report}{errors}");
    let clean = report.lines().filter(|line| line.contains(" 0 differences")).count();
    assert_eq!(clean, 3, "{report}{errors}");
}
