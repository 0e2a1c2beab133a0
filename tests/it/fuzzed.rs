//! Replays the corpus of the fuzz target as a regression test.

#[path = "../fuzzed/mod.rs"]
mod target;

#[test]
fn fuzzed_events_are_matched_as_by_every_filter_alone() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/event");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap()).collect();
    assert!(files.len() >= 6);
    for file in files {
        target::event(&std::fs::read(file.path()).unwrap());
    }
}
