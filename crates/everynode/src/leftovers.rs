//! What nodes leave on a machine, and taking it away: pods, logs, networks, mounts, what lies under /run, data.
//!
//! # Invariants
//! - It needs no server: what runs is found on the machine itself. Doing it twice is harmless.
//! - Nothing is deleted below a mount: a directory that still has one is left, and named.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use node::images::{PullNetwork, RegistryConfig};
use node::machine::NodeNet;
use node::runtime::Runtime;

use crate::pod_network::NetworkArgs;
use crate::up::state::Layout;
use crate::{agent, runtime_record};

/// What servers, agents and `up` make in the data directory; the lock of `up` goes last.
const ENTRIES: [&str; 9] =
    ["store", "pki", "images", "nodes", "log", "admin.kubeconfig", "tail-logs.yaml", "up.json", "up.lock"];

/// What a reboot loses of all instances; beside them only the lock that they share.
const RUN: &str = "/run/everynode";
/// Where pods log.
const POD_LOGS: &str = "/var/log/pods";

/// Names of the nodes that have a directory.
pub(crate) fn nodes(layout: &Layout) -> Vec<String> {
    let found = std::fs::read_dir(layout.root.join("nodes")).into_iter().flatten().flatten();
    found.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Removes what is ours in the data directory, and that itself unless something else is in it.
pub(crate) fn remove_data(layout: &Layout) -> Result<()> {
    for entry in ENTRIES {
        remove_entry(&layout.root.join(entry))?;
    }
    match std::fs::remove_dir(&layout.root) {
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => done.with_context(|| layout.root.display().to_string()),
    }
}

/// Stops and removes the pods of one node, from inside its network namespace where there is one: the pods' links are there.
pub(crate) async fn clear_node(layout: &Layout, network: Option<&NodeNet>, name: &str) -> Result<()> {
    if let Some(socket) = runtime_record::read(layout, name)? {
        let runtime = runtime_record::open(layout, name, &socket).await?;
        let logs = log_directories(&runtime).await;
        runtime.clear().await?;
        logs.iter().try_for_each(|path| remove_entry(path))?;
        runtime_record::remove(layout, name)?;
    }
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
            let logs = log_directories(&runtime).await;
            runtime.clear().await?;
            logs.iter().try_for_each(|path| remove_entry(path))
        })
    };
    // A thread of its own, which ends: entering a namespace can't be undone for a thread of a pool.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("clear-node".into()).spawn(move || sender.send(work()))?;
    receiver.await?
}

/// Where the pods of a runtime log.
async fn log_directories(runtime: &impl Runtime) -> Vec<PathBuf> {
    let pods = runtime.list_pod_sandboxes().await.unwrap_or_default();
    let directories = pods.into_iter().map(|pod| pod.config.log_directory);
    directories.filter(|path| path.starts_with(POD_LOGS) && path != Path::new(POD_LOGS)).collect()
}

/// Takes away the bridge of this machine's pods, unless an agent of another data directory has pods on it.
pub(crate) async fn remove_bridge(layout: &Layout) -> Result<bool> {
    let nowhere = layout.root.join("nodes");
    let network = NetworkArgs::default().open(agent::POD_CIDR, &run_dir(layout), &nowhere)?;
    Ok(network.remove_unused().await?)
}

/// Where what a reboot loses is.
pub(crate) fn run_dir(layout: &Layout) -> PathBuf {
    Path::new(RUN).join(layout.instance())
}

/// Removes what all instances share under /run, unless one of them is still there.
pub(crate) fn remove_run_root() -> Result<()> {
    let root = Path::new(RUN);
    let mut entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    match entries.any(|entry| entry.file_name() != "lock") {
        true => Ok(()),
        false => remove_entry(root),
    }
}

pub(crate) fn remove_run_dir(layout: &Layout) -> Result<()> {
    let mine = run_dir(layout);
    unmount_below(&mine)?;
    remove_entry(&mine)?;
    // Other instances of this machine may still be there.
    let _ = mine.parent().map(std::fs::remove_dir);
    Ok(())
}

pub(crate) fn remove_entry(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    removed.with_context(|| path.display().to_string())
}

/// Unmounts what is mounted at or below `root`, the deepest first; fails while something stays mounted.
pub(crate) fn unmount_below(root: &Path) -> Result<()> {
    for _ in 0..2 {
        for mount in mounts_below(root)?.iter().rev() {
            let _ = nix::mount::umount2(Path::new(mount), nix::mount::MntFlags::MNT_DETACH);
        }
    }
    match mounts_below(root)?.first() {
        None => Ok(()),
        Some(mount) => bail!("{mount} is still mounted: unmount it, then run the command again"),
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
}
