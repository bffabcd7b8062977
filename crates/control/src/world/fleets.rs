//! The fleets of DaemonSets from plan to plan, and what has changed for each since its last one.
//!
//! Invariants: whatever changes a node or a pod that is kept is noted for every fleet that it may concern, under the same
//! lock; a fleet that was dropped, for whatever reason, is begun anew with everything.
//!
//! Absent: fleets of DaemonSets under a policy, for which there are none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use decide::daemonset::{Backoff, Fleet};
use decide::view::{NodeView, PodView};
use tokio::time::Instant;

use super::{Nodes, Pods};
use crate::key::Key;
use crate::limits::{FLEET_CHANGES_MAX, FLEET_CHECK_PERIOD};

/// The fleets by UID of their DaemonSet.
#[derive(Default)]
pub(crate) struct Fleets(HashMap<String, Kept>);

struct Kept {
    namespace: String,
    /// None while a plan is being made.
    fleet: Option<Fleet>,
    /// Names of what has changed since it was taken.
    nodes: BTreeSet<String>,
    pods: BTreeSet<String>,
    /// When it was last held against everything.
    checked: Instant,
}

impl Kept {
    /// True when so much has changed for a DaemonSet that nobody looks at that a new fleet is no dearer.
    fn is_past(&self) -> bool {
        self.fleet.is_some() && self.nodes.len() + self.pods.len() > FLEET_CHANGES_MAX
    }
}

/// A fleet that was taken to make a plan, with what it is to be told first.
pub(crate) struct Taken {
    pub(crate) fleet: Fleet,
    pub(crate) nodes: Vec<(String, Option<Arc<NodeView>>)>,
    pub(crate) pods: Vec<(String, Option<Arc<PodView>>)>,
    /// True when its plan is to be held against one that is made from everything.
    pub(crate) is_due: bool,
}

impl Fleets {
    /// Notes that a node is another one, for whoever places pods.
    pub(super) fn node_changed(&mut self, name: &str) {
        for kept in self.0.values_mut() {
            kept.nodes.insert(name.to_owned());
        }
        self.0.retain(|_, kept| !kept.is_past());
    }

    /// Notes that a pod is another one.
    pub(super) fn pod_changed(&mut self, key: &Key, before: Option<&PodView>, after: Option<&PodView>) {
        let owner = |pod: &PodView| pod.controller.as_ref().map(|c| c.uid.clone());
        let owners: BTreeSet<Option<String>> = before.into_iter().chain(after).map(owner).collect();
        for uid in owners {
            if let Some(uid) = uid {
                if let Some(kept) = self.0.get_mut(&uid).filter(|kept| kept.namespace == key.namespace) {
                    kept.pods.insert(key.name.clone());
                    if kept.is_past() {
                        self.0.remove(&uid);
                    }
                }
            } else {
                // Any DaemonSet of the namespace may adopt what nobody controls.
                for kept in self.0.values_mut().filter(|kept| kept.namespace == key.namespace) {
                    kept.pods.insert(key.name.clone());
                }
                self.0.retain(|_, kept| !kept.is_past());
            }
        }
    }

    /// Takes the fleet of a DaemonSet with what has changed, or a new one with everything. What changes from now on is noted.
    pub(super) fn take(
        &mut self,
        (uid, namespace): (&str, &str),
        nodes: &Nodes,
        pods: &Pods,
        backoff: &mut HashMap<String, BTreeMap<String, Backoff>>,
    ) -> Taken {
        let now = Instant::now();
        let kept = self.0.entry(uid.to_owned()).or_insert_with(|| Kept {
            namespace: namespace.to_owned(),
            fleet: None,
            nodes: BTreeSet::new(),
            pods: BTreeSet::new(),
            checked: now,
        });
        let (new_nodes, new_pods) = (std::mem::take(&mut kept.nodes), std::mem::take(&mut kept.pods));
        let Some(fleet) = kept.fleet.take() else {
            kept.checked = now;
            return Taken {
                fleet: Fleet::new(backoff.remove(uid).unwrap_or_default()),
                nodes: nodes.iter().map(|(name, node)| (name.clone(), Some(node.clone()))).collect(),
                pods: pods.claimable(uid, namespace).into_iter().map(|pod| (pod.name.clone(), Some(pod))).collect(),
                is_due: false,
            };
        };
        // What is built for tests is held against everything each time.
        let is_due = cfg!(debug_assertions) || kept.checked.elapsed() > FLEET_CHECK_PERIOD;
        if is_due {
            kept.checked = now;
        }
        let pod = |name: String| {
            let pod = pods.get(&Key::new(namespace, &name)).cloned();
            (name, pod)
        };
        let node = |name: String| {
            let node = nodes.get(&name).cloned();
            (name, node)
        };
        let (nodes, pods) = (new_nodes.into_iter().map(node).collect(), new_pods.into_iter().map(pod).collect());
        Taken { fleet, nodes, pods, is_due }
    }

