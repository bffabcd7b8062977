//! `documents` of crates/fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::target("documents").expect("a target")(data));
