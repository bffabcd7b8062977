//! `selectors` of crates/fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::target("selectors").expect("a target")(data));
