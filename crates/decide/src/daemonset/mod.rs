//! DaemonSets: what to do next so that every node that should run a daemon runs one, of the right revision.
//!
//! [`plan`] reads a snapshot (the DaemonSet, its nodes, pods and revisions) and answers with writes in the order in which
//! they are to be made, the status that the snapshot deserves, events, and when to look again. Whoever carries a plan out
//! stops at the first failed write of history, and plans again only on a snapshot that shows its own writes.
//!
//! Invariants:
//! - a plan for a snapshot that is as desired holds no writes;
//! - one plan never deletes or creates more than [`crate::limits::BURST_PODS`] pods;
//! - a rollout never takes an available daemon away while as many as `maxUnavailable` allows are missing already;
//! - a crash after any write of a plan is harmless: the next plan starts from what is there;
//! - a DaemonSet that is being deleted gets no writes.
//!
//! Absent: names of pods (left to the API server), the scheduler's choice, the removal of pods whose node is gone.

mod accept;
mod ahead;
mod backoff;
mod budget;
mod causal;
mod classes;
mod conditions;
mod course;
mod fleet;
mod gauge;
mod history;
mod manage;
mod outlook;
mod placement;
mod pod;
mod policy;
mod reason;
mod rollout;
mod spots;
mod status;
pub mod template;
#[cfg(test)]
mod tests;
mod verdict;
mod waves;
mod windows;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy::{Memory, Phase};
use api::selector::Labels;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::Value;

pub use accept::{Neighbours, accept, surges_on_ports};
pub use backoff::Backoff;
pub use budget::{Budget, scaled};
pub use causal::Excuse;
pub use classes::{CLASS_LABEL, Classes, NodeClasses};
pub use fleet::{Around, Fleet};
pub use gauge::is_current;
pub use outlook::{Outlook, Wave};
pub use placement::{Access, Demands, Exclusion, NAMESPACE_NODES, Placement, namespace_nodes, tolerations};
pub use pod::{GENERATION_ANNOTATION, GENERATION_LABEL, HASH_LABEL, new_pod, template_generation};
pub use policy::{Directive, PROGRESS_DEADLINE_S, Policy, choose};
pub use reason::{Hold, Reason, Used};

use crate::claim::{Claim, Claimant};
use crate::dead_man;
use crate::view::{NodeView, PodView};
use ahead::Ahead;
use gauge::Gauge;
use manage::Upkeep;
use rollout::Stands;
use spots::{At, Spots};
use status::Counts;

/// `apiVersion` of DaemonSets.
pub const API_VERSION: &str = "apps/v1";
/// `kind` of DaemonSets.
pub const KIND: &str = "DaemonSet";

/// The snapshot that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// All nodes, by name.
    pub nodes: &'a BTreeMap<String, &'a NodeView>,
    /// The pods of the namespace that this DaemonSet controls or that nobody controls; others are ignored.
    pub pods: &'a [&'a PodView],
    /// The revisions of the namespace.
    pub revisions: &'a [&'a ControllerRevision],
    /// The nodes that the namespace of this DaemonSet is for; none means all.
    pub namespace_nodes: Option<&'a Labels>,
    /// What the last plan of this DaemonSet said of failed pods, by node.
    pub backoff: &'a BTreeMap<String, Backoff>,
    /// The policy for its rollouts; without one, Kubernetes to the letter.
    pub policy: Option<Directive<'a>>,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Become the controller of a revision.
    AdoptRevision(Target),
    /// Stop being the controller of a revision.
    ReleaseRevision(Target),
    /// Store a new revision. If its name is taken, look again.
    CreateRevision(Box<ControllerRevision>),
    /// Set the number and the hash label of a revision.
    UpdateRevision {
        /// The revision.
        target: Target,
        /// Its number from now on.
        number: i64,
        /// Its label from now on.
        hash: String,
    },
    /// Delete a revision.
    DeleteRevision(Target),
    /// Become the controller of a pod.
    AdoptPod(Target),
    /// Stop being the controller of a pod.
    ReleasePod(Target),
    /// Set the revision label of a pod.
    RelabelPod(Target, String),
    /// Ask the node of a pod for the images of its successor, by a list with commas; without one, no longer.
    PrePull(Target, Option<String>),
    /// Delete a pod.
    DeletePod(Target),
    /// Create the pod ([`Plan::pod`]) of the node with this name.
    CreatePod(String),
    /// Write the template of a past revision to the DaemonSet, unless that has changed meanwhile.
    RestoreTemplate(Box<PastRevision>),
}

