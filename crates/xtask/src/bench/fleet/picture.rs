//! What the API server tells of nodes and pods, followed by two watches.
//!
//! # Invariants
//! - Every question is answered from counters: a fleet's size does not slow the observer down.
//! - The fewest available daemons are kept for each event, not for each look: a budget that was exceeded for a moment shows.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::load::{Connection, Lines, Target};

/// Nodes and pods as they stand.
pub(super) struct Picture {
    nodes: Lines,
    pods: Lines,
    state: State,
}

#[derive(Default)]
struct State {
    ready_nodes: HashMap<String, bool>,
    nodes_ready: usize,
    pods: HashMap<String, Pod>,
    sets: HashMap<String, Set>,
}

#[derive(Clone, PartialEq)]
struct Pod {
    set: String,
    node: String,
    image: String,
    ready: bool,
}

/// What is counted of one DaemonSet's pods.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// All pods, those that end included.
    pub(super) pods: usize,
    /// Ready pods that do not end, by node.
    ready: HashMap<String, usize>,
    /// The same by image.
    by_image: HashMap<String, usize>,
    /// The fewest nodes with a ready pod since [`Picture::mark`].
    pub(super) fewest: usize,
}

impl Set {
    /// Nodes with a ready pod.
    pub(super) fn available(&self) -> usize {
        self.ready.len()
    }

    /// Ready pods of an image.
    pub(super) fn of_image(&self, image: &str) -> usize {
        self.by_image.get(image).copied().unwrap_or_default()
    }

    /// Whether no node has two.
    pub(super) fn is_one_each(&self) -> bool {
        self.pods == self.ready.len() && self.ready.values().all(|count| *count == 1)
    }

    fn count(&mut self, pod: &Pod, by: isize) {
        self.pods = self.pods.saturating_add_signed(by);
        if !pod.ready {
            return;
        }
        for (counts, key) in [(&mut self.ready, &pod.node), (&mut self.by_image, &pod.image)] {
            let count = counts.entry(key.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

impl Picture {
    /// Begins to follow.
    pub(super) async fn open(target: &Target) -> Result<Picture> {
        let nodes = Connection::open(target).await?.follow("/api/v1/nodes?watch=1").await?;
        let pods = Connection::open(target).await?.follow("/api/v1/namespaces/default/pods?watch=1").await?;
        Ok(Picture { nodes, pods, state: State::default() })
    }

    /// How many nodes are Ready and have joined for good: what keeps pods off a node that is not ready is taken away.
    pub(super) fn nodes_ready(&self) -> usize {
        self.state.nodes_ready
    }

    /// A DaemonSet's pods, by the value of their label `app`.
    pub(super) fn set(&mut self, app: &str) -> &Set {
        self.state.sets.entry(app.to_owned()).or_default()
    }

    /// Counts the fewest anew.
    pub(super) fn mark(&mut self, app: &str) {
        let set = self.state.sets.entry(app.to_owned()).or_default();
        set.fewest = set.available();
    }

    /// Takes in what comes until something holds.
    pub(super) async fn until(&mut self, mut holds: impl FnMut(&mut Picture) -> bool) -> Result<()> {
        while !holds(self) {
            tokio::select! {
                line = self.nodes.next() => self.state.node(&line?.context("the watch of nodes ended")?)?,
                line = self.pods.next() => self.state.pod(&line?.context("the watch of pods ended")?)?,
            }
        }
        Ok(())
    }
}

/// Reads one event. One who watches every change shares the cores with what is measured, so only what is counted is read.
fn event(line: &[u8]) -> Result<Told<'_>> {
    serde_json::from_slice(line).or_else(|e| {
        // What ends a watch is no node and no pod.
        let event: Value = serde_json::from_slice(line)?;
        if event["type"] == "ERROR" {
            bail!("a watch broke: {}", event["object"]["message"]);
        }
        Err(e).with_context(|| event.to_string())
    })
}

/// What an event tells of a node or a pod that is counted.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: Object<'a>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: Labels<'a>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Labels<'a> {
    #[serde(borrow, default)]
    app: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow, default)]
    node_name: Cow<'a, str>,
    #[serde(borrow, default)]
    containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    taints: Vec<Taint<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow)]
    image: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Taint<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    conditions: Vec<Condition<'a>>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

