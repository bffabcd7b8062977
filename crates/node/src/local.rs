//! This machine's images and pod network as the embedded runtime wants them, and the name of the instance.
//!
//! # Absent
//! Behaviour: it only joins [`crate::images`] and [`crate::network`] to [`crate::runtime::embedded`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::images::{Puller, Store, StoreError};
use crate::runtime::embedded::{Images, Joining, PodNetwork, Rootfs};
use crate::runtime::stats::FsUsage;
use crate::runtime::{ImageError, ImageInfo, RegistryAuth};
use crate::{disk_usage, network};

/// Hex digits of an instance's name: enough that two data directories of one machine never share it.
const INSTANCE_DIGITS: usize = 8;

/// The name that tells this instance's run directory, cgroups and bridge from those of another data directory.
/// `data_dir` must be resolved (no links, absolute).
#[must_use]
pub fn instance(data_dir: &Path) -> String {
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex[..INSTANCE_DIGITS].to_owned()
}

/// The store's images, pulled by its puller.
#[derive(Debug, Clone)]
pub struct LocalImages {
    store: Store,
    puller: Puller,
}

impl LocalImages {
    /// Both must be of the same store.
    #[must_use]
    pub fn new(store: Store, puller: Puller) -> Self {
        Self { store, puller }
    }
}

impl Images for LocalImages {
    fn rootfs(&self, image_id: &str) -> Result<Option<Rootfs>, ImageError> {
        match self.store.rootfs(image_id) {
            Ok(found) => Ok(Some(Rootfs {
                lower_dirs: found.lower_dirs,
                entrypoint: found.config.entrypoint,
                cmd: found.config.cmd,
                env: found.config.env,
                working_dir: found.config.working_dir,
                user: found.config.user,
                stop_signal: found.config.stop_signal,
            })),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn pin(&self, image_id: &str, holder: &str) -> Result<(), ImageError> {
        Ok(self.store.pin(image_id, holder)?)
    }

    fn unpin(&self, holder: &str) -> Result<(), ImageError> {
        Ok(self.store.unpin(holder)?)
    }

    fn retain_pins(&self, prefix: &str, live: &BTreeSet<String>) -> Result<(), ImageError> {
        Ok(self.store.retain_pins(prefix, live)?)
    }

    async fn image_status(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        let (store, reference) = (self.store.clone(), reference.to_owned());
        blocking(move || store.get(&reference)).await
    }

    async fn pull_image(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        Ok(self.puller.pull(reference, auth).await?)
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        let store = self.store.clone();
        blocking(move || store.list()).await
    }

    async fn remove_image(&self, id: &str) -> Result<(), ImageError> {
        let (store, id) = (self.store.clone(), id.to_owned());
        blocking(move || match store.remove(&id) {
            Err(StoreError::NotFound(_)) => Ok(()),
            done => done,
        })
        .await
    }

    fn file_system(&self) -> Option<FsUsage> {
        Some(disk_usage::of_file_system(self.store.directory()))
    }
}

impl PodNetwork for network::Network {
    async fn attach(&self, pod: &Joining) -> Result<Vec<IpAddr>, String> {
        network::Network::attach(self, pod).await.map_err(|error| error.to_string())
    }

    async fn detach(&self, sandbox: &str) -> Result<(), String> {
        network::Network::detach(self, sandbox).await.map_err(|error| error.to_string())
    }

    async fn retain(&self, live: &BTreeSet<String>) -> Result<(), String> {
        self.reconcile(live).await.map_err(|error| error.to_string())
    }

    fn ready(&self) -> Result<(), String> {
        network::Network::ready(self).map_err(|error| error.to_string())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(ImageError::Local(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_by_its_directory_alone() {
        assert_eq!(instance(Path::new("/var/lib/everynode")), instance(Path::new("/var/lib/everynode")));
        assert_ne!(instance(Path::new("/var/lib/everynode")), instance(Path::new("/var/lib/everynode2")));
        assert_eq!(instance(Path::new("/x")).len(), 8);
    }
}
