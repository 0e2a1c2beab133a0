//! Fuzz target: the parser on any text; the canonical form parses to the same canonical form.

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::parse(data));
