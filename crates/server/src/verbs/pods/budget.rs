//! Disruption budgets: whether a pod may be evicted now, and what that takes from its budget.
//!
//! # Invariants
//! A disruption is taken from the budget before the pod is deleted, over the revision that allowed it: two evictions at once
//! never share one.
//!
//! # Absent
//! Computing what a budget allows: the status of a budget is a controller's.

use api::selector::Labels;
use api::status::{self, Status};
use serde_json::{Value, json};
use store::{Entry, Store};

use crate::app::{App, Place, failure};
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::object::{self, meta};
use crate::selection::labels_of;
use crate::verbs::write::{now, store_over};

/// Evicted pods that a budget's controller has not seen yet; more means that it does not look.
const UNSEEN_MAX: usize = 2000;

/// What a budget says of an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The pod may go.
    Free,
    /// It may go as long as it is as it was looked at: not ready.
    AsItIs,
}

/// Asks the pod's budget, and takes a disruption from it.
///
/// # Errors
/// 429 when the budget holds the pod; 500 for a pod of several budgets, as in Kubernetes.
pub(super) async fn ask<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    pod: &Value,
    entry: &Entry,
    dry_run: bool,
) -> Result<Verdict, Status> {
    let Some(kind) = api::kinds::find("policy", "v1", "poddisruptionbudgets") else { return Ok(Verdict::Free) };
    let labels = labels_of(&entry.value);
    let page = app.store.list(object::prefix(kind, place.namespace).as_bytes(), b"", 0, None).await.map_err(failure)?;
    let mut budgets = Vec::new();
    for entry in page.entries {
        let budget = object::decode(&entry)?;
        let selector = &budget["spec"]["selector"];
        if !selector.is_null() && Labels::from_json(selector).is_ok_and(|selector| selector.matches(&labels)) {
            budgets.push((entry, budget));
        }
    }
    let (mut entry, mut budget) = match budgets.len() {
        0 => return Ok(Verdict::Free),
        1 => budgets.remove(0),
        _ => {
            let mut refused = status::internal("");
            refused.body["message"] =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
                    .into();
            return Err(refused);
        }
    };
    if !is_ready(pod) && lets_unready_go(&budget) {
        return Ok(Verdict::AsItIs);
    }
    let name = meta(&budget, "name").to_owned();
    let place_of_budget = Place { kind, name: &name, ..place };
    for _ in 0..CONFLICT_RETRIES_MAX {
        let taken = take(place_of_budget, &budget, place.name)?;
        if dry_run || store_over(app, place_of_budget, &entry, taken).await?.is_some() {
            return Ok(Verdict::Free);
        }
        entry = app.entry(place_of_budget).await?;
        budget = object::decode(&entry)?;
    }
    Err(status::timeout(&format!("couldn't update PodDisruptionBudget {name:?} due to conflicts"), 10))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn count(budget: &Value, field: &str) -> i64 {
    budget["status"][field].as_i64().unwrap_or(0)
}

/// Whether pods that are not ready do not count.
fn lets_unready_go(budget: &Value) -> bool {
    let (current, desired) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || (current >= desired && desired > 0)
}

/// The budget with one disruption less.
fn take(place: Place<'_>, budget: &Value, pod: &str) -> Result<Value, Status> {
    let name = place.name;
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    if count(budget, "observedGeneration") < generation {
        return Err(held(format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    let allowed = count(budget, "disruptionsAllowed");
    let forbidden = |why| Err(status::forbidden("policy", "poddisruptionbudget", name, why));
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > UNSEEN_MAX) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let (desired, current) = (count(budget, "desiredHealthy"), count(budget, "currentHealthy"));
        let why = format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently");
        return Err(held(why, 0));
    }
    let mut taken = budget.clone();
    taken["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if !taken["status"]["disruptedPods"].is_object() {
        taken["status"]["disruptedPods"] = json!({});
    }
    taken["status"]["disruptedPods"][pod] = now().into();
    Ok(taken)
}

fn held(why: String, retry_seconds: u32) -> Status {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = status::too_many_requests(text, retry_seconds);
    status.body["details"]["causes"] = json!([{"reason": "DisruptionBudget", "message": why}]);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_budget_allows() {
        let kind = api::kinds::find("policy", "v1", "poddisruptionbudgets").unwrap();
        let place = Place { kind, namespace: Some("a"), name: "b" };
        let budget = |allowed: i64, observed: i64| {
            json!({"metadata": {"name": "b", "generation": 1}, "status": {"disruptionsAllowed": allowed,
                "observedGeneration": observed, "desiredHealthy": 2, "currentHealthy": 2}})
        };
        let taken = take(place, &budget(1, 1), "p").unwrap();
        assert_eq!(taken["status"]["disruptionsAllowed"], 0);
        assert!(taken["status"]["disruptedPods"]["p"].is_string());
        for (budget, code, cause) in [
            (budget(1, 0), 429, "The disruption budget b is still being processed by the server."),
            (budget(0, 1), 429, "The disruption budget b needs 2 healthy pods and has 2 currently"),
            (budget(-1, 1), 403, ""),
        ] {
            let refused = take(place, &budget, "p").unwrap_err();
            assert_eq!(refused.code, code);
            assert_eq!(refused.body["details"]["causes"][0]["message"].as_str().unwrap_or_default(), cause);
        }
        assert!(lets_unready_go(&budget(0, 1)) && !lets_unready_go(&json!({"status": {}})));
    }
}