impl Object<'_> {
    fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True")
    }

    /// Whether the node still has the taint of one that is not ready.
    fn is_kept_free(&self) -> bool {
        self.spec.taints.iter().any(|taint| taint.key == "node.kubernetes.io/not-ready")
    }

    fn pod(&self) -> Pod {
        Pod {
            set: self.metadata.labels.app.clone().into_owned(),
            node: self.spec.node_name.clone().into_owned(),
            image: self.spec.containers.first().map(|c| c.image.clone().into_owned()).unwrap_or_default(),
            ready: self.is_ready() && self.metadata.deletion_timestamp.is_none(),
        }
    }
}

impl State {
    fn node(&mut self, line: &[u8]) -> Result<()> {
        let Told { kind, object } = event(line)?;
        let ready = kind != "DELETED" && object.is_ready() && !object.is_kept_free();
        let was = self.ready_nodes.insert(object.metadata.name.into_owned(), ready).unwrap_or_default();
        self.nodes_ready = self.nodes_ready + usize::from(ready) - usize::from(was);
        Ok(())
    }

    fn pod(&mut self, line: &[u8]) -> Result<()> {
        let Told { kind, object } = event(line)?;
        let now = (kind != "DELETED").then(|| object.pod());
        let name = object.metadata.name.into_owned();
        let before = match &now {
            Some(pod) => self.pods.insert(name, pod.clone()),
            None => self.pods.remove(&name),
        };
        for (pod, by) in [(&before, -1), (&now, 1)] {
            let Some(pod) = pod else { continue };
            self.sets.entry(pod.set.clone()).or_default().count(pod, by);
        }
        for set in before.iter().chain(&now).map(|pod| &pod.set) {
            if let Some(set) = self.sets.get_mut(set) {
                set.fewest = set.fewest.min(set.available());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(kind: &str, name: &str, node: &str, image: &str, ready: bool) -> Vec<u8> {
        text(&json!({"type": kind, "object": {
            "metadata": {"name": name, "labels": {"app": "a"}},
            "spec": {"nodeName": node, "containers": [{"image": image}]},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}}}))
    }

    fn text(event: &Value) -> Vec<u8> {
        event.to_string().into_bytes()
    }

    #[test]
    fn the_fewest_are_of_any_moment() {
        let mut state = State::default();
        for (name, node) in [("p", "n-1"), ("q", "n-2")] {
            state.pod(&pod("ADDED", name, node, "x:1", true)).unwrap();
        }
        state.sets.get_mut("a").unwrap().fewest = 2;
        state.pod(&pod("DELETED", "p", "n-1", "x:1", true)).unwrap();
        state.pod(&pod("ADDED", "r", "n-1", "x:2", true)).unwrap();
        let set = &state.sets["a"];
        assert_eq!((set.fewest, set.available(), set.of_image("x:2"), set.is_one_each()), (1, 2, 1, true));
        state.pod(&pod("ADDED", "s", "n-1", "x:2", true)).unwrap();
        assert!(!state.sets["a"].is_one_each());
    }

    #[test]
    fn nodes_come_and_go() {
        let mut state = State::default();
        let node = |kind: &str, status: &str| {
            json!({"type": kind, "object": {"metadata": {"name": "n"},
                "status": {"conditions": [{"type": "Ready", "status": status}]}}})
        };
        let mut tainted = node("MODIFIED", "True");
        tainted["object"]["spec"]["taints"] = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        for (event, want) in [
            (node("ADDED", "Unknown"), 0),
            (tainted, 0),
            (node("MODIFIED", "True"), 1),
            (node("MODIFIED", "True"), 1),
            (node("DELETED", "True"), 0),
        ] {
            state.node(&text(&event)).unwrap();
            assert_eq!(state.nodes_ready, want, "{event}");
        }
    }

    #[test]
    fn a_watch_that_breaks_says_why() {
        let broken = json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "message": "too old"}});
        let why = |event: &Value| State::default().pod(&text(event)).unwrap_err().to_string();
        assert_eq!(why(&broken), "a watch broke: \"too old\"");
        let other = json!({"type": "ADDED", "object": {"kind": "Pod"}});
        assert!(why(&other).contains("\"Pod\""), "{}", why(&other));
    }
}
