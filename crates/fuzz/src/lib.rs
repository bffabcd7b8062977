//! What reads bytes of strangers, as functions of bytes: they must not panic, and laws must hold of what they make.
//!
//! `tests/replay.rs` drives them with the kept corpus and seeded mutations of it; `fuzz/` at the top of the repository
//! does with libFuzzer: `cargo +nightly fuzz run objects`.
//!
//! # Invariants
//! - A target is a pure function of its bytes.
//! - What it takes first it reads from a first line, so that the corpus can be read and written by people.

mod apply;
mod definitions;
mod objects;
mod patches;
mod small;

use api::kinds::{KINDS, Kind};

/// A target's name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("objects", objects::run),
    ("patches", patches::run),
    ("applies", apply::run),
    ("definitions", definitions::run),
    ("selectors", small::selectors),
    ("quantities", small::quantities),
    ("documents", small::documents),
    ("frames", small::frames),
    ("spdy", server::fuzzing::spdy),
    ("continues", server::fuzzing::continue_token),
];

/// The function of a target.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(target, _)| *target == name).map(|(_, run)| *run)
}

/// The words of the first line, and the rest.
fn first_line(data: &[u8]) -> (Vec<&str>, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let line = std::str::from_utf8(&data[..end]).unwrap_or_default();
    (line.split(' ').collect(), data.get(end + 1..).unwrap_or_default())
}

/// The kind that a word names; any word names one.
fn kind(word: Option<&&str>) -> &'static Kind {
    let word = word.copied().unwrap_or_default();
    let sum: usize = word.bytes().map(usize::from).sum();
    api::kinds::by_any_name(word).unwrap_or(&KINDS[sum % KINDS.len()])
}
