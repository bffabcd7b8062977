//! The plan of one DaemonSet: by its fleet, which is told of what changed, or by a look at everything.
//!
//! Invariants: without a policy, a plan costs what changed since the last one and what it writes, unless the DaemonSet or its
//! history changed; now and then, and always in what is built for tests, a plan by a fleet is held against one by a look at
//! everything, which wins.
//!
//! Absent: what is done about a plan; any decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::Labels;
use decide::daemonset::{self, Around, Backoff, Directive, Fleet, Observed, Plan};
use decide::node_health::Grace;
use decide::view::{NodeView, PodView};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};

use crate::daemonset::PLURAL;
use crate::hub::Hub;
use crate::key::Key;
use crate::limits::WRITES_SEEN_POLL;
use crate::policy::{self, Governing};
use crate::world::{Taken, World};

/// A plan, and what it was made for.
pub(crate) struct Planned {
    pub(crate) set: Arc<DaemonSet>,
    pub(crate) policy: Option<Arc<Governing>>,
    pub(crate) plan: Plan,
}

/// Everything that a plan is made from.
pub(crate) struct Snapshot {
    given: Given,
    nodes: Vec<Arc<NodeView>>,
    pods: Vec<Arc<PodView>>,
    backoff: BTreeMap<String, Backoff>,
    policy: Option<Arc<Governing>>,
    grace: Grace,
}

/// What a plan is made from beside nodes and pods.
#[derive(Clone)]
struct Given {
    set: Arc<DaemonSet>,
    revisions: Vec<Arc<ControllerRevision>>,
    namespace_nodes: Option<Labels>,
}

/// The plan of a set; none while its own last writes do not show.
pub(crate) fn plan(hub: &Hub, key: &Key) -> Option<Planned> {
    match by_fleet(hub, key) {
        Answer::Plan(planned) => return Some(*planned),
        Answer::Unseen => return None,
        Answer::Unable => {}
    }
    let snapshot = snapshot(hub, key)?;
    let plan = snapshot.plan(Timestamp::now());
    Some(Planned { set: snapshot.given.set, policy: snapshot.policy, plan })
}

/// What is known of a set; nothing while its own last writes do not show.
pub(crate) fn snapshot(hub: &Hub, key: &Key) -> Option<Snapshot> {
    let mut world = hub.world();
    let set = current(hub, &mut world, key)?;
    let policy = policy::of(&world, &set);
    let given = Given::new(&world, set, &key.namespace);
    let backoff = world.backoff.get(given.uid()).cloned().unwrap_or_default();
    Some(Snapshot::new(&world, given, backoff, policy))
}

/// The set, if its own last writes show.
fn current(hub: &Hub, world: &mut World, key: &Key) -> Option<Arc<DaemonSet>> {
    let written = (PLURAL, key.clone());
    let Some(set) = world.daemon_sets.get(key).cloned() else {
        world.written.forget(&written);
        return None;
    };
    if !world.has_seen_writes(&written) {
        hub.daemon_sets.add_after(key.clone(), WRITES_SEEN_POLL);
        return None;
    }
    Some(set)
}

/// What a fleet answers.
enum Answer {
    Plan(Box<Planned>),
    /// Nothing is to be planned: the set is gone, or its own last writes do not show.
    Unseen,
    /// It takes a look at everything.
    Unable,
}

/// The plan by the fleet of a set.
fn by_fleet(hub: &Hub, key: &Key) -> Answer {
    let (given, taken, check) = {
        let mut world = hub.world();
        let Some(set) = current(hub, &mut world, key) else { return Answer::Unseen };
        let given = Given::new(&world, set, &key.namespace);
        if policy::of(&world, &given.set).is_some() {
            if let Some(fleet) = world.fleets.forget(given.uid()) {
                hand_over(&mut world, given.uid(), &fleet);
            }
            return Answer::Unable;
        }
        let taken = world.take_fleet(given.uid(), &key.namespace);
        let check = taken.is_due.then(|| Snapshot::new(&world, given.clone(), taken.fleet.backoff().clone(), None));
        (given, taken, check)
    };
    let Taken { mut fleet, nodes, pods, .. } = taken;
    nodes.into_iter().for_each(|(name, node)| fleet.node(&name, node));
    pods.into_iter().for_each(|(name, pod)| fleet.pod(&name, pod));
    let now = Timestamp::now();
    let plan = fleet.plan(given.around(), now);
    let plan = plan.filter(|plan| check.is_none_or(|all| all.agrees(plan, &fleet, now)));
    let mut world = hub.world();
    let Some(plan) = plan else {
        world.fleets.forget(given.uid());
        hand_over(&mut world, given.uid(), &fleet);
        return Answer::Unable;
    };
    world.fleets.keep(given.uid(), fleet);
    Answer::Plan(Box::new(Planned { set: given.set, policy: None, plan }))
}

