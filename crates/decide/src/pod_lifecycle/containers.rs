//! `containerStatuses` and `initContainerStatuses`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    Pod, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::next::has_started;
use super::policy::{is_sidecar, should_restart};
use super::{Look, SeenContainer, SeenState, init_containers};

/// Exit code that stands for "it is gone and nobody saw how".
const UNKNOWN_EXIT: i32 = 137;

/// What the API server last heard of that container.
pub(super) fn old_status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let apps = status.container_statuses.iter().flatten();
    let more = status.init_container_statuses.iter().chain(&status.ephemeral_container_statuses).flatten();
    apps.chain(more).find(|s| s.name == name)
}

/// What the API server last heard of exactly this start of a container.
pub(super) fn told_of<'a>(pod: &'a Pod, seen: &SeenContainer) -> Option<&'a ContainerStatus> {
    old_status(pod, &seen.name).filter(|old| old.container_id.as_deref() == Some(seen.container_id().as_str()))
}

fn time(at: Option<Timestamp>) -> Option<Time> {
    // The API carries whole seconds; what it can't carry would make every status look changed.
    at.and_then(|t| Timestamp::from_second(t.as_second()).ok()).map(Time)
}

/// The statuses of the given containers, in their order.
pub(super) fn statuses(look: &Look<'_>, containers: &[Container], init: bool, ended: bool) -> Vec<ContainerStatus> {
    let shown = |container| {
        let mut status = one(look, container, init, ended);
        // An API server always shows it: what it drops or adds would make every status look changed.
        status.last_state.get_or_insert_default();
        status
    };
    containers.iter().map(shown).collect()
}

fn one(look: &Look<'_>, container: &Container, init: bool, pod_ended: bool) -> ContainerStatus {
    let old = old_status(look.pod, &container.name);
    let Some(newest) = look.newest(&container.name) else { return not_made(look, container, old, pod_ended) };
    let mut status = blank(container);
    status.image.clone_from(&newest.image);
    status.image_id.clone_from(&newest.image_id);
    status.container_id = Some(newest.container_id());
    status.restart_count = i32::try_from(newest.attempt).unwrap_or(i32::MAX);
    status.state = Some(state_of(newest, look));
    status.last_state = last_state(look, newest, old);
    let started = has_started(look, container, newest);
    status.started = Some(started);
    let restartable = !init || is_sidecar(container);
    status.ready = match newest.state {
        SeenState::Running => restartable && started && ready(look, container, newest),
        SeenState::Exited => !restartable && newest.exit_code == 0,
        SeenState::Created => false,
    };
    let again = newest.state == SeenState::Exited && should_restart(look.pod, container, init, newest.exit_code);
    if (again || newest.state == SeenState::Created) && !pod_ended {
        wait_for_reason(look, &mut status);
    }
    status
}

/// A container the runtime does not have.
fn not_made(look: &Look<'_>, container: &Container, old: Option<&ContainerStatus>, pod_ended: bool) -> ContainerStatus {
    let mut status = blank(container);
    status.started = Some(false);
    status.state = Some(default_waiting(look));
    if let Some(old) = old {
        status.restart_count = old.restart_count;
        status.last_state.clone_from(&old.last_state);
        let state = old.state.clone().unwrap_or_default();
        if state.terminated.is_some() && (pod_ended || look.sandbox.is_some()) {
            return old.clone();
        }
        if let Some(terminated) = state.terminated {
            status.last_state = Some(ContainerState { terminated: Some(terminated), ..Default::default() });
        } else if state.running.is_some() {
            let gone = Some(ContainerStateTerminated {
                exit_code: UNKNOWN_EXIT,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some(
                    "The container could not be located when the pod was deleted.  The container used to be Running"
                        .to_owned(),
                ),
                ..Default::default()
            });
            let gone = ContainerState { terminated: gone, ..Default::default() };
            if pod_ended || look.deleted() {
                status.state = Some(gone);
                status.container_id.clone_from(&old.container_id);
            } else {
                status.last_state = Some(gone);
            }
        }
    }
    if !pod_ended {
        wait_for_reason(look, &mut status);
    }
    status
}

