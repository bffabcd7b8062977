//! The truth: what an API server would hold, and what nodes and users do to it.
//!
//! Invariants: every change has a revision; a write that names a UID fails if the name means another object.

use std::collections::BTreeMap;

use decide::claim::controller_reference;
use decide::daemonset::{API_VERSION, Action, GENERATION_ANNOTATION, HASH_LABEL, KIND, new_pod};
use decide::view::{Controller, NodeView, Phase, PodView};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Taint;
use serde_json::json;

use crate::random::Random;

/// Why a write failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The object is gone, or another one has its name.
    Gone,
    /// The name is taken.
    Exists,
    /// The object has changed since it was read.
    Conflict,
}

/// The truth at one moment.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The DaemonSet.
    pub set: DaemonSet,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeView>,
    /// Pods by name.
    pub pods: BTreeMap<String, PodView>,
    /// Revisions by name.
    pub revisions: BTreeMap<String, ControllerRevision>,
    /// The time.
    pub now: Timestamp,
    /// Pods made so far.
    pub made: u64,
}

impl Cluster {
    /// A cluster with nodes and a DaemonSet, both as the seed has it.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        let nodes = 1 + random.below(9);
        let limits = match random.below(4) {
            0 => json!({"maxUnavailable": 1}),
            1 => json!({"maxUnavailable": "40%"}),
            2 => json!({"maxUnavailable": 0, "maxSurge": 1}),
            _ => json!({"maxUnavailable": 0, "maxSurge": "50%"}),
        };
        let set = json!({
            "metadata": {"name": "d", "namespace": "default", "uid": "uid-d", "generation": 1, "resourceVersion": "1",
                "annotations": {GENERATION_ANNOTATION: "1"}},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "minReadySeconds": random.below(8),
                "revisionHistoryLimit": random.below(4), "updateStrategy": {"rollingUpdate": limits},
                "template": {"metadata": {"labels": {"app": "d"}},
                    "spec": {"containers": [{"name": "c", "image": "x:0"}]}}},
        });
        let node = |i: usize| NodeView { name: format!("n-{i}"), uid: format!("uid-n-{i}"), ..NodeView::default() };
        Self {
            set: serde_json::from_value(set).unwrap_or_default(),
            nodes: (0..nodes).map(|i| (format!("n-{i}"), node(i))).collect(),
            pods: BTreeMap::new(),
            revisions: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
            made: 0,
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(self.now);
    }

    fn pod(&mut self, name: &str, uid: &str) -> Result<&mut PodView, Refused> {
        self.pods.get_mut(name).filter(|p| p.uid == uid).ok_or(Refused::Gone)
    }

    fn revision(&mut self, name: &str, uid: &str) -> Result<&mut ControllerRevision, Refused> {
        let named = self.revisions.get_mut(name);
        named.filter(|r| r.metadata.uid.as_deref() == Some(uid)).ok_or(Refused::Gone)
    }

    /// Makes one write of a plan that was made for `set` with the revision `hash`.
    ///
    /// # Errors
    ///
    /// As an API server would refuse it.
    pub fn write(&mut self, set: &DaemonSet, hash: &str, action: &Action) -> Result<(), Refused> {
        let owner = Controller { kind: KIND.to_owned(), name: "d".to_owned(), uid: "uid-d".to_owned() };
        let reference = || Some(vec![controller_reference(API_VERSION, KIND, "d", "uid-d")]);
        match action {
            Action::AdoptPod(t) => self.pod(&t.name, &t.uid)?.controller = Some(owner),
            Action::ReleasePod(t) => self.pod(&t.name, &t.uid)?.controller = None,
            Action::RelabelPod(t, hash) => {
                self.pod(&t.name, &t.uid)?.labels.insert(HASH_LABEL.to_owned(), hash.clone());
            }
            // Only under a policy, of which this cluster knows nothing.
            Action::PrePull(t, _) => drop(self.pod(&t.name, &t.uid)?),
            Action::DeletePod(t) => {
                let now = self.now;
                let pod = self.pod(&t.name, &t.uid)?;
                if pod.node.is_some() {
                    pod.deleting.get_or_insert(now);
                } else {
                    self.pods.remove(&t.name);
                }
            }
            Action::CreatePod(node) => {
                self.made += 1;
                let (name, uid) = (format!("d-{:05}", self.made), format!("uid-{}", self.made));
                let mut pod = new_pod(set, hash, node);
                pod.metadata.name = Some(name.clone());
                pod.metadata.uid = Some(uid);
                pod.metadata.creation_timestamp = Some(self.now.into());
                self.pods.insert(name, PodView::from(&pod));
            }
            Action::AdoptRevision(t) => self.revision(&t.name, &t.uid)?.metadata.owner_references = reference(),
            Action::ReleaseRevision(t) => self.revision(&t.name, &t.uid)?.metadata.owner_references = None,
            Action::CreateRevision(revision) => {
                let name = revision.metadata.name.clone().unwrap_or_default();
                if self.revisions.contains_key(&name) {
                    return Err(Refused::Exists);
                }
                self.made += 1;
                let mut revision = revision.as_ref().clone();
                revision.metadata.uid = Some(format!("uid-{}", self.made));
                self.revisions.insert(name, revision);
            }
            Action::UpdateRevision { target, number, hash } => {
                let revision = self.revision(&target.name, &target.uid)?;
                revision.revision = *number;
                revision.metadata.labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
            }
            Action::DeleteRevision(t) => {
                self.revision(&t.name, &t.uid)?;
                self.revisions.remove(&t.name);
            }
            Action::RestoreTemplate(past) => {
                if let Some(spec) = self.set.spec.as_mut() {
                    spec.template = past.template.clone();
                }
                self.changed_by_user();
            }
        }
        Ok(())
    }

    fn version(&self) -> u64 {
        self.set.metadata.resource_version.as_ref().and_then(|v| v.parse().ok()).unwrap_or_default()
    }

    fn bump(&mut self) {
        self.set.metadata.resource_version = Some((self.version() + 1).to_string());
    }

    /// Stores a status that was computed from `read`.
    ///
    /// # Errors
    ///
    /// Fails if the set has changed since.
    pub fn store_status(&mut self, read: &DaemonSet, status: DaemonSetStatus) -> Result<(), Refused> {
        if read.metadata.resource_version != self.set.metadata.resource_version {
            return Err(Refused::Conflict);
        }
        self.set.status = Some(status);
        self.bump();
        Ok(())
    }

    /// The user changes the template.
    pub fn set_image(&mut self, image: &str) {
        if let Some(spec) = self.set.spec.as_mut().and_then(|s| s.template.spec.as_mut()) {
            spec.containers[0].image = Some(image.to_owned());
        }
        self.changed_by_user();
    }

    fn changed_by_user(&mut self) {
        let generation = self.set.metadata.generation.unwrap_or_default() + 1;
        self.set.metadata.generation = Some(generation);
        let annotations = self.set.metadata.annotations.get_or_insert_default();
        annotations.insert(GENERATION_ANNOTATION.to_owned(), generation.to_string());
        self.bump();
    }

    /// Something happens that the controller did not do.
    pub fn happen(&mut self, random: &mut Random) {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        let pod = random.one(&names).and_then(|name| self.pods.get_mut(name));
        match (random.below(12), pod) {
            (0, Some(pod)) if pod.deleting.is_none() => {
                pod.phase = Phase::Failed;
                pod.ready = false;
            }
            (1, Some(pod)) => pod.ready = false,
            (2, Some(pod)) => {
                pod.deleting.get_or_insert(self.now);
            }
            (3, Some(pod)) => pod.controller = None,
            (4, Some(pod)) => {
                pod.labels.insert("app".to_owned(), "other".to_owned());
            }
            (5, _) => {
                let image = format!("x:{}", random.below(4));
                self.set_image(&image);
            }
            (6, _) => self.taint(random),
            (7, _) if self.nodes.len() > 1 => {
                self.nodes.pop_last();
            }
            (8, _) => {
                let name = format!("n-{}", random.below(12));
                let node = NodeView { name: name.clone(), uid: name.clone(), ..NodeView::default() };
                self.nodes.entry(name).or_insert(node);
            }
            _ => self.nodes_work(random, 50),
        }
    }

    fn taint(&mut self, random: &mut Random) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        let effect = if random.chance(50) { "NoSchedule" } else { "NoExecute" };
        if let Some(node) = random.one(&names).and_then(|name| self.nodes.get_mut(name)) {
            if node.taints.is_empty() {
                node.taints = vec![Taint { key: "a".to_owned(), effect: effect.to_owned(), ..Taint::default() }];
            } else {
                node.taints.clear();
            }
        }
    }

    /// The scheduler, the nodes and whoever clears up after them do their part, each pod with this chance.
    pub fn nodes_work(&mut self, random: &mut Random, percent: usize) {
        let mut gone = Vec::new();
        for (name, pod) in &mut self.pods {
            if !random.chance(percent) {
                continue;
            }
            let target = pod.node_or_target().unwrap_or_default().to_owned();
            let lost = pod.node.is_some() && !self.nodes.contains_key(&target);
            if pod.deleting.is_some() || lost {
                gone.push(name.clone());
            } else if pod.node.is_none() {
                if self.nodes.contains_key(&target) {
                    pod.node = Some(target);
                }
            } else if pod.phase == Phase::Pending {
                pod.phase = Phase::Running;
            } else if pod.phase == Phase::Running && !pod.ready {
                pod.ready = true;
                pod.ready_changed = Some(self.now);
            }
        }
        gone.iter().for_each(|name| {
            self.pods.remove(name);
        });
    }
}
