//! `objects` of crates/fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::target("objects").expect("a target")(data));
