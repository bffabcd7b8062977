//! One informer per kind: keeps the picture of the cluster and wakes the keys that a change concerns.
//!
//! Invariants: a change wakes no more than it may concern: a pod its controller, its node and the scheduler; a node
//! those sets whose answer about it may differ. Managed fields are not even read.
//!
//! Absent: what is done about a key.

mod custom;
mod metadata;
mod on_budget;
mod on_node;
mod on_pod;
mod on_policy;
mod on_token;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use api::kinds::{KINDS, Kind, Verb};
use api::rollout_policy::RolloutPolicy;
use decide::bootstrap_tokens;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::key::Key;
use crate::namespaces::{DEFAULT_ACCOUNT, ROOT_CA};
use crate::roster::Source;
use crate::unmanaged::Unmanaged;
use crate::watch::{Seen, follow, follow_if_had, follow_where};
use crate::world::World;
use crate::{daemonset, readiness, replicaset, scheduler, wire};

/// The namespace of the leases by which nodes say that they live.
const NODE_LEASES: &str = "kube-node-lease";

/// Kinds that have informers of their own, or that nobody owns.
const TYPED: &[&str] = &[
    "pods",
    "nodes",
    "daemonsets",
    "replicasets",
    "controllerrevisions",
    "namespaces",
    "poddisruptionbudgets",
    "events",
];

/// Starts the informers that the controllers which run read. Returns how many of them controllers wait for; each adds a
/// permit to `ready` when it has listed all.
pub(crate) fn start(
    hub: &Arc<Hub>,
    tasks: &mut JoinSet<()>,
    ready: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> u32 {
    let sources = hub.options.roster.sources();
    let mut starter = Starter { hub, tasks, ready, shutdown, waited: 0 };
    for (source, needed) in &sources {
        match source {
            Source::Pods => starter.typed::<Pod>(wire::pods(), *needed, on_pod::seen),
            Source::Nodes => starter.typed::<Node>(wire::nodes(), *needed, on_node::seen),
            Source::DaemonSets => starter.typed::<DaemonSet>(wire::daemon_sets(), *needed, on_daemon_set),
            Source::ReplicaSets => starter.typed::<ReplicaSet>(wire::replica_sets(), *needed, on_replica_set),
            Source::Revisions => starter.typed::<ControllerRevision>(wire::revisions(), *needed, on_revision),
            Source::Namespaces => starter.typed::<Namespace>(wire::namespaces(), *needed, on_namespace),
            Source::Budgets => starter.typed::<PodDisruptionBudget>(wire::budgets(), *needed, on_budget::seen),
            Source::Policies => starter.policies(),
            Source::NodeLeases => starter.leases(sources.contains_key(&Source::Owners)),
            Source::ServiceAccounts if !sources.contains_key(&Source::Owners) => {
                starter.others(wire::service_accounts());
            }
            Source::ConfigMaps if !sources.contains_key(&Source::Owners) => starter.others(wire::config_maps()),
            Source::ServiceAccounts | Source::ConfigMaps => {}
            Source::Tokens => {
                let fields = format!("type={}", bootstrap_tokens::TYPE);
                starter.some::<Secret>(wire::secrets(), bootstrap_tokens::NAMESPACE, &fields, on_token::seen);
            }
            Source::ClusterInfo => {
                let fields = format!("metadata.name={}", bootstrap_tokens::CLUSTER_INFO);
                let namespace = bootstrap_tokens::CLUSTER_INFO_NAMESPACE;
                starter.some::<ConfigMap>(wire::config_maps(), namespace, &fields, on_token::info_seen);
            }
            Source::Definitions => custom::start(hub, starter.tasks, shutdown),
            Source::Owners => {
                let owned = |k: &&Kind| k.can(Verb::Watch) && k.can(Verb::List) && k.can(Verb::Delete);
                // The leases of nodes are followed with all others.
                let followed = |k: &&Kind| k.plural == "leases" && sources.contains_key(&Source::NodeLeases);
                let others = KINDS.iter().filter(|k| !TYPED.contains(&k.plural) && !followed(k));
                others.filter(owned).for_each(|k| starter.others(k));
            }
        }
    }
    starter.waited
}

struct Starter<'a> {
    hub: &'a Arc<Hub>,
    tasks: &'a mut JoinSet<()>,
    ready: &'a Arc<Semaphore>,
    shutdown: &'a CancellationToken,
    /// Informers that controllers wait for.
    waited: u32,
}

