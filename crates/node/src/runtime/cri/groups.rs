//! The control group that a pod's containers share.

use std::path::Path;

use super::Shared;
use super::info::slice_path;
use crate::runtime::SandboxConfig;

/// Whether the pod is limited as a whole.
fn limits(config: &SandboxConfig) -> bool {
    config.pids_max.is_some() || config.resources.is_some()
}

/// A pod's group as the runtime wants it told: a path, or with systemd a slice.
fn parent(cgroup: &Path, uid: &str, systemd: bool) -> String {
    if !systemd {
        return cgroup.join(format!("pod{uid}")).display().to_string();
    }
    // A dash in a slice's name is a step down: one for the node, one for the pod.
    let words = |text: &str| text.trim_matches('/').replace(['/', '-'], "_");
    format!("{}-pod{}.slice", words(&cgroup.display().to_string()), words(uid))
}

impl Shared {
    /// See [`parent`].
    pub(super) fn cgroup_parent(&self, uid: &str) -> String {
        parent(&self.options.cgroup, uid, self.configuration.systemd)
    }

    /// Limits the pod's containers together. The runtime has made their group with the sandbox.
    pub(super) async fn limit(&self, config: &SandboxConfig) {
        let Some(groups) = self.groups.clone().filter(|_| limits(config)) else { return };
        let told = self.cgroup_parent(&config.uid);
        let group = if self.configuration.systemd { slice_path(&told) } else { told.into() };
        let own = config.clone();
        let limiting = tokio::task::spawn_blocking(move || groups.limit(&group, own.pids_max, own.resources.as_ref()));
        if let Ok(Err(error)) = limiting.await {
            tracing::warn!("pod {}/{} is not limited as a whole: {error}", config.namespace, config.name);
        }
    }

    /// Removes a pod's group once its last sandbox is gone. Systemd removes its own.
    pub(super) async fn remove_group(&self, uid: &str) {
        let Some(groups) = self.groups.clone().filter(|_| !self.configuration.systemd) else { return };
        let group = self.options.cgroup.join(format!("pod{uid}"));
        let removing = move || {
            // It is not empty while another sandbox of the pod is in it, and then it stays.
            let _ = groups.remove_if_empty(&group);
        };
        drop(tokio::task::spawn_blocking(removing).await);
    }

    /// Removes the node's group, and the one above it, if no pod is left in them.
    pub(super) async fn remove_node_groups(&self) {
        let Some(groups) = self.groups.clone().filter(|_| !self.configuration.systemd) else { return };
        let node = self.options.cgroup.clone();
        let removing = move || {
            let above = node.parent().filter(|above| *above != Path::new("/"));
            if groups.remove_if_empty(&node)
                && let Some(above) = above
            {
                groups.remove_if_empty(above);
            }
        };
        drop(tokio::task::spawn_blocking(removing).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_driver() {
        let of = |systemd| parent(Path::new("/everynode-0a/n-1"), "1-2", systemd);
        assert_eq!(of(false), "/everynode-0a/n-1/pod1-2");
        assert_eq!(of(true), "everynode_0a_n_1-pod1_2.slice");
        assert_eq!(slice_path(&of(true)), Path::new("/everynode_0a_n_1.slice/everynode_0a_n_1-pod1_2.slice"));
    }
}
