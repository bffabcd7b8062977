//! Containers that somebody puts into a pod that runs, to look around (`kubectl debug`).
//!
//! # Invariants
//! Each is started once, when there is a sandbox, whatever the others do; it starts never again, and the pod's phase and
//! conditions do not depend on it.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, EphemeralContainer, Pod};

use super::Look;
use super::containers::statuses;

/// They as containers like others, which never restart. What the API server lets no such container have is left out.
pub fn ephemeral_containers(pod: &Pod) -> Vec<Container> {
    let list = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    list.map(as_container).collect()
}

/// The container whose processes it shall see.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let mut list = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let found = list.find(|container| container.name == name)?;
    found.target_container_name.as_deref().filter(|target| !target.is_empty())
}

fn as_container(of: &EphemeralContainer) -> Container {
    let of = of.clone();
    Container {
        name: of.name,
        image: of.image,
        command: of.command,
        args: of.args,
        working_dir: of.working_dir,
        env: of.env,
        env_from: of.env_from,
        volume_mounts: of.volume_mounts,
        image_pull_policy: of.image_pull_policy,
        security_context: of.security_context,
        termination_message_path: of.termination_message_path,
        termination_message_policy: of.termination_message_policy,
        stdin: of.stdin,
        stdin_once: of.stdin_once,
        tty: of.tty,
        restart_policy: Some("Never".to_owned()),
        ..Default::default()
    }
}

/// `ephemeralContainerStatuses`: they are never ready, for nobody is sent to them.
pub(super) fn ephemeral_statuses(look: &Look<'_>, ended: bool) -> Vec<ContainerStatus> {
    let mut all = statuses(look, &ephemeral_containers(look.pod), false, ended);
    for status in &mut all {
        status.ready = false;
        status.started = None;
    }
    all
}
