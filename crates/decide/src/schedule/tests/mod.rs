//! Fits, obstacles and their sentences.

mod fit;
mod near;
mod preempt;
mod properties;
mod score;
mod spread;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::Labels;
use serde_json::{Value, json};

use super::*;

pub(super) const ROOMY: &str = r#"{"status":{"allocatable":{"cpu":"4","memory":"8Gi","pods":"110"}}}"#;

/// A node; `labels` beside `spec` and `status`.
pub(super) fn node(name: &str, spec: &str) -> NodeView {
    let mut value: Value = serde_json::from_str(spec).unwrap();
    let mut labels = value["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("kubernetes.io/hostname".into(), name.into());
    value["metadata"] = json!({"name": name, "labels": labels});
    let node: k8s_openapi::api::core::v1::Node = serde_json::from_value(value).unwrap();
    NodeView::from(&node)
}

/// A pod of namespace `d`; `labels` and `status` beside the fields of `spec`.
pub(super) fn pod(name: &str, spec: Value) -> PodView {
    let mut spec = spec;
    let labels = spec["labels"].take();
    let status = spec["status"].take();
    spec.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    let metadata = json!({"name": name, "namespace": "d", "uid": name, "labels": labels});
    let pod: k8s_openapi::api::core::v1::Pod =
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap();
    PodView::from(&pod)
}

pub(super) fn cpu(amount: &str) -> Value {
    json!([{"name": "c", "resources": {"requests": {"cpu": amount}}}])
}

#[derive(Default, Clone)]
pub(super) struct Fleet {
    pub(super) nodes: BTreeMap<String, (NodeView, Load)>,
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) allowances: Vec<Allowance>,
    pub(super) siblings: Option<Labels>,
}

impl Fleet {
    pub(super) fn of(nodes: Vec<NodeView>) -> Self {
        let nodes = nodes.into_iter().map(|n| (n.name.clone(), (n, Load::default()))).collect();
        Self { nodes, ..Self::default() }
    }

    /// Nodes n-0, n-1, ... that are alike.
    pub(super) fn roomy(count: usize) -> Self {
        Self::of((0..count).map(|i| node(&format!("n-{i}"), ROOMY)).collect())
    }

    /// Nodes n-0, n-1, ... of these zones.
    pub(super) fn zones(zones: &[&str]) -> Self {
        let one = |(i, zone): (usize, &&str)| {
            let mut node = node(&format!("n-{i}"), ROOMY);
            if !zone.is_empty() {
                node.labels.insert("zone".into(), (*zone).into());
                node.labels.insert("topology.kubernetes.io/zone".into(), (*zone).into());
            }
            node
        };
        Self::of(zones.iter().enumerate().map(one).collect())
    }

    pub(super) fn put(&mut self, node: &str, pod: PodView) -> &mut Self {
        let pod = PodView { node: Some(node.into()), ..pod };
        self.nodes.get_mut(node).unwrap().1.add(&Arc::new(pod));
        self
    }

    pub(super) fn decide(&self, name: &str, spec: Value) -> Decision {
        decide(&pod(name, spec), self)
    }

    /// The node that a pod is bound to.
    pub(super) fn bound(&self, spec: Value) -> String {
        match self.decide("new", spec) {
            Decision::Bind(node) => node,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn unfit(&self, spec: Value) -> Unfit {
        match self.decide("new", spec) {
            Decision::Unschedulable(unfit) => unfit,
            other => panic!("{other:?}"),
        }
    }

    /// Why no node fits, without what is said of preemption.
    pub(super) fn why(&self, spec: Value) -> String {
        let why = self.unfit(spec).why;
        why.split(" no new claims").next().unwrap().to_owned()
    }
}

impl Cluster for Fleet {
    fn count(&self) -> usize {
        self.nodes.len()
    }

    fn one(&self, name: &str) -> Option<(&NodeView, &Load)> {
        self.nodes.get(name).map(|(node, load)| (node, load))
    }

    fn all(&self) -> impl Iterator<Item = (&NodeView, &Load)> {
        self.nodes.values().map(|(node, load)| (node, load))
    }

    fn namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    fn allowances(&self) -> Vec<Allowance> {
        self.allowances.clone()
    }

    fn siblings(&self, _: &PodView) -> Option<Labels> {
        self.siblings.clone()
    }
}
