//! A small cluster in memory on which plans are made and carried out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;

use super::super::*;
use crate::node_health::Grace;
use crate::pre_pull::Request;
use crate::view::{Condition, Controller, NodeView, Phase as PodPhase, PodView};
use api::rollout_policy::{Memory, Phase, RolloutPolicy};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// A DaemonSet `d` in namespace `default` whose `spec` is completed by `spec`, JSON.
pub(super) fn set(spec: &str) -> DaemonSet {
    let mut value = serde_json::json!({
        "metadata": {"name": "d", "namespace": "default", "uid": "uid-d", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": "x:1"}]}}},
    });
    let more: serde_json::Value = serde_json::from_str(spec).unwrap();
    json_merge(&mut value["spec"], more);
    serde_json::from_value(value).unwrap()
}

fn json_merge(into: &mut serde_json::Value, from: serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                json_merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Changes the image of the template, as a user does.
pub(super) fn set_image(set: &mut DaemonSet, image: &str) {
    let spec = set.spec.as_mut().unwrap();
    spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    *set.metadata.generation.as_mut().unwrap() += 1;
}

pub(super) fn node(name: &str) -> NodeView {
    NodeView { name: name.into(), uid: format!("uid-{name}"), ..NodeView::default() }
}

#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) set: DaemonSet,
    pub(super) nodes: BTreeMap<String, NodeView>,
    pub(super) pods: BTreeMap<String, PodView>,
    pub(super) revisions: BTreeMap<String, ControllerRevision>,
    pub(super) namespace_nodes: Option<Labels>,
    pub(super) backoff: BTreeMap<String, Backoff>,
    pub(super) now: Timestamp,
    pub(super) grace: Grace,
    pub(super) events: Vec<Event>,
    pub(super) made: u32,
    pub(super) policy: Option<RolloutPolicy>,
    /// Hashes of revisions whose daemons never start.
    pub(super) bad: BTreeSet<String>,
}

impl Cluster {
    pub(super) fn new(set: DaemonSet, nodes: usize) -> Self {
        let nodes = (0..nodes).map(|i| (format!("n-{i}"), node(&format!("n-{i}")))).collect();
        Self {
            set,
            nodes,
            pods: BTreeMap::new(),
            revisions: BTreeMap::new(),
            namespace_nodes: None,
            backoff: BTreeMap::new(),
            now: at(0),
            grace: Grace::default(),
            events: Vec::new(),
            made: 0,
            policy: None,
            bad: BTreeSet::new(),
        }
    }

    /// A cluster on which the set has rolled out.
    pub(super) fn settled(set: DaemonSet, nodes: usize) -> Self {
        let mut cluster = Self::new(set, nodes);
        cluster.settle();
        cluster
    }

    pub(super) fn plan(&self) -> Plan {
        self.observe(|observed| explain(&self.set, observed, self.now))
    }

    /// Hands the snapshot to `look`.
    pub(super) fn observe<T>(&self, look: impl FnOnce(Observed<'_>) -> T) -> T {
        let nodes: BTreeMap<String, &NodeView> = self.nodes.iter().map(|(k, v)| (k.clone(), v)).collect();
        let pods: Vec<&PodView> = self.pods.values().collect();
        let revisions: Vec<&ControllerRevision> = self.revisions.values().collect();
        let policy = self.policy.as_ref().map(Policy::read);
        look(Observed {
            nodes: &nodes,
            pods: &pods,
            revisions: &revisions,
            namespace_nodes: self.namespace_nodes.as_ref(),
            backoff: &self.backoff,
            policy: policy.as_ref().map(|policy| Directive { policy, memory: self.memory(), grace: self.grace }),
        })
    }

    /// Puts the set under a policy with this spec, JSON; what is remembered stays.
    pub(super) fn govern(&mut self, spec: serde_json::Value) {
        let mut policy =
            serde_json::json!({"metadata": {"name": "p", "uid": "uid-p"}, "spec": {"targets": {"names": ["d"]}}});
        json_merge(&mut policy["spec"], spec);
        let status = self.policy.take().and_then(|p| p.status);
        self.policy = Some(RolloutPolicy { status, ..serde_json::from_value(policy).unwrap() });
    }

    pub(super) fn memory(&self) -> Option<&Memory> {
        self.policy.as_ref()?.memory("d", "uid-d")
    }

    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.policy.as_mut().unwrap().status.as_mut().unwrap().daemon_sets[0]
    }

    pub(super) fn phase(&self) -> Phase {
        self.memory().unwrap().phase
    }

    /// The node is not ready since now, or is again.
    pub(super) fn node_ready(&mut self, node: &str, ready: bool) {
        let status = if ready { "True" } else { "Unknown" };
        let condition = Condition { status: status.into(), changed: Some(self.now), ..Condition::default() };
        self.nodes.get_mut(node).unwrap().conditions.insert("Ready".into(), condition);
        for pod in self.pods.values_mut().filter(|p| p.node.as_deref() == Some(node)) {
            (pod.ready, pod.ready_changed) = (ready && pod.deleting.is_none(), Some(self.now));
        }
    }

    fn is_up(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|n| n.conditions.get("Ready").is_none_or(|c| c.status == "True"))
    }

    /// One round: plans, applies, lets nodes work; two seconds pass.
    pub(super) fn round(&mut self) -> Plan {
        let plan = self.plan();
        self.apply(&plan);
        self.nodes_work();
        self.pass(2);
        plan
    }

    /// The nodes whose daemon is of the newest revision.
    pub(super) fn updated(&self) -> Vec<String> {
        let hash = self.plan().hash;
        let current = self.pods.values().filter(|p| p.labels[HASH_LABEL] == hash && p.deleting.is_none());
        let mut nodes: Vec<String> = current.map(|p| p.node_or_target().unwrap().to_owned()).collect();
        nodes.sort();
        nodes
    }

    /// Carries out all writes of a plan.
    pub(super) fn apply(&mut self, plan: &Plan) {
        for action in &plan.actions {
            self.write(plan, action);
        }
        if let Some(memory) = &plan.memory {
            let status = self.policy.as_mut().unwrap().status.get_or_insert_default();
            status.daemon_sets = vec![memory.as_ref().clone()];
        }
        self.events.extend(plan.events.iter().cloned());
        self.backoff = plan.backoff.clone();
        if let Some(status) = &plan.status {
            self.set.status = Some(status.clone());
        }
    }

    pub(super) fn write(&mut self, plan: &Plan, action: &Action) {
        let owner = || Some(Controller { kind: KIND.into(), name: "d".into(), uid: "uid-d".into() });
        match action {
            Action::AdoptPod(t) => self.pods.get_mut(&t.name).unwrap().controller = owner(),
            Action::ReleasePod(t) => self.pods.get_mut(&t.name).unwrap().controller = None,
            Action::RelabelPod(t, hash) => {
                self.pods.get_mut(&t.name).unwrap().labels.insert(HASH_LABEL.into(), hash.clone());
            }
            Action::PrePull(t, images) => {
                let request = |images: &String| Request {
                    images: images.clone(),
                    since: Some(self.now),
                    done: false,
                    trouble: None,
                };
                self.pods.get_mut(&t.name).unwrap().pre_pull = images.as_ref().map(request).map(Box::new);
            }
            Action::DeletePod(t) => {
                let pod = self.pods.get_mut(&t.name).unwrap();
                assert_eq!(pod.uid, t.uid);
                assert_eq!(pod.deleting, None, "{} is deleted twice", t.name);
                if pod.node.is_some() {
                    (pod.deleting, pod.ending_since) = (Some(self.now), Some(self.now));
                } else {
                    self.pods.remove(&t.name);
                }
            }
            Action::CreatePod(node) => {
                let mut object: Pod = plan.pod(&self.set, node);
                self.made += 1;
                object.metadata.name = Some(format!("d-{:04}", self.made));
                object.metadata.uid = Some(format!("uid-{}", self.made));
                object.metadata.creation_timestamp = Some(self.now.into());
                self.pods.insert(format!("d-{:04}", self.made), PodView::from(&object));
            }
            Action::AdoptRevision(t) => {
                let reference = crate::claim::controller_reference(API_VERSION, KIND, "d", "uid-d");
                self.revisions.get_mut(&t.name).unwrap().metadata.owner_references = Some(vec![reference]);
            }
            Action::ReleaseRevision(t) => self.revisions.get_mut(&t.name).unwrap().metadata.owner_references = None,
            Action::CreateRevision(revision) => {
                let mut revision = revision.clone();
                let name = revision.metadata.name.clone().unwrap();
                revision.metadata.uid = Some(format!("uid-{name}"));
                assert!(self.revisions.insert(name, *revision).is_none());
            }
            Action::UpdateRevision { target, number, hash } => {
                let revision = self.revisions.get_mut(&target.name).unwrap();
                revision.revision = *number;
                revision.metadata.labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
            }
            Action::DeleteRevision(t) => {
                self.revisions.remove(&t.name);
            }
            Action::RestoreTemplate(past) => {
                self.set.spec.as_mut().unwrap().template = past.template.clone();
                *self.set.metadata.generation.as_mut().unwrap() += 1;
            }
        }
    }

    /// What the scheduler and the nodes do: bind, start, make ready, finish deletions.
    pub(super) fn nodes_work(&mut self) {
        let up: BTreeSet<String> = self.nodes.keys().filter(|n| self.is_up(n)).cloned().collect();
        let is_down = |p: &PodView| {
            self.nodes.contains_key(p.node_or_target().unwrap()) && !up.contains(p.node_or_target().unwrap())
        };
        self.pods.retain(|_, p| p.deleting.is_none() || is_down(p));
        for pod in self.pods.values_mut() {
            let target = pod.node_or_target().unwrap_or_default().to_owned();
            if !up.contains(&target) || self.bad.contains(&pod.labels[HASH_LABEL]) {
                continue;
            }
            if pod.phase == PodPhase::Pending {
                pod.node = Some(target);
                pod.phase = PodPhase::Running;
            }
            if pod.phase == PodPhase::Running && !pod.ready && pod.deleting.is_none() {
                pod.ready = true;
                pod.ready_changed = Some(self.now);
            }
        }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    }

    /// Plans, applies and lets nodes work until nothing is left to do; returns the number of rounds.
    pub(super) fn settle(&mut self) -> usize {
        for round in 0..200 {
            let plan = self.plan();
            let idle = plan.actions.is_empty() && plan.status.is_none() && plan.memory.is_none();
            self.apply(&plan);
            let before = self.pods.clone();
            self.nodes_work();
            self.pass(2);
            if idle && before == self.pods && plan.requeue_at.is_none() {
                return round;
            }
        }
        panic!("does not settle: {:?}", self.plan());
    }

    /// Pods that are on their way neither in nor out, by node.
    pub(super) fn pods_on(&self, node: &str) -> Vec<&PodView> {
        self.pods.values().filter(|p| p.node_or_target() == Some(node) && p.deleting.is_none()).collect()
    }

    pub(super) fn pod_on(&mut self, node: &str) -> &mut PodView {
        self.pods.values_mut().find(|p| p.node_or_target() == Some(node)).unwrap()
    }
}

/// The plan's writes to pods in short: `-name` for deletions, `+node` for creations.
pub(super) fn moves(plan: &Plan) -> Vec<String> {
    let short = |action: &Action| match action {
        Action::DeletePod(t) => Some(format!("-{}", t.name)),
        Action::CreatePod(node) => Some(format!("+{node}")),
        _ => None,
    };
    plan.actions.iter().filter_map(short).collect()
}
