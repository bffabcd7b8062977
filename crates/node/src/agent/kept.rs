//! What the agent keeps on disk of the pods of its node, so that a start without the API server knows what should run, and
//! what it is made from: after a reboot too.
//!
//! ```text
//! nodes/NODE/seal.key                the node's key
//! nodes/NODE/pods/UID/pod.json       the pod as the API server last had it
//! nodes/NODE/pods/UID/kept/KIND_NAME ConfigMaps, Secrets and tokens that it was made from, by kind and hash of the name
//! nodes/NODE/previous/…              see [`previous`]
//! ```
//!
//! # Invariants
//! - Files are sealed ([`seal`]), readable by root alone, and replaced whole. One that is not as this node wrote it is not
//!   gone by, and that is said.
//! - They go with the pod's directory, but for those of a last good pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Digest as _;

use self::seal::{Seal, SealError};

mod previous;
mod seal;

pub(crate) use previous::{Previous, TakenBack};

/// Name of the file in the pod's directory.
const FILE: &str = "pod.json";
/// Pods read at most: a node holds 110, the rest is rubbish.
const PODS_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    node_dir: PathBuf,
    seal: Arc<Seal>,
    writes: bool,
}

impl Kept {
    /// In the node's directory.
    ///
    /// # Errors
    /// When its key can't be written.
    pub(crate) fn open(node_dir: &Path) -> std::io::Result<Self> {
        Ok(Self { seal: Arc::new(Seal::open(node_dir)?), node_dir: node_dir.to_owned(), writes: true })
    }

    /// Reads what is there and writes nothing.
    pub(super) fn read_only(self) -> Self {
        Self { writes: false, ..self }
    }

    /// Keeps the pod. Trouble is logged: the pod runs without it.
    pub(super) async fn save(&self, uid: &str, pod: &Pod) {
        self.write(format!("pods/{uid}"), FILE.to_owned(), pod).await;
    }

    /// The pods an earlier agent kept. A file that can't be gone by is passed over and named.
    pub(super) async fn load(&self) -> Vec<Pod> {
        let kept = self.clone();
        tokio::task::spawn_blocking(move || kept.load_now()).await.unwrap_or_default()
    }

    fn load_now(&self) -> Vec<Pod> {
        let entries = std::fs::read_dir(self.node_dir.join("pods")).into_iter().flatten().flatten().take(PODS_MAX);
        let mut pods = Vec::new();
        for uid in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            let place = format!("pods/{uid}/{FILE}");
            match self.read_now::<Pod>(&place) {
                Ok(Some(pod)) => pods.push(pod),
                Ok(None) => {}
                Err(error) => {
                    let path = self.node_dir.join(place);
                    tracing::error!("{}: {error}; the pod waits for the API server", path.display());
                }
            }
        }
        pods
    }

    /// Keeps an object that the pod is made from; None notes that there is none of that name.
    pub(crate) async fn save_object<T: Serialize>(&self, uid: &str, kind: &str, name: &str, object: Option<&T>) {
        self.write(format!("pods/{uid}/kept"), file_name(kind, name), &object).await;
    }

    /// An object that was kept: whether there was one of that name, and it. None where nothing is known.
    pub(crate) async fn object<T>(&self, uid: &str, kind: &str, name: &str) -> Option<Option<T>>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (kept, place) = (self.clone(), format!("pods/{uid}/kept/{}", file_name(kind, name)));
        let (path, label) = (self.node_dir.join(&place), format!("{kind} {name}"));
        let read = tokio::task::spawn_blocking(move || kept.read_now(&place)).await.ok()?;
        read.unwrap_or_else(|error| {
            tracing::error!("{label} in {}: {error}; the pod waits for the API server", path.display());
            None
        })
    }

    /// None where there is no such file.
    fn read_now<T: DeserializeOwned>(&self, place: &str) -> Result<Option<T>, SealError> {
        match self.seal.read(&self.node_dir.join(place), place) {
            Ok(content) => serde_json::from_slice(&content).map(Some).map_err(|_| SealError::Broken),
            Err(SealError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write<T: Serialize>(&self, dir: String, file: String, value: &T) {
        if !self.writes {
            return;
        }
        let Ok(content) = serde_json::to_vec(value) else { return };
        let (kept, place) = (self.clone(), format!("{dir}/{file}"));
        let path = self.node_dir.join(&place);
        let work = move || {
            let path = kept.node_dir.join(&place);
            // A disk is not worn by what is there already.
            if kept.seal.read(&path, &place).is_ok_and(|old| old == content) {
                return Ok(());
            }
            std::fs::create_dir_all(kept.node_dir.join(dir))?;
            kept.seal.write(&path, &place, &content)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            tracing::warn!("{} can't be kept: {error}", path.display());
        }
    }
}

/// Names may hold anything (audiences of tokens do), and be longer than a file's may.
fn file_name(kind: &str, name: &str) -> String {
    let hash: String = sha2::Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}_{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_comes_back_and_what_was_changed_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path()).unwrap();
        let mut pod = Pod::default();
        pod.metadata.name = Some("a".to_owned());
        kept.save("1", &pod).await;
        kept.save("2", &pod).await;
        kept.clone().read_only().save("4", &pod).await;
        assert_eq!(kept.load().await, [pod.clone(), pod.clone()]);
        // A pod that was moved to another's place, and one that is no pod.
        std::fs::rename(dir.path().join("pods/1/pod.json"), dir.path().join("pods/2/pod.json")).unwrap();
        std::fs::create_dir_all(dir.path().join("pods/3")).unwrap();
        std::fs::write(dir.path().join("pods/3/pod.json"), serde_json::to_vec(&pod).unwrap()).unwrap();
        assert_eq!(kept.load().await, []);
    }

    #[tokio::test]
    async fn objects_are_known_unknown_or_known_to_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path()).unwrap();
        let name = "https://audience/../".to_owned();
        assert_eq!(kept.object::<String>("1", "token", &name).await, None);
        kept.save_object("1", "token", &name, Some(&"x".to_owned())).await;
        assert_eq!(kept.object::<String>("1", "token", &name).await, Some(Some("x".to_owned())));
        kept.save_object::<String>("1", "token", &name, None).await;
        assert_eq!(kept.object::<String>("1", "token", &name).await, Some(None));
        assert_eq!(kept.object::<String>("2", "token", &name).await, None);
        let path = dir.path().join("pods/1/kept").join(file_name("token", &name));
        std::fs::write(path, "\"forged\"").unwrap();
        assert_eq!(kept.object::<String>("1", "token", &name).await, None);
    }
}