/// Keeps what a fleet that goes knew of failed pods.
fn hand_over(world: &mut World, uid: &str, fleet: &Fleet) {
    if !fleet.backoff().is_empty() {
        world.backoff.insert(uid.to_owned(), fleet.backoff().clone());
    }
}

impl Given {
    fn new(world: &World, set: Arc<DaemonSet>, namespace: &str) -> Self {
        Self {
            revisions: World::in_namespace(&world.revisions, namespace).cloned().collect(),
            namespace_nodes: world.namespace_nodes(namespace),
            set,
        }
    }

    fn uid(&self) -> &str {
        self.set.metadata.uid.as_deref().unwrap_or_default()
    }

    fn around(&self) -> Around<'_> {
        Around { set: &self.set, revisions: &self.revisions, namespace_nodes: self.namespace_nodes.as_ref() }
    }
}

impl Snapshot {
    fn new(world: &World, given: Given, backoff: BTreeMap<String, Backoff>, policy: Option<Arc<Governing>>) -> Self {
        let namespace = given.set.metadata.namespace.as_deref().unwrap_or_default();
        Self {
            nodes: world.nodes.iter().map(|(_, node)| node.clone()).collect(),
            pods: world.pods.claimable(given.uid(), namespace),
            given,
            backoff,
            policy,
            grace: world.nodes.grace,
        }
    }

    fn plan(&self, now: Timestamp) -> Plan {
        self.observe(|set, observed| daemonset::plan(set, observed, now))
    }

    /// True when a plan by a fleet is the one that everything asks for.
    fn agrees(&self, plan: &Plan, fleet: &Fleet, now: Timestamp) -> bool {
        let all = self.plan(now);
        let agrees = fleet.backoff() == &all.backoff && *plan == Plan { backoff: BTreeMap::new(), ..all.clone() };
        if !agrees {
            let (namespace, name) = (&self.given.set.metadata.namespace, &self.given.set.metadata.name);
            let (namespace, name) = (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
            tracing::error!(%namespace, %name, from_changes = ?plan, from_all = ?all, "a plan was wrong, please report it");
        }
        debug_assert!(agrees, "a plan by a fleet is not the one that everything asks for");
        agrees
    }

    /// Hands the set and what is around it to `look`.
    pub(crate) fn observe<T>(&self, look: impl FnOnce(&DaemonSet, Observed<'_>) -> T) -> T {
        let nodes: BTreeMap<String, &NodeView> = self.nodes.iter().map(|n| (n.name.clone(), n.as_ref())).collect();
        let pods: Vec<&PodView> = self.pods.iter().map(AsRef::as_ref).collect();
        let Given { set, revisions, namespace_nodes } = &self.given;
        let revisions: Vec<&ControllerRevision> = revisions.iter().map(AsRef::as_ref).collect();
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let observed = Observed {
            nodes: &nodes,
            pods: &pods,
            revisions: &revisions,
            namespace_nodes: namespace_nodes.as_ref(),
            backoff: &self.backoff,
            policy: self.policy.as_deref().map(|governing| Directive {
                policy: &governing.policy,
                memory: governing.object.memory(name, self.given.uid()),
                grace: self.grace,
            }),
        };
        look(set, observed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plans_know_when_silent_nodes_are_known() {
        let mut world = World::default();
        world.nodes.grace = Grace(300);
        let given = Given { set: Arc::default(), revisions: Vec::new(), namespace_nodes: None };
        let policy: api::rollout_policy::RolloutPolicy =
            serde_json::from_value(json!({"metadata": {}, "spec": {"targets": {"names": ["d"]}}})).unwrap();
        let snapshot = Snapshot::new(&world, given, BTreeMap::new(), Some(Arc::new(policy.into())));
        let grace = snapshot.observe(|_, observed| observed.policy.map(|directive| directive.grace));
        assert_eq!(grace, Some(Grace(300)));
    }
}
