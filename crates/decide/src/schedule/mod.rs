//! Where one pod fits.
//!
//! A pod whose required affinity names nodes, as a daemon pod's does, is checked against those alone; any other pod
//! against all, and the best that fits wins. Where none fits, less important pods may have to end.
//!
//! Invariants: a pod never goes to a node that lacks what it asks for, given the loads of the snapshot; the answer says
//! for every node that is out why it is, counted, in Kubernetes' words.
//!
//! Absent: volumes that bind to nodes, device claims, groups of pods: a pod that asks for one of them is placed by the
//! other rules alone.

mod cluster;
mod fit;
mod message;
mod near;
mod preempt;
mod score;
mod spread;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use cluster::{Allowance, Cluster, Load};
pub use message::Obstacle;

use crate::view::{NodeView, PodView, Wishes};
use fit::{Demands, Named};
use near::Near;
use preempt::Room;
use spread::Domains;

/// The scheduler that pods get when they name none.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// What to do about one pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Bind it to this node.
    Bind(String),
    /// No node fits.
    Unschedulable(Unfit),
    /// It is not ours, is bound, gated, ended or going.
    Leave,
}

/// Why no node fits, and what is done about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unfit {
    /// The counted reasons.
    pub why: String,
    /// Where room is made, and which pods end for it, the most important first.
    pub room: Option<(String, Vec<Arc<PodView>>)>,
    /// True when a nomination that the pod has does not help it any more.
    pub drop_nomination: bool,
    /// True when pods that come to or leave other nodes may help it.
    pub heeds_pods: bool,
    /// The nodes that may help it when they change; empty means any.
    pub nodes: Vec<String>,
}

/// Where `pod` goes, given all nodes and what is on them.
#[must_use]
pub fn decide(pod: &PodView, cluster: &impl Cluster) -> Decision {
    let Some(wishes) = pod.wishes.as_deref() else { return Decision::Leave };
    let ours = matches!(wishes.scheduler_name.as_str(), "" | DEFAULT_SCHEDULER);
    if !ours || wishes.gated || pod.deleting.is_some() || pod.phase.is_terminal() {
        return Decision::Leave;
    }
    if cluster.count() == 0 {
        let why = "no nodes available to schedule pods".to_owned();
        return Decision::Unschedulable(Unfit { why, ..Unfit::default() });
    }
    let question = Question::new(pod, wishes, cluster);
    let mut out: BTreeMap<&str, Vec<Obstacle>> = BTreeMap::new();
    let mut fitting = Vec::new();
    let named = fit::named(wishes);
    if let Some((node, load)) = wishes.nominated.as_deref().and_then(|name| cluster.one(name))
        && named.may_be(&node.name)
        && question.check(node, load).is_empty()
    {
        return Decision::Bind(node.name.clone());
    }
    let nodes: Vec<(&NodeView, &Load)> = match &named {
        Named::Any => cluster.all().collect(),
        Named::Only(names) => names.iter().filter_map(|name| cluster.one(name)).collect(),
        Named::None => Vec::new(),
    };
    for (node, load) in nodes {
        let why = question.check(node, load);
        if why.is_empty() {
            fitting.push((node, load));
        } else {
            out.insert(&node.name, why);
        }
    }
    match score::best(&question.demands, cluster, &fitting) {
        Some(name) => Decision::Bind(name.to_owned()),
        None => Decision::Unschedulable(question.unfit(&named, &out)),
    }
}

/// True when a change of a node, or of what is on it, may let a pod start there that was [`Unfit`], or changes what is to
/// be said of it. `before` is the node before the change, if it is the node that changed. Other pods near by are not
/// looked at: a pod that heeds them is tried again anyway.
#[must_use]
pub fn may_help(pod: &PodView, before: Option<&NodeView>, node: &NodeView, load: &Load) -> bool {
    let Some(wishes) = pod.wishes.as_deref() else { return false };
    let demands = Demands::new(pod, wishes);
    let why = demands.check(node, load);
    let room = || why.iter().all(Obstacle::is_load) && load.pods.values().any(|p| p.priority < pod.priority);
    why.is_empty() || before.is_some_and(|before| demands.check(before, load) != why) || room()
}

/// What keeps a pod off a node, given what is on it; empty when nothing does, or when the pod has a node. Other pods near
/// by are not looked at.
#[must_use]
pub fn obstacles(pod: &PodView, node: &NodeView, load: &Load) -> Vec<Obstacle> {
    pod.wishes.as_deref().map(|wishes| Demands::new(pod, wishes).check(node, load)).unwrap_or_default()
}

/// One pod that asks where it fits, with what must be known of the others.
struct Question<'a, C: Cluster> {
    demands: Demands<'a>,
    cluster: &'a C,
    near: Near,
    domains: Domains,
}

