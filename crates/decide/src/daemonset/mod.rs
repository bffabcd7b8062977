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
mod backoff;
mod budget;
mod causal;
mod classes;
mod conditions;
mod course;
mod history;
mod manage;
mod node_pods;
mod placement;
mod pod;
mod policy;
mod reason;
mod rollout;
mod status;
pub mod template;
#[cfg(test)]
mod tests;
mod verdict;
mod waves;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy::Memory;
use api::selector::Labels;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::Value;

pub use accept::{Neighbours, accept};
pub use backoff::Backoff;
pub use budget::{Budget, scaled};
pub use causal::Excuse;
pub use classes::{CLASS_LABEL, Classes, NodeClasses};
pub use placement::{Demands, Exclusion, NAMESPACE_NODES, Placement, namespace_nodes, tolerations};
pub use pod::{GENERATION_ANNOTATION, GENERATION_LABEL, HASH_LABEL, new_pod, template_generation};
pub use policy::{Directive, PROGRESS_DEADLINE_S, Policy, choose};
pub use reason::{Hold, Reason, Used};

use crate::claim::{Claim, Claimant};
use crate::view::{NodeView, PodView};
use node_pods::NodePods;

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
        let mut set = set.clone();
        let past = self.last_good.as_deref().filter(|_| self.restored.contains(node));
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
    if desired.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let Some(spec) = desired.spec.as_ref() else { return plan };
    let Ok(selector) = Labels::from_label_selector(Some(&spec.selector)) else { return plan };
    if selector.is_empty() {
        plan.events.push(Event {
            warning: true,
            reason: "SelectingAll",
            message: "This daemon set is selecting all pods. A non-empty selector is required.".to_owned(),
        });
        return plan;
    }
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

    let mut scene = Scene {
        set: desired,
        hash: &plan.hash.clone(),
        aliases: std::mem::take(&mut history.aliases),
        generation: template_generation(desired),
        observed: desired.status.as_ref().and_then(|s| s.observed_generation).unwrap_or_default(),
        min_ready_seconds: spec.min_ready_seconds.unwrap_or_default(),
        placements: place(desired, observed.namespace_nodes, observed.nodes),
        pods: NodePods::group(&pods),
        classes: NodeClasses::of(desired, observed.nodes, observed.policy.and_then(|d| d.policy.classes.as_ref())),
        rolling: false,
        now,
    };
    let budget = Budget::of(desired, scene.placements.values().filter(|p| p.may_start()).count());
    scene.rolling = budget.rolling;
    let course = observed.policy.map(|directive| {
        let known = directive.memory.filter(|m| m.uid == uid).and_then(|m| m.last_good_revision.as_deref());
        let good = history.good(known, &pods, |pod| scene.is_available(pod));
        plan.last_good = good.revision.map(|revision| Box::new(history::past(revision)));
        course::chart(&scene, observed.nodes, &budget, directive, &good)
    });
    let course = course.as_ref();
    let mut moves = Moves::default();
    if course.is_some_and(|c| c.frozen) {
        plan.actions.clear();
        plan.backoff = observed.backoff.clone();
    } else {
        moves = manage::decide(&scene, observed.nodes, observed.backoff, budget.allows_surge, &mut plan);
        if budget.rolling {
            rollout::decide(&scene, &budget, course, &mut moves);
        }
        moves.bound();
        plan.actions.extend(moves.delete.values().map(|pod| Action::DeletePod(Target::pod(pod))));
        plan.actions.extend(moves.create.iter().map(|node| Action::CreatePod((*node).to_owned())));
        let good = course.and_then(|c| c.memory.last_good_revision.as_deref());
        plan.actions.extend(history::cleanup(desired, &history.old, &pods, good));
    }
    if explains {
        plan.reasons = reason::explain(&scene, &moves, course, &plan.backoff);
        let held = |node: &&&str| course.is_some_and(|c| !c.is_open(node));
        plan.held = scene.placements.keys().filter(held).map(|node| (*node).to_owned()).collect();
    }
    if let (Some(course), Some(directive)) = (course, observed.policy) {
        plan.follow(course, directive, &moves);
    }
    plan.status = status::changed(&scene, &budget, course, desired.status.as_ref());
    plan.status_may_wait = plan.status.as_ref().is_some_and(|new| status::may_wait(desired.status.as_ref(), new));
    let next_change = status::next_change(&scene);
    plan.classes = scene.classes;
    if let Some(at) = next_change {
        plan.look_again(at);
    }
    plan
}

