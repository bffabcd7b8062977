//! The nodes and pods of one DaemonSet, kept from plan to plan, so that a plan costs what changed and what it writes and
//! not a look at everything.
//!
//! A [`Fleet`] is told of all nodes and pods once, and then of those that changed ([`Fleet::node`], [`Fleet::pod`]). Of each
//! node it keeps what follows for it alone (what it counts for, what it needs, where it stands in a rollout), by the rules of
//! [`super::plan`] itself, and the sums and sorted sets from which a plan is made. A change makes it look at that node again;
//! so does the time at which something changes there by itself. Another revision, or a clock that went back, makes it look at
//! all of them.
//!
//! A fleet is for one spec of one DaemonSet, and makes no plan while the history of revisions is not in order or a policy that is
//! gone has left its requests for images. Then
//! [`Fleet::plan`] gives none: whoever asks takes [`super::plan`], and begins a new fleet.
//!
//! Invariants: its plan is that of [`super::plan`] for the same objects, byte for byte; to be told a thing twice does no harm;
//! it keeps pods as they were given, and of nodes no more than their names and what may be done there.
//!
//! Absent: policies. What a RolloutPolicy says of one node depends on others (waves, verdicts over all of them), so plans
//! under one are made by [`super::plan`]. Reasons ([`super::explain`]).

mod held;
mod spot;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::selector::Labels;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};

use super::{Action, Backoff, Budget, Demands, Gauge, Observed, Plan, Target, history, status, template_generation};
use crate::claim::Claimant;
use crate::view::{NodeView, PodView};
use held::Held;
use spot::{Mode, Outcome, Spot};
use tally::{Name, Tally};

/// What a plan is made from beside nodes and pods.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The DaemonSet: of one fleet always the same, by UID.
    pub set: &'a Arc<DaemonSet>,
    /// The revisions of the namespace.
    pub revisions: &'a [Arc<ControllerRevision>],
    /// The nodes that the namespace is for; none means all.
    pub namespace_nodes: Option<&'a Labels>,
}

/// The nodes and pods of one DaemonSet.
#[derive(Debug, Default)]
pub struct Fleet {
    /// By name of the node; also nodes that are gone and still have pods.
    spots: BTreeMap<Name, Spot>,
    pods: Held,
    /// The pauses of nodes with failed pods.
    backoff: BTreeMap<String, Backoff>,
    /// When the first of the pauses may be forgotten.
    forget_at: Option<Timestamp>,
    tally: Tally,
    /// Nodes that want a daemon.
    desired: usize,
    /// Changes that the next plan takes in.
    new_nodes: BTreeMap<String, Option<Arc<NodeView>>>,
    new_pods: BTreeMap<String, Option<Arc<PodView>>>,
    /// Nodes to look at again.
    stale: BTreeSet<Name>,
    /// What the last plan was made for.
    basis: Option<Basis>,
    history: Option<History>,
}

/// What the outcomes of all nodes rest on.
#[derive(Debug)]
struct Basis {
    set: Arc<DaemonSet>,
    namespace_nodes: Option<Labels>,
    /// Hash of the current revision.
    hash: String,
    mode: Mode,
    now: Timestamp,
}

impl Basis {
    /// True when the same pods are claimed, and the same may be done on the same nodes.
    fn is_for(&self, around: Around<'_>) -> bool {
        is_same_spec(&self.set, around.set)
            && self.set.metadata.uid == around.set.metadata.uid
            && self.namespace_nodes.as_ref() == around.namespace_nodes
    }

    /// True when all outcomes are what they were.
    fn holds(&self, around: Around<'_>, gauge: &Gauge, mode: Mode) -> bool {
        let observed = |set: &DaemonSet| set.status.as_ref().and_then(|s| s.observed_generation);
        self.now <= gauge.now
            && self.hash == gauge.hash
            && self.mode == mode
            && template_generation(&self.set) == gauge.generation
            && observed(&self.set) == observed(around.set)
    }
}

/// A history that is in order, and what was looked at to know that.
#[derive(Debug)]
struct History {
    set: Arc<DaemonSet>,
    revisions: Vec<Arc<ControllerRevision>>,
    /// Hash of the current revision.
    hash: String,
    /// The other revisions, oldest first.
    old: Vec<Arc<ControllerRevision>>,
}

