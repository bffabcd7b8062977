//! The volumes of a pod on the node: made before its sandbox, renewed while it runs, removed after it.
//!
//! # Invariants
//! - Everything of a pod is under its directory (`nodes/NODE/pods/UID`); removal never leaves that directory and never goes
//!   through a mount.
//! - What came out of a Secret or a token is on a tmpfs. On a disk is only what a start without the API server needs of it
//!   ([`crate::agent`] keeps that, sealed and for root alone).
//! - A source this node does not support is refused by the name of its field; nothing is silently left out.
//!
//! # Absent
//! Claims and drivers (persistentVolumeClaim, csi, …).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::agent::downward::{DownwardError, Ips};
use crate::agent::{Agent, ObjectError};

mod atomic;
mod empty_dir;
mod host_path;
mod mounts;
mod nested;
mod payload;
mod sub_path;

pub(crate) use mounts::remove;
pub(crate) use sub_path::sub_path;

/// Where each volume of a pod is on the node, by its name.
pub(crate) type Mounted = BTreeMap<String, PathBuf>;

/// What is supported, for the message.
const SUPPORTED: &str = "configMap, downwardAPI, emptyDir, hostPath, projected, secret";

/// Why a volume can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    /// One volume; the text is the kubelet's.
    #[error("MountVolume.SetUp failed for volume \"{name}\" : {cause}")]
    SetUp {
        /// Its name.
        name: String,
        /// Why.
        cause: Cause,
    },
    /// A sub path, or the removal.
    #[error("{0}")]
    Path(String),
}

