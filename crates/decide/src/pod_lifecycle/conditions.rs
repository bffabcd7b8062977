//! `status.conditions`, in the order Kubernetes writes them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{app_containers, init_containers, is_sidecar};

/// The conditions that a node writes; the others belong to someone else and stay.
const OURS: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// What conditions follow from.
pub(super) struct Facts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) statuses: &'a [ContainerStatus],
    pub(super) phase: &'a str,
    pub(super) sandbox_ready: bool,
    pub(super) now: Timestamp,
}

/// A condition before its time of transition is known.
struct Verdict {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    const fn plain(holds: bool) -> Self {
        Self { holds, reason: None, message: None }
    }

    const fn because(holds: bool, reason: &'static str) -> Self {
        Self { holds, reason: Some(reason), message: None }
    }
}

pub(super) fn conditions(facts: &Facts<'_>) -> Vec<PodCondition> {
    let old = facts.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let mut list: Vec<PodCondition> = old.iter().filter(|c| !OURS.contains(&c.type_.as_str())).cloned().collect();
    let verdicts = [
        Verdict::plain(facts.sandbox_ready),
        initialized(facts, old),
        ready(facts, &list),
        containers_ready(facts),
        Verdict::plain(true),
    ];
    for (type_, verdict) in OURS.into_iter().zip(verdicts) {
        let before = old.iter().find(|c| c.type_ == type_);
        list.push(dated(facts, type_, verdict, before));
    }
    list
}

fn dated(facts: &Facts<'_>, type_: &str, verdict: Verdict, before: Option<&PodCondition>) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let kept = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_probe_time: None,
        last_transition_time: kept.or_else(|| Timestamp::from_second(facts.now.as_second()).ok().map(Time)),
        observed_generation: facts.pod.metadata.generation,
    }
}

fn names(list: &[&str]) -> String {
    format!("[{}]", list.join(" "))
}

fn missing(parts: [(&str, &[&str]); 2]) -> Option<String> {
    let texts: Vec<String> = parts
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(what, list)| format!("containers with {what} status: {}", names(list)))
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn containers_ready(facts: &Facts<'_>) -> Verdict {
    match facts.phase {
        "Succeeded" => return Verdict::because(false, "PodCompleted"),
        "Failed" => return Verdict::because(false, "PodFailed"),
        _ => {}
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = init_containers(facts.pod).iter().filter(|c| is_sidecar(c));
    for container in sidecars.chain(app_containers(facts.pod)) {
        match facts.statuses.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    match missing([("unknown", &unknown), ("unready", &unready)]) {
        None => Verdict::plain(true),
        message => Verdict { holds: false, reason: Some("ContainersNotReady"), message },
    }
}

fn ready(facts: &Facts<'_>, foreign: &[PodCondition]) -> Verdict {
    let containers = containers_ready(facts);
    if !containers.holds {
        return containers;
    }
    let gates = facts.pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    let mut texts = Vec::new();
    for gate in gates {
        let name = &gate.condition_type;
        match foreign.iter().find(|c| c.type_ == *name) {
            None => texts.push(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
            Some(c) if c.status != "True" => {
                texts.push(format!("the status of pod readiness gate \"{name}\" is not \"True\", but {}", c.status));
            }
            Some(_) => {}
        }
    }
    if texts.is_empty() {
        return containers;
    }
    Verdict { holds: false, reason: Some("ReadinessGatesNotReady"), message: Some(texts.join(", ")) }
}

fn initialized(facts: &Facts<'_>, old: &[PodCondition]) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in init_containers(facts.pod) {
        let Some(status) = facts.statuses.iter().find(|s| s.name == container.name) else {
            unknown.push(container.name.as_str());
            continue;
        };
        let done = if is_sidecar(container) { status.started == Some(true) } else { status.ready };
        if !done {
            incomplete.push(container.name.as_str());
        }
    }
    if facts.phase == "Succeeded" && unknown.is_empty() {
        return Verdict::because(true, "PodCompleted");
    }
    let any_started = app_containers(facts.pod).iter().any(|c| {
        let status = facts.statuses.iter().find(|s| s.name == c.name);
        status.is_some_and(|s| {
            let state = s.state.as_ref();
            state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
                || s.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
        })
    });
    let was = old.iter().any(|c| c.type_ == "Initialized" && c.status == "True");
    match missing([("unknown", &unknown), ("incomplete", &incomplete)]) {
        Some(message) if !any_started && !was => {
            Verdict { holds: false, reason: Some("ContainersNotInitialized"), message: Some(message) }
        }
        _ => Verdict::plain(true),
    }
}
