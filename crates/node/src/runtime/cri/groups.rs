//! The control group that a pod's containers share.

use std::path::Path;

use super::Shared;

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
}

#[cfg(test)]
mod tests {
    use super::super::info::slice_path;
    use super::*;

    #[test]
    fn groups_by_driver() {
        let of = |systemd| parent(Path::new("/everynode-0a/n-1"), "1-2", systemd);
        assert_eq!(of(false), "/everynode-0a/n-1/pod1-2");
        assert_eq!(of(true), "everynode_0a_n_1-pod1_2.slice");
        assert_eq!(slice_path(&of(true)), Path::new("/everynode_0a_n_1.slice/everynode_0a_n_1-pod1_2.slice"));
    }
}