    /// Keeps a fleet that was taken, unless its DaemonSet has gone meanwhile.
    pub(crate) fn keep(&mut self, uid: &str, fleet: Fleet) {
        if let Some(kept) = self.0.get_mut(uid) {
            kept.fleet = Some(fleet);
        }
    }

    /// Drops the fleet of a DaemonSet; returns it if there is one.
    pub(crate) fn forget(&mut self, uid: &str) -> Option<Fleet> {
        self.0.remove(uid)?.fleet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::view::Controller;

    fn pod(name: &str, owner: Option<&str>) -> Arc<PodView> {
        let controller = owner.map(|uid| Controller { kind: "DaemonSet".into(), name: "d".into(), uid: uid.into() });
        Arc::new(PodView { namespace: "x".into(), name: name.into(), controller, ..PodView::default() })
    }

    /// A world in which fleets of two sets are kept, in different namespaces.
    fn world() -> super::super::World {
        let mut world = super::super::World::default();
        for (uid, namespace) in [("u", "x"), ("v", "y")] {
            let taken = world.take_fleet(uid, namespace);
            assert!(!taken.is_due);
            world.fleets.keep(uid, taken.fleet);
        }
        world
    }

    fn told(world: &mut super::super::World, uid: &str, namespace: &str) -> (Vec<String>, Vec<(String, bool)>) {
        let taken = world.take_fleet(uid, namespace);
        world.fleets.keep(uid, taken.fleet);
        let pods = taken.pods.into_iter().map(|(name, pod)| (name, pod.is_some())).collect();
        (taken.nodes.into_iter().map(|(name, _)| name).collect(), pods)
    }

    #[test]
    fn each_fleet_is_told_of_what_concerns_it_once() {
        let key = |name: &str| Key::new("x", name);
        let mut world = world();
        world.put_pod(key("a"), pod("a", Some("u")));
        world.put_pod(key("b"), pod("b", Some("w")));
        world.put_pod(key("z"), pod("z", Some("v")));
        world.put_pod(key("c"), pod("c", None));
        world.put_node(Arc::new(NodeView { name: "n".into(), ..NodeView::default() }));
        assert_eq!(told(&mut world, "u", "x"), (vec!["n".into()], vec![("a".into(), true), ("c".into(), true)]));
        assert_eq!(told(&mut world, "u", "x"), (vec![], vec![]));
        assert_eq!(told(&mut world, "v", "y"), (vec!["n".into()], vec![]), "orphans and pods of another namespace");
        // It is taken away, and it goes.
        world.put_pod(key("a"), pod("a", Some("w")));
        world.remove_pod(&key("c"));
        assert_eq!(told(&mut world, "u", "x"), (vec![], vec![("a".into(), true), ("c".into(), false)]));
        // What no DaemonSet looks at when it places a pod.
        world.put_node(Arc::new(NodeView { name: "n".into(), resource_version: "2".into(), ..NodeView::default() }));
        assert_eq!(told(&mut world, "u", "x"), (vec![], vec![]));
        world.remove_node("n");
        assert_eq!(told(&mut world, "u", "x"), (vec!["n".into()], vec![]));
    }

    #[test]
    fn what_happens_while_a_plan_is_made_is_told_before_the_next() {
        let mut world = world();
        let taken = world.take_fleet("u", "x");
        world.put_pod(Key::new("x", "a"), pod("a", Some("u")));
        world.fleets.keep("u", taken.fleet);
        assert_eq!(told(&mut world, "u", "x").1, [("a".into(), true)]);
    }

    #[test]
    fn a_fleet_that_is_gone_begins_with_everything() {
        let mut world = world();
        world.put_pod(Key::new("x", "a"), pod("a", Some("u")));
        assert!(told(&mut world, "u", "x").1.len() == 1 && told(&mut world, "u", "x").1.is_empty());
        assert!(world.fleets.forget("u").is_some());
        assert_eq!(told(&mut world, "u", "x").1.len(), 1);
        for at in 0..=FLEET_CHANGES_MAX {
            world.fleets.node_changed(&format!("n-{at}"));
        }
        assert_eq!(told(&mut world, "u", "x"), (vec![], vec![("a".into(), true)]), "nobody looked at it for long");
        let taken = world.take_fleet("u", "x");
        world.fleets.forget("u");
        world.fleets.keep("u", taken.fleet);
        assert!(world.fleets.forget("u").is_none(), "its set went while the plan was made");
    }
}