impl<'a, C: Cluster> Question<'a, C> {
    fn new(pod: &'a PodView, wishes: &'a Wishes, cluster: &'a C) -> Self {
        let demands = Demands::new(pod, wishes);
        let near = Near::look(pod, cluster);
        let domains = Domains::look(&demands, cluster);
        Self { demands, cluster, near, domains }
    }

    fn trial<'q>(&'q self, node: &'q NodeView, load: &Load) -> Trial<'q, 'a, C> {
        let (load, near, domains) = (load.clone(), self.near.clone(), self.domains.clone());
        Trial { question: self, node, load, near, domains }
    }

    /// What keeps the pod off a node; empty when it fits. Pods for which room is made there count as if they were there,
    /// unless they are less important.
    fn check(&self, node: &NodeView, load: &Load) -> Vec<Obstacle> {
        let pod = self.demands.pod;
        let mut expected =
            load.nominated.values().filter(|p| p.uid != pod.uid && p.priority >= pod.priority).peekable();
        if expected.peek().is_some() {
            let mut trial = self.trial(node, load);
            expected.for_each(|p| trial.add(p));
            let why = trial.check_alone();
            if !why.is_empty() {
                return why;
            }
        }
        self.check_with(node, load, &self.near, &self.domains)
    }

    fn check_with(&self, node: &NodeView, load: &Load, near: &Near, domains: &Domains) -> Vec<Obstacle> {
        let why = self.demands.check(node, load);
        if !why.is_empty() {
            return why;
        }
        let why = domains.check(&self.demands, node).or_else(|| near.check(self.demands.pod, self.cluster, node));
        why.into_iter().collect()
    }

    fn unfit(&self, named: &Named<'_>, out: &BTreeMap<&str, Vec<Obstacle>>) -> Unfit {
        let total = self.cluster.count();
        let wishes = self.demands.wishes;
        let mut why = match named {
            Named::None => format!("0/{total} nodes are available: pod affinity terms conflict."),
            _ => message::sentence(total, out.values().flatten(), (total - out.len(), Obstacle::OtherNode)),
        };
        let own = self.demands.pod.terms.as_deref().is_some_and(|t| !t.needs.is_empty() || !t.shuns.is_empty());
        let mut unfit = Unfit {
            heeds_pods: own || wishes.spread.iter().any(|s| s.hard) || out.values().flatten().any(Obstacle::is_near),
            nodes: match named {
                Named::Only(names) => names.iter().map(|n| (*n).to_owned()).collect(),
                _ => Vec::new(),
            },
            ..Unfit::default()
        };
        match preempt::find(self, out) {
            Room::Made { node, victims } => unfit.room = Some((node, victims)),
            Room::Nowhere(reasons) => {
                why.push_str(&format!(" no new claims to deallocate, preemption: {reasons}"));
                unfit.drop_nomination = wishes.nominated.is_some();
            }
            Room::NotNow(reason) => why.push_str(&format!(" no new claims to deallocate, preemption: {reason}")),
        }
        unfit.why = why;
        unfit
    }
}

/// A node as it would be with some pods more or fewer.
struct Trial<'q, 'a, C: Cluster> {
    question: &'q Question<'a, C>,
    node: &'q NodeView,
    load: Load,
    near: Near,
    domains: Domains,
}

impl<C: Cluster> Trial<'_, '_, C> {
    fn add(&mut self, pod: &Arc<PodView>) {
        self.load.add(pod);
        self.change(pod, 1);
    }

    fn remove(&mut self, pod: &Arc<PodView>) {
        self.load.remove(&pod.uid);
        self.change(pod, -1);
    }

    fn change(&mut self, pod: &PodView, by: i64) {
        let Question { demands, cluster, .. } = self.question;
        self.near.change(demands.pod, *cluster, pod, self.node, by);
        self.domains.change(demands, pod, self.node, by);
    }

    fn check_alone(&self) -> Vec<Obstacle> {
        self.question.check_with(self.node, &self.load, &self.near, &self.domains)
    }

    /// As [`Question::check`], on this trial.
    fn check(&self) -> Vec<Obstacle> {
        let pod = self.question.demands.pod;
        let expected = self.load.nominated.values().filter(|p| p.uid != pod.uid && p.priority >= pod.priority);
        let expected: Vec<Arc<PodView>> = expected.cloned().collect();
        if !expected.is_empty() {
            let mut with = Self {
                question: self.question,
                node: self.node,
                load: self.load.clone(),
                near: self.near.clone(),
                domains: self.domains.clone(),
            };
            expected.iter().for_each(|p| with.add(p));
            let why = with.check_alone();
            if !why.is_empty() {
                return why;
            }
        }
        self.check_alone()
    }
}
