//! Any text as a filter and any JSON as an event: every evaluator says the same, in the same steps.

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::eval_diff(data));
