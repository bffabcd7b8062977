//! A container's start: image, configuration, creation, first instruction, postStart; and what went wrong on the way.

use decide::pod_lifecycle::{StartFailure, Waiting, ephemeral_containers, target};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::container::{Parts, container};
use super::downward::Ips;
use super::image::{self, NoImage};
use super::{Agent, hooks};
use crate::runtime::{ContainerId, Runtime, RuntimeError, SandboxId};
use crate::volumes::Mounted;

/// What a start needs to know of its pod.
pub(super) struct Place<'a> {
    pub(super) pod: &'a Pod,
    pub(super) sandbox: &'a SandboxId,
    pub(super) volumes: &'a Mounted,
    pub(super) ips: &'a Ips,
    pub(super) old_failure: Option<&'a StartFailure>,
    /// The container that this one shall see the processes of, where it runs.
    pub(super) target: Option<ContainerId>,
}

/// Finds a container of the pod by name.
pub(super) fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
}

/// Finds it also among those that were put in later.
pub(super) fn find_any(pod: &Pod, name: &str) -> Option<Container> {
    let later = || ephemeral_containers(pod).into_iter().find(|container| container.name == name);
    find(pod, name).cloned().or_else(later)
}

/// Makes and starts a container.
///
/// # Errors
/// What the pod waits for, and how long.
pub(super) async fn start<R: Runtime>(
    agent: &Agent<R>,
    place: &Place<'_>,
    name: &str,
    attempt: u32,
) -> Result<(), StartFailure> {
    let Some(spec) = &find_any(place.pod, name) else { return Ok(()) };
    let image = match image::ensure(agent, place.pod, spec).await {
        Ok(image) => image,
        Err(NoImage { waiting, pulled: true }) => {
            let image = spec.image.as_deref().unwrap_or_default();
            return Err(StartFailure::image(place.old_failure, waiting, image, Timestamp::now()));
        }
        Err(NoImage { waiting, .. }) => return Err(StartFailure::other(place.old_failure, waiting, Timestamp::now())),
    };
    let fail = |reason: &str, message: String| failure(agent, place, name, reason, message);
    if let Some(target) = target(place.pod, name).filter(|_| place.target.is_none()) {
        return Err(fail(
            "CreateContainerConfigError",
            format!("unable to find target container \"{target}\": it does not run"),
        ));
    }
    let parts = Parts { target: place.target.clone(), attempt, image: &image, volumes: place.volumes, ips: place.ips };
    let config = container(agent, place.pod, spec, &parts)
        .await
        .map_err(|error| fail("CreateContainerConfigError", error.to_string()))?;
    let id = agent
        .runtime
        .create_container(place.sandbox, config)
        .await
        .map_err(|error| fail("CreateContainerError", error.to_string()))?;
    agent.recorder.pod_event(place.pod, Some(name), false, "Created", "Container created");
    begin(agent, place, spec, &id).await
}

/// Starts a container that is made, and runs its postStart hook.
///
/// # Errors
/// As [`start`].
pub(super) async fn begin<R: Runtime>(
    agent: &Agent<R>,
    place: &Place<'_>,
    spec: &Container,
    id: &ContainerId,
) -> Result<(), StartFailure> {
    let name = &spec.name;
    if let Err(error) = agent.runtime.start_container(id).await {
        // What never ran must not look like a start that waits.
        match agent.runtime.container_status(id).await {
            Ok(status) if status.state == crate::runtime::ContainerState::Exited => {}
            _ => drop(agent.runtime.remove_container(id).await),
        }
        return Err(failure(agent, place, name, "RunContainerError", error.to_string()));
    }
    agent.recorder.pod_event(place.pod, Some(name), false, "Started", "Container started");
    let Some(hook) = spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
    let ip = place.ips.pod.first().cloned().unwrap_or_default();
    if let Err(error) = hooks::run(agent, id, spec, hook, &ip, hooks::POST_START_MAX).await {
        agent.recorder.pod_event(place.pod, Some(name), true, "FailedPostStartHook", "PostStartHook failed");
        agent.recorder.pod_event(place.pod, Some(name), false, "Killing", "FailedPostStartHook");
        tracing::debug!("{}: postStart of {name}: {error}", super::pod_words(place.pod));
        if let Err(error) = agent.runtime.stop_container(id, super::stop::grace(place.pod)).await {
            return Err(failure(agent, place, name, "PostStartHookError", error.to_string()));
        }
    }
    Ok(())
}

fn failure<R>(agent: &Agent<R>, place: &Place<'_>, name: &str, reason: &str, message: String) -> StartFailure {
    agent.recorder.pod_event(place.pod, Some(name), true, "Failed", &format!("Error: {message}"));
    let waiting = Waiting { reason: reason.to_owned(), message };
    StartFailure::other(place.old_failure, waiting, Timestamp::now())
}

/// A runtime error as the text of an event.
pub(super) fn sandbox_failure(error: &RuntimeError) -> String {
    format!("Failed to create pod sandbox: {error}")
}
