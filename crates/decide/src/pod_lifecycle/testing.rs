//! Pods and containers for the tables.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{SeenContainer, SeenSandbox, SeenState};

/// Seconds after some beginning.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A pod; a name with `+` is a sidecar.
pub(super) fn pod(policy: &str, init: &[&str], apps: &[&str]) -> Pod {
    let container = |name: &&str| Container {
        name: name.trim_end_matches('+').to_owned(),
        image: Some("busybox:1.37".to_owned()),
        restart_policy: name.ends_with('+').then(|| "Always".to_owned()),
        ..Default::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: Some("p".to_owned()),
            namespace: Some("default".to_owned()),
            uid: Some("u".to_owned()),
            ..Default::default()
        },
        spec: Some(PodSpec {
            restart_policy: Some(policy.to_owned()),
            init_containers: Some(init.iter().map(container).collect()).filter(|l: &Vec<_>| !l.is_empty()),
            containers: apps.iter().map(container).collect(),
            ..Default::default()
        }),
        status: None,
    }
}

/// A container in sandbox `s`; it ran from second 0 to second 1.
pub(super) fn seen(name: &str, attempt: u32, state: SeenState) -> SeenContainer {
    let exited = state == SeenState::Exited;
    SeenContainer {
        runtime: "everynode".to_owned(),
        id: format!("{name}-{attempt}"),
        sandbox: "s".to_owned(),
        name: name.to_owned(),
        attempt,
        state,
        started_at: (state != SeenState::Created).then(|| at(0)),
        finished_at: exited.then(|| at(1)),
        exit_code: 0,
        reason: if exited { "Completed".to_owned() } else { String::new() },
        message: String::new(),
        image: "busybox:1.37".to_owned(),
        image_id: "sha256:1".to_owned(),
    }
}

/// An ended container.
pub(super) fn exited(name: &str, attempt: u32, code: i32) -> SeenContainer {
    let mut container = seen(name, attempt, SeenState::Exited);
    container.exit_code = code;
    if code != 0 {
        "Error".clone_into(&mut container.reason);
    }
    container
}

/// The sandbox `s`.
pub(super) fn sandbox(ready: bool) -> SeenSandbox {
    SeenSandbox { id: "s".to_owned(), ready, attempt: 0 }
}
