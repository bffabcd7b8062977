//! Why every node runs a daemon, waits for one or has none, in words for people.
//!
//! The decision itself gives a [`Reason`] for each node; here it is told with what the objects say: the label or the taint
//! that excludes, what the scheduler misses on the node, what the node's agent says of the containers, and what an update
//! waits for. Looking at other pods of a node or at events costs reads, so it is done for few pods: [`Case::looks`] names
//! them, and [`Case::report`] takes what was found.
//!
//! Invariants: every node of the snapshot has one answer; the same input gives the same answers; nothing is read but what
//! is given.
//!
//! Absent: the reads, and how answers are shown.

mod answer;
mod exclusion;
mod pod;
#[cfg(test)]
mod tests;
mod unbound;

use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy::RolloutPolicy;
use api::selector::Labels;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};

pub use answer::{API_VERSION, Answer, Cause, Counts, Group, Held, KIND, Report, State};

use crate::daemonset::{self, Directive, Exclusion, Hold, Observed, Plan, Policy, Reason, Used, namespace_nodes};
use crate::limits::{BLOCKERS_TOLD, PODS_LOOKED_INTO};
use crate::node_health::Grace;
use crate::view::{NodeView, PodView};
use answer::Words;

/// What the API knows of a DaemonSet.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The DaemonSet.
    pub set: DaemonSet,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// The pods of its namespace that its selector matches.
    pub pods: Vec<Pod>,
    /// The revisions of its namespace.
    pub revisions: Vec<ControllerRevision>,
    /// Its namespace, if it could be read.
    pub namespace: Option<Namespace>,
    /// The policies of its namespace; none where the API has no such kind.
    pub policies: Vec<RolloutPolicy>,
    /// After how long its controllers know a silent node as one.
    pub grace: Grace,
}

impl Snapshot {
    /// The policy that is for the DaemonSet.
    #[must_use]
    pub fn policy(&self) -> Option<&RolloutPolicy> {
        let metadata = &self.set.metadata;
        daemonset::choose(self.policies.iter(), metadata.name.as_deref().unwrap_or_default(), metadata.labels.as_ref())
    }
}

/// Which nodes are asked about.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// This one only.
    pub node: Option<String>,
    /// Those with such labels only.
    pub labels: Option<Labels>,
}

impl Asked {
    fn takes(&self, node: &NodeView) -> bool {
        self.node.as_ref().is_none_or(|name| *name == node.name)
            && self.labels.as_ref().is_none_or(|labels| labels.matches(&node.labels))
    }
}

/// A pod that more should be read about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Its name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// The node that it is on or for.
    pub node: String,
    /// True when it has no node: what is on that node should be read. Otherwise the warnings about the pod should.
    pub unbound: bool,
}

/// What was read about pods that were named by [`Case::looks`].
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The pods that are bound to a node, by its name.
    pub neighbours: BTreeMap<String, Vec<Pod>>,
    /// The newest warning about a pod, by its UID.
    pub warnings: BTreeMap<String, Event>,
}

/// A snapshot with the decision about it.
pub struct Case<'a> {
    snapshot: &'a Snapshot,
    asked: &'a Asked,
    now: Timestamp,
    nodes: BTreeMap<String, NodeView>,
    pods: BTreeMap<String, (&'a Pod, PodView)>,
    plan: Plan,
}

