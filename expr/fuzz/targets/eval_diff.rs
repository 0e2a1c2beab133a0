//! Fuzz target: all evaluators agree on any filter and event, in result and steps.

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::eval_diff(data));
