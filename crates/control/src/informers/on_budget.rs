//! Changes of disruption budgets.

use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::hub::Hub;
use crate::key::Key;
use crate::watch::Seen;

pub(super) fn seen(hub: &Hub, seen: Seen<PodDisruptionBudget>) {
    match seen {
        Seen::Applied(budget) => {
            let key = Key::of(&budget.metadata);
            hub.world().budgets.insert(key.clone(), Arc::from(budget));
            hub.budgets.add(key);
        }
        Seen::Gone(key) => drop(hub.world().budgets.remove(&key)),
        Seen::Listed(names, _) => hub.world().budgets.retain(|key, _| names.contains(key)),
    }
}

/// Looks at all budgets of a namespace.
pub(super) fn all_of(hub: &Hub, namespace: &str) {
    let keys: Vec<Key> = {
        let world = hub.world();
        crate::world::World::in_namespace(&world.budgets, namespace).map(|b| Key::of(&b.metadata)).collect()
    };
    keys.into_iter().for_each(|key| hub.budgets.add(key));
}
