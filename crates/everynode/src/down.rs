//! `everynode down`: stops and removes all that `up` made, daemons, networks and data included.
//!
//! # Invariants
//! - It removes only what `up` makes, by name, and only from a directory that holds `up`'s record.
//! - Nothing is deleted below a mount: a directory that still has one is left, and named.
//! - It needs no server: what runs is found on the machine itself. Doing it twice is harmless.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node::machine::Machine;

use crate::flags::DownArgs;
use crate::leftovers::{self, clear_node, remove_run_dir, unmount_below};
use crate::preflight;
use crate::up::cluster::node_name;
use crate::up::state::{Layout, Lock, Record};

/// How long an `up` may take to end before it is killed.
const UP_GRACE: Duration = Duration::from_secs(20);
/// How often its end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs the command.
pub(crate) fn run(args: &DownArgs) -> Result<()> {
    preflight::containers("down")?;
    let dir = &args.data.data_dir;
    if !dir.exists() {
        println!("Nothing to remove: {} does not exist.", dir.display());
        return Ok(());
    }
    crate::runtime(1)?.block_on(remove(dir))?;
    println!("Removed everything that `everynode up` made in {}.", dir.display());
    Ok(())
}

/// Removes what an `up` on this directory made.
pub(crate) async fn remove(dir: &Path) -> Result<()> {
    let layout = Layout::open(dir)?;
    if !layout.record().exists() {
        if std::fs::read_dir(&layout.root)?.next().is_none() {
            return std::fs::remove_dir(&layout.root).with_context(|| layout.root.display().to_string());
        }
        bail!("{} was not made by `everynode up`: it has no up.json, so nothing is removed", dir.display());
    }
    end_up(&layout).await?;
    let lock = Lock::take(&layout)?;
    // A damaged record still tells where to look: the nodes' directories.
    let record = Record::read(&layout).ok().flatten();
    let machine = Machine::open(&layout.instance(), None).await?;
    let networks = machine.nodes()?;
    for name in nodes(&layout, record.as_ref()) {
        clear_node(&layout, networks.get(&name), &name).await.with_context(|| name.clone())?;
    }
    machine.remove_all().await?;
    remove_run_dir(&layout)?;
    unmount_below(&layout.root)?;
    leftovers::remove_data(&layout)?;
    drop(lock);
    Ok(())
}

/// Ends the `up` that holds the lock; its children end with it.
async fn end_up(layout: &Layout) -> Result<()> {
    let (end, mut last) = (Instant::now() + UP_GRACE, 0);
    while let Some(pid) = Lock::holder(layout)?.filter(|pid| *pid > 0 && *pid != std::process::id() as i32) {
        if last != pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            last = pid;
        } else if Instant::now() > end {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Names of the nodes: those of the record, and those that have a directory.
fn nodes(layout: &Layout, record: Option<&Record>) -> Vec<String> {
    let mut names: Vec<String> = (1..=record.map_or(0, |r| r.nodes)).map(node_name).collect();
    names.extend(leftovers::nodes(layout));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_directory_that_up_did_not_make() {
        let dir = std::env::temp_dir().join(format!("everynode-down-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("store")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(remove(&dir)).unwrap_err().to_string();
        assert!(error.contains("not made by `everynode up`"), "{error}");
        assert!(dir.join("store").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
