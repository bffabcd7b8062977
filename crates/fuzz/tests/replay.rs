//! Every target with its corpus, and with mutations of it that a seed gives. `EVERYNODE_FUZZ_ROUNDS` and
//! `EVERYNODE_FUZZ_SEED` ask for more and for others.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Mutations of each target's corpus in CI: a few seconds each in a debug build.
const ROUNDS: usize = 1500;
/// Mutated bytes are cut to this: long ones are slow and rarely say more.
const BYTES_MAX: usize = 16 * 1024;
/// What is put in as a whole, since chance would hardly write it.
const WORDS: &[&str] = &[
    "null",
    "{}",
    "[]",
    "\"\"",
    "true",
    "-1",
    "0",
    "1e9",
    "9223372036854775807",
    "1.5",
    "$patch",
    "\"$patch\":\"delete\"",
    "$setElementOrder/",
    "$deleteFromPrimitiveList/",
    "$retainKeys",
    "metadata",
    "managedFields",
    "\"f:\"",
    "\n",
    "---\n",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    ": ",
    "- ",
    "Ki",
    "m",
    "E",
    "e-9",
    "!=",
    " in (",
    ")",
    ",",
    "==",
    "\\u0000",
    "\u{e9}",
    "k8s\0",
    "../",
    "~1",
    "/-",
    "\"op\":\"copy\"",
    "\"op\":\"move\"",
    "name",
    "*",
    "10.0.0.1",
    "2001:db8::1",
];

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One to four changes of bytes.
fn mutated(random: &mut StdRng, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let pick = |random: &mut StdRng| corpus[random.random_range(0..corpus.len())].1.clone();
    let mut bytes = pick(random);
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(1..=16)).min(bytes.len());
        match random.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let other = pick(random);
                let from = random.random_range(0..=other.len());
                let upto = (from + random.random_range(1..=64)).min(other.len());
                bytes.splice(at..end, other[from..upto].iter().copied());
            }
            _ => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                bytes.splice(at..end, word.bytes());
            }
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn replay(name: &str) {
    let run = fuzz::target(name).unwrap();
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (path, bytes) in &corpus {
        assert!(catch_unwind(|| run(bytes)).is_ok(), "{}", path.display());
    }
    let seed = number("EVERYNODE_FUZZ_SEED", 1) as u64;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..number("EVERYNODE_FUZZ_ROUNDS", ROUNDS) {
        let bytes = mutated(&mut random, &corpus);
        if catch_unwind(|| run(&bytes)).is_err() {
            let kept = std::env::temp_dir().join(format!("{name}-{seed}-{round}"));
            std::fs::write(&kept, &bytes).unwrap();
            panic!(
                "{name}, seed {seed}, round {round}, kept in {}:\n{}",
                kept.display(),
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)) })*
        #[test]
        fn every_target_is_replayed() {
            let all: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(all, [$(stringify!($name)),*]);
        }
    };
}

replays!(objects patches applies definitions selectors quantities documents frames spdy continues);
