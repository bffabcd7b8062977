//! Changes of RolloutPolicies: the DaemonSets that they are for are to look, and all policies of the namespace, of which
//! one may be in the way of another.

use std::sync::Arc;

use api::rollout_policy::RolloutPolicy;

use crate::hub::Hub;
use crate::key::Key;
use crate::policy::Governing;
use crate::readiness;
use crate::watch::Seen;
use crate::world::World;

pub(super) fn seen(hub: &Hub, seen: Seen<RolloutPolicy>) {
    match seen {
        Seen::Applied(policy) => {
            let key = Key::of(&policy.metadata);
            let after = Arc::new(Governing::from(*policy));
            let before = hub.world().policies.insert(key.clone(), after.clone());
            changed(hub, &key, before.iter().chain([&after]));
            let said = |policy: &Governing| policy.object.status.as_ref().map(|s| s.conditions.clone());
            if before.as_deref().is_none_or(|b| b.object.spec != after.object.spec || said(b) != said(&after)) {
                readiness::wake_all(hub);
            }
            if before.is_none_or(|before| before.object.spec != after.object.spec) {
                all_of(hub, &key.namespace);
            } else {
                hub.policies.add(key);
            }
        }
        Seen::Gone(key) => gone(hub, &key),
        Seen::Listed(names, _) => {
            let lost: Vec<Key> = hub.world().policies.keys().filter(|key| !names.contains(key)).cloned().collect();
            lost.iter().for_each(|key| gone(hub, key));
        }
    }
}

fn gone(hub: &Hub, key: &Key) {
    let before = hub.world().policies.remove(key);
    changed(hub, key, before.iter());
    readiness::wake_all(hub);
    all_of(hub, &key.namespace);
}

fn changed<'a>(hub: &Hub, key: &Key, policies: impl Iterator<Item = &'a Arc<Governing>>) {
    let policies: Vec<&Arc<Governing>> = policies.collect();
    let world = hub.world();
    for set in World::in_namespace(&world.daemon_sets, &key.namespace) {
        let metadata = &set.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        if policies.iter().any(|p| p.object.targets(name, metadata.labels.as_ref())) {
            hub.daemon_sets.add(Key::of(metadata));
        }
    }
}

/// Looks at all policies of a namespace.
pub(super) fn all_of(hub: &Hub, namespace: &str) {
    let keys: Vec<Key> = {
        let world = hub.world();
        World::in_namespace(&world.policies, namespace).map(|p| Key::of(&p.object.metadata)).collect()
    };
    keys.into_iter().for_each(|key| hub.policies.add(key));
}

/// Looks at all policies: a node has come, gone or got other labels.
pub(super) fn all(hub: &Hub) {
    let keys: Vec<Key> = hub.world().policies.keys().cloned().collect();
    keys.into_iter().for_each(|key| hub.policies.add(key));
}
