//! Finding again what earlier agents started.
//!
//! # Invariants
//! - Nothing is touched before all state files are known to be of a format that is understood.
//! - A pod whose shim lives goes on, whatever its files look like: they are written anew, or it is left alone and told of.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::client::{Connection, ask, within};
use super::parts::{Images, PodNetwork};
use super::sandbox::{Sandbox, children};
use crate::runtime::{RuntimeError, SandboxId};
use crate::shim::files::{
    CONTAINERS, Record, SANDBOX, SHIM_CONFIG, STATE, SandboxFile, ShimConfig, StateError, read_json, write_json,
};
use crate::shim::protocol::Request;

/// A shim writes a few small files in memory.
const SAVE_MAX: Duration = Duration::from_secs(10);

/// Refuses pods whose state a newer version of this program has written.
///
/// # Errors
/// The first such file, and what to do.
pub(super) fn refuse_newer(pods_dir: &Path) -> io::Result<()> {
    for dir in children(pods_dir) {
        if let Err(error @ StateError::Newer(_)) = SandboxFile::read(&dir) {
            let path = dir.join(SANDBOX);
            let text = format!("{}: {error}; start that version again, its containers go on", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
    Ok(())
}

/// The sandbox, if all that tells of it and its containers can be read.
fn whole(dir: &Path) -> Result<SandboxFile, StateError> {
    let file = SandboxFile::read(dir)?;
    for container in children(&dir.join(CONTAINERS)) {
        match read_json::<Record>(&container.join(STATE)) {
            // One that is being made has no record yet.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StateError::Damaged(error)),
            _ => {}
        }
    }
    Ok(file)
}

impl<I: Images, N: PodNetwork> Inner<I, N> {
    /// Finds again what earlier agents made, and takes away what they left half made.
    pub(crate) async fn take_over(self: &Arc<Self>) {
        let mut left = Vec::new();
        for dir in children(&self.pods_dir()) {
            let Some(id) = dir.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
            if let Err(error) = self.take_over_one(&id, &dir).await {
                tracing::error!("the state in {} can't be rebuilt ({error}); what runs there goes on", dir.display());
                left.push(dir);
            }
        }
        self.sweep(&left).await;
    }

    async fn take_over_one(self: &Arc<Self>, id: &str, dir: &Path) -> Result<(), RuntimeError> {
        let connection = Connection::open(dir, &Request::Subscribe, &[]).ok();
        let file = match (whole(dir), &connection) {
            (Ok(file), _) => file,
            (Err(cause), Some(_)) => {
                let file = rebuild(dir).await?;
                let config = &file.config;
                tracing::warn!(
                    "pod {}/{}: of its state in {}, {cause}; it is written anew, its containers go on",
                    config.namespace,
                    config.name,
                    dir.display()
                );
                file
            }
            (Err(_), None) => match SandboxFile::read(dir).or_else(|_| second_copy(dir)) {
                Ok(file) if has_containers(dir) => file,
                _ => {
                    self.tear_down(id, dir).await;
                    return Ok(());
                }
            },
        };
        let sandbox = Arc::new(Sandbox::new(SandboxId(id.to_owned()), dir.to_owned(), file, connection.is_some()));
        if connection.is_none() {
            self.bury(&sandbox).await;
        }
        self.insert(sandbox, connection);
        Ok(())
    }

    /// What belongs to no sandbox, for the machine was started anew or an agent was killed: data of containers, their
    /// hold on images, network addresses. What was `left` alone keeps its own.
    async fn sweep(&self, left: &[PathBuf]) {
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let dirs: Vec<PathBuf> =
            self.all_sandboxes().iter().map(|sandbox| sandbox.dir.clone()).chain(left.iter().cloned()).collect();
        let live: BTreeSet<String> =
            dirs.iter().flat_map(|dir| children(&dir.join(CONTAINERS))).filter_map(|path| name(&path)).collect();
        for path in children(&self.data_dir()) {
            if name(&path).is_none_or(|id| !live.contains(&id)) {
                let _ = fs::remove_dir_all(&path);
            }
        }
        let holders = live.iter().map(|id| self.holder(id)).collect();
        if let Err(error) = self.images.retain_pins(&self.options.pin_prefix, &holders) {
            tracing::warn!(%error, "images that no container uses any more stay");
        }
        let live = dirs.iter().filter_map(|dir| name(dir)).collect();
        if let Err(error) = self.network.retain(&live).await {
            tracing::warn!(%error, "network addresses that no pod uses any more stay");
        }
    }
}

fn has_containers(dir: &Path) -> bool {
    !children(&dir.join(CONTAINERS)).is_empty()
}

fn second_copy(dir: &Path) -> io::Result<SandboxFile> {
    Ok(read_json::<ShimConfig>(&dir.join(SHIM_CONFIG))?.file)
}

/// The shim writes its pod's state anew; one that does not answer has left a copy of the sandbox's.
async fn rebuild(dir: &Path) -> Result<SandboxFile, RuntimeError> {
    let saved = within(SAVE_MAX, ask(dir, &Request::Save)).await;
    if let Ok(file) = SandboxFile::read(dir) {
        return Ok(file);
    }
    let copied = second_copy(dir).and_then(|file| write_json(&dir.join(SANDBOX), &file).map(|()| file));
    copied.map_err(|error| saved.err().unwrap_or_else(|| RuntimeError::Failed(error.to_string())))
}
