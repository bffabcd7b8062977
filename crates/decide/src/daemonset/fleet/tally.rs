//! The sums and sorted sets from which the plan of a fleet is made.
//!
//! Invariants: they are what the outcomes of all nodes come to; what one outcome adds, the same outcome takes away.
//!
//! Absent: what the outcomes are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::super::rollout::{Next, Turn, going};
use super::super::status::Counts;
use super::super::{Budget, Event};
use super::held::ByName;
use super::spot::{Mode, Outcome, Stand};
use crate::limits::BURST_PODS;
use crate::view::PodView;

/// The name of a node.
pub(super) type Name = Arc<str>;

/// The sums and sorted sets from which a plan is made.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    /// Nodes that need a daemon.
    creates: BTreeSet<Name>,
    /// Pods that go whatever the revision.
    deletes: BTreeSet<ByName>,
    events: BTreeMap<Name, Vec<Event>>,
    /// Nodes that use the budget up.
    used: usize,
    /// Nodes with an available daemon; with surge.
    available: usize,
    /// Nodes with an old daemon that wait for their turn; without surge that daemon goes then.
    waits: BTreeMap<Name, Option<Arc<PodView>>>,
    /// Old daemons that may go at once.
    free: BTreeSet<ByName>,
    /// Nodes that may have a new daemon beside the old one at once.
    sick: BTreeSet<Name>,
    /// Old daemons that go when enough others are available.
    unwanted: BTreeMap<Name, Arc<PodView>>,
    wakes: BTreeSet<(Timestamp, Name)>,
}

/// The pods to delete, in order of name, and the nodes to create pods on.
pub(super) struct Writes<'t> {
    pub(super) delete: Vec<&'t PodView>,
    pub(super) create: Vec<&'t Name>,
}

impl Tally {
    pub(super) fn add(&mut self, node: &Name, outcome: &Outcome) {
        self.counts.add(&outcome.counts, 1);
        if let Some(needs) = &outcome.needs {
            self.deletes.extend(needs.delete.iter().cloned().map(ByName));
            if needs.creates {
                self.creates.insert(node.clone());
            }
            if !needs.events.is_empty() {
                self.events.insert(node.clone(), needs.events.clone());
            }
        }
        self.wakes.extend(outcome.wake.map(|at| (at, node.clone())));
        let wait = |waits: &mut BTreeMap<Name, Option<Arc<PodView>>>, pod| drop(waits.insert(node.clone(), pod));
        match &outcome.stand {
            Stand::Out | Stand::Turn(Turn::Done) => {}
            Stand::Turn(Turn::Missing) => self.used += 1,
            Stand::Turn(Turn::Sick(pod)) => {
                self.used += 1;
                self.free.insert(ByName(pod.clone()));
            }
            Stand::Turn(Turn::Waits(pod)) => wait(&mut self.waits, Some(pod.clone())),
            Stand::Overlap(overlap) => {
                self.available += usize::from(overlap.available);
                match &overlap.next {
                    Next::Rests => {}
                    Next::Excess | Next::Overlaps => self.used += 1,
                    Next::Waits => wait(&mut self.waits, None),
                    Next::Sick => drop(self.sick.insert(node.clone())),
                    Next::Obsolete(pod) => drop(self.free.insert(ByName(pod.clone()))),
                    Next::Unwanted(pod) => drop(self.unwanted.insert(node.clone(), pod.clone())),
                }
            }
        }
    }

    pub(super) fn take(&mut self, node: &Name, outcome: &Outcome) {
        self.counts.add(&outcome.counts, -1);
        if let Some(needs) = &outcome.needs {
            for pod in &needs.delete {
                self.deletes.remove(pod.name.as_str());
            }
            self.creates.remove(node);
            self.events.remove(node);
        }
        if let Some(at) = outcome.wake {
            self.wakes.remove(&(at, node.clone()));
        }
        match &outcome.stand {
            Stand::Out | Stand::Turn(Turn::Done) => {}
            Stand::Turn(Turn::Missing) => self.used -= 1,
            Stand::Turn(Turn::Sick(pod)) => {
                self.used -= 1;
                self.free.remove(pod.name.as_str());
            }
            Stand::Turn(Turn::Waits(_)) => drop(self.waits.remove(node)),
            Stand::Overlap(overlap) => {
                self.available -= usize::from(overlap.available);
                match &overlap.next {
                    Next::Rests => {}
                    Next::Excess | Next::Overlaps => self.used -= 1,
                    Next::Waits => drop(self.waits.remove(node)),
                    Next::Sick => drop(self.sick.remove(node)),
                    Next::Obsolete(pod) => drop(self.free.remove(pod.name.as_str())),
                    Next::Unwanted(_) => drop(self.unwanted.remove(node)),
                }
            }
        }
    }

    /// The writes for pods, no more than a burst of each kind: of all that may be written, those that come first by name, as
    /// in a plan that looks at all nodes.
    pub(super) fn writes(&self, budget: &Budget, mode: Mode) -> Writes<'_> {
        let (mut delete, mut create) = (BTreeSet::new(), BTreeSet::new());
        delete.extend(self.deletes.iter().take(BURST_PODS));
        create.extend(self.creates.iter().take(BURST_PODS));
        let mut turned: Vec<&PodView> = Vec::new();
        if mode != Mode::OnDelete {
            delete.extend(self.free.iter().take(BURST_PODS));
            create.extend(self.sick.iter().take(BURST_PODS));
        }
        match mode {
            Mode::OnDelete => {}
            Mode::Replace => {
                let room = going(budget.unavailable_max.saturating_sub(self.used));
                turned.extend(self.waits.values().take(room).flatten().map(AsRef::as_ref));
            }
            Mode::Surge => {
                let spare = going(self.available.saturating_sub(budget.desired));
                turned.extend(self.unwanted.values().take(spare).map(AsRef::as_ref));
                let room = going(budget.surge_max.saturating_sub(self.used));
                create.extend(self.waits.keys().take(room));
            }
        }
        let mut delete: Vec<&PodView> = delete.into_iter().map(|ByName(pod)| pod.as_ref()).chain(turned).collect();
        delete.sort_by(|a, b| a.name.cmp(&b.name));
        delete.truncate(BURST_PODS);
        Writes { delete, create: create.into_iter().take(BURST_PODS).collect() }
    }

    /// The events of all nodes.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.values().flatten()
    }

    /// When something changes by itself next.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The nodes on which something has changed by itself by `now`.
    pub(super) fn woken(&self, now: Timestamp) -> Vec<Name> {
        self.wakes.iter().take_while(|(at, _)| *at <= now).map(|(_, node)| node.clone()).collect()
    }
}
