//! Replays the corpus of the fuzz targets.

mod fuzzed;

/// Runs `target` on every file of its corpus and returns their number.
fn replay(name: &str, target: fn(&[u8])) -> usize {
    let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let Ok(files) = std::fs::read_dir(&folder) else { return 0 };
    let inputs = files.flatten().filter_map(|file| std::fs::read(file.path()).ok());
    inputs.map(|input| target(&input)).count()
}

#[test]
fn corpus_of_lex_holds() {
    assert!(replay("lex", fuzzed::lex) > 10);
}

#[test]
fn corpus_of_parse_holds() {
    assert!(replay("parse", fuzzed::parse) > 10);
}

#[test]
fn corpus_of_check_holds() {
    assert!(replay("check", fuzzed::check) > 10);
}

#[test]
fn corpus_of_eval_diff_holds() {
    assert!(replay("eval_diff", fuzzed::eval_diff) > 10);
}
