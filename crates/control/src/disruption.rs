//! The disruption controller: carries out `decide::disruption` for each budget.
//!
//! Invariants: a status is stored on the version of the budget that it was reckoned for.
//!
//! Absent: any decision; budgets over pods of kinds that no controller here knows (they allow nothing, unless they state
//! a number of pods).

use std::sync::Arc;

use api::selector::Labels;
use decide::disruption::plan;
use decide::replicaset;
use decide::view::{Controller, PodView};
use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::Sync;
use crate::hub::{Hub, until};
use crate::key::Key;
use crate::record::{About, Event};
use crate::wire;
use crate::world::World;

const SOURCE: &str = "controllermanager";

/// Reckons one budget.
pub(crate) async fn sync(hub: Arc<Hub>, key: Key) -> Sync {
    let now = Timestamp::now();
    let (budget, plan) = {
        let world = hub.world();
        let Some(budget) = world.budgets.get(&key).cloned() else { return Ok(()) };
        let selector = selector(&budget);
        let pods: Vec<Arc<PodView>> =
            world.pods.in_namespace(&key.namespace).filter(|p| selector.matches(&p.labels)).cloned().collect();
        let pods: Vec<&PodView> = pods.iter().map(AsRef::as_ref).collect();
        let plan = plan(&budget, &pods, |controller| replicas(&world, &key.namespace, controller), now);
        (budget, plan)
    };
    if let Some(at) = plan.look_again {
        hub.budgets.add_after(key.clone(), until(at));
    }
    let Some(status) = plan.status else { return Ok(()) };
    if let Some(told) = plan.event {
        let uid = budget.metadata.uid.clone().unwrap_or_default();
        let about = About { api_version: "policy/v1", kind: "PodDisruptionBudget", key: key.clone(), uid };
        let (warning, reason, message) = (told.warning, told.reason, told.message);
        hub.recorder.record(Event { source: SOURCE, about, warning, reason, message });
    }
    let mut budget = budget.as_ref().clone();
    budget.status = Some(status);
    match wire::replace(&hub.client, wire::budgets(), &key, "status", &budget).await {
        Err(error) if wire::is_gone(&error) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// The pods that a budget is about.
pub(crate) fn selector(budget: &PodDisruptionBudget) -> Labels {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    Labels::from_label_selector(selector).unwrap_or_else(|_| Labels::nothing())
}

/// The replicas that a controller wants.
fn replicas(world: &World, namespace: &str, controller: &Controller) -> Option<i32> {
    if controller.kind != replicaset::KIND {
        return None;
    }
    let set = world.replica_sets.get(&Key::new(namespace, &controller.name))?;
    let same = set.metadata.uid.as_deref() == Some(&controller.uid);
    same.then(|| set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1))
}

/// Looks at the budgets that may be about a pod.
pub(crate) fn pod_changed(hub: &Hub, before: Option<&PodView>, after: Option<&PodView>) {
    let same = |b: &PodView, a: &PodView| {
        b.labels == a.labels && b.ready == a.ready && b.deleting.is_some() == a.deleting.is_some()
    };
    if before.zip(after).is_some_and(|(before, after)| same(before, after)) {
        return;
    }
    let Some(pod) = after.or(before) else { return };
    let keys: Vec<Key> = {
        let world = hub.world();
        let about = |budget: &&Arc<PodDisruptionBudget>| {
            let selector = selector(budget);
            [before, after].into_iter().flatten().any(|p| selector.matches(&p.labels))
        };
        World::in_namespace(&world.budgets, &pod.namespace).filter(about).map(|b| Key::of(&b.metadata)).collect()
    };
    keys.into_iter().for_each(|key| hub.budgets.add(key));
}