impl History {
    /// The history, if there is nothing to be put in order.
    fn read(around: Around<'_>, claimant: &Claimant<'_>) -> Option<Self> {
        let revisions: Vec<&ControllerRevision> = around.revisions.iter().map(AsRef::as_ref).collect();
        let history::Outcome::Known(known) = history::decide(around.set, claimant, &revisions, &[]) else {
            return None;
        };
        if !known.actions.is_empty() {
            return None;
        }
        let kept = |old: &&ControllerRevision| around.revisions.iter().find(|r| std::ptr::eq(r.as_ref(), *old));
        Some(Self {
            set: around.set.clone(),
            revisions: around.revisions.to_vec(),
            hash: known.hash,
            old: known.old.iter().filter_map(kept).cloned().collect(),
        })
    }

    /// True when it is that of these revisions.
    fn holds(&self, around: Around<'_>) -> bool {
        let collisions = |set: &DaemonSet| set.status.as_ref().and_then(|s| s.collision_count);
        let same = |(a, b): (&Arc<ControllerRevision>, &Arc<ControllerRevision>)| Arc::ptr_eq(a, b) || a == b;
        self.revisions.len() == around.revisions.len()
            && self.revisions.iter().zip(around.revisions).all(same)
            && is_same_spec(&self.set, around.set)
            && collisions(&self.set) == collisions(around.set)
    }
}

fn is_same_spec(a: &Arc<DaemonSet>, b: &Arc<DaemonSet>) -> bool {
    Arc::ptr_eq(a, b) || a.spec == b.spec
}

impl Fleet {
    /// A fleet of which nothing is known yet but the pauses of nodes with failed pods.
    #[must_use]
    pub fn new(backoff: BTreeMap<String, Backoff>) -> Self {
        Self { backoff, ..Self::default() }
    }

    /// Takes in what has become of a node; none means that it is gone.
    pub fn node(&mut self, name: &str, node: Option<Arc<NodeView>>) {
        self.new_nodes.insert(name.to_owned(), node);
    }

    /// Takes in what has become of a pod of the namespace; none means that it is gone. Pods of other owners are not kept.
    pub fn pod(&mut self, name: &str, pod: Option<Arc<PodView>>) {
        self.new_pods.insert(name.to_owned(), pod);
    }

    /// The pauses of nodes with failed pods, after the last plan.
    #[must_use]
    pub fn backoff(&self) -> &BTreeMap<String, Backoff> {
        &self.backoff
    }

    /// What to do next, as [`super::plan`] says it; none when it takes a look at everything to say. [`Plan::backoff`] is left
    /// out: it stays here.
    pub fn plan(&mut self, around: Around<'_>, now: Timestamp) -> Option<Plan> {
        let Some(selector) = super::usable_selector(around.set) else { return Some(self.idle(around.set, now)) };
        if self.basis.as_ref().is_some_and(|basis| !basis.is_for(around)) {
            return None;
        }
        let uid = around.set.metadata.uid.as_deref().unwrap_or_default();
        let claimant = Claimant { uid, selector: &selector, deleting: false };
        let known = self.history.take().filter(|history| history.holds(around));
        let history = known.or_else(|| History::read(around, &claimant))?;
        let gauge = Gauge::of(around.set, &history.hash, BTreeSet::new(), now);
        self.take_nodes(around);
        self.take_pods(&claimant);
        if self.pods.are_asked() {
            return None;
        }
        let budget = Budget::of(around.set, self.desired);
        let mode = Mode::of(&budget);
        let is_new = self.basis.as_ref().is_none_or(|basis| !basis.holds(around, &gauge, mode));
        self.forget(&gauge, is_new);
        let paused = self.look(&gauge, mode, budget.allows_surge, is_new);
        let plan = self.write(around.set, &gauge, &history, &budget, mode);
        // Only from now on they are in a pause.
        self.stale.extend(paused);
        let (set, namespace_nodes) = (around.set.clone(), around.namespace_nodes.cloned());
        self.basis = Some(Basis { set, namespace_nodes, hash: gauge.hash, mode, now });
        self.history = Some(history);
        Some(plan)
    }

