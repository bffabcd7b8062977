//! What the embedded runtime needs of others: images and the pod network.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::runtime::stats::FsUsage;
use crate::runtime::{ImageError, ImageInfo, PortMapping, RegistryAuth};

/// What a container's root file system is made of, and how its image starts.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    /// Read-only directories for overlayfs, the top one first.
    pub lower_dirs: Vec<PathBuf>,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV, in the image's order.
    pub env: Vec<(String, String)>,
    /// WORKDIR; empty is /.
    pub working_dir: String,
    /// USER ("", "0", "nobody", "1:2").
    pub user: String,
    /// STOPSIGNAL ("SIGTERM", "15"); empty is SIGTERM.
    pub stop_signal: String,
}

/// Images of this machine.
pub trait Images: Send + Sync + 'static {
    /// What a container of the image is made of; None when the image is not here.
    ///
    /// # Errors
    /// When its record can't be read.
    fn rootfs(&self, image_id: &str) -> Result<Option<Rootfs>, ImageError>;
    /// Notes that the container `holder` runs from the image: it must not be removed until [`Images::unpin`].
    ///
    /// # Errors
    /// When that can't be written.
    fn pin(&self, image_id: &str, holder: &str) -> Result<(), ImageError>;
    /// The container `holder` is gone. Nothing happens if it never was.
    ///
    /// # Errors
    /// When that can't be written.
    fn unpin(&self, holder: &str) -> Result<(), ImageError>;
    /// Drops the pins whose holder begins with `prefix` and is not in `live`. Not needed where pins end with the process.
    ///
    /// # Errors
    /// When they can't be read or removed.
    fn retain_pins(&self, prefix: &str, live: &BTreeSet<String>) -> Result<(), ImageError> {
        let _ = (prefix, live);
        Ok(())
    }
    /// See [`crate::runtime::Runtime::image_status`].
    fn image_status(&self, reference: &str) -> impl Future<Output = Result<Option<ImageInfo>, ImageError>> + Send;
    /// See [`crate::runtime::Runtime::pull_image`].
    fn pull_image(
        &self,
        reference: &str,
        auth: Option<RegistryAuth>,
    ) -> impl Future<Output = Result<ImageInfo, ImageError>> + Send;
    /// See [`crate::runtime::Runtime::list_images`].
    fn list_images(&self) -> impl Future<Output = Result<Vec<ImageInfo>, ImageError>> + Send;
    /// See [`crate::runtime::Runtime::remove_image`].
    fn remove_image(&self, id: &str) -> impl Future<Output = Result<(), ImageError>> + Send {
        std::future::ready(Err(ImageError::Local(format!("{id}: images can't be removed here"))))
    }
    /// The file system that they lie in.
    fn file_system(&self) -> Option<FsUsage> {
        None
    }
}

/// A sandbox that is to get a network.
#[derive(Debug, Clone, Default)]
pub struct Joining {
    /// The sandbox's id.
    pub sandbox: String,
    /// File that its network namespace is bound to.
    pub netns: PathBuf,
    /// metadata.namespace of the pod.
    pub namespace: String,
    /// metadata.name of the pod.
    pub name: String,
    /// metadata.uid of the pod.
    pub uid: String,
    /// Ports of the node that shall lead to it.
    pub ports: Vec<PortMapping>,
}

/// The pods' network. All calls are idempotent.
pub trait PodNetwork: Send + Sync + 'static {
    /// Gives the sandbox's network namespace an interface and addresses, and lets its host ports lead to it.
    fn attach(&self, pod: &Joining) -> impl Future<Output = Result<Vec<IpAddr>, String>> + Send;
    /// Takes them back; the namespace may be gone already.
    fn detach(&self, sandbox: &str) -> impl Future<Output = Result<(), String>> + Send;
    /// Takes back what belongs to no sandbox in `live`: what killed agents left. Not needed where that ends with the
    /// process.
    fn retain(&self, live: &BTreeSet<String>) -> impl Future<Output = Result<(), String>> + Send {
        let _ = live;
        std::future::ready(Ok(()))
    }
    /// Whether sandboxes can get a network now; the text says why not.
    ///
    /// # Errors
    /// As the text says.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
