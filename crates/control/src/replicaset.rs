//! The ReplicaSet controller: takes a snapshot, asks `decide::replicaset`, carries the plan out.
//!
//! Invariants: as for DaemonSets.
//!
//! Absent: any decision.

use std::sync::Arc;

use decide::replicaset::{API_VERSION, Action, KIND, new_pod, outcome, plan};
use decide::view::{Controller, PodView};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;

use crate::carry::{self, Carrier};
use crate::hub::{Hub, until};
use crate::key::Key;
use crate::limits::WRITES_SEEN_POLL;
use crate::record::About;
use crate::world::World;
use crate::{Sync, SyncError, wire};

const SOURCE: &str = "replicaset-controller";
/// The kind in what was written.
pub(crate) const PLURAL: &str = "replicasets";

/// Plans one set and carries the plan out.
pub(crate) async fn sync(hub: Arc<Hub>, key: Key) -> Sync {
    let (set, pods, related) = {
        let mut world = hub.world();
        let Some(set) = world.replica_sets.get(&key).cloned() else {
            world.written.forget(&(PLURAL, key));
            return Ok(());
        };
        if !world.has_seen_writes(&(PLURAL, key.clone())) {
            drop(world);
            hub.replica_sets.add_after(key, WRITES_SEEN_POLL);
            return Ok(());
        }
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let pods = world.pods.claimable(uid, &key.namespace);
        let related = related(&world, &set, &key.namespace);
        (set, pods, related)
    };
    let views: Vec<&PodView> = pods.iter().map(AsRef::as_ref).collect();
    let relatives: Vec<&PodView> = related.iter().map(AsRef::as_ref).collect();
    let plan = plan(&set, &views, &relatives, Timestamp::now());
    if let Some(at) = plan.requeue_at {
        hub.replica_sets.add_after(key.clone(), until(at));
    }
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let about = About { api_version: API_VERSION, kind: KIND, key: key.clone(), uid };
    let carrier = Carrier { hub: hub.clone(), set: (PLURAL, key), source: SOURCE, about };
    let carried = carry_out(&carrier, &set, &plan.actions).await;
    let failure = carried.as_ref().err().and_then(SyncError::said);
    let stored = match outcome(&set, &plan, failure, Timestamp::now()) {
        None => Ok(()),
        Some(status) => {
            let mut set = set.as_ref().clone();
            set.status = Some(status);
            carrier.store_status(wire::replica_sets(), &set).await.map_err(SyncError::Api)
        }
    };
    carried.and(stored)
}

/// The pods of the other sets of the same owner.
fn related(world: &World, set: &ReplicaSet, namespace: &str) -> Vec<Arc<PodView>> {
    let owner = |set: &ReplicaSet| Controller::of(set.metadata.owner_references.as_deref()).map(|c| c.uid);
    let Some(uid) = owner(set) else { return Vec::new() };
    let others = World::in_namespace(&world.replica_sets, namespace)
        .filter(|other| other.metadata.uid != set.metadata.uid && owner(other).as_ref() == Some(&uid));
    others.flat_map(|other| world.pods.controlled(other.metadata.uid.as_deref().unwrap_or_default())).collect()
}

async fn carry_out(carrier: &Carrier, set: &ReplicaSet, actions: &[Action]) -> Sync {
    if actions.iter().any(|a| matches!(a, Action::AdoptPod(..))) {
        carrier.check_alive(wire::replica_sets()).await?;
    }
    let (mut deletions, mut creations) = (Vec::new(), 0);
    for action in actions {
        match action {
            Action::AdoptPod(name, uid) => carrier.adopt(wire::pods(), name, uid).await?,
            Action::ReleasePod(name, uid) => carrier.release(wire::pods(), name, uid).await?,
            Action::DeletePod(name, uid) => deletions.push((name.clone(), uid.clone())),
            Action::CreatePod => creations += 1,
        }
    }
    carry::delete_pods(carrier, deletions).await?;
    carry::create_pods(carrier, (0..creations).map(|_| new_pod(set))).await
}