    /// The plan of a DaemonSet for which nothing may be done: neither nodes nor pods play a part, and pauses are forgotten.
    fn idle(&mut self, set: &DaemonSet, now: Timestamp) -> Plan {
        let nodes = BTreeMap::new();
        self.stale.extend(std::mem::take(&mut self.backoff).into_keys().map(Name::from));
        let observed = Observed {
            nodes: &nodes,
            pods: &[],
            revisions: &[],
            namespace_nodes: None,
            backoff: &self.backoff,
            policy: None,
        };
        super::plan(set, observed, now)
    }

    fn take_nodes(&mut self, around: Around<'_>) {
        if self.new_nodes.is_empty() {
            return;
        }
        let demands = Demands::of(around.set, around.namespace_nodes);
        for (name, node) in std::mem::take(&mut self.new_nodes) {
            let spot = self.spot(&name);
            let wanted_one = spot.may_start();
            spot.access = node.map(|node| demands.access(&node));
            let wants_one = spot.may_start();
            self.desired = self.desired + usize::from(wants_one) - usize::from(wanted_one);
        }
    }

    fn take_pods(&mut self, claimant: &Claimant<'_>) {
        for (name, pod) in std::mem::take(&mut self.new_pods) {
            if let Some(before) = self.pods.remove(&name, claimant)
                && let Some(node) = before.node_or_target()
            {
                self.spot(node).remove(&name);
            }
            if let Some(pod) = pod
                && self.pods.insert(&pod, claimant)
                && let Some(node) = pod.node_or_target()
            {
                self.spot(node).insert(&pod);
            }
        }
    }

    /// A node, which is to be looked at again; by the first plan all are.
    fn spot(&mut self, node: &str) -> &mut Spot {
        let name = Name::from(node);
        if self.basis.is_some() {
            self.stale.insert(name.clone());
        }
        self.spots.entry(name).or_default()
    }

    /// Forgets the pauses that are long over.
    fn forget(&mut self, gauge: &Gauge, all: bool) {
        if all || self.forget_at.is_some_and(|at| at <= gauge.now) {
            self.backoff.retain(|_, pause| !pause.is_forgotten(gauge.observed, gauge.now));
            self.forget_at = self.backoff.values().map(Backoff::forgotten_at).min();
        }
    }

    /// Looks at the nodes on which something changed, or at all. Returns those on which a pause began.
    fn look(&mut self, gauge: &Gauge, mode: Mode, allows_surge: bool, all: bool) -> Vec<Name> {
        let mut stale = std::mem::take(&mut self.stale);
        if all {
            self.tally = Tally::default();
            self.spots.values_mut().for_each(|spot| spot.outcome = Outcome::default());
            stale = self.spots.keys().cloned().collect();
        } else {
            stale.extend(self.tally.woken(gauge.now));
        }
        let mut paused = Vec::new();
        for name in stale {
            let Some(spot) = self.spots.get_mut(&name) else { continue };
            let pause = self.backoff.get(&*name).copied();
            let (outcome, begun) = spot.look(gauge, &name, pause, mode, allows_surge);
            self.tally.take(&name, &spot.outcome);
            self.tally.add(&name, &outcome);
            spot.outcome = outcome;
            if spot.is_empty() {
                self.spots.remove(&name);
            }
            if let Some(pause) = begun {
                self.backoff.insert(name.to_string(), pause);
                self.forget_at = self.forget_at.into_iter().chain([pause.forgotten_at()]).min();
                paused.push(name);
            }
        }
        paused
    }

    /// The plan that the outcomes of all nodes come to.
    fn write(&self, set: &DaemonSet, gauge: &Gauge, history: &History, budget: &Budget, mode: Mode) -> Plan {
        let mut plan = Plan { hash: gauge.hash.clone(), ..Plan::default() };
        plan.actions.extend(self.pods.claims().cloned());
        let writes = self.tally.writes(budget, mode);
        plan.actions.extend(writes.delete.into_iter().map(|pod| Action::DeletePod(Target::pod(pod))));
        plan.actions.extend(writes.create.into_iter().map(|node| Action::CreatePod(node.to_string())));
        let old = history.old.iter().map(AsRef::as_ref);
        plan.actions.extend(history::cleanup(set, old, |hash| self.pods.uses(hash)));
        plan.events.extend(self.tally.events().cloned());
        plan.requeue_at = self.tally.wake();
        plan.status = status::changed(set, gauge, &self.tally.counts, budget, None);
        plan.status_may_wait = plan.status.as_ref().is_some_and(|new| status::may_wait(set.status.as_ref(), new));
        plan
    }
}
