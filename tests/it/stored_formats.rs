//! Stored formats: this version reads what an earlier one stored, and stores records of the same
//! form. `tests/data/stored` holds the records of the earlier version.

use std::path::Path;
use std::process::Command;

use crate::support::nats;

/// Runs `tests/tools/stored_formats.py` with this program on the stored records.
fn stored_formats(command: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = Command::new("python3")
        .arg(root.join("tests/tools/stored_formats.py"))
        .args([command, env!("CARGO_BIN_EXE_switchyard")])
        .arg(root.join("tests/data/stored"))
        .env("NATS_SERVER", nats::binary())
        .output()
        .unwrap_or_else(|error| panic!("python3 runs the test and cannot be started: {error}"));
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
}

#[test]
fn modules_parked_deliveries_and_dead_letters_of_an_earlier_version_are_read() {
    stored_formats("read");
}

#[test]
fn stored_records_have_the_form_of_an_earlier_version() {
    stored_formats("write");
}
