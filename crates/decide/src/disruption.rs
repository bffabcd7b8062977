//! Disruption budgets: how many of their pods may be disturbed now.
//!
//! Invariants: a budget that cannot be reckoned allows nothing; pods that are about to be deleted do not count as
//! healthy; same input, same status.
//!
//! Absent: who asks to disturb pods; the eviction of a pod counts itself in `disruptedPods` before this sees it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, LabelSelectorRequirement, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::daemonset::{Event, scaled};
use crate::view::{Controller, PodView};

/// Seconds in which a pod that was to be evicted must have been deleted, or it counts again. Kubernetes' figure.
const DELETION_S: i64 = 120;

/// The condition that says whether pods may be disturbed.
const ALLOWED: &str = "DisruptionAllowed";

/// What is to be told of one budget.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The status to store, if it differs from the one stored.
    pub status: Option<PodDisruptionBudgetStatus>,
    /// What to tell the user when the status changes.
    pub event: Option<Event>,
    /// When to look again even if nothing changes.
    pub look_again: Option<Timestamp>,
}

/// How many pods there should be, and how many of them healthy; and whether nobody controls some.
struct Expected {
    pods: i32,
    healthy: i32,
    unmanaged: bool,
}

/// What is to be told of `budget`, given the pods that it selects and the replicas that their controllers want.
#[must_use]
pub fn plan(
    budget: &PodDisruptionBudget,
    pods: &[&PodView],
    replicas: impl Fn(&Controller) -> Option<i32>,
    now: Timestamp,
) -> Plan {
    let stored = budget.status.clone().unwrap_or_default();
    let mut plan = Plan::default();
    let mut failure = None;
    let mut status = match expected(budget, pods, replicas) {
        Ok(expected) => {
            if expected.unmanaged {
                plan.event = Some(Event { warning: true, reason: "UnmanagedPods", message: unmanaged(budget) });
            } else if pods.is_empty() {
                let message = "No matching pods found".to_owned();
                plan.event = Some(Event { warning: false, reason: "NoPods", message });
            }
            let disrupted = disrupted(&stored, pods, now);
            plan.look_again = disrupted.values().map(|at| deadline(at.0)).min();
            let healthy = number(
                pods.iter().filter(|p| p.deleting.is_none() && p.ready && !disrupted.contains_key(&p.name)).count(),
            );
            let allowed = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
            PodDisruptionBudgetStatus {
                current_healthy: Some(healthy),
                desired_healthy: Some(expected.healthy),
                expected_pods: Some(expected.pods),
                disruptions_allowed: Some(allowed),
                disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
                observed_generation: budget.metadata.generation,
                conditions: stored.conditions.clone(),
            }
        }
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            plan.event = Some(Event { warning: true, reason: "CalculateExpectedPodCountFailed", message });
            failure = Some(why);
            PodDisruptionBudgetStatus { disruptions_allowed: Some(0), ..stored.clone() }
        }
    };
    status.conditions = Some(conditions(&status, failure, now));
    plan.status = (status != stored).then_some(status);
    plan
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn unmanaged(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref()).map(shown).unwrap_or_default();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// A selector as Kubernetes prints it.
fn shown(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(k, v)| format!("{k}: {v},")).collect::<String>();
    let one = |e: &LabelSelectorRequirement| {
        let values = e.values.iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", e.key, e.operator)
    };
    let expressions = selector.match_expressions.iter().flatten().map(one).collect::<String>();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

