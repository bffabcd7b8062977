//! Which runtime the pods of a node are on: written by its agent, read by whoever changes the runtime or takes the node away.
//!
//! # Invariants
//! - It is written once the runtime has answered and before the first pod is made, so that no pod of another runtime is
//!   overlooked.
//! - A runtime that does not answer is never taken for one without pods.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use node::runtime::Runtime as _;
use node::runtime::cri::{self, Cri};

use crate::private_file;
use crate::up::state::Layout;

/// The record's name in the directory of the node.
const FILE: &str = "container-runtime-endpoint";
/// How long a runtime that only is asked about its pods may take to answer: it is not starting with the machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);

fn path(layout: &Layout, node: &str) -> PathBuf {
    layout.node(node).join(FILE)
}

/// The socket of the runtime that the node's pods are on; None is the one in this binary.
///
/// # Errors
/// The record can't be read, or says nothing that can be meant: then what runs is not known.
pub(crate) fn read(layout: &Layout, node: &str) -> Result<Option<PathBuf>> {
    let path = path(layout, node);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    let socket = PathBuf::from(String::from_utf8_lossy(&bytes).trim());
    ensure!(
        socket.is_absolute(),
        "{} is damaged: write the path of the container runtime's socket into it, or remove it if no pods of node {node} are \
         on one",
        path.display()
    );
    Ok(Some(socket))
}

/// Keeps the socket of the node's runtime, which has answered: one that was mistyped must not be asked about pods later.
pub(crate) fn write(layout: &Layout, node: &str, socket: &Path) -> Result<()> {
    private_file::write(&path(layout, node), &format!("{}\n", socket.display()))
}

/// Forgets the runtime: the node has no pods on it.
pub(crate) fn remove(layout: &Layout, node: &str) -> Result<()> {
    crate::leftovers::remove_entry(&path(layout, node))
}

/// What to do where the runtime behind `socket` does not answer.
pub(crate) fn advice(layout: &Layout, node: &str, socket: &Path) -> String {
    format!(
        "node {node} had its pods on the runtime behind {}: start it and run this again, or remove {} to leave them to it",
        socket.display(),
        path(layout, node).display()
    )
}

/// The runtime that the record names, opened. It is waited for only where its socket is.
pub(crate) async fn open(layout: &Layout, node: &str, socket: &Path) -> Result<Cri> {
    let mut options = cri::Options::new(socket.into(), &layout.instance(), node);
    options.start_max = if socket.exists() { ANSWER_MAX } else { Duration::ZERO };
    Cri::open(options).await.with_context(|| advice(layout, node, socket))
}

/// Where a path leads, also while nothing is there: /var/run mostly is another name of /run.
fn place(path: &Path) -> PathBuf {
    let directory = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(directory).unwrap_or_else(|| path.into())
}

/// Fails if the node has pods on a runtime that is not the one behind `socket`: they would be made a second time. What
/// has ended there is removed.
pub(crate) async fn check(layout: &Layout, node: &str, socket: Option<&Path>) -> Result<()> {
    let before = match (read(layout, node), socket) {
        (Ok(None), _) => return Ok(()),
        (Ok(Some(before)), socket) if socket.is_some_and(|socket| place(socket) == place(&before)) => return Ok(()),
        (Ok(Some(before)), _) => before,
        // Who has a runtime behind a socket has written it, most likely with this one; the next word is written soon.
        (Err(error), Some(_)) => {
            tracing::warn!("{error:#}; it is written anew");
            return Ok(());
        }
        (Err(error), None) => return Err(error),
    };
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

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        (dir, layout)
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_answer_is_not_one_without_pods() {
        let (dir, layout) = layout();
        assert_eq!(read(&layout, "n-1").unwrap(), None);
        check(&layout, "n-1", None).await.unwrap();
        let socket = dir.path().join("gone.sock");
        write(&layout, "n-1", &socket).unwrap();
        assert_eq!(read(&layout, "n-1").unwrap().as_deref(), Some(socket.as_path()));
        check(&layout, "n-1", Some(&socket)).await.unwrap();
        let text = format!("{:#}", check(&layout, "n-1", None).await.unwrap_err());
        assert!(text.contains("gone.sock") && text.contains("start it and run this again"), "{text}");
        remove(&layout, "n-1").unwrap();
        check(&layout, "n-1", None).await.unwrap();
    }

    #[tokio::test]
    async fn one_runtime_may_have_two_names() {
        let (dir, layout) = layout();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("run")).unwrap();
        std::os::unix::fs::symlink(at("run"), at("var-run")).unwrap();
        write(&layout, "n-1", &at("run/a.sock")).unwrap();
        check(&layout, "n-1", Some(&at("var-run/a.sock"))).await.expect("the directory has two names");
        assert!(check(&layout, "n-1", Some(&at("run/b.sock"))).await.is_err(), "another one");
        let _listens = std::os::unix::net::UnixListener::bind(at("run/a.sock")).unwrap();
        std::os::unix::fs::symlink(at("run/a.sock"), at("link.sock")).unwrap();
        check(&layout, "n-1", Some(&at("link.sock"))).await.expect("a link to the socket");
    }

    #[tokio::test]
    async fn a_damaged_record_holds_up_nobody_who_knows_better() {
        let (dir, layout) = layout();
        for damage in [&b""[..], b"\n", b"containerd", b"\xff\xfe\0"] {
            write(&layout, "n-1", Path::new("/x")).unwrap();
            std::fs::write(path(&layout, "n-1"), damage).unwrap();
            let text = read(&layout, "n-1").unwrap_err().to_string();
            assert!(text.contains("is damaged: write the path"), "{text}");
            assert!(check(&layout, "n-1", None).await.is_err(), "pods may be on some runtime");
            check(&layout, "n-1", Some(&dir.path().join("a.sock"))).await.unwrap();
        }
    }
}
