//! RolloutPolicies: what is kept of them, and the status that they get.
//!
//! Invariants: a status is stored on the version of the policy that it was made from.
//!
//! Absent: any decision (`decide::daemonset`).

use std::sync::{Arc, LazyLock};

use api::kinds::Kind;
use api::rollout_policy::{GROUP, KIND, Memory, PLURAL, RolloutPolicy, VERSION};
use decide::daemonset::{self, Neighbours, Policy};
use decide::view::NodeView;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;

use crate::Sync;
use crate::carry::Carrier;
use crate::hub::Hub;
use crate::key::Key;
use crate::wire;
use crate::world::{World, version};

/// The row of the kind, which is none of the built-in ones.
pub(crate) fn kind() -> &'static Kind {
    static ROW: LazyLock<Kind> = LazyLock::new(|| Kind::bare(GROUP, VERSION, PLURAL, KIND, true));
    &ROW
}

/// A policy as it is kept: read once.
pub(crate) struct Governing {
    pub(crate) object: RolloutPolicy,
    pub(crate) policy: Policy,
}

impl From<RolloutPolicy> for Governing {
    fn from(object: RolloutPolicy) -> Self {
        Self { policy: Policy::read(&object), object }
    }
}

/// The policy of a DaemonSet.
pub(crate) fn of(world: &World, set: &DaemonSet) -> Option<Arc<Governing>> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let all = || World::in_namespace(&world.policies, namespace);
    let chosen = daemonset::choose(all().map(|p| &p.object), name, set.metadata.labels.as_ref())?;
    all().find(|p| p.object.metadata.uid == chosen.metadata.uid).cloned()
}

/// Gives one policy the status that it deserves.
pub(crate) async fn sync(hub: Arc<Hub>, key: Key) -> Sync {
    let Some((mut policy, status)) = judge(&hub.world(), &key) else { return Ok(()) };
    policy.status = Some(status);
    match wire::replace(&hub.client, kind(), &key, "status", &policy).await {
        Err(error) if wire::is_gone(&error) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

fn judge(world: &World, key: &Key) -> Option<(RolloutPolicy, api::rollout_policy::Status)> {
    let policy = &world.policies.get(key)?.object;
    let policies: Vec<&RolloutPolicy> =
        World::in_namespace(&world.policies, &key.namespace).map(|p| &p.object).collect();
    let sets: Vec<&DaemonSet> = World::in_namespace(&world.daemon_sets, &key.namespace).map(AsRef::as_ref).collect();
    let nodes: Vec<&NodeView> = world.nodes.iter().map(|(_, node)| node.as_ref()).collect();
    let namespace_nodes = world.namespace_nodes(&key.namespace);
    let near =
        Neighbours { policies: &policies, sets: &sets, nodes: &nodes, namespace_nodes: namespace_nodes.as_ref() };
    let status = daemonset::accept(policy, &near, Timestamp::now())?;
    Some((policy.clone(), status))
}

/// Stores what is to be remembered of a DaemonSet. Nothing that follows from it may be done before.
pub(crate) async fn remember(carrier: &Carrier, governing: &Governing, memory: &Memory) -> Sync {
    let mut policy = governing.object.clone();
    let entries = &mut policy.status.get_or_insert_default().daemon_sets;
    match entries.iter_mut().find(|entry| entry.name == memory.name) {
        Some(entry) => *entry = memory.clone(),
        None => entries.push(memory.clone()),
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let key = Key::of(&policy.metadata);
    let metadata = wire::replace(&carrier.hub.client, kind(), &key, "status", &policy).await?;
    let version = version(metadata.resource_version.as_ref());
    carrier.hub.world().written.changed(&carrier.set, PLURAL, key, version);
    Ok(())
}
