//! `pod.status` from one look.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Facts, conditions};
use super::containers::statuses;
use super::ephemeral::ephemeral_statuses;
use super::phase::phase;
use super::{Look, SeenState, app_containers, init_containers};

/// The addresses of a pod and of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of the node.
    pub host: Vec<IpAddr>,
    /// Of the pod; with the node's network those of the node.
    pub pod: Vec<IpAddr>,
}

/// The whole status. `ended`: nothing of the pod runs and nothing of it will start again.
pub fn status(look: &Look<'_>, addresses: &Addresses, ended: bool) -> PodStatus {
    let old = look.pod.status.clone().unwrap_or_default();
    let failed = look.memory.failed.as_ref();
    let mut all = statuses(look, init_containers(look.pod), true, ended);
    let first_app = all.len();
    all.extend(statuses(look, app_containers(look.pod), false, ended));
    let initialized = app_containers(look.pod)
        .iter()
        .any(|c| look.active(&c.name).is_some_and(|seen| seen.state != SeenState::Created));
    let now_phase = match old.phase.as_deref() {
        Some("Succeeded") => "Succeeded",
        Some("Failed") => "Failed",
        _ if failed.is_some() && ended => "Failed",
        _ => phase(look.pod, &all, ended, initialized),
    };
    let facts = Facts {
        pod: look.pod,
        statuses: &all,
        phase: now_phase,
        sandbox_ready: look.sandbox.is_some_and(|s| s.ready) && !ended,
        now: look.now,
    };
    let conditions = conditions(&facts);
    let same_phase = old.phase.as_deref() == Some(now_phase);
    let (reason, message) = match failed {
        Some(failure) => (Some(failure.reason.clone()), Some(failure.message.clone())),
        None if same_phase => (old.reason.clone(), old.message.clone()),
        None => (None, None),
    };
    let pod_ips = if addresses.pod.is_empty() { old_ips(&old) } else { texts(&addresses.pod) };
    let apps = all.split_off(first_app);
    PodStatus {
        conditions: Some(conditions),
        container_statuses: Some(apps),
        ephemeral_container_statuses: Some(ephemeral_statuses(look, ended)).filter(|l| !l.is_empty()),
        init_container_statuses: Some(all).filter(|l| !l.is_empty()),
        host_ip: addresses.host.first().map(ToString::to_string),
        host_ips: Some(texts(&addresses.host).into_iter().map(|ip| HostIP { ip }).collect()),
        phase: Some(now_phase.to_owned()),
        reason,
        message,
        pod_ip: pod_ips.first().cloned(),
        pod_ips: Some(pod_ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: old.start_time.clone().or_else(|| Timestamp::from_second(look.now.as_second()).ok().map(Time)),
        observed_generation: look.pod.metadata.generation,
        ..old
    }
}

fn texts(ips: &[IpAddr]) -> Vec<String> {
    ips.iter().map(ToString::to_string).collect()
}

fn old_ips(old: &PodStatus) -> Vec<String> {
    old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