/// The object that a write is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name.
    pub name: String,
    /// UID: the write must fail if the name now means another object.
    pub uid: String,
}

impl Target {
    fn pod(pod: &PodView) -> Self {
        Self { name: pod.name.clone(), uid: pod.uid.clone() }
    }

    fn revision(revision: &ControllerRevision) -> Self {
        let metadata = &revision.metadata;
        Self { name: metadata.name.clone().unwrap_or_default(), uid: metadata.uid.clone().unwrap_or_default() }
    }
}

/// Something to tell the user about the DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// True for `Warning`, false for `Normal`.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// What to do next about one DaemonSet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Hash of the current revision; pods are created with it.
    pub hash: String,
    /// Writes, in order.
    pub actions: Vec<Action>,
    /// The status to store, if it differs from the one stored.
    pub status: Option<DaemonSetStatus>,
    /// True when the status may be stored a little later, together with changes that follow soon: it tells of progress, not
    /// of an end or of a change by the user.
    pub status_may_wait: bool,
    /// Events, in order. Those of pods created and deleted are told by who does it, since names are known only then.
    pub events: Vec<Event>,
    /// When to look again even if nothing changes.
    pub requeue_at: Option<Timestamp>,
    /// Why each node runs a daemon, waits for one or has none; only in what [`explain`] gives.
    pub reasons: BTreeMap<String, Reason>,
    /// Nodes whose update the policy holds up; only in what [`explain`] gives.
    pub held: BTreeSet<String>,
    /// What the policy makes of the rollout; only in what [`explain`] gives.
    pub outlook: Option<Box<Outlook>>,
    /// What the next plan needs to know of failed pods.
    pub backoff: BTreeMap<String, Backoff>,
    /// What the policy is to remember, if it differs from what it does. To be stored before anything else is written.
    pub memory: Option<Box<Memory>>,
    /// The last good revision, which the nodes in [`Plan::restored`] get.
    pub last_good: Option<Box<PastRevision>>,
    /// Nodes whose pod is created from the last good revision.
    pub restored: BTreeSet<String>,
    /// The node classes of each node.
    pub classes: NodeClasses,
    /// Seconds of silence after which a node takes its new pod back.
    pub dead_man_after_s: Option<i32>,
}

/// A revision that is not the current one.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRevision {
    /// Name of the ControllerRevision.
    pub name: String,
    /// The hash by which pods know it.
    pub hash: String,
    /// Its pods.
    pub template: PodTemplateSpec,
    /// Its data: the patch that makes a DaemonSet have its template.
    pub data: Value,
}

impl Plan {
    /// True when a pod of `set` is as it is to be: of the newest revision, with the classes of its node.
    #[must_use]
    pub fn is_current(&self, set: &DaemonSet, pod: &PodView) -> bool {
        is_current(pod, &self.hash, template_generation(set)) && self.classes.fit(pod)
    }

    /// The pod that [`Action::CreatePod`] for `node` means.
    #[must_use]
    pub fn pod(&self, set: &DaemonSet, node: &str) -> Pod {
        let past = self.last_good.as_deref().filter(|_| self.restored.contains(node));
        let mut pod = match past.is_none() && !self.classes.are_on(node) {
            true => new_pod(set, &self.hash, node),
            false => self.pod_of_another_template(set, past, node),
        };
        // Never the template's word for it: a user who wants this has a policy, and the hash knows nothing of that.
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.remove(dead_man::AFTER);
        annotations.extend(self.dead_man_after_s.map(|after_s| (dead_man::AFTER.to_owned(), after_s.to_string())));
        if annotations.is_empty() {
            pod.metadata.annotations = None;
        }
        pod
    }

    fn pod_of_another_template(&self, set: &DaemonSet, past: Option<&PastRevision>, node: &str) -> Pod {
        let mut set = set.clone();
        if let Some(past) = past {
            if let Some(spec) = &mut set.spec {
                spec.template = past.template.clone();
            }
            // The count of template changes is that of the current template: such a pod must not pass for one of it.
            set.metadata.annotations.iter_mut().for_each(|all| drop(all.remove(GENERATION_ANNOTATION)));
        }
        let class = self.classes.apply(&mut set, node);
        let mut pod = new_pod(&set, past.map_or(&self.hash, |past| &past.hash), node);
        if let Some(class) = class {
            pod.metadata.labels.get_or_insert_default().insert(CLASS_LABEL.to_owned(), class);
        }
        pod
    }