/// What all steps of one plan read.
struct Scene<'a> {
    set: &'a DaemonSet,
    hash: &'a str,
    /// Hashes of duplicates of the current revision, whose pods are being relabelled.
    aliases: BTreeSet<String>,
    generation: Option<i64>,
    /// `status.observedGeneration`.
    observed: i64,
    min_ready_seconds: i32,
    placements: BTreeMap<&'a str, Placement>,
    pods: NodePods<'a>,
    classes: NodeClasses,
    /// True when the strategy replaces daemons of older revisions by itself.
    rolling: bool,
    now: Timestamp,
}

impl Scene<'_> {
    fn is_available(&self, pod: &PodView) -> bool {
        pod.is_available(self.min_ready_seconds, self.now)
    }

    fn is_current(&self, pod: &PodView) -> bool {
        self.is_of_revision(pod) && self.classes.fit(pod)
    }

    fn is_of_revision(&self, pod: &PodView) -> bool {
        is_current(pod, self.hash, self.generation)
            || (!self.aliases.is_empty() && pod.labels.get(HASH_LABEL).is_some_and(|h| self.aliases.contains(h)))
    }

    /// True when a pod is old for no other reason than the classes of its node.
    fn is_reclassed(&self, pod: &PodView) -> bool {
        self.is_of_revision(pod) && !self.classes.fit(pod)
    }

    /// When the rollout last got further: a pod of the current revision was made, or became available without a restart.
    fn last_progress(&self) -> Option<Timestamp> {
        let current = self.pods.iter().flat_map(|(_, pods)| pods.iter().filter(|p| self.is_current(p)));
        let steady = |p: &PodView| self.is_available(p) && p.restarts == (0, 0);
        current.filter_map(|p| p.ready_changed.filter(|_| steady(p)).max(p.created)).max()
    }

    fn may_start(&self, node: &str) -> bool {
        self.placements.get(node).is_some_and(Placement::may_start)
    }
}

/// True when a pod is of the revision with this hash, or of this count of template changes.
#[must_use]
pub fn is_current(pod: &PodView, hash: &str, generation: Option<i64>) -> bool {
    let by_generation = || {
        let label = pod.labels.get(GENERATION_LABEL);
        generation.is_some_and(|g| label.is_some_and(|l| *l == g.to_string()))
    };
    pod.labels.get(HASH_LABEL).is_some_and(|h| h == hash) || by_generation()
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
}

impl<'a> Moves<'a> {
    fn delete(&mut self, pod: &'a PodView) {
        self.delete.insert(&pod.name, pod);
    }

    fn is_doomed(&self, pod: &PodView) -> bool {
        pod.deleting.is_some() || self.delete.contains_key(pod.name.as_str())
    }

    /// Keeps both lists within the burst.
    fn bound(&mut self) {
        while self.delete.len() > crate::limits::BURST_PODS {
            self.delete.pop_last();
        }
        while self.create.len() > crate::limits::BURST_PODS {
            if let Some(node) = self.create.pop_last() {
                self.postponed.insert(node);
            }
        }
    }
}

fn place<'a>(
    set: &DaemonSet,
    namespace_nodes: Option<&Labels>,
    nodes: &'a BTreeMap<String, &'a NodeView>,
) -> BTreeMap<&'a str, Placement> {
    let demands = Demands::of(set, namespace_nodes);
    nodes.iter().map(|(name, node)| (name.as_str(), demands.place(node))).collect()
}

fn claim_pods<'a>(claimant: &Claimant<'_>, pods: &[&'a PodView], actions: &mut Vec<Action>) -> Vec<&'a PodView> {
    let mut sorted = pods.to_vec();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut claimed = Vec::with_capacity(sorted.len());
    for pod in sorted {
        let controller = pod.controller.as_ref().map(|c| c.uid.as_str());
        match claimant.claim(&pod.labels, controller, pod.deleting.is_some()) {
            Claim::Owned => claimed.push(pod),
            Claim::Adopt => {
                actions.push(Action::AdoptPod(Target::pod(pod)));
                claimed.push(pod);
            }
            Claim::Release => actions.push(Action::ReleasePod(Target::pod(pod))),
            Claim::Ignore => {}
        }
    }
    claimed
}
