//! The rules of this repository that no compiler knows.
//!
//! # Invariants
//! - Each rule names the file and line, and says what to do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Longest source file before its tests: past this a file holds more than one concept.
const LINES_MAX: usize = 500;
/// Words that mark unfinished work; it belongs into the tracker, not into the tree.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX:", "HACK"];
/// Crates that must stay pure, and what must never be below them.
const PURE: &[&str] = &["api", "decide"];
const IMPURE: &[&str] = &["tokio", "hyper", "kube-client", "rand"];
/// Which crate may use which: arrows run down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("decide", &["api"]),
    ("store", &[]),
    ("spdy", &[]),
    ("server", &["api", "spdy", "store"]),
    ("control", &["api", "decide"]),
    ("node", &["api", "decide", "spdy"]),
    ("cli", &["api", "decide"]),
    ("everynode", &["api", "decide", "store", "server", "control", "node", "cli"]),
    ("sim", &["api", "decide", "store", "server", "control", "node", "cli"]),
    ("xtask", &["api"]),
    ("fuzz", &["api", "server"]),
];

/// Checks every rule and reports all that is broken.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut broken = Vec::new();
    let files = tracked(root)?;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        source_file(root, file, &mut broken)?;
    }
    files.iter().for_each(|file| merged(root, file, &mut broken));
    arrows(root, &mut broken)?;
    architecture(root, &mut broken)?;
    records(root, &files, &mut broken)?;
    purity(root, &mut broken)?;
    if broken.is_empty() {
        println!("tidy: {} files in order", files.len());
        return Ok(());
    }
    for line in &broken {
        eprintln!("tidy: {line}");
    }
    bail!("{} rules broken", broken.len())
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let out = Command::new("git").args(["ls-files"]).current_dir(root).output().context("git ls-files")?;
    Ok(String::from_utf8(out.stdout)?.lines().map(PathBuf::from).filter(|f| root.join(f).is_file()).collect())
}

/// A header, a bounded length, nothing unfinished.
fn source_file(root: &Path, file: &Path, broken: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())?;
    let name = file.display();
    let in_tests = file.components().any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "benches" | "examples")))
        || file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    if !text.starts_with("//!") && !in_tests {
        broken.push(format!("{name}:1: begin with a //! header that says what the file is for"));
    }
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count();
    if code > LINES_MAX && !in_tests {
        broken.push(format!("{name}: {code} lines before its tests, at most {LINES_MAX}: split it by concept"));
    }
    for (at, line) in text.lines().enumerate() {
        if UNFINISHED.iter().any(|w| line.contains(w)) && !file.ends_with("tidy.rs") {
            broken.push(format!("{name}:{}: finish it or take it out: {}", at + 1, line.trim()));
        }
    }
    Ok(())
}

/// No merge is left half done, in files of any language.
fn merged(root: &Path, file: &Path, broken: &mut Vec<String>) {
    // What is no text has no lines.
    let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let marks = ["<<<<<<< ", ">>>>>>> "];
    let left = text.lines().position(|line| marks.iter().any(|mark| line.starts_with(mark)));
    broken.extend(left.map(|at| format!("{}:{}: a merge is left half done", file.display(), at + 1)));
}

/// Manifests name only the crates that they may.
fn arrows(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    let all: BTreeSet<&str> = ARROWS.iter().map(|(c, _)| *c).collect();
    for (name, may) in ARROWS {
        let text = std::fs::read_to_string(root.join("crates").join(name).join("Cargo.toml"))?;
        let wants = text.split("[dev-dependencies]").next().unwrap_or_default();
        for line in wants.lines() {
            let used = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if all.contains(used) && used != *name && !may.contains(&used) {
                broken.push(format!("crates/{name}/Cargo.toml: {name} must not use {used} (ARCHITECTURE.md, arrows)"));
            }
        }
    }
    for entry in std::fs::read_dir(root.join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !all.contains(name.as_str()) {
            broken.push(format!("crates/{name}: say in xtask's tidy which crates it may use"));
        }
    }
    Ok(())
}

/// The architecture page names every crate and no other.
fn architecture(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    for (name, _) in ARROWS {
        if !page.contains(&format!("`{name}`")) {
            broken.push(format!("ARCHITECTURE.md: says nothing of the crate `{name}`"));
        }
    }
    for word in page.split('`').filter(|w| w.starts_with("crates/")) {
        if !root.join(word).exists() {
            broken.push(format!("ARCHITECTURE.md: `{word}` is not there"));
        }
    }
    Ok(())
}

/// Decision records are numbered without gaps.
fn records(root: &Path, files: &[PathBuf], broken: &mut Vec<String>) -> Result<()> {
    let mut numbers: Vec<u32> = files
        .iter()
        .filter(|f| f.starts_with("docs/adr") && root.join(f).is_file())
        .filter_map(|f| f.file_name()?.to_str()?.get(..4)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    for (at, number) in numbers.iter().enumerate() {
        if *number as usize != at + 1 {
            broken.push(format!("docs/adr: record {:04} is missing or doubled", at + 1));
            break;
        }
    }
    Ok(())
}

/// Nothing impure stands below the pure crates.
fn purity(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    for name in PURE {
        let out = Command::new("cargo")
            .args(["tree", "-p", name, "--edges", "normal", "--prefix", "none", "--format", "{lib}"])
            .current_dir(root)
            .output()
            .context("cargo tree")?;
        if !out.status.success() {
            bail!("cargo tree -p {name}: {}", String::from_utf8_lossy(&out.stderr));
        }
        let below = String::from_utf8(out.stdout)?;
        for line in below.lines() {
            let used = line.trim().replace('_', "-");
            if IMPURE.contains(&used.as_str()) {
                broken.push(format!("crates/{name}: {used} is below it; it must stay free of I/O, clocks and chance"));
            }
        }
    }
    Ok(())
}
