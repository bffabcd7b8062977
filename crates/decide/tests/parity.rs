//! `docs/parity.md` names tests that exist.

use std::collections::BTreeSet;
use std::path::Path;

/// Collects the names of functions in Rust files below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let starts = text.split("fn ").skip(1);
            names.extend(starts.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = BTreeSet::new();
    for part in ["decide/src", "control/src", "control/tests", "sim/src", "node/src", "node/tests"] {
        functions(&root.join("crates").join(part), &mut names);
    }
    let text = std::fs::read_to_string(root.join("docs/parity.md")).unwrap();
    let named: Vec<&str> =
        text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).map(|n| n.1).collect();
    assert!(named.len() > 100, "the table is read");
    let missing: Vec<&&str> = named.iter().filter(|name| !names.contains(**name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
