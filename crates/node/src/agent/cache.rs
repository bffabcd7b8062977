//! The pods of this node on disk, so that an agent that starts without its API server still knows what should run.
//!
//! # Invariants
//! A file is replaced whole (written beside, then renamed). It holds what the API server holds, so no secret's value.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::Options;

/// Name of the file in the pod's directory.
const FILE: &str = "pod.json";
/// Pods read at most: a node holds 110, the rest is rubbish.
const PODS_MAX: usize = 1024;

fn write_whole(dir: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::create_dir_all(dir)?;
    let beside = dir.join(format!("{FILE}.new"));
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    std::fs::rename(&beside, dir.join(FILE))
}

/// Keeps the pod. Trouble is logged: the pod runs without it.
pub(super) async fn save(options: &Options, uid: &str, pod: &Pod) {
    let dir = options.pod_dir(uid);
    let Ok(bytes) = serde_json::to_vec(pod) else { return };
    let path = dir.clone();
    let done = tokio::task::spawn_blocking(move || write_whole(&dir, &bytes)).await;
    if let Ok(Err(error)) = done {
        tracing::warn!("pod {uid} can't be kept in {}: {error}", path.display());
    }
}

/// The pods an earlier agent kept. A file that can't be read is passed over: the API server knows the pod.
pub(super) async fn load(options: &Options) -> Vec<Pod> {
    let dir = options.node_dir().join("pods");
    let read = move || {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(PODS_MAX);
        let paths = entries.map(|e: std::fs::DirEntry| e.path().join(FILE));
        paths.filter_map(|p: PathBuf| serde_json::from_slice(&std::fs::read(p).ok()?).ok()).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}
