//! Pods of DaemonSets that get their node in the write that makes them.
//!
//! # Invariants
//! - Only pods of DaemonSets, which are for one node: who made another pod sees it go through the scheduler.
//! - The pod is as it would be after its binding.
//!
//! # Absent
//! The choice: whoever starts the server gives it a [`Placer`] that chooses as the scheduler does. Without one, and for pods that
//! fit nowhere, pods wait for a scheduler.

use std::sync::{Arc, OnceLock};

use api::kinds::Kind;
use serde_json::Value;

use crate::verbs::pods::binding::set_scheduled;

/// Chooses the node of a pod that is about to be made.
pub trait Placer: Send + Sync + 'static {
    /// The node of this pod, which counts as being there from now on; None when it fits nowhere, or nobody chooses here.
    fn place(&self, pod: &Value) -> Option<Box<dyn Placed>>;
}

/// A pod that is about to be made on a node; dropped when it was not.
pub trait Placed: Send {
    /// The node.
    fn node(&self) -> &str;
    /// The pod is stored.
    fn stored(self: Box<Self>);
}

/// The place for a [`Placer`].
#[derive(Default)]
pub(crate) struct Placing(OnceLock<Arc<dyn Placer>>);

impl Placing {
    /// Gives the place to `placer`; the first one stays.
    pub(crate) fn open(&self, placer: Arc<dyn Placer>) {
        let _ = self.0.set(placer);
    }

    /// Gives a new pod its node, if it is one of a DaemonSet and there is one.
    pub(crate) fn place(&self, kind: &Kind, pod: &mut Value) -> Option<Box<dyn Placed>> {
        if kind.plural != "pods" || !kind.group.is_empty() || !is_of_daemon_set(pod) || has_node(pod) {
            return None;
        }
        let placed = self.0.get()?.place(pod)?;
        pod["spec"]["nodeName"] = placed.node().into();
        set_scheduled(pod);
        Some(placed)
    }
}

fn is_of_daemon_set(pod: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    owners
        .into_iter()
        .flatten()
        .any(|owner| owner["controller"] == true && owner["kind"] == "DaemonSet" && owner["apiVersion"] == "apps/v1")
}

fn has_node(pod: &Value) -> bool {
    pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty())
}