fn expected(
    budget: &PodDisruptionBudget,
    pods: &[&PodView],
    replicas: impl Fn(&Controller) -> Option<i32>,
) -> Result<Expected, String> {
    let spec = budget.spec.as_ref();
    let of = |value: &IntOrString, total: i32| {
        let count = scaled(value, usize::try_from(total).unwrap_or_default());
        count.map(number).ok_or_else(|| "invalid value for IntOrString".to_owned())
    };
    match spec.map(|s| (&s.max_unavailable, &s.min_available)) {
        Some((Some(max), _)) => {
            let (total, unmanaged) = scale(pods, replicas)?;
            Ok(Expected { pods: total, healthy: (total - of(max, total)?).max(0), unmanaged })
        }
        Some((None, Some(IntOrString::Int(min)))) => {
            Ok(Expected { pods: number(pods.len()), healthy: *min, unmanaged: false })
        }
        Some((None, Some(min))) => {
            let (total, unmanaged) = scale(pods, replicas)?;
            Ok(Expected { pods: total, healthy: of(min, total)?, unmanaged })
        }
        _ => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

/// What all controllers of the pods want together, and whether some pods have none.
fn scale(pods: &[&PodView], replicas: impl Fn(&Controller) -> Option<i32>) -> Result<(i32, bool), String> {
    let mut controllers: BTreeMap<&str, i32> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in pods {
        let Some(controller) = &pod.controller else {
            unmanaged = true;
            continue;
        };
        if !controllers.contains_key(controller.uid.as_str()) {
            let wanted = replicas(controller).ok_or_else(|| format!("found no controllers for pod {:?}", pod.name))?;
            controllers.insert(&controller.uid, wanted);
        }
    }
    Ok((controllers.values().fold(0, |sum: i32, n| sum.saturating_add(*n)), unmanaged))
}

fn deadline(since: Timestamp) -> Timestamp {
    since.checked_add(SignedDuration::from_secs(DELETION_S)).unwrap_or(Timestamp::MAX)
}

/// The pods that are still to be deleted.
fn disrupted(stored: &PodDisruptionBudgetStatus, pods: &[&PodView], now: Timestamp) -> BTreeMap<String, Time> {
    let noted = stored.disrupted_pods.iter().flatten();
    let waits = |name: &str| pods.iter().any(|p| p.name == name && p.deleting.is_none());
    noted.filter(|(name, at)| deadline(at.0) >= now && waits(name)).map(|(n, at)| (n.clone(), at.clone())).collect()
}

fn conditions(status: &PodDisruptionBudgetStatus, failure: Option<String>, now: Timestamp) -> Vec<Condition> {
    let (truth, reason, message) = match failure {
        Some(why) => ("False", "SyncFailed", why),
        None if status.disruptions_allowed.unwrap_or_default() > 0 => ("True", "SufficientPods", String::new()),
        None => ("False", "InsufficientPods", String::new()),
    };
    let mut conditions = status.conditions.clone().unwrap_or_default();
    let old = conditions.iter().find(|c| c.type_ == ALLOWED);
    let since = old.filter(|c| c.status == truth).map_or(Time(now), |c| c.last_transition_time.clone());
    let new = Condition {
        type_: ALLOWED.to_owned(),
        status: truth.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: status.observed_generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|c| c.type_ == ALLOWED) {
        Some(known) => *known = new,
        None => conditions.push(new),
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn budget(spec: serde_json::Value) -> PodDisruptionBudget {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "b", "generation": 3}, "spec": spec})).unwrap()
    }

    fn pods(ready: usize, unready: usize) -> Vec<PodView> {
        let pod = |i: usize| PodView {
            name: format!("p{i}"),
            ready: i < ready,
            controller: Some(Controller { kind: "ReplicaSet".into(), name: "r".into(), uid: "r".into() }),
            ..PodView::default()
        };
        (0..ready + unready).map(pod).collect()
    }

    fn run(budget: &PodDisruptionBudget, pods: &[PodView], replicas: Option<i32>) -> Plan {
        plan(budget, &pods.iter().collect::<Vec<_>>(), |_| replicas, at(0))
    }

    #[test]
    fn what_may_be_disturbed_follows_the_healthy() {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        type Case<'a> = (&'a str, (usize, usize), i32, (i32, i32, i32));
        let cases: &[Case<'_>] = &[
            (r#"{"minAvailable":1}"#, (3, 0), 3, (3, 1, 2)),
            (r#"{"minAvailable":1}"#, (1, 2), 3, (3, 1, 0)),
            (r#"{"minAvailable":1}"#, (0, 0), 3, (0, 1, 0)),
            (r#"{"minAvailable":0}"#, (0, 0), 3, (0, 0, 0)),
            (r#"{"minAvailable":"50%"}"#, (3, 0), 3, (3, 2, 1)),
            (r#"{"minAvailable":"50%"}"#, (3, 0), 10, (10, 5, 0)),
            (r#"{"maxUnavailable":1}"#, (3, 0), 3, (3, 2, 1)),
            (r#"{"maxUnavailable":1}"#, (2, 1), 3, (3, 2, 0)),
            (r#"{"maxUnavailable":"30%"}"#, (10, 0), 10, (10, 7, 3)),
            (r#"{"maxUnavailable":9}"#, (3, 0), 3, (3, 0, 3)),
        ];
        for (spec, (ready, unready), replicas, (expected, desired, allowed)) in cases {
            let status = run(&budget(json(spec)), &pods(*ready, *unready), Some(*replicas)).status.unwrap();
            let told =
                (status.expected_pods.unwrap(), status.desired_healthy.unwrap(), status.disruptions_allowed.unwrap());
            assert_eq!(told, (*expected, *desired, *allowed), "{spec}: {ready} of {replicas} ready");
            let condition = &status.conditions.unwrap()[0];
            let reason = if *allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!((condition.reason.as_str(), status.observed_generation), (reason, Some(3)));
        }
    }

    #[test]
    fn what_is_stored_is_not_stored_again() {
        let mut budget = budget(serde_json::json!({"minAvailable": 1}));
        let pods = pods(2, 0);
        budget.status = run(&budget, &pods, Some(2)).status;
        let again = plan(&budget, &pods.iter().collect::<Vec<_>>(), |_| Some(2), at(99));
        assert_eq!(again.status, None);
    }

    #[test]
    fn pods_to_be_deleted_do_not_count_until_their_time_is_over() {
        let mut budget = budget(serde_json::json!({"minAvailable": 1}));
        let mut pods = pods(4, 0);
        pods[3].deleting = Some(at(0));
        let disrupted = [("p0", -60), ("p1", -121), ("gone", 0), ("p3", 0)];
        let disrupted = disrupted.map(|(name, second)| (name.to_owned(), Time(at(second)))).into();
        budget.status = Some(PodDisruptionBudgetStatus { disrupted_pods: Some(disrupted), ..Default::default() });
        let plan = run(&budget, &pods, Some(4));
        let status = plan.status.unwrap();
        assert_eq!(status.disrupted_pods.unwrap().into_keys().collect::<Vec<_>>(), ["p0"]);
        assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(2), Some(1)));
        assert_eq!(plan.look_again, Some(at(60)));
    }

    #[test]
    fn a_budget_that_cannot_be_reckoned_allows_nothing() {
        let mut budget = budget(serde_json::json!({"maxUnavailable": 1}));
        budget.status = Some(PodDisruptionBudgetStatus { disruptions_allowed: Some(7), ..Default::default() });
        let plan = run(&budget, &pods(3, 0), None);
        let status = plan.status.unwrap();
        let condition = &status.conditions.as_ref().unwrap()[0];
        assert_eq!((status.disruptions_allowed, condition.reason.as_str()), (Some(0), "SyncFailed"));
        assert!(plan.event.unwrap().message.ends_with("found no controllers for pod \"p0\""));
        let mut loose = pods(2, 0);
        loose[0].controller = None;
        let plan = run(&budget, &loose, Some(1));
        assert_eq!(plan.event.unwrap().reason, "UnmanagedPods");
        assert_eq!(plan.status.unwrap().expected_pods, Some(1), "pods that nobody controls are not expected");
    }

    #[test]
    fn selectors_are_shown_as_kubernetes_does() {
        let selector = serde_json::json!({"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]});
        let text = "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{\
            LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}";
        assert_eq!(shown(&serde_json::from_value(selector).unwrap()), text);
        let none = run(&budget(serde_json::json!({"minAvailable": 1})), &[], None);
        assert_eq!(none.event.unwrap().message, "No matching pods found");
    }
}
