//! Which runtime the pods of a node are on: written by its agent, read by whoever changes the runtime or takes the node away.
//!
//! # Invariants
//! - It is written before the first pod is made, so that no pod of another runtime is overlooked.
//! - A runtime that does not answer is never taken for one without pods.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use node::runtime::Runtime as _;
use node::runtime::cri::{self, Cri};

use crate::up::state::Layout;

/// The record's name in the directory of the node.
const FILE: &str = "container-runtime-endpoint";
/// How long a runtime that only is asked about its pods may take to answer: it is not starting with the machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);

fn path(layout: &Layout, node: &str) -> PathBuf {
    layout.node(node).join(FILE)
}

/// The socket of the runtime that the node's pods are on; None is the one in this binary.
pub(crate) fn read(layout: &Layout, node: &str) -> Result<Option<PathBuf>> {
    let path = path(layout, node);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.trim().into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Keeps the socket of the node's runtime.
pub(crate) fn write(layout: &Layout, node: &str, socket: &Path) -> Result<()> {
    let (path, new) = (path(layout, node), layout.node(node).join(format!("{FILE}.new")));
    std::fs::create_dir_all(layout.node(node))
        .and_then(|()| std::fs::write(&new, format!("{}\n", socket.display())))
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| path.display().to_string())
}

/// Forgets the runtime: the node has no pods on it.
pub(crate) fn remove(layout: &Layout, node: &str) -> Result<()> {
    crate::leftovers::remove_entry(&path(layout, node))
}

/// The runtime that the record names, opened. It is waited for only where its socket is.
pub(crate) async fn open(layout: &Layout, node: &str, socket: &Path) -> Result<Cri> {
    let mut options = cri::Options::new(socket.into(), &layout.instance(), node);
    options.start_max = if socket.exists() { ANSWER_MAX } else { Duration::ZERO };
    Cri::open(options).await.with_context(|| {
        format!(
            "node {node} had its pods on the runtime behind {}: start it and run this again, or remove {} to leave them to it",
            socket.display(),
            path(layout, node).display()
        )
    })
}

/// True when both paths lead to one socket: /var/run mostly is another name of /run.
fn is_same(a: &Path, b: &Path) -> bool {
    let file = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    a == b || file(a).is_some_and(|one| file(b) == Some(one))
}

/// Fails if the node has pods on a runtime that is not the one behind `socket`: they would be made a second time. What
/// has ended there is removed.
pub(crate) async fn check(layout: &Layout, node: &str, socket: Option<&Path>) -> Result<()> {
    let is_other = |before: &PathBuf| !socket.is_some_and(|socket| is_same(before, socket));
    let Some(before) = read(layout, node)?.filter(is_other) else { return Ok(()) };
    let runtime = open(layout, node, &before).await?;
    let pods = runtime.list_pod_sandboxes().await?.into_iter().filter(|pod| pod.ready).count();
    if pods > 0 {
        let before = before.display();
        bail!(
            "{pods} pods of this node run on the runtime behind {before}, and another one would make them a second time: end \
             them first (taint the node NoExecute while its agent runs with --container-runtime-endpoint unix://{before}), or \
             reboot the machine"
        );
    }
    runtime.clear().await?;
    remove(layout, node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runtime_that_does_not_answer_is_not_one_without_pods() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        assert_eq!(read(&layout, "n-1").unwrap(), None);
        check(&layout, "n-1", None).await.unwrap();
        let socket = dir.path().join("gone.sock");
        write(&layout, "n-1", &socket).unwrap();
        assert_eq!(read(&layout, "n-1").unwrap().as_deref(), Some(socket.as_path()));
        check(&layout, "n-1", Some(&socket)).await.unwrap();
        let text = format!("{:#}", check(&layout, "n-1", None).await.unwrap_err());
        assert!(text.contains("gone.sock") && text.contains("start it and run this again"), "{text}");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link.sock");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        check(&layout, "n-1", Some(&link)).await.unwrap();
        remove(&layout, "n-1").unwrap();
        check(&layout, "n-1", None).await.unwrap();
    }
}
