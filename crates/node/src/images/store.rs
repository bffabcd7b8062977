//! Names, records and pins: what the store answers and how it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::layout::{Layout, StoreLock, children, read_if_there};
use super::name::{Name, is_digest, is_hex};
use super::record::{Record, RootfsInfo};
use crate::runtime::ImageInfo;

/// The images of one directory. Cheap to clone; all methods may be called from several threads and processes.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) layout: Layout,
}

/// Full name -> image id.
type Names = BTreeMap<String, String>;

impl Store {
    /// Opens or makes the store and takes away what killed processes left in it.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the directory can't be made, read or written.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let layout = Layout::create(dir)?;
        let store = Self { layout };
        let lock = store.layout.lock()?;
        let at_work = store.layout.sweep_tmp(&lock)?;
        store.forget_lost_layers(&lock)?;
        store.layout.sweep_partial()?;
        if !at_work {
            store.sweep_unused(&lock)?;
            for path in children(&dir.join("locks"))? {
                fs::remove_file(&path).map_err(StoreError::io(&path))?;
            }
        }
        drop(lock);
        if !store.layout.unsynced_layers()?.is_empty() {
            store.layout.sync_in_background();
        }
        Ok(store)
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.layout.root()
    }

    /// The image if it is here; `reference` is `NAME[:TAG][@DIGEST]` or an id.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], [`StoreError::Io`].
    pub fn get(&self, reference: &str) -> Result<Option<ImageInfo>, StoreError> {
        let names = self.names()?;
        let Some(id) = resolve(&names, reference)? else { return Ok(None) };
        Ok(self.record(&id)?.map(|record| describe(record, &names)))
    }

    /// What a container of this image is made of.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn rootfs(&self, image_id: &str) -> Result<RootfsInfo, StoreError> {
        let record = self.record_of(image_id)?;
        let lower_dirs = record.layers.iter().rev().map(|diff_id| self.layout.layer_fs(diff_id)).collect();
        Ok(RootfsInfo { lower_dirs, config: record.config })
    }

    /// All images, in order of their ids.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list(&self) -> Result<Vec<ImageInfo>, StoreError> {
        let names = self.names()?;
        Ok(self.records()?.into_iter().map(|record| describe(record, &names)).collect())
    }

    /// Removes an image with all its names, and the layers that no other image has.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::InUse`], [`StoreError::InvalidName`], [`StoreError::Io`].
    pub fn remove(&self, reference: &str) -> Result<(), StoreError> {
        let lock = self.layout.lock()?;
        let mut names = self.names()?;
        let missing = || StoreError::NotFound(reference.to_owned());
        let id = resolve(&names, reference)?.ok_or_else(missing)?;
        self.record(&id)?.ok_or_else(missing)?;
        if let Some(holder) = self.holder_of(&id)? {
            return Err(StoreError::InUse { image: reference.to_owned(), holder });
        }
        // The record first: a kill in between leaves names of nothing, which the next open drops.
        self.drop_record(&lock, &id)?;
        names.retain(|_, named| *named != id);
        self.write_names(&lock, &names)?;
        self.sweep_unused(&lock)
    }

    /// Notes that `holder` (letters, digits, `.`, `_`, `-`) runs from the image: it stays until [`Store::unpin`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn pin(&self, image_id: &str, holder: &str) -> Result<(), StoreError> {
        let path = self.pin_path(holder)?;
        let lock = self.layout.lock()?;
        let record = self.record_of(image_id)?;
        self.layout.write(&lock, &path, record.id.as_bytes())
    }

    /// `holder` runs from it no more. Nothing happens if it never did.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn unpin(&self, holder: &str) -> Result<(), StoreError> {
        let path = self.pin_path(holder)?;
        let _lock = self.layout.lock()?;
        remove_file_if_there(&path)
    }

    /// Drops the pins whose holder begins with `prefix` and is not in `live`: those of containers that are gone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn retain_pins(&self, prefix: &str, live: &BTreeSet<String>) -> Result<(), StoreError> {
        let _lock = self.layout.lock()?;
        for path in children(&self.layout.pins())? {
            let holder = file_name(&path);
            if holder.starts_with(prefix) && !live.contains(holder) {
                remove_file_if_there(&path)?;
            }
        }
        Ok(())
    }

    /// Makes an image seen under `names` (full). False: a layer was removed meanwhile, add the layers again.
    pub(crate) fn commit(&self, mut record: Record, names: &[String]) -> Result<bool, StoreError> {
        let lock = self.layout.lock()?;
        record.size = 0;
        for diff_id in &record.layers {
            let Some(size) = self.layout.layer_size(diff_id)? else { return Ok(false) };
            record.size += size;
        }
        let bytes = serde_json::to_vec(&record).map_err(|error| StoreError::content("image record", error))?;
        self.layout.write(&lock, &self.layout.record(&record.id), &bytes)?;
        let mut all = self.names()?;
        let before = all.clone();
        all.extend(names.iter().map(|name| (name.clone(), record.id.clone())));
        if all != before {
            self.write_names(&lock, &all)?;
        }
        drop(lock);
        self.layout.sync_in_background();
        Ok(true)
    }

    /// The image's description after a commit.
    pub(crate) fn info(&self, image_id: &str) -> Result<ImageInfo, StoreError> {
        Ok(describe(self.record_of(image_id)?, &self.names()?))
    }

    fn record_of(&self, image_id: &str) -> Result<Record, StoreError> {
        let missing = || StoreError::NotFound(image_id.to_owned());
        if !is_digest(image_id) {
            return Err(missing());
        }
        self.record(image_id)?.ok_or_else(missing)
    }

    fn record(&self, id: &str) -> Result<Option<Record>, StoreError> {
        read_record(&self.layout.record(id))
    }

    fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for path in children(&self.layout.records())? {
            records.extend(read_record(&path)?);
        }
        Ok(records)
    }

    fn names(&self) -> Result<Names, StoreError> {
        let path = self.layout.names();
        match read_if_there(&path)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| StoreError::content(path.display().to_string(), error))
            }
            None => Ok(Names::new()),
        }
    }

    fn write_names(&self, lock: &StoreLock, names: &Names) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec_pretty(names).map_err(|error| StoreError::content("names.json", error))?;
        self.layout.write(lock, &self.layout.names(), &bytes)
    }

    fn drop_record(&self, _lock: &StoreLock, id: &str) -> Result<(), StoreError> {
        remove_file_if_there(&self.layout.record(id))
    }

    /// Deletes layers that no record names.
    fn sweep_unused(&self, lock: &StoreLock) -> Result<(), StoreError> {
        let used: BTreeSet<String> = self.records()?.into_iter().flat_map(|record| record.layers).collect();
        self.layout.sweep_layers(lock, |hex| used.contains(&format!("sha256:{hex}")))
    }

    /// Forgets layers that an earlier boot may not have brought to the disk, and images that miss a layer.
    fn forget_lost_layers(&self, lock: &StoreLock) -> Result<(), StoreError> {
        for (dir, of_this_boot) in self.layout.unsynced_layers()? {
            if !of_this_boot {
                self.layout.discard(lock, &dir)?;
            }
        }
        let mut ids = BTreeSet::new();
        for record in self.records()? {
            let mut whole = true;
            for diff_id in &record.layers {
                whole &= self.layout.layer_size(diff_id)?.is_some();
            }
            if whole {
                ids.insert(record.id);
            } else {
                self.drop_record(lock, &record.id)?;
            }
        }
        let mut names = self.names()?;
        let before = names.len();
        names.retain(|_, id| ids.contains(id));
        if names.len() == before { Ok(()) } else { self.write_names(lock, &names) }
    }

    fn pin_path(&self, holder: &str) -> Result<PathBuf, StoreError> {
        let fits = holder.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if holder.is_empty() || holder.starts_with('.') || !fits {
            return Err(StoreError::content(
                format!("pin {holder:?}"),
                "only letters, digits, . _ and - make a holder",
            ));
        }
        Ok(self.layout.pins().join(holder))
    }

    fn holder_of(&self, id: &str) -> Result<Option<String>, StoreError> {
        for path in children(&self.layout.pins())? {
            if read_if_there(&path)?.is_some_and(|pinned| pinned == id.as_bytes()) {
                return Ok(Some(file_name(&path).to_owned()));
            }
        }
        Ok(None)
    }
}

/// The id that a reference means, whether or not there is a record of it.
fn resolve(names: &Names, reference: &str) -> Result<Option<String>, StoreError> {
    if is_digest(reference) {
        return Ok(Some(reference.to_owned()));
    }
    if is_hex(reference) {
        return Ok(Some(format!("sha256:{reference}")));
    }
    Ok(names.get(&Name::parse(reference)?.canonical()).cloned())
}

fn describe(record: Record, names: &Names) -> ImageInfo {
    let own = names.iter().filter(|(_, id)| **id == record.id).map(|(name, _)| name.clone());
    let (digests, tags): (Vec<String>, Vec<String>) = own.partition(|name| name.contains('@'));
    // What no registry gave can't be pulled again. What has lost its names to newer images is of no use to anybody.
    let pinned = record.kept || (digests.is_empty() && !tags.is_empty());
    ImageInfo { id: record.id, tags, digests, size: record.size, user: record.config.user, pinned }
}

fn read_record(path: &Path) -> Result<Option<Record>, StoreError> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    let record =
        serde_json::from_slice(&bytes).map_err(|error| StoreError::content(path.display().to_string(), error))?;
    Ok(Some(record))
}

fn remove_file_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(path)(error)),
        _ => Ok(()),
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