    /// Takes over what the policy adds to a plan.
    fn follow(&mut self, course: &course::Course<'_>, directive: Directive<'_>, moves: &Moves<'_>) {
        if self.last_good.is_some() {
            let restored = moves.create.iter().filter(|node| !course.is_due(node));
            self.restored = restored.map(|node| (*node).to_owned()).collect();
        }
        if let Some(past) = self.last_good.clone().filter(|_| course.restores) {
            let why = course.memory.message.clone().unwrap_or_default();
            let message = format!("Going back to revision {}: {why}", past.hash);
            self.events.push(Event { warning: true, reason: "RolloutRolledBack", message });
            self.actions.push(Action::RestoreTemplate(past));
        }
        self.events.extend(course.events.iter().cloned());
        if directive.memory != Some(&course.memory) {
            self.memory = Some(Box::new(course.memory.clone()));
        }
        if let Some(at) = course.look_again {
            self.look_again(at);
        }
    }

    /// Takes over what a node counts for, and when something there changes by itself.
    fn count(&mut self, gauge: &Gauge, at: At<'_, '_>, counts: &mut Counts) {
        counts.add(&Counts::of(gauge, at), 1);
        let ripens = at.pods.iter().filter_map(|pod| gauge.available_after(pod)).min();
        ripens.into_iter().for_each(|at| self.look_again(at));
    }