impl Starter<'_> {
    /// Follows a kind that controllers read, and that must be there if it is needed.
    fn typed<K>(&mut self, kind: &'static Kind, needed: bool, on: fn(&Hub, Seen<K>))
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.waited += 1;
        let (hub, mut ready) = (self.hub.clone(), Some(self.ready.clone()));
        let seen = move |seen: Seen<Unmanaged<K>>| {
            let seen = seen.bare();
            own(&hub, kind, &seen, |k| k.meta());
            let listed = matches!(seen, Seen::Listed(..));
            on(&hub, seen);
            if let Some(ready) = ready.take_if(|_| listed) {
                ready.add_permits(1);
            }
        };
        let api = Api::all(self.hub.client.clone());
        if needed {
            self.tasks.spawn(follow(api, kind.plural, self.shutdown.clone(), seen));
        } else {
            self.tasks.spawn(follow_if_had(api, kind.plural, self.shutdown.clone(), seen));
        }
    }

    /// Follows those objects of a namespace that fields select. Whoever asks for all owners follows the whole kind beside it.
    fn some<K>(&mut self, kind: &'static Kind, namespace: &str, fields: &str, on: fn(&Hub, Seen<K>))
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.waited += 1;
        let (hub, mut ready) = (self.hub.clone(), Some(self.ready.clone()));
        let seen = move |seen: Seen<Unmanaged<K>>| {
            let seen = seen.bare();
            let listed = matches!(seen, Seen::Listed(..));
            on(&hub, seen);
            if let Some(ready) = ready.take_if(|_| listed) {
                ready.add_permits(1);
            }
        };
        let api = Api::namespaced(self.hub.client.clone(), namespace);
        let (fields, shutdown) = (fields.to_owned(), self.shutdown.clone());
        self.tasks.spawn(async move { follow_where(api, &fields, kind.plural, shutdown, seen).await });
    }

    /// Follows policies, of which there are none where their kind is not defined.
    fn policies(&mut self) {
        self.waited += 1;
        let (hub, mut ready) = (self.hub.clone(), Some(self.ready.clone()));
        let seen = move |seen: Seen<Unmanaged<RolloutPolicy>>| {
            let listed = matches!(seen, Seen::Listed(..));
            on_policy::seen(&hub, seen.bare());
            if let Some(ready) = ready.take_if(|_| listed) {
                ready.add_permits(1);
            }
        };
        let api = Api::all(self.hub.client.clone());
        self.tasks.spawn(follow_if_had(api, "rollout policies", self.shutdown.clone(), seen));
    }

    /// Follows the leases of nodes, and with `owners` all leases, for the collector: one watch tells both.
    fn leases(&mut self, owners: bool) {
        self.waited += 1;
        let (hub, mut ready) = (self.hub.clone(), Some(self.ready.clone()));
        let kind = wire::leases();
        let mut renewed = BTreeMap::new();
        let seen = move |seen: Seen<metadata::Renewed>| {
            if owners {
                own(&hub, kind, &seen, |lease| &lease.metadata);
            }
            match seen {
                Seen::Applied(lease) if lease.metadata.namespace.as_deref() == Some(NODE_LEASES) => {
                    let name = lease.metadata.name.unwrap_or_default();
                    if let Some(time) = lease.spec.renew_time
                        && renewed.get(&name) != Some(&time)
                    {
                        on_node::heard(&hub, &name);
                        renewed.insert(name, time);
                    }
                }
                Seen::Gone(key) if key.namespace == NODE_LEASES => {
                    renewed.remove(&key.name);
                }
                Seen::Applied(_) | Seen::Gone(_) => {}
                Seen::Listed(names, _) => {
                    renewed.retain(|name, _| names.contains(&Key::new(NODE_LEASES, name)));
                    if let Some(ready) = ready.take() {
                        ready.add_permits(1);
                    }
                }
            }
        };
        let client = self.hub.client.clone();
        let api = match owners {
            true => metadata::api(&client, kind),
            false => Api::namespaced_with(client, NODE_LEASES, &kind),
        };
        self.tasks.spawn(follow(api, "node leases", self.shutdown.clone(), seen));
    }

    /// Follows a kind of which only owners and names matter.
    fn others(&mut self, kind: &'static Kind) {
        let hub = self.hub.clone();
        let api = metadata::api::<metadata::Metadata>(&self.hub.client, kind);
        let seen = move |seen: Seen<metadata::Metadata>| {
            own(&hub, kind, &seen, |object| &object.metadata);
            let lost = matches!(&seen, Seen::Gone(key) if matches!(key.name.as_str(), DEFAULT_ACCOUNT | ROOT_CA));
            if let (true, Seen::Gone(key)) = (lost, &seen) {
                hub.namespaces.add(key.namespace.clone());
            }
        };
        self.tasks.spawn(follow(api, kind.plural, self.shutdown.clone(), seen));
    }
}

