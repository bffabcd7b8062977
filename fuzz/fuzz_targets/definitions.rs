//! `definitions` of crates/fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::target("definitions").expect("a target")(data));
