//! The store's files: where they are, how they change, and how leftovers of killed processes go.
//!
//! ```text
//! lock                  taken for every change of names, records and pins
//! names.json            NAME -> image id
//! records/HEX.json      one image: layers, configuration
//! layers/HEX/fs         one unpacked layer in overlayfs form; HEX is of its diffID
//! layers/HEX/layer.json size, and the boot it was written in
//! layers/HEX/durable    it is on the disk, not only in memory
//! locks/HEX             taken by who downloads and unpacks that layer
//! pins/HOLDER           image id that HOLDER runs from
//! partial/HEX           what came so far of a compressed layer; who writes has the layer's lock
//! tmp/UUID              work of one process; its `lock` is held while that process lives
//! ```
//!
//! # Invariants
//! - A name, record or layer appears by one rename, whole. Nothing under tmp is ever read by another process.
//! - Locks are flocks: the kernel gives them back when a process dies. Order: a layer's lock before `lock`.
//! - A layer that no record names and nobody is working for may go at any time.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::error::StoreError;

/// Paths of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    /// A thread of this process syncs layers to the disk.
    pub(crate) syncing: Arc<AtomicBool>,
}

/// Held while names, records or pins change.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

/// A directory of one piece of work, removed when dropped or, after a kill, by the next opener.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    _lock: File,
}

impl Staging {
    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next opener.
        drop(fs::remove_dir_all(&self.path));
    }
}

impl Layout {
    /// Makes the directories that are missing.
    pub(crate) fn create(root: &Path) -> Result<Self, StoreError> {
        let layout = Self { root: root.to_path_buf(), syncing: Arc::default() };
        for dir in ["", "records", "layers", "locks", "pins", "partial", "tmp"] {
            let path = root.join(dir);
            fs::create_dir_all(&path).map_err(StoreError::io(&path))?;
        }
        // Layers hold set-uid files: nobody but root may come near them outside a container.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(StoreError::io(root))?;
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn names(&self) -> PathBuf {
        self.root.join("names.json")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    pub(crate) fn record(&self, id: &str) -> PathBuf {
        self.records().join(format!("{}.json", hex_of(id)))
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, diff_id: &str) -> PathBuf {
        self.layers().join(hex_of(diff_id))
    }

    pub(crate) fn layer_lock(&self, diff_id: &str) -> PathBuf {
        self.root.join("locks").join(hex_of(diff_id))
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Waits for the lock of names, records and pins. Its holders never wait for anything but the disk.
    pub(crate) fn lock(&self) -> Result<StoreLock, StoreError> {
        let path = self.root.join("lock");
        let file = open_lock(&path)?;
        file.lock().map_err(StoreError::io(&path))?;
        Ok(StoreLock { _file: file })
    }

    /// A new directory under tmp.
    pub(crate) fn staging(&self) -> Result<Staging, StoreError> {
        // Under the store's lock, so that no sweep comes between the directory and its lock.
        let _guard = self.lock()?;
        let path = self.tmp().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&path).map_err(StoreError::io(&path))?;
        let lock_path = path.join("lock");
        let lock = open_lock(&lock_path)?;
        lock.lock().map_err(StoreError::io(&lock_path))?;
        Ok(Staging { path, _lock: lock })
    }

    /// Takes away what killed processes left under tmp; says whether some process is at work.
    pub(crate) fn sweep_tmp(&self, _lock: &StoreLock) -> Result<bool, StoreError> {
        let mut at_work = false;
        for path in children(&self.tmp())? {
            let held = match File::open(path.join("lock")) {
                Ok(file) => file.try_lock().is_err(),
                Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory => false,
                Err(error) => return Err(StoreError::io(&path)(error)),
            };
            if held {
                at_work = true;
            } else if path.is_dir() {
                fs::remove_dir_all(&path).map_err(StoreError::io(&path))?;
            } else {
                fs::remove_file(&path).map_err(StoreError::io(&path))?;
            }
        }
        Ok(at_work)
    }

    /// Makes a tree vanish in one step, then deletes it.
    pub(crate) fn discard(&self, _lock: &StoreLock, path: &Path) -> Result<(), StoreError> {
        let bin = self.tmp().join(uuid::Uuid::new_v4().to_string());
        match fs::rename(path, &bin) {
            Ok(()) => fs::remove_dir_all(&bin).map_err(StoreError::io(&bin)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StoreError::io(path)(error)),
        }
    }

    /// Replaces a file in one step.
    pub(crate) fn write(&self, _lock: &StoreLock, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = self.tmp().join(uuid::Uuid::new_v4().to_string());
        let written = File::create(&temporary)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, path));
        written.map_err(|error| {
            drop(fs::remove_file(&temporary));
            StoreError::io(path)(error)
        })
    }
}

/// Opens or makes the file of a lock.
pub(crate) fn open_lock(path: &Path) -> Result<File, StoreError> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(StoreError::io(path))
}

/// What is in a directory, in order of names.
pub(crate) fn children(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io(dir))? {
        paths.push(entry.map_err(StoreError::io(dir))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The file, or None if there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io(path)(error)),
    }
}

pub(super) fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}
