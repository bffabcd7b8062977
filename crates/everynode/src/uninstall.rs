//! `everynode uninstall`: ends and removes what runs on this machine, its pods and data included, and says what it removed.
//!
//! # Invariants
//! - It removes units that `everynode install` wrote, and nothing of another name.
//! - Data of a process that runs is never taken from under it.
//! - Doing it twice is harmless.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use node::machine::Machine;

use crate::install::systemd;
use crate::install::unit::{Installed, Part};
use crate::leftovers;
use crate::up::state::Layout;
use crate::{down, preflight};

#[derive(Args)]
pub(crate) struct UninstallArgs {
    /// Directory for everything that is kept [default: that of the units, or /var/lib/everynode]
    #[arg(id = "uninstall-data-dir", long = "data-dir", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: UninstallArgs) -> Result<()> {
    preflight::root("uninstall")?;
    let units = units(Path::new("/").join(systemd::UNITS).as_path())?;
    for (part, _, path) in &units {
        end_unit(*part, path)?;
    }
    let mut dirs: BTreeSet<PathBuf> = units.iter().filter_map(|(_, unit, _)| unit.data_dir.clone()).collect();
    dirs.extend(args.data_dir);
    if dirs.is_empty() {
        dirs.insert(crate::flags::DATA_DIR.into());
    }
    for dir in dirs.iter().filter(|dir| dir.exists()) {
        if let Some((pid, what)) = running(dir) {
            bail!("process {pid} still runs `everynode {what}` on {}: stop it first", dir.display());
        }
        crate::runtime(1)?.block_on(clear(dir)).with_context(|| dir.display().to_string())?;
    }
    let copies: BTreeSet<PathBuf> = units.into_iter().filter_map(|(_, unit, _)| unit.copied).collect();
    for binary in copies {
        leftovers::remove_entry(&binary)?;
        println!("removed {}", binary.display());
    }
    leftovers::remove_run_root()?;
    println!("Nothing of everynode is left.");
    Ok(())
}

/// The units that are there.
fn units(directory: &Path) -> Result<Vec<(Part, Installed, PathBuf)>> {
    let mut found = Vec::new();
    for part in Part::ALL {
        let path = directory.join(part.unit());
        match std::fs::read_to_string(&path) {
            Ok(text) => found.push((part, Installed::read(&text), path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        }
    }
    Ok(found)
}

fn end_unit(part: Part, path: &Path) -> Result<()> {
    let unit = part.unit();
    if systemd::runs() {
        systemd::say(&["disable", "--now", &unit])?;
    }
    leftovers::remove_entry(path)?;
    if let Some(directory) = path.parent() {
        leftovers::remove_entry(&directory.join("multi-user.target.wants").join(&unit))?;
    }
    if systemd::runs() {
        systemd::say(&["daemon-reload"])?;
    }
    println!("removed {}", path.display());
    Ok(())
}

/// A server or an agent that runs on a data directory, by its command line, whatever name this binary goes by.
fn running(dir: &Path) -> Option<(u32, String)> {
    let dir = dir.canonicalize().ok()?;
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.into_iter().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        let (what, on) = serves(&words, is_this_binary(&entry.path().join("exe")))?;
        (Path::new(&on).canonicalize().ok()? == dir).then_some((pid, what))
    })
}

/// Whether a path leads to the file that runs here.
fn is_this_binary(path: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let this = file(Path::new("/proc/self/exe"));
    this.is_some() && file(path) == this
}

/// What a command line of ours runs, and on which data directory.
fn serves(words: &[String], is_this_binary: bool) -> Option<(String, String)> {
    // Some keep the version in the file's name, and what runs may be an older file than this one.
    let ours = is_this_binary || Path::new(words.first()?).file_name()?.to_str()?.starts_with("everynode");
    let what = words.get(1).filter(|w| ours && matches!(w.as_str(), "agent" | "server" | "up"))?;
    // The sandbox of a demonstration and the like have directories of their own, which they say.
    let at = words.iter().position(|w| w == "--data-dir").and_then(|at| words.get(at + 1)).cloned();
    let given = at.or_else(|| words.iter().find_map(|w| w.strip_prefix("--data-dir=").map(str::to_owned)));
    Some((what.clone(), given.unwrap_or_else(|| crate::flags::DATA_DIR.to_owned())))
}

/// Ends the pods of a data directory and removes all of it.
async fn clear(dir: &Path) -> Result<()> {
    let layout = Layout::open(dir)?;
    if layout.record().exists() {
        down::remove(dir).await?;
        println!("removed {} and what `everynode up` made", dir.display());
        return Ok(());
    }
    for name in leftovers::nodes(&layout) {
        leftovers::clear_node(&layout, None, &name).await.with_context(|| name.clone())?;
        println!("removed the pods, logs and mounts of node {name}");
    }
    if leftovers::remove_bridge(&layout).await? {
        println!("removed the bridge of the pods and its rules");
    }
    Machine::open(&layout.instance(), None).await?.remove_all().await?;
    leftovers::remove_run_dir(&layout)?;
    println!("removed {}", leftovers::run_dir(&layout).display());
    leftovers::unmount_below(&layout.root)?;
    leftovers::remove_data(&layout)?;
    match layout.root.exists() {
        true => println!("removed all of ours in {}; something else is left in it", layout.root.display()),
        false => println!("removed {}", layout.root.display()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_known_by_their_command_line() {
        let known = |line: &str, is_this_binary: bool, want: Option<(&str, &str)>| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let found = serves(&words, is_this_binary);
            assert_eq!(found.as_ref().map(|(a, b)| (a.as_str(), b.as_str())), want, "{line}");
        };
        let check = |line: &str, want| known(line, false, want);
        check("/usr/local/bin/everynode agent --server x", Some(("agent", "/var/lib/everynode")));
        check("everynode server --data-dir /d", Some(("server", "/d")));
        check("everynode up --data-dir=/d --nodes 3", Some(("up", "/d")));
        check("/opt/everynode-0.2.0 agent --data-dir /d", Some(("agent", "/d")));
        check("everynode shim --dir /run/x", None);
        check("vi agent", None);
        check("everynode", None);
        known("/opt/en agent --data-dir /d", true, Some(("agent", "/d")));
        known("/opt/en agent --data-dir /d", false, None);
        known("/opt/en shim --dir /run/x", true, None);
        assert!(is_this_binary(Path::new("/proc/self/exe")) && is_this_binary(&std::env::current_exe().unwrap()));
        assert!(!is_this_binary(Path::new("/bin/sh")) && !is_this_binary(Path::new("/nowhere")));
    }

    #[test]
    fn units_of_ours_are_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(units(dir.path()).unwrap().is_empty());
        std::fs::write(dir.path().join("everynode-agent.service"), "[X-Everynode]\nDataDir=/d\n").unwrap();
        std::fs::write(dir.path().join("other.service"), "[X-Everynode]\nDataDir=/e\n").unwrap();
        let found = units(dir.path()).unwrap();
        assert_eq!(
            found.iter().map(|(part, unit, _)| (*part, unit.data_dir.clone())).collect::<Vec<_>>(),
            [(Part::Agent, Some("/d".into()))]
        );
    }
}