    /// Takes over what a node needs whatever the revision.
    fn keep_up<'a>(&mut self, node: &'a str, upkeep: Upkeep<'a>, moves: &mut Moves<'a>) {
        upkeep.delete.into_iter().for_each(|pod| moves.delete(pod));
        if upkeep.creates {
            moves.create.insert(node);
        }
        self.events.extend(upkeep.events);
        upkeep.look_again.into_iter().for_each(|at| self.look_again(at));
        if let Some(pause) = upkeep.pause {
            self.backoff.insert(node.to_owned(), pause);
        }
    }

    fn look_again(&mut self, at: Timestamp) {
        self.requeue_at = Some(self.requeue_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// What to do next about `desired`.
#[must_use]
pub fn plan(desired: &DaemonSet, observed: Observed<'_>, now: Timestamp) -> Plan {
    decide(desired, observed, now, false)
}

/// What to do next about `desired`, and the reason of every node. They cost as much as the rest of the plan, which is why
/// whoever only carries plans out asks for [`plan`].
#[must_use]
pub fn explain(desired: &DaemonSet, observed: Observed<'_>, now: Timestamp) -> Plan {
    decide(desired, observed, now, true)
}

fn decide(desired: &DaemonSet, observed: Observed<'_>, now: Timestamp, explains: bool) -> Plan {
    let mut plan = Plan::default();
    let Some(selector) = usable_selector(desired) else {
        plan.events.extend(selects_all(desired));
        return plan;
    };
    let uid = desired.metadata.uid.as_deref().unwrap_or_default();
    let claimant = Claimant { uid, selector: &selector, deleting: false };
    let pods = claim_pods(&claimant, observed.pods, &mut plan.actions);
    let mut history = match history::decide(desired, &claimant, observed.revisions, &pods) {
        history::Outcome::Known(history) => history,
        history::Outcome::NameTaken(status) => {
            plan.status = Some(*status);
            return plan;
        }
    };
    plan.actions.splice(0..0, std::mem::take(&mut history.actions));
    plan.hash = history.hash.clone();

    let demands = Demands::of(desired, observed.namespace_nodes);
    let mut gauge = Gauge::of(desired, &plan.hash, std::mem::take(&mut history.aliases), now);
    gauge.classes = NodeClasses::of(desired, observed.nodes, observed.policy.and_then(|d| d.policy.classes.as_ref()));
    let spots = Spots::new(observed.nodes, &pods, |node| demands.access(node));
    let budget = Budget::of(desired, spots.wanting().count());
    let scene = Scene { set: desired, gauge, spots, rolling: budget.rolling };
    let course = observed.policy.map(|directive| {
        let known = directive.memory.filter(|m| m.uid == uid).and_then(|m| m.last_good_revision.as_deref());
        let good = history.good(known, &pods, |pod| scene.gauge.is_available(pod));
        plan.last_good = good.revision.map(|revision| Box::new(history::past(revision)));
        course::chart(&scene, observed.nodes, &budget, directive, &good)
    });
    let course = course.as_ref();
    let frozen = course.is_some_and(|c| c.frozen);
    let mut moves = Moves::default();
    let mut counts = Counts::default();
    if frozen {
        plan.actions.clear();
        plan.backoff = observed.backoff.clone();
        scene.spots.iter().for_each(|at| plan.count(&scene.gauge, at, &mut counts));
    } else {
        let stands = scene.look(observed.backoff, &budget, &mut plan, &mut moves, &mut counts);
        let ahead = observed.policy.and_then(|d| d.policy.spec.pre_pull).map(|p| Ahead::new(&scene, p.timeout_seconds));
        // A way back does not wait for images either: they were here before.
        let ahead = ahead.filter(|_| course.is_some_and(|c| c.memory.phase != Phase::RollingBack));
        rollout::decide(&scene, stands, &budget, course, ahead.as_ref(), &mut moves);
        moves.bound();
        plan.actions.extend(moves.asks(&scene, ahead.is_some()));
        if course.is_some() {
            moves.look_again.into_iter().for_each(|at| plan.look_again(at));
        }
        plan.actions.extend(moves.delete.values().map(|pod| Action::DeletePod(Target::pod(pod))));
        plan.actions.extend(moves.create.iter().map(|node| Action::CreatePod((*node).to_owned())));
        let good = course.and_then(|c| c.memory.last_good_revision.as_deref());
        let live = LazyCell::new(|| pods.iter().filter_map(|p| p.labels.get(HASH_LABEL)).collect::<BTreeSet<_>>());
        let is_used = |hash: &str| good == Some(hash) || live.iter().any(|l| *l == hash);
        plan.actions.extend(history::cleanup(desired, history.old.iter().copied(), is_used));
    }
    if explains {
        plan.reasons = reason::explain(&scene, &demands, &moves, course, &plan.backoff);
        let held = scene.spots.iter().filter(|at| at.view.is_some() && course.is_some_and(|c| !c.is_open(at.node)));
        plan.held = held.map(|at| at.node.to_owned()).collect();
        plan.outlook = course.map(|course| Box::new(course.outlook()));
    }
    if let (Some(course), Some(directive)) = (course, observed.policy) {
        plan.follow(course, directive, &moves);
    }
    plan.status = status::changed(desired, &scene.gauge, &counts, &budget, course);
    plan.status_may_wait = plan.status.as_ref().is_some_and(|new| status::may_wait(desired.status.as_ref(), new));
    let usable = observed.policy.map(|directive| directive.policy).filter(|policy| policy.fault.is_none());
    plan.dead_man_after_s = usable.and_then(|policy| policy.spec.dead_man).map(|dead_man| dead_man.after_seconds);
    plan.classes = scene.gauge.classes;
    plan
}

/// The selector of a DaemonSet for which something may be done: that is not being deleted and can be read.
fn usable_selector(set: &DaemonSet) -> Option<Labels> {
    let spec = set.spec.as_ref().filter(|_| set.metadata.deletion_timestamp.is_none())?;
    Labels::from_label_selector(Some(&spec.selector)).ok().filter(|selector| !selector.is_empty())
}

/// What to tell of a DaemonSet that selects all pods.
fn selects_all(set: &DaemonSet) -> Option<Event> {
    let spec = set.spec.as_ref().filter(|_| set.metadata.deletion_timestamp.is_none())?;
    let selector = Labels::from_label_selector(Some(&spec.selector)).ok()?;
    selector.is_empty().then(|| Event {
        warning: true,
        reason: "SelectingAll",
        message: "This daemon set is selecting all pods. A non-empty selector is required.".to_owned(),
    })
}

/// What all steps of one plan read.
struct Scene<'a> {
    set: &'a DaemonSet,
    gauge: Gauge,
    spots: Spots<'a>,
    /// True when the strategy replaces daemons of older revisions by itself.
    rolling: bool,
}

impl<'a> Scene<'a> {
    /// Looks at each node once: what it needs, what it counts for, and where it stands in a rollout.
    fn look(
        &self,
        backoff: &BTreeMap<String, Backoff>,
        budget: &Budget,
        plan: &mut Plan,
        moves: &mut Moves<'a>,
        counts: &mut Counts,
    ) -> Stands<'a> {
        let gauge = &self.gauge;
        let known = backoff.iter().filter(|(_, pause)| !pause.is_forgotten(gauge.observed, gauge.now));
        plan.backoff = known.map(|(node, pause)| (node.clone(), *pause)).collect();
        let mut stands = Stands::new(budget);
        for at in self.spots.iter() {
            let pause = plan.backoff.get(at.node).copied();
            let upkeep = manage::upkeep(gauge, at, pause, budget.allows_surge);
            stands.add(gauge, at, |pod| upkeep.dooms(pod));
            plan.count(gauge, at, counts);
            plan.keep_up(at.node, upkeep, moves);
        }
        stands
    }

    /// When the rollout last got further: a pod of the current revision was made, or became available without a restart.
    fn last_progress(&self) -> Option<Timestamp> {
        let current = self.spots.pods().filter(|p| self.gauge.is_current(p));
        let steady = |p: &PodView| self.gauge.is_available(p) && p.restarts == (0, 0);
        current.filter_map(|p| p.ready_changed.filter(|_| steady(p)).max(p.created)).max()
    }
}

