//! ReplicaSets: how many pods to create or which to delete, and the status.
//!
//! Invariants: pods that are going or have ended count neither as wanted nor as surplus; one plan never creates or
//! deletes more than [`BURST_REPLICAS`]; same input, same plan.
//!
//! Absent: placement (the scheduler) and names (the API server).

mod rank;
#[cfg(test)]
mod tests;

use api::selector::Labels;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::claim::{Claim, Claimant, controller_reference};
use crate::limits::BURST_REPLICAS;
use crate::view::PodView;

/// `apiVersion` of ReplicaSets.
pub const API_VERSION: &str = "apps/v1";
/// `kind` of ReplicaSets.
pub const KIND: &str = "ReplicaSet";

/// One write; pods are meant by name and UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Become the controller of a pod.
    AdoptPod(String, String),
    /// Stop being the controller of a pod.
    ReleasePod(String, String),
    /// Delete a pod.
    DeletePod(String, String),
    /// Create one pod ([`new_pod`]).
    CreatePod,
}

/// What to do next about one ReplicaSet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Writes, in order.
    pub actions: Vec<Action>,
    /// The status to store, if it differs from the one stored.
    pub status: Option<ReplicaSetStatus>,
    /// When to look again even if nothing changes.
    pub requeue_at: Option<Timestamp>,
}

/// What to do next about `desired`, given the pods of its namespace that it or nobody controls, and `related` ones: those
/// of other ReplicaSets of the same owner, which make a node crowded too.
#[must_use]
pub fn plan(desired: &ReplicaSet, pods: &[&PodView], related: &[&PodView], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = desired.spec.as_ref() else { return plan };
    let Ok(selector) = Labels::from_label_selector(Some(&spec.selector)) else { return plan };
    let deleting = desired.metadata.deletion_timestamp.is_some();
    let uid = desired.metadata.uid.as_deref().unwrap_or_default();
    let active = claim(&Claimant { uid, selector: &selector, deleting }, pods, &mut plan.actions);
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    if !deleting && active.len() < wanted {
        plan.actions.extend((active.len()..wanted).take(BURST_REPLICAS).map(|_| Action::CreatePod));
    } else if !deleting && active.len() > wanted {
        let surplus = (active.len() - wanted).min(BURST_REPLICAS);
        let ranked = rank::rank(&active, related, now);
        let deletions = ranked.into_iter().take(surplus);
        plan.actions.extend(deletions.map(|p| Action::DeletePod(p.name.clone(), p.uid.clone())));
    }
    let min_ready_seconds = spec.min_ready_seconds.unwrap_or_default();
    let status = status(desired, &active, pods, min_ready_seconds, now);
    plan.status = (desired.status.as_ref() != Some(&status)).then_some(status);
    plan.requeue_at = active.iter().filter_map(|p| p.available_at(min_ready_seconds)).filter(|at| *at > now).min();
    plan
}

fn claim<'a>(claimant: &Claimant<'_>, pods: &[&'a PodView], actions: &mut Vec<Action>) -> Vec<&'a PodView> {
    let mut sorted: Vec<&PodView> = pods.iter().copied().filter(|p| !p.phase.is_terminal()).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut active = Vec::new();
    for pod in sorted {
        let controller = pod.controller.as_ref().map(|c| c.uid.as_str());
        let claim = claimant.claim(&pod.labels, controller, pod.deleting.is_some());
        let (name, uid) = (pod.name.clone(), pod.uid.clone());
        match claim {
            Claim::Adopt => actions.push(Action::AdoptPod(name, uid)),
            Claim::Release => actions.push(Action::ReleasePod(name, uid)),
            _ => {}
        }
        if matches!(claim, Claim::Owned | Claim::Adopt) && pod.deleting.is_none() {
            active.push(pod);
        }
    }
    active
}

fn status(
    desired: &ReplicaSet,
    active: &[&PodView],
    all: &[&PodView],
    min_ready_seconds: i32,
    now: Timestamp,
) -> ReplicaSetStatus {
    let count =
        |keep: &dyn Fn(&PodView) -> bool| i32::try_from(active.iter().filter(|p| keep(p)).count()).unwrap_or(i32::MAX);
    let unless_zero = |number: i32| (number != 0).then_some(number);
    let template = desired.spec.as_ref().and_then(|s| s.template.as_ref());
    let labels = template.and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.clone()).unwrap_or_default();
    let uid = desired.metadata.uid.as_deref();
    let going = all.iter().filter(|p| {
        let owned = p.controller.as_ref().map(|c| c.uid.as_str()) == uid;
        owned && p.deleting.is_some() && !p.phase.is_terminal()
    });
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: unless_zero(count(&|p| labels.iter().all(|(k, v)| p.labels.get(k) == Some(v)))),
        ready_replicas: unless_zero(count(&|p| p.ready)),
        available_replicas: unless_zero(count(&|p| p.is_available(min_ready_seconds, now))),
        terminating_replicas: Some(i32::try_from(going.count()).unwrap_or(i32::MAX)),
        observed_generation: desired.metadata.generation,
        conditions: desired.status.as_ref().and_then(|s| s.conditions.clone()),
    }
}

/// The condition that says that pods could not be created or deleted.
const FAILURE: &str = "ReplicaFailure";

/// The status to store after a plan was carried out, if it differs from the one stored: `planned` with what became of the
/// writes. `failure` is what the API server said to one that failed.
#[must_use]
pub fn outcome(desired: &ReplicaSet, plan: &Plan, failure: Option<&str>, now: Timestamp) -> Option<ReplicaSetStatus> {
    let stored = desired.status.clone().unwrap_or_default();
    let mut status = plan.status.clone().unwrap_or_else(|| stored.clone());
    let mut conditions = status.conditions.take().unwrap_or_default();
    let known = conditions.iter().any(|c| c.type_ == FAILURE);
    match failure {
        Some(message) if !known => {
            let creates = plan.actions.contains(&Action::CreatePod);
            conditions.push(ReplicaSetCondition {
                type_: FAILURE.to_owned(),
                status: "True".to_owned(),
                reason: Some(if creates { "FailedCreate" } else { "FailedDelete" }.to_owned()),
                message: Some(message.to_owned()),
                last_transition_time: Some(now.into()),
            });
        }
        None if known => conditions.retain(|c| c.type_ != FAILURE),
        _ => {}
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    (status != stored).then_some(status)
}

/// The pod of a ReplicaSet.
#[must_use]
pub fn new_pod(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![controller_reference(API_VERSION, KIND, name, uid)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
