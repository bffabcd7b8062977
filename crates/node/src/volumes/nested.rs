//! Places in a volume on which other volumes are mounted: `/etc/app` and, in it, `/etc/app/extra`.
//!
//! Volumes of files that the node writes are read-only in containers, so nobody could make those places later.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

/// The directories that have to be in the volume, relative to it; those that lie in another mount's place are not ours.
pub(super) fn places(pod: &Pod, volume: &str) -> BTreeSet<PathBuf> {
    let containers = |pod: &Pod| -> Vec<Container> {
        pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten())).cloned().collect()
    };
    containers(pod).iter().flat_map(|container| in_one(container, volume)).collect()
}

fn in_one(container: &Container, volume: &str) -> Vec<PathBuf> {
    let mounts: Vec<_> = container.volume_mounts.iter().flatten().collect();
    let points: BTreeSet<PathBuf> = mounts.iter().filter_map(|mount| clean(&mount.mount_path)).collect();
    // A part of a volume is mounted by a descriptor, and what it has is what it is.
    let whole = |sub: &Option<String>| sub.as_deref().is_none_or(str::is_empty);
    let own = mounts.iter().filter(|m| m.name == volume && whole(&m.sub_path) && whole(&m.sub_path_expr));
    let mut places = Vec::new();
    for point in own.filter_map(|mount| clean(&mount.mount_path)) {
        let mut last: Option<&PathBuf> = None;
        for below in points.iter().filter(|other| **other != point && other.starts_with(&point)) {
            if last.is_some_and(|last| below.starts_with(last)) {
                continue;
            }
            last = Some(below);
            places.extend(below.strip_prefix(&point).map(Path::to_owned));
        }
    }
    places
}

/// The path from the root; None for one that may lead elsewhere.
fn clean(path: &str) -> Option<PathBuf> {
    let parts = Path::new(path).components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    parts.map(|part| matches!(part, Component::Normal(_)).then_some(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(mounts: &[(&str, &str, &str)]) -> Pod {
        let mounts: Vec<_> = mounts
            .iter()
            .map(|(name, path, sub)| serde_json::json!({"name": name, "mountPath": path, "subPath": sub}))
            .collect();
        serde_json::from_value(serde_json::json!({"spec": {"containers": [{"name": "c", "volumeMounts": mounts}]}}))
            .unwrap()
    }

    #[test]
    fn places_of_mounts_below_a_volume() {
        for (mounts, want) in [
            (&[("v", "/etc/app", ""), ("w", "/etc/app/extra", "")][..], &["extra"][..]),
            (&[("w", "/etc/app/a/b/", ""), ("v", "/etc/app/", ""), ("x", "/etc/app/a/b/c", "")], &["a/b"]),
            (&[("v", "/etc/app", ""), ("w", "/etc/apple", ""), ("w", "/etc", "")], &[]),
            (&[("v", "/a", ""), ("v", "/b", ""), ("w", "/a/x", ""), ("w", "/b/y", "")], &["x", "y"]),
            (&[("v", "/a", "part"), ("w", "/a/x", "")], &[]),
            (&[("v", "/a", ""), ("w", "/a/../etc", "")], &[]),
            (&[("v", "/a", ""), ("v", "/a", "")], &[]),
        ] {
            let want: BTreeSet<PathBuf> = want.iter().map(PathBuf::from).collect();
            assert_eq!(places(&pod(mounts), "v"), want, "{mounts:?}");
        }
    }
}
