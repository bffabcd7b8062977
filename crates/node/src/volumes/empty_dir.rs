//! emptyDir: a directory that lives as long as the pod.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;

use super::{Cause, blocking, mounts};
use crate::disk_usage;

/// Makes it; what is in it stays.
pub(super) async fn ensure(path: PathBuf, source: EmptyDirVolumeSource, group: Option<u32>) -> Result<PathBuf, Cause> {
    let limit = source.size_limit.and_then(|q| Quantity::parse(&q.0).ok()).map(|q| q.units()).filter(|b| *b > 0);
    blocking(path, move |dir| {
        std::fs::create_dir_all(dir)?;
        if source.medium.as_deref() == Some("Memory") {
            let size = limit.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
            mounts::tmpfs(dir, &format!("mode=0777{size}"))?;
        }
        let mode = if let Some(group) = group {
            std::os::unix::fs::chown(dir, None, Some(group))?;
            0o2777
        } else {
            0o777
        };
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
    })
    .await
}

/// Bytes on disk under it.
pub(super) async fn used_bytes(dir: PathBuf) -> u64 {
    tokio::task::spawn_blocking(move || disk_usage::of_tree(&dir).used_bytes).await.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn anyone_may_write_and_it_is_measured() {
        let root = tempfile::tempdir().unwrap();
        let dir = ensure(root.path().join("a/b"), EmptyDirVolumeSource::default(), None).await.unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o777);
        std::fs::create_dir(dir.join("c")).unwrap();
        std::fs::write(dir.join("c/file"), vec![1; 100_000]).unwrap();
        let used = used_bytes(dir).await;
        assert!((100_000..300_000).contains(&used), "{used}");
    }
}
