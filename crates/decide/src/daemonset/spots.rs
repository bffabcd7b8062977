//! The nodes of a snapshot with the pods of a DaemonSet that are on them or meant for them.
//!
//! Invariants: nodes in order of name, those that are gone but still have pods among them; the pods of a node with the
//! one that counts first: bound before unbound, then the oldest, then by name.
//!
//! Absent: ended pods whose deletion has been asked for; they are nobody's business any more.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::{Access, Gauge};
use crate::view::{NodeView, PodView};

/// Nodes with their pods. All pods are in one list, in order of their nodes: a list for each node would be most of a plan's
/// time in a large cluster.
pub(super) struct Spots<'a> {
    all: Vec<Spot<'a>>,
    pods: Vec<&'a PodView>,
}

/// One node.
#[derive(Clone, Copy)]
struct Spot<'a> {
    node: &'a str,
    /// The node, if it is there, and what may be done on it.
    known: Option<(&'a NodeView, Access)>,
    /// Where its pods begin and end.
    begin: usize,
    end: usize,
}

/// One node as it is looked at.
#[derive(Clone, Copy)]
pub(super) struct At<'a, 's> {
    pub(super) node: &'a str,
    pub(super) view: Option<&'a NodeView>,
    /// What may be done on it, if it is there.
    pub(super) access: Option<Access>,
    pub(super) pods: &'s [&'a PodView],
}

impl At<'_, '_> {
    /// True when a daemon may start.
    pub(super) fn may_start(&self) -> bool {
        self.access.is_some_and(Access::may_start)
    }
}

/// Finds what has a name. It is never gone through, so that the order of a hash map plays no part.
type Index<'a> = HashMap<&'a str, usize, BuildHasherDefault<DefaultHasher>>;

/// True when a pod counts on its node.
pub(super) fn counts(pod: &PodView) -> bool {
    !(pod.phase.is_terminal() && pod.deleting.is_some())
}

/// Which of two pods of a node counts first.
pub(super) fn order(a: &PodView, b: &PodView) -> Ordering {
    (a.node.is_none(), a.created, &a.name).cmp(&(b.node.is_none(), b.created, &b.name))
}

impl<'a> Spots<'a> {
    pub(super) fn new(
        nodes: &BTreeMap<String, &'a NodeView>,
        pods: &[&'a PodView],
        access: impl Fn(&NodeView) -> Access,
    ) -> Self {
        let spot = |node: &'a str, known| Spot { node, known, begin: 0, end: 0 };
        let mut all: Vec<Spot<'a>> =
            nodes.values().map(|node| spot(node.name.as_str(), Some((*node, access(node))))).collect();
        let index: Index<'_> = all.iter().enumerate().map(|(place, spot)| (spot.node, place)).collect();
        let (mut at, mut lost) = (Vec::with_capacity(pods.len()), Vec::new());
        for pod in pods.iter().filter(|p| counts(p)) {
            let Some(node) = pod.node_or_target() else { continue };
            match index.get(node) {
                Some(place) => at.push((*place, *pod)),
                None => lost.push((node, *pod)),
            }
        }
        if !lost.is_empty() {
            lost.sort_by_key(|(node, _)| *node);
            for (node, pod) in lost {
                if all.last().is_none_or(|spot| spot.node != node) {
                    all.push(spot(node, None));
                }
                at.push((all.len() - 1, pod));
            }
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.sort_by_key(|place| all[*place].node);
            let mut moved = vec![0; all.len()];
            order.iter().enumerate().for_each(|(new, old)| moved[*old] = new);
            at.iter_mut().for_each(|(place, _)| *place = moved[*place]);
            all = order.into_iter().map(|old| all[old]).collect();
        }
        at.iter().for_each(|(place, _)| all[*place].end += 1);
        let mut total = 0;
        for spot in &mut all {
            (spot.begin, total) = (total, total + spot.end);
            spot.end = spot.begin;
        }
        let mut sorted = vec![None; total];
        for (place, pod) in at {
            sorted[all[place].end] = Some(pod);
            all[place].end += 1;
        }
        let mut pods: Vec<&'a PodView> = sorted.into_iter().flatten().collect();
        for spot in all.iter().filter(|spot| spot.end - spot.begin > 1) {
            pods[spot.begin..spot.end].sort_by(|a, b| order(a, b));
        }
        Self { all, pods }
    }

    fn at(&self, spot: &Spot<'a>) -> At<'a, '_> {
        let pods = &self.pods[spot.begin..spot.end];
        At {
            node: spot.node,
            view: spot.known.map(|(view, _)| view),
            access: spot.known.map(|(_, access)| access),
            pods,
        }
    }

    fn find(&self, node: &str) -> Option<At<'a, '_>> {
        let place = self.all.binary_search_by(|spot| spot.node.cmp(node)).ok()?;
        Some(self.at(&self.all[place]))
    }

    /// The nodes that are there or have pods.
    pub(super) fn iter(&self) -> impl Iterator<Item = At<'a, '_>> {
        self.all.iter().map(|spot| self.at(spot))
    }

    /// The nodes that want a daemon.
    pub(super) fn wanting(&self) -> impl Iterator<Item = At<'a, '_>> {
        self.iter().filter(At::may_start)
    }

    /// The pods of a node.
    pub(super) fn on(&self, node: &str) -> &[&'a PodView] {
        self.find(node).map(|at| at.pods).unwrap_or_default()
    }

    /// A node, if it is there.
    pub(super) fn view(&self, node: &str) -> Option<&'a NodeView> {
        self.find(node)?.view
    }

    /// True when a daemon may start on a node.
    pub(super) fn may_start(&self, node: &str) -> bool {
        self.find(node).is_some_and(|at| at.may_start())
    }

    /// All pods.
    pub(super) fn pods(&self) -> impl Iterator<Item = &'a PodView> {
        self.pods.iter().copied()
    }
}

/// The pods of one node that a rollout looks at.
#[derive(Debug, PartialEq)]
pub(super) enum Pair<'a> {
    /// At most one of the current revision and one of an older one.
    Tidy { new: Option<&'a PodView>, old: Option<&'a PodView> },
    /// More than that: to be thinned out first.
    Excess,
}

/// Tells the current and the old pod among those of one node that stay (`doomed` says which do not).
pub(super) fn pair<'a>(gauge: &Gauge, pods: &[&'a PodView], doomed: impl Fn(&PodView) -> bool) -> Pair<'a> {
    let (mut new, mut old) = (None, None);
    for pod in pods.iter().filter(|p| !doomed(p)) {
        let place = if gauge.is_current(pod) { &mut new } else { &mut old };
        if place.replace(*pod).is_some() {
            return Pair::Excess;
        }
    }
    Pair::Tidy { new, old }
}