/// Tells the collector.
fn own<K>(hub: &Hub, kind: &'static Kind, seen: &Seen<K>, metadata: impl Fn(&K) -> &ObjectMeta) {
    if !hub.keeps_owners() {
        return;
    }
    let mut gone = None;
    let wake = {
        let mut graph = hub.graph();
        match seen {
            Seen::Applied(object) => graph.apply(kind, metadata(object)),
            Seen::Gone(key) => {
                gone = graph.uid(kind, key);
                graph.gone(kind, key)
            }
            Seen::Listed(names, _) => graph.listed(kind, names),
        }
    };
    if let Some(uid) = gone.filter(|_| !wake.is_empty()) {
        // Of a custom kind that goes with its objects nobody can ask later whether this owner is there.
        hub.note_absent(&uid);
    }
    for uid in wake {
        hub.objects.add(uid);
    }
}

/// Drops from a map what a list did not name; returns the dropped.
fn lost<T>(map: &mut BTreeMap<Key, Arc<T>>, names: &BTreeSet<Key>) -> Vec<Arc<T>> {
    let keys: Vec<Key> = map.keys().filter(|k| !names.contains(k)).cloned().collect();
    keys.iter().filter_map(|key| map.remove(key)).collect()
}

fn on_daemon_set(hub: &Hub, seen: Seen<DaemonSet>) {
    let keys = match seen {
        Seen::Applied(set) => {
            let key = Key::of(&set.metadata);
            let set: Arc<DaemonSet> = Arc::from(set);
            let before = hub.world().daemon_sets.insert(key.clone(), set.clone());
            if let Some(before) = before.as_ref().filter(|b| b.metadata.uid != set.metadata.uid) {
                hub.world().written.forget(&(daemonset::PLURAL, key.clone()));
                forget(hub, &before.metadata);
            }
            let essence = |set: &DaemonSet| (set.metadata.generation, set.metadata.labels.clone());
            if before.is_none_or(|before| essence(&before) != essence(&set)) {
                on_policy::all_of(hub, &key.namespace);
                readiness::wake_all(hub);
            }
            vec![key]
        }
        Seen::Gone(key) => {
            let set = hub.world().daemon_sets.remove(&key);
            set.iter().for_each(|set| forget(hub, &set.metadata));
            on_policy::all_of(hub, &key.namespace);
            readiness::wake_all(hub);
            vec![key]
        }
        Seen::Listed(names, began) => {
            let lost = lost(&mut hub.world().daemon_sets, &names);
            hub.world().written.listed(began);
            lost.iter().for_each(|set| forget(hub, &set.metadata));
            on_policy::all(hub);
            lost.iter().map(|set| Key::of(&set.metadata)).collect()
        }
    };
    keys.into_iter().for_each(|key| hub.daemon_sets.add(key));
}