/// The pods to delete and the nodes to create pods on.
#[derive(Default)]
struct Moves<'a> {
    /// By name.
    delete: BTreeMap<&'a str, &'a PodView>,
    create: BTreeSet<&'a str>,
    /// Nodes whose new pod waits for a later plan.
    postponed: BTreeSet<&'a str>,
    /// What keeps the rollout from going on with further nodes.
    hold: Option<Hold>,
    /// Pods whose nodes are asked for images now.
    ask: Vec<(&'a PodView, String)>,
    /// Nodes that pull images ahead, with what goes wrong there.
    pulling: BTreeMap<&'a str, Option<String>>,
    /// When a pull has taken too long.
    look_again: Option<Timestamp>,
}

impl<'a> Moves<'a> {
    fn delete(&mut self, pod: &'a PodView) {
        self.delete.insert(&pod.name, pod);
    }

    fn is_doomed(&self, pod: &PodView) -> bool {
        pod.deleting.is_some() || self.delete.contains_key(pod.name.as_str())
    }

    /// Requests for images, and the end of those that nobody waits for any more: the daemon is the new one, or no policy asks
    /// for it now.
    fn asks(&self, scene: &Scene<'a>, waits: bool) -> Vec<Action> {
        let idle = |p: &&PodView| p.pre_pull.is_some() && (!waits || scene.gauge.is_current(p)) && !self.is_doomed(p);
        let idle = scene.spots.pods().filter(idle).map(|pod| Action::PrePull(Target::pod(pod), None));
        let asked = self.ask.iter().map(|(pod, images)| Action::PrePull(Target::pod(pod), Some(images.clone())));
        asked.chain(idle).take(crate::limits::BURST_PODS).collect()
    }

    /// Keeps both lists within the burst.
    fn bound(&mut self) {
        if let Some(name) = self.delete.keys().nth(crate::limits::BURST_PODS).copied() {
            self.delete.split_off(name);
        }
        if let Some(node) = self.create.iter().nth(crate::limits::BURST_PODS).copied() {
            self.postponed = self.create.split_off(node);
        }
    }
}

/// The pods that the DaemonSet controls or takes; the actions that take and release pods are in order of name.
fn claim_pods<'a>(claimant: &Claimant<'_>, pods: &[&'a PodView], actions: &mut Vec<Action>) -> Vec<&'a PodView> {
    let mut claimed = Vec::with_capacity(pods.len());
    let mut changes = Vec::new();
    for pod in pods {
        match claim(claimant, pod) {
            Claim::Owned => claimed.push(*pod),
            Claim::Adopt => {
                changes.push((&pod.name, Action::AdoptPod(Target::pod(pod))));
                claimed.push(pod);
            }
            Claim::Release => changes.push((&pod.name, Action::ReleasePod(Target::pod(pod)))),
            Claim::Ignore => {}
        }
    }
    changes.sort_by_key(|(name, _)| *name);
    actions.extend(changes.into_iter().map(|(_, action)| action));
    claimed
}

fn claim(claimant: &Claimant<'_>, pod: &PodView) -> Claim {
    claimant.claim(&pod.labels, pod.controller.as_ref().map(|c| c.uid.as_str()), pod.deleting.is_some())
}
