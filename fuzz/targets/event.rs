//! Any bytes as an event: the scan accepts what `serde_json` does, and the index says what every
//! filter alone says.

#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::event(data));
