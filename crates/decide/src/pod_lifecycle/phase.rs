//! `status.phase`.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::policy::should_restart;
use super::{app_containers, init_containers, is_sidecar};

/// What the containers of one kind do.
#[derive(Default)]
struct Count {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    restartable: usize,
    succeeded: usize,
}

/// The phase that follows from the containers. `ended`: the pod will start nothing again; `initialized`: an app container
/// has run in the sandbox of now.
pub(super) fn phase(pod: &Pod, statuses: &[ContainerStatus], ended: bool, initialized: bool) -> &'static str {
    let find = |name: &str| statuses.iter().find(|s| s.name == name);
    let mut pending = 0;
    let mut count = Count::default();
    let mut pending_sidecars = 0;
    for container in init_containers(pod) {
        let status = find(&container.name);
        let state = status.and_then(|s| s.state.clone()).unwrap_or_default();
        let last = status.and_then(|s| s.last_state.as_ref()).and_then(|s| s.terminated.as_ref());
        if is_sidecar(container) {
            if state.running.is_some() {
                count.running += 1;
                pending_sidecars += usize::from(status.is_none_or(|s| s.started != Some(true)));
            } else if state.terminated.is_none() && last.is_none() {
                pending_sidecars += 1;
                count.waiting += 1;
            }
            continue;
        }
        match state.terminated.as_ref().or(last.filter(|_| state.waiting.is_some())) {
            None => pending += 1,
            Some(end) if end.exit_code != 0 && !should_restart(pod, container, true, end.exit_code) => return "Failed",
            Some(end) if end.exit_code != 0 && state.waiting.is_some() => pending += usize::from(!initialized),
            Some(_) => {}
        }
    }
    for container in app_containers(pod) {
        count_app(pod, container, find(&container.name), &mut count);
    }
    if pending > 0 || (pending_sidecars > 0 && !initialized) || count.waiting > 0 {
        return "Pending";
    }
    decide(&count, ended)
}

fn count_app(
    pod: &Pod,
    container: &k8s_openapi::api::core::v1::Container,
    status: Option<&ContainerStatus>,
    count: &mut Count,
) {
    let Some(status) = status else {
        count.unknown += 1;
        return;
    };
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    if state.running.is_some() {
        count.running += 1;
    } else if let Some(end) = state.terminated {
        count.stopped += 1;
        count.restartable += usize::from(should_restart(pod, container, false, end.exit_code));
        count.succeeded += usize::from(end.exit_code == 0);
    } else if let Some(end) = last {
        count.stopped += 1;
        count.restartable += usize::from(should_restart(pod, container, false, end.exit_code));
    } else {
        count.waiting += 1;
    }
}

fn decide(count: &Count, ended: bool) -> &'static str {
    if count.unknown > 0 {
        return "Pending";
    }
    if count.running > 0 {
        return "Running";
    }
    if count.stopped == 0 {
        return "Pending";
    }
    if !ended && count.restartable > 0 {
        return "Running";
    }
    if count.stopped == count.succeeded { "Succeeded" } else { "Failed" }
}