fn forget(hub: &Hub, metadata: &ObjectMeta) {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let mut world = hub.world();
    world.backoff.remove(uid);
    world.fleets.forget(uid);
    world.told.remove(uid);
}

fn on_replica_set(hub: &Hub, seen: Seen<ReplicaSet>) {
    let keys = match seen {
        Seen::Applied(set) => {
            let key = Key::of(&set.metadata);
            let wanted = |set: &ReplicaSet| set.spec.as_ref().and_then(|s| s.replicas);
            let after = wanted(&set);
            let before = hub.world().replica_sets.insert(key.clone(), Arc::from(set));
            if before.is_none_or(|b| wanted(&b) != after) {
                on_budget::all_of(hub, &key.namespace);
            }
            vec![key]
        }
        Seen::Gone(key) => {
            hub.world().replica_sets.remove(&key);
            hub.world().written.forget(&(replicaset::PLURAL, key.clone()));
            vec![key]
        }
        Seen::Listed(names, began) => {
            let lost = lost(&mut hub.world().replica_sets, &names);
            hub.world().written.listed(began);
            lost.iter().map(|set| Key::of(&set.metadata)).collect()
        }
    };
    keys.into_iter().for_each(|key| hub.replica_sets.add(key));
}

fn on_revision(hub: &Hub, seen: Seen<ControllerRevision>) {
    let changed = {
        let mut world = hub.world();
        match seen {
            Seen::Applied(revision) => {
                let revision: Arc<ControllerRevision> = Arc::from(revision);
                let before = world.revisions.insert(Key::of(&revision.metadata), revision.clone());
                before.into_iter().chain([revision]).collect()
            }
            Seen::Gone(key) => world.revisions.remove(&key).into_iter().collect::<Vec<_>>(),
            Seen::Listed(names, began) => {
                world.written.listed(began);
                lost(&mut world.revisions, &names)
            }
        }
    };
    for revision in changed {
        let namespace = revision.metadata.namespace.clone().unwrap_or_default();
        match decide::view::Controller::of(revision.metadata.owner_references.as_deref()) {
            Some(owner) if owner.kind == decide::daemonset::KIND => {
                hub.daemon_sets.add(Key { namespace, name: owner.name });
            }
            Some(_) => {}
            None => wake_sets_of(&hub.world(), &namespace).into_iter().for_each(|key| hub.daemon_sets.add(key)),
        }
    }
}

/// All DaemonSets of a namespace: any of them may adopt what nobody controls.
fn wake_sets_of(world: &World, namespace: &str) -> Vec<Key> {
    World::in_namespace(&world.daemon_sets, namespace).map(|set| Key::of(&set.metadata)).collect()
}

fn on_namespace(hub: &Hub, seen: Seen<Namespace>) {
    match seen {
        Seen::Applied(namespace) => {
            let name = namespace.metadata.name.clone().unwrap_or_default();
            let labels = namespace.metadata.labels.clone();
            let nodes = |hub: &Hub| hub.world().namespace_nodes(&name);
            let nodes_before = nodes(hub);
            let before = hub.world().namespaces.insert(name.clone(), Arc::from(namespace));
            if before.is_some_and(|b| b.metadata.labels != labels) {
                scheduler::pods_changed(hub);
            }
            if nodes(hub) != nodes_before {
                let sets = wake_sets_of(&hub.world(), &name);
                sets.into_iter().for_each(|key| hub.daemon_sets.add(key));
            }
            hub.namespaces.add(name);
        }
        Seen::Gone(key) => {
            hub.world().namespaces.remove(&key.name);
        }
        Seen::Listed(names, _) => hub.world().namespaces.retain(|name, _| names.contains(&Key::new("", name))),
    }
}