impl<'a> Case<'a> {
    /// Decides about a snapshot.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, asked: &'a Asked, now: Timestamp) -> Self {
        let nodes: BTreeMap<String, NodeView> =
            snapshot.nodes.iter().map(NodeView::from).map(|n| (n.name.clone(), n)).collect();
        let pods: BTreeMap<String, (&Pod, PodView)> =
            snapshot.pods.iter().map(|p| (p, PodView::from(p))).map(|(p, v)| (v.name.clone(), (p, v))).collect();
        let for_namespace = snapshot.namespace.as_ref().and_then(|n| namespace_nodes(n.metadata.annotations.as_ref()));
        let plan = {
            let nodes: BTreeMap<String, &NodeView> = nodes.iter().map(|(name, node)| (name.clone(), node)).collect();
            let pods: Vec<&PodView> = pods.values().map(|(_, view)| view).collect();
            let revisions: Vec<&ControllerRevision> = snapshot.revisions.iter().collect();
            let chosen = snapshot.policy();
            let policy = chosen.map(Policy::read);
            let uid = snapshot.set.metadata.uid.as_deref().unwrap_or_default();
            let name = snapshot.set.metadata.name.as_deref().unwrap_or_default();
            let memory = chosen.and_then(|p| p.memory(name, uid));
            let observed = Observed {
                nodes: &nodes,
                pods: &pods,
                revisions: &revisions,
                namespace_nodes: for_namespace.as_ref(),
                backoff: &BTreeMap::new(),
                policy: policy.as_ref().map(|policy| Directive { policy, memory, grace: snapshot.grace }),
            };
            daemonset::explain(&snapshot.set, observed, now)
        };
        Self { snapshot, asked, now, nodes, pods, plan }
    }

    /// The pods that more should be read about: those that wait on the nodes that were asked about and on those that use up
    /// a budget, the first by node, no more than [`PODS_LOOKED_INTO`].
    #[must_use]
    pub fn looks(&self) -> Vec<Look> {
        let blockers: BTreeSet<&String> = self.blockers();
        let told = |node: &String| self.asked_for(node) || blockers.contains(node);
        let waiting = self.plan.reasons.iter().filter(|(node, _)| told(node)).filter_map(|(node, reason)| {
            let (_, pod) = self.pods.get(pod_of(reason)?)?;
            let waits = pod.deleting.is_none() && !pod.ready;
            waits.then(|| Look {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                node: node.clone(),
                unbound: pod.node.is_none(),
            })
        });
        waiting.take(PODS_LOOKED_INTO).collect()
    }

    /// The nodes whose trouble is told where others wait for them.
    fn blockers(&self) -> BTreeSet<&String> {
        let asked = self.plan.reasons.iter().filter(|(node, _)| self.asked_for(node));
        let used = asked.filter_map(|(_, reason)| match reason {
            Reason::Outdated { hold: Hold::Budget(used) | Hold::Surge(used), .. }
            | Reason::Reclassed { hold: Hold::Budget(used) | Hold::Surge(used), .. } => Some(used),
            _ => None,
        });
        used.flat_map(|used| used.nodes.iter().take(BLOCKERS_TOLD)).collect()
    }

    /// The answer for every node that was asked about.
    #[must_use]
    pub fn report(&self, found: &Found) -> Report {
        let asked = self.nodes.values().filter(|n| self.asked.takes(n));
        let mut holds = BTreeMap::new();
        let answers = asked.map(|node| match self.plan.reasons.get(&node.name) {
            Some(reason) => self.answer(node, reason, found, &mut holds),
            None => self.without_plan(node),
        });
        let metadata = &self.snapshot.set.metadata;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name, uid) = (part(&metadata.namespace), part(&metadata.name), part(&metadata.uid));
        Report::of((&namespace, &name, &uid), self.plan.hash.clone(), answers.collect())
    }

    fn asked_for(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|n| self.asked.takes(n))
    }

    fn answer(&self, node: &NodeView, reason: &Reason, found: &Found, holds: &mut BTreeMap<String, String>) -> Answer {
        let pod = pod_of(reason).and_then(|name| self.pods.get(name)).map(|(pod, view)| (*pod, view));
        let (state, words) = self.words(node, reason, pod, found);
        let updated = pod.map(|(_, view)| self.plan.is_current(&self.snapshot.set, view));
        Answer {
            node: node.name.clone(),
            state,
            cause: words.cause,
            about: words.about,
            message: words.message,
            pod: pod.map(|(_, view)| view.name.clone()),
            updated,
            update: self.held(reason, found, holds).filter(|_| updated == Some(false)),
        }
    }

    /// What the update of a node's daemon waits for. Many nodes wait for the same, which is put in words once.
    fn held(&self, reason: &Reason, found: &Found, known: &mut BTreeMap<String, String>) -> Option<String> {
        match reason {
            Reason::Outdated { hold, .. } | Reason::Reclassed { hold, .. } => {
                let short = hold.to_string();
                let words = known.entry(short).or_insert_with_key(|short| match hold {
                    Hold::Budget(used) | Hold::Surge(used) => self.with_blockers(short, used, found),
                    _ => short.clone(),
                });
                Some(match reason {
                    Reason::Reclassed { classes, .. } => format!("{classes}, and its pod is not: {words}"),
                    _ => words.clone(),
                })
            }
            Reason::Overlaps { successor: Some(pod), .. } => Some(format!("pod {pod} beside it is not available yet")),
            Reason::Overlaps { successor: None, .. } => Some("its successor is being created".to_owned()),
            _ => None,
        }
    }

    /// What uses a budget up, and what the first of those nodes wait for.
    fn with_blockers(&self, short: &str, used: &Used, found: &Found) -> String {
        let mut text = short.to_owned();
        for node in used.nodes.iter().filter_map(|name| self.nodes.get(name)).take(BLOCKERS_TOLD) {
            let Some(reason) = self.plan.reasons.get(&node.name) else { continue };
            let pod = pod_of(reason).and_then(|name| self.pods.get(name)).map(|(pod, view)| (*pod, view));
            let (_, words) = self.words(node, reason, pod, found);
            text.push_str(&format!("; {}: {}", node.name, words.about));
        }
        text
    }

    fn words(&self, node: &NodeView, reason: &Reason, pod: Option<(&Pod, &PodView)>, found: &Found) -> (State, Words) {
        let excluded = |why| exclusion::words(&self.snapshot.set, node, why);
        match reason {
            Reason::Creates => (State::Waits, Words::plain(Cause::Creating, "a pod is being created")),
            Reason::Postponed => {
                (State::Waits, Words::plain(Cause::Postponed, "a pod will be created after those of other nodes"))
            }
            Reason::Replaces { .. } => {
                let ends = pod.and_then(|(pod, view)| self.trouble(node, pod, view, found));
                let mut words = Words::plain(Cause::Replacing, "the pod ends and will be replaced");
                if let Some(trouble) = ends.filter(|w| w.cause == Cause::Failed) {
                    words = trouble;
                }
                (State::Waits, words)
            }
            Reason::Excluded(why) => (State::Excluded, excluded(why)),
            Reason::Leaves { why, .. } => {
                let mut words = excluded(why);
                words.message.push_str("; the pod that is there ends");
                (State::Excluded, words)
            }
            Reason::Stays { why, .. } => {
                let why = excluded(why);
                let trouble = pod.and_then(|(pod, view)| self.trouble(node, pod, view, found));
                let about = format!("the pod stays, though none would start now: {}", why.about);
                let message = format!("the pod stays, though none would start now: {}", why.message);
                match trouble {
                    None => (State::Runs, Words { cause: Cause::Stays, about, message }),
                    Some(trouble) => {
                        let message = format!("{}; {message}", trouble.message);
                        (State::Waits, Words { message, ..trouble })
                    }
                }
            }
            _ => match pod.and_then(|(pod, view)| self.trouble(node, pod, view, found)) {
                Some(trouble) => (State::Waits, trouble),
                None => (State::Runs, Words::plain(Cause::Available, "the pod is available")),
            },
        }
    }

    /// What keeps a pod from being available; `None` when nothing does.
    fn trouble(&self, node: &NodeView, pod: &Pod, view: &PodView, found: &Found) -> Option<Words> {
        let spec = self.snapshot.set.spec.as_ref();
        let seconds = spec.and_then(|s| s.min_ready_seconds).unwrap_or_default();
        if view.is_available(seconds, self.now) {
            return None;
        }
        if view.ready {
            let about = format!("the pod is ready, not yet for {seconds} s (minReadySeconds)");
            let until = view.available_at(seconds).map(|at| format!(", which it will be at {at}")).unwrap_or_default();
            return Some(Words { cause: Cause::Settling, message: format!("{about}{until}"), about });
        }
        Some(match view.node {
            None => unbound::words(view, node, found.neighbours.get(&node.name).map(Vec::as_slice)),
            Some(_) => pod::words(pod, node, found.warnings.get(&view.uid)),
        })
    }

    /// When there is no plan, all nodes have the same answer.
    fn without_plan(&self, node: &NodeView) -> Answer {
        let set = &self.snapshot.set;
        let text = if set.metadata.deletion_timestamp.is_some() {
            "the DaemonSet is being deleted: its pods end, and none is created"
        } else if self.plan.status.is_some() {
            "the name of the newest revision belongs to another object: another name is being looked for"
        } else {
            "the DaemonSet has no selector that can be used: nothing is created for it"
        };
        let words = Words::plain(Cause::DaemonSet, text);
        Answer {
            node: node.name.clone(),
            state: State::Waits,
            cause: words.cause,
            about: words.about,
            message: words.message,
            pod: None,
            updated: None,
            update: None,
        }
    }
}

/// Why a node is excluded, in words.
#[must_use]
pub fn exclusion(set: &DaemonSet, node: &NodeView, why: &Exclusion) -> String {
    exclusion::words(set, node, why).message
}

/// The pod that a reason is about.
fn pod_of(reason: &Reason) -> Option<&str> {
    match reason {
        Reason::Runs { pod }
        | Reason::Settles { pod }
        | Reason::Starts { pod }
        | Reason::Unbound { pod }
        | Reason::Outdated { pod, .. }
        | Reason::Reclassed { pod, .. }
        | Reason::Overlaps { pod, .. }
        | Reason::Replaces { pod }
        | Reason::Pauses { pod, .. }
        | Reason::Stays { pod, .. }
        | Reason::Leaves { pod, .. } => Some(pod),
        Reason::Creates | Reason::Postponed | Reason::Excluded(_) => None,
    }
}
