//! Unpacked layers: one directory for each diffID, whatever images share it.
//!
//! # Invariants
//! - A layer is written in a staging directory and appears by one rename.
//! - A layer that may not have reached the disk before the machine stopped is not trusted after it: the boot it was
//!   written in is noted, and `durable` says that the file system was synced since.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::layout::{Layout, Staging, StoreLock, children, open_lock, read_if_there};

/// How often a taken layer lock is tried again.
pub(crate) const LOCK_POLL: Duration = Duration::from_millis(20);
/// How long another process may work on a layer before we do the same work beside it: longer than a slow download of
/// a big layer, short enough that a stopped process does not stop pulls for good.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(600);

/// What `layer.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct LayerNote {
    size: u64,
    boot_id: String,
}

/// Keeps others from doing the same work; None when their work takes too long.
#[derive(Debug)]
pub(crate) struct LayerLock {
    _file: Option<File>,
}

impl Layout {
    /// Where overlayfs finds the layer.
    pub(crate) fn layer_fs(&self, diff_id: &str) -> PathBuf {
        self.layer(diff_id).join("fs")
    }

    /// Bytes of the layer, None if it is not here.
    pub(crate) fn layer_size(&self, diff_id: &str) -> Result<Option<u64>, StoreError> {
        Ok(note(&self.layer(diff_id))?.map(|note| note.size))
    }

    /// The lock of a layer if nobody has it.
    pub(crate) fn try_layer_lock(&self, diff_id: &str) -> Result<Option<LayerLock>, StoreError> {
        let path = self.layer_lock(diff_id);
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(LayerLock { _file: Some(file) })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(StoreError::io(&path)(error)),
        }
    }

    /// Waits for the lock of a layer, at most [`LOCK_PATIENCE`].
    pub(crate) fn layer_lock_blocking(&self, diff_id: &str) -> Result<LayerLock, StoreError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            if let Some(lock) = self.try_layer_lock(diff_id)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Ok(LayerLock { _file: None });
            }
            thread::sleep(LOCK_POLL);
        }
    }

    /// Adds a layer: `fill` writes its tree into an empty directory and returns its bytes.
    pub(crate) fn add_layer(
        &self,
        staging: &Staging,
        diff_id: &str,
        fill: impl FnOnce(&Path) -> Result<u64, StoreError>,
    ) -> Result<(), StoreError> {
        let dir = staging.join(&uuid::Uuid::new_v4().to_string());
        let tree = dir.join("fs");
        fs::create_dir_all(&tree).map_err(StoreError::io(&tree))?;
        let size = fill(&tree)?;
        let note_path = dir.join("layer.json");
        let bytes = serde_json::to_vec(&LayerNote { size, boot_id: boot_id()? })
            .map_err(|error| StoreError::content("layer.json", error))?;
        fs::write(&note_path, bytes).map_err(StoreError::io(&note_path))?;
        let target = self.layer(diff_id);
        match fs::rename(&dir, &target) {
            Ok(()) => Ok(()),
            // Somebody else was faster; theirs is the same.
            Err(_) if self.layer_size(diff_id)?.is_some() => Ok(()),
            Err(error) => Err(StoreError::io(&target)(error)),
        }
    }

    /// Layers whose `durable` is missing, with whether they are of this boot.
    pub(crate) fn unsynced_layers(&self) -> Result<Vec<(PathBuf, bool)>, StoreError> {
        let boot = boot_id()?;
        let mut found = Vec::new();
        for dir in children(&self.layers())? {
            if !dir.join("durable").exists() {
                let of_this_boot = note(&dir)?.is_some_and(|note| note.boot_id == boot);
                found.push((dir, of_this_boot));
            }
        }
        Ok(found)
    }

    /// Syncs what this boot wrote, in one thread of its own: no container waits for the disk.
    pub(crate) fn sync_in_background(&self) {
        if self.syncing.swap(true, Ordering::SeqCst) {
            return;
        }
        let layout = self.clone();
        let sync = move || loop {
            let result = layout.sync();
            layout.syncing.store(false, Ordering::SeqCst);
            // What came while it synced is synced too, by this thread or by another that began meanwhile.
            match result {
                Ok(true) if !layout.syncing.swap(true, Ordering::SeqCst) => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "layers are not yet synced to the disk"),
            }
        };
        if thread::Builder::new().name("image-sync".into()).spawn(sync).is_err() {
            // The next layer, or the next opener, tries again.
            self.syncing.store(false, Ordering::SeqCst);
        }
    }

    /// Whether there was something to sync.
    fn sync(&self) -> Result<bool, StoreError> {
        let pending = self.unsynced_layers()?;
        if pending.is_empty() {
            return Ok(false);
        }
        let root = File::open(self.root()).map_err(StoreError::io(self.root()))?;
        rustix::fs::syncfs(&root).map_err(|error| StoreError::io(self.root())(error.into()))?;
        let _guard = self.lock()?;
        for (dir, _) in pending {
            // It may be gone by now, then there is nothing to note.
            if dir.exists() {
                File::create(dir.join("durable")).map_err(StoreError::io(&dir))?;
            }
        }
        Ok(true)
    }

    /// Deletes the layers that `keep` does not want.
    pub(crate) fn sweep_layers(&self, lock: &StoreLock, keep: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        for dir in children(&self.layers())? {
            if dir.file_name().and_then(|name| name.to_str()).is_none_or(|hex| !keep(hex)) {
                self.discard(lock, &dir)?;
            }
        }
        Ok(())
    }
}

fn note(dir: &Path) -> Result<Option<LayerNote>, StoreError> {
    let path = dir.join("layer.json");
    // One that can't be read was cut by a power failure: as good as none.
    Ok(read_if_there(&path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn boot_id() -> Result<String, StoreError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    Ok(fs::read_to_string(path).map_err(StoreError::io(path))?.trim().to_owned())
}
