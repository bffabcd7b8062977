//! The last good pod of each DaemonSet, as it was before the one of now: what a node goes back to by itself.
//!
//! ```text
//! nodes/NODE/previous/UID_OF_THE_DAEMONSET/pod.json   the pod, and whether the node went back to it
//! nodes/NODE/previous/UID_OF_THE_DAEMONSET/kept/…     what it was made from
//! ```

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::{FILE, Kept, PODS_MAX};

/// Directory of all of them in the node's.
const DIRECTORY: &str = "previous";

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Previous {
    /// Ready to run again ([`decide::dead_man::stand_in`]).
    pub(crate) pod: Pod,
    /// What the node went back from, if it did.
    pub(crate) taken_back: Option<TakenBack>,
}

/// What a node went back from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TakenBack {
    /// Its revision.
    pub(crate) revision: String,
    /// Why.
    pub(crate) message: String,
}

impl Kept {
    /// The last good pod of a DaemonSet.
    pub(crate) async fn previous(&self, set: &str) -> Option<Previous> {
        let (kept, place) = (self.clone(), format!("{DIRECTORY}/{set}/{FILE}"));
        let path = self.node_dir.join(&place);
        let read = tokio::task::spawn_blocking(move || kept.read_now(&place)).await.ok()?;
        read.unwrap_or_else(|error| {
            tracing::error!("{}: {error}; there is no pod to go back to", path.display());
            None
        })
    }

    /// Those of all DaemonSets, by UID.
    pub(crate) async fn all_previous(&self) -> Vec<(String, Previous)> {
        let dir = self.node_dir.join(DIRECTORY);
        let names = tokio::task::spawn_blocking(move || names(&dir)).await.unwrap_or_default();
        let mut all = Vec::new();
        for set in names {
            if let Some(previous) = self.previous(&set).await {
                all.push((set, previous));
            }
        }
        all
    }

    /// Keeps it.
    pub(crate) async fn save_previous(&self, set: &str, previous: &Previous) {
        self.write(format!("{DIRECTORY}/{set}"), FILE.to_owned(), previous).await;
    }

    /// Keeps what a pod was made from beside it.
    pub(crate) async fn save_previous_objects(&self, set: &str, uid: &str) {
        self.copy(format!("pods/{uid}/kept"), format!("{DIRECTORY}/{set}/kept")).await;
    }

    /// Gives a pod what it was made from.
    pub(crate) async fn restore_objects(&self, set: &str, uid: &str) {
        self.copy(format!("{DIRECTORY}/{set}/kept"), format!("pods/{uid}/kept")).await;
    }

    /// Forgets it.
    pub(crate) async fn forget_previous(&self, set: &str) {
        let dir = self.node_dir.join(DIRECTORY).join(set);
        let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", dir.display())),
            _ => Ok(()),
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!("{error}");
        }
    }

    /// Sealed files are good for one place only, so each is sealed anew. What was in the target before goes.
    async fn copy(&self, from: String, to: String) {
        let kept = self.clone();
        let work = move || -> std::io::Result<()> {
            let target = kept.node_dir.join(&to);
            if target.exists() {
                std::fs::remove_dir_all(&target)?;
            }
            for name in names(&kept.node_dir.join(&from)) {
                let (old, new) = (format!("{from}/{name}"), format!("{to}/{name}"));
                let Ok(content) = kept.seal.read(&kept.node_dir.join(&old), &old) else { continue };
                std::fs::create_dir_all(&target)?;
                kept.seal.write(&kept.node_dir.join(&new), &new, &content)?;
            }
            Ok(())
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
            tracing::warn!("what a pod was made from can't be kept for later: {error}");
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(PODS_MAX);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_pod_was_made_from_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path()).unwrap();
        kept.save_object("1", "secret", "s", Some(&"x".to_owned())).await;
        let mut pod = Pod::default();
        pod.metadata.uid = Some("1".to_owned());
        let taken_back = Some(TakenBack { revision: "b".to_owned(), message: "m".to_owned() });
        let previous = Previous { pod, taken_back };
        kept.save_previous("set", &previous).await;
        kept.save_previous_objects("set", "1").await;
        std::fs::remove_dir_all(dir.path().join("pods")).unwrap();
        assert_eq!(kept.all_previous().await, [("set".to_owned(), previous)]);
        kept.restore_objects("set", "1").await;
        assert_eq!(kept.object::<String>("1", "secret", "s").await, Some(Some("x".to_owned())));
        kept.forget_previous("set").await;
        assert_eq!(kept.previous("set").await, None);
    }
}
