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
use node::images::{PullNetwork, RegistryConfig};
use node::machine::{Machine, NodeNet};

use crate::agent;
use crate::flags::DownArgs;
use crate::pod_network::NetworkArgs;
use crate::preflight;
use crate::up::cluster::node_name;
use crate::up::state::{Layout, Lock, Record};

/// What `up`, its server and its agents make in the data directory; the lock goes last.
const ENTRIES: [&str; 9] =
    ["store", "pki", "images", "nodes", "log", "admin.kubeconfig", "tail-logs.yaml", "up.json", "up.lock"];
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
    for entry in ENTRIES {
        remove_entry(&layout.root.join(entry))?;
    }
    drop(lock);
    match std::fs::remove_dir(&layout.root) {
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => done.with_context(|| layout.root.display().to_string()),
    }
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
    let found = std::fs::read_dir(layout.root.join("nodes")).into_iter().flatten().flatten();
    names.extend(found.map(|e| e.file_name().to_string_lossy().into_owned()));
    names.sort();
    names.dedup();
    names
}

/// Stops and removes the pods of one node, from inside its network namespace where there is one: the pods' links are there.
async fn clear_node(layout: &Layout, network: Option<&NodeNet>, name: &str) -> Result<()> {
    let (layout, name) = (layout.clone(), name.to_owned());
    let netns = network.map(|n| n.netns_path.clone()).filter(|path| path.exists());
    let work = move || -> Result<()> {
        let machine = PullNetwork::current()?;
        if let Some(netns) = netns {
            node::network::enter(&netns).with_context(|| netns.display().to_string())?;
        }
        crate::runtime(1)?.block_on(async {
            let network = (&NetworkArgs::default(), agent::POD_CIDR);
            let runtime = agent::open_runtime(&layout, &name, network, RegistryConfig::default(), machine).await?;
            Ok(runtime.clear().await?)
        })
    };
    // A thread of its own, which ends: entering a namespace can't be undone for a thread of a pool.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("clear-node".into()).spawn(move || sender.send(work()))?;
    receiver.await?
}

fn remove_run_dir(layout: &Layout) -> Result<()> {
    let run = Path::new("/run/everynode");
    let mine = run.join(layout.instance());
    unmount_below(&mine)?;
    remove_entry(&mine)?;
    // Other instances of this machine may still be there.
    let _ = std::fs::remove_dir(run);
    Ok(())
}

fn remove_entry(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    removed.with_context(|| path.display().to_string())
}

/// Unmounts what is mounted at or below `root`, the deepest first; fails while something stays mounted.
fn unmount_below(root: &Path) -> Result<()> {
    for _ in 0..2 {
        for mount in mounts_below(root)?.iter().rev() {
            let _ = nix::mount::umount2(Path::new(mount), nix::mount::MntFlags::MNT_DETACH);
        }
    }
    match mounts_below(root)?.first() {
        None => Ok(()),
        Some(mount) => bail!("{mount} is still mounted: unmount it, then run `everynode down` again"),
    }
}

fn mounts_below(root: &Path) -> Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let mounts = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|path| path.replace("\\040", " "));
    Ok(mounts.filter(|path| Path::new(path).starts_with(root)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mounts_at_and_below_a_path_only() {
        assert!(mounts_below(Path::new("/proc")).unwrap().contains(&"/proc".to_owned()));
        assert!(mounts_below(Path::new("/pro")).unwrap().is_empty(), "a name is not a prefix of letters");
    }

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
