//! Fuzzes events: the scan accepts the same bytes as `serde_json`, and the index matches the same
//! filters as the naive evaluator.

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::event(data));
