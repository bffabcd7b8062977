//! Static pods: pods that a node runs because a file of it says so, with no API server to ask.
//!
//! [`read`] makes the pod of a file, [`Desired::after`] says which pods a directory asks for, [`moves`] which of them end
//! and begin now, [`need`] what is to be done about the image of one at the API server, its mirror pod.
//!
//! # Invariants
//! - A pod's UID follows from what its file says, from the file and from the node: not from how it is written, nor from the
//!   version that reads it. The same file never makes another pod.
//! - A file that can't be read stops no pod: what it asked for before goes on until it is mended or removed.
//! - Of two pods of one name the second begins when nothing of the first is left.
//!
//! # Absent
//! Files, directories, the API server.

mod desired;
mod manifest;
mod mirror;

use k8s_openapi::api::core::v1::Pod;

pub use desired::{Desired, Fault, Moves, moves};
pub use manifest::{Manifest, ManifestError, read};
pub use mirror::{Need, mirror, need};

/// Says where a pod comes from: `file` for static ones.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// What the file of a static pod said, as a hash.
pub const HASH: &str = "kubernetes.io/config.hash";
/// Marks the image of a static pod at the API server; the value is the static pod's hash.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Name of the file that a static pod comes from.
pub const FILE: &str = "everynode.dev/static-pod-file";

/// The value of [`SOURCE`].
const FROM_FILE: &str = "file";

fn note<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// True for a pod that [`read`] made, and for no image of one. Whoever takes pods from the API server has to take
/// [`SOURCE`] away from them: anybody could write it there.
#[must_use]
pub fn is_static(pod: &Pod) -> bool {
    note(pod, SOURCE) == Some(FROM_FILE) && !is_mirror(pod)
}

/// True for the image of a static pod.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    note(pod, MIRROR).is_some()
}

/// Name of the file that a static pod comes from.
#[must_use]
pub fn file(pod: &Pod) -> Option<&str> {
    note(pod, FILE)
}

/// NAMESPACE/NAME: a static pod and its mirror share it.
#[must_use]
pub fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}