/// Why, without the name of the volume.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    /// An object it is made from.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A field it is made from.
    #[error(transparent)]
    Downward(#[from] DownwardError),
    /// A key it names.
    #[error("references non-existent {kind} key: {key}")]
    Key {
        /// config or secret.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// Not on this node.
    #[error("spec.volumes[{index}].{field} is not supported by this node (supported: {SUPPORTED})")]
    Unsupported {
        /// Its index in the pod.
        index: usize,
        /// The field of the source.
        field: String,
    },
    /// hostPath is not what the pod expects.
    #[error("hostPath type check failed: {path} is not {expected}")]
    HostPath {
        /// On the node.
        path: String,
        /// "a directory", …
        expected: &'static str,
    },
    /// A path that leads out.
    #[error("path {0:?} must be relative and must not contain '..'")]
    Escapes(String),
    /// The kernel said no.
    #[error("{path}: {cause}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

impl Cause {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default()
}

/// Group that owns what the pod's volumes hold.
fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn place(pod_dir: &Path, kind: &str, name: &str) -> PathBuf {
    pod_dir.join("volumes").join(format!("kubernetes.io~{kind}")).join(name)
}

/// File work goes to the blocking pool.
async fn blocking(
    path: PathBuf,
    work: impl FnOnce(&Path) -> std::io::Result<()> + Send + 'static,
) -> Result<PathBuf, Cause> {
    let at = path.clone();
    let done = tokio::task::spawn_blocking(move || work(&at)).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    done.map_err(Cause::io(&path)).map(|()| path)
}

/// Makes all volumes of the pod; what is there already is brought up to date.
///
/// # Errors
/// The first volume that can't be made. Calling again continues.
pub(crate) async fn mount<R>(agent: &Agent<R>, pod: &Pod, ips: &Ips) -> Result<Mounted, VolumeError> {
    let mut mounted = Mounted::new();
    for (index, volume) in volumes(pod).iter().enumerate() {
        let path = one(agent, pod, ips, index, volume)
            .await
            .map_err(|cause| VolumeError::SetUp { name: volume.name.clone(), cause })?;
        mounted.insert(volume.name.clone(), path);
    }
    Ok(mounted)
}

async fn one<R>(agent: &Agent<R>, pod: &Pod, ips: &Ips, index: usize, volume: &Volume) -> Result<PathBuf, Cause> {
    let pod_dir = agent.options.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
    if let Some(source) = &volume.host_path {
        return host_path::ensure(source).await;
    }
    if let Some(kind) = payload::kind(volume) {
        let target = place(&pod_dir, kind.directory(), &volume.name);
        let files = payload::files(agent, pod, ips, volume, &target).await?;
        let (group, nested) = (fs_group(pod), nested::places(pod, &volume.name));
        return blocking(target, move |dir| {
            std::fs::create_dir_all(dir)?;
            if kind.secret() {
                mounts::tmpfs(dir, "mode=0755")?;
            }
            atomic::write(dir, &files, group)?;
            nested.iter().try_for_each(|place| std::fs::create_dir_all(dir.join(place)))
        })
        .await;
    }
    if let Some(field) = unsupported(volume) {
        return Err(Cause::Unsupported { index, field });
    }
    let source = volume.empty_dir.clone().unwrap_or_default();
    if source.medium.as_deref().is_some_and(|m| !matches!(m, "" | "Memory")) {
        let medium = source.medium.unwrap_or_default();
        return Err(Cause::Unsupported { index, field: format!("emptyDir.medium: {medium}") });
    }
    empty_dir::ensure(place(&pod_dir, "empty-dir", &volume.name), source, fs_group(pod)).await
}

/// The field of a source that is not supported.
pub(crate) fn unsupported(volume: &Volume) -> Option<String> {
    let value = serde_json::to_value(volume).ok()?;
    value.as_object()?.keys().find(|k| !matches!(k.as_str(), "name" | "emptyDir")).cloned()
}

/// True for a volume of files that the node writes: containers only read them, whatever their mount says.
pub(crate) fn is_read_only(pod: &Pod, name: &str) -> bool {
    volumes(pod).iter().any(|v| v.name == name && payload::kind(v).is_some())
}

/// True when the pod has volumes whose contents may change while it runs.
pub(crate) fn renewable(pod: &Pod) -> bool {
    volumes(pod).iter().any(|v| payload::kind(v).is_some())
}

/// The pod's emptyDirs on a disk: name and directory.
pub(crate) fn empty_dirs(pod_dir: &Path, pod: &Pod) -> Vec<(String, PathBuf)> {
    let on_disk = |v: &&Volume| v.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref() != Some("Memory"));
    volumes(pod).iter().filter(on_disk).map(|v| (v.name.clone(), place(pod_dir, "empty-dir", &v.name))).collect()
}

/// What Kubernetes says of a pod that wrote more into an emptyDir than its sizeLimit.
pub(crate) async fn over_limit<R>(agent: &Agent<R>, pod: &Pod) -> Option<String> {
    let pod_dir = agent.options.pod_dir(pod.metadata.uid.as_deref()?);
    for volume in volumes(pod) {
        let Some(limit) = volume.empty_dir.as_ref().and_then(|e| e.size_limit.as_ref()) else { continue };
        let Ok(bytes) = api::quantity::Quantity::parse(&limit.0).map(|q| q.units()) else { continue };
        let dir = place(&pod_dir, "empty-dir", &volume.name);
        if bytes > 0 && empty_dir::used_bytes(dir).await > bytes.unsigned_abs() {
            return Some(format!("Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ", volume.name, limit.0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_sources_are_named() {
        for (text, expect) in [
            (r#"{"name":"a","nfs":{"server":"s","path":"/"}}"#, Some("nfs")),
            (r#"{"name":"a","persistentVolumeClaim":{"claimName":"c"}}"#, Some("persistentVolumeClaim")),
            (r#"{"name":"a","emptyDir":{}}"#, None),
            (r#"{"name":"a"}"#, None),
        ] {
            let volume: Volume = serde_json::from_str(text).unwrap();
            assert_eq!(unsupported(&volume).as_deref(), expect, "{text}");
        }
    }
}