fn blank(container: &Container) -> ContainerStatus {
    let resources = container.resources.clone();
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        allocated_resources: resources.as_ref().and_then(|r| r.requests.clone()),
        resources,
        volume_mounts: container.volume_mounts.as_ref().map(|mounts| {
            let status = |m: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
                name: m.name.clone(),
                mount_path: m.mount_path.clone(),
                read_only: m.read_only,
                recursive_read_only: recursive(m),
                volume_status: None,
            };
            mounts.iter().map(status).collect()
        }),
        // What the container was made with: both runtimes do as the pod asks.
        stop_signal: container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
        ..Default::default()
    }
}

/// What is known of it: whether `IfPossible` was possible is the runtime's.
fn recursive(mount: &k8s_openapi::api::core::v1::VolumeMount) -> Option<String> {
    match mount.recursive_read_only.as_deref() {
        Some("IfPossible") => None,
        Some("Enabled") => Some("Enabled".to_owned()),
        _ => mount.read_only.filter(|readonly| *readonly).map(|_| "Disabled".to_owned()),
    }
}

fn default_waiting(look: &Look<'_>) -> ContainerState {
    let reason = if init_containers(look.pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message: None };
    ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn state_of(seen: &SeenContainer, look: &Look<'_>) -> ContainerState {
    match seen.state {
        SeenState::Created => default_waiting(look),
        SeenState::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(seen.started_at) }),
            ..Default::default()
        },
        SeenState::Exited => ContainerState { terminated: Some(terminated(seen)), ..Default::default() },
    }
}

fn terminated(seen: &SeenContainer) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: Some(seen.container_id()),
        exit_code: seen.exit_code,
        finished_at: time(seen.finished_at),
        message: Some(seen.message.clone()).filter(|m| !m.is_empty()),
        reason: Some(seen.reason.clone()).filter(|r| !r.is_empty()),
        signal: None,
        started_at: time(seen.started_at),
    }
}

fn last_state(look: &Look<'_>, newest: &SeenContainer, old: Option<&ContainerStatus>) -> Option<ContainerState> {
    let before = look.containers.iter().filter(|c| c.name == newest.name && c.attempt < newest.attempt);
    if let Some(previous) = before.filter(|c| c.state == SeenState::Exited).max_by_key(|c| c.attempt) {
        return Some(ContainerState { terminated: Some(terminated(previous)), ..Default::default() });
    }
    let old = old?;
    let ended = old.state.as_ref().and_then(|s| s.terminated.clone());
    match ended {
        Some(ended) if old.container_id.as_deref() != Some(newest.container_id().as_str()) => {
            Some(ContainerState { terminated: Some(ended), ..Default::default() })
        }
        _ => old.last_state.clone().filter(|s| s.terminated.is_some()),
    }
}

/// A container that ended, or could not be made, and is to start again waits: the reason replaces its state.
fn wait_for_reason(look: &Look<'_>, status: &mut ContainerStatus) {
    let Some(waiting) = look.memory.waiting.get(&status.name) else { return };
    if let Some(state) = status.state.take().filter(|s| s.terminated.is_some()) {
        status.last_state = Some(state);
    }
    status.state = Some(ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(waiting.reason.clone()),
            message: Some(waiting.message.clone()).filter(|m| !m.is_empty()),
        }),
        ..Default::default()
    });
}

fn ready(look: &Look<'_>, container: &Container, seen: &SeenContainer) -> bool {
    if container.readiness_probe.is_none() {
        return true;
    }
    let probed = look.memory.probes.get(&seen.id).and_then(|p| p.ready);
    probed.unwrap_or_else(|| told_of(look.pod, seen).is_some_and(|old| old.ready))
}
