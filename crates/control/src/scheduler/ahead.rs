//! Pods that get their node in the write that makes them, where the API server and the scheduler are one process.
//!
//! Invariants: the decision is the one that would be made once the pod is there, on the same picture; the node counts as
//! taken from the decision on, until the pod is seen there or was not stored.
//!
//! Absent: which pods are asked for.

use std::sync::{Arc, Mutex, Weak};

use decide::schedule::{DEFAULT_SCHEDULER, Decision, decide};
use decide::view::PodView;
use k8s_openapi::api::core::v1::Pod;

use super::{about, load_changed};
use crate::hub::{Hub, lock};
use crate::key::Key;
use crate::record::Event;

/// The scheduler, as far as it runs: it is given to the controllers, and asked by whoever makes pods.
#[derive(Debug, Clone, Default)]
pub struct Placer(Arc<Mutex<Weak<Hub>>>);

impl Placer {
    /// The scheduler runs from now on, until the answer is dropped.
    pub(super) fn open(&self, hub: &Arc<Hub>) -> Open {
        *lock(&self.0) = Arc::downgrade(hub);
        Open(self.clone())
    }

    /// The node of a pod that is about to be made; None when it fits nowhere, or no scheduler runs here.
    #[must_use]
    pub fn place(&self, pod: impl FnOnce() -> Option<Pod>) -> Option<Placed> {
        let hub = lock(&self.0).upgrade()?;
        let pod = Arc::new(PodView::from(&pod()?));
        let node = {
            let mut world = hub.world();
            let Decision::Bind(node) = decide(&pod, &*world) else { return None };
            world.nodes.assume(&pod, &node);
            node
        };
        Some(Placed { hub, pod, node, stored: false })
    }
}

/// While it is there the scheduler runs.
pub(super) struct Open(Placer);

impl Drop for Open {
    fn drop(&mut self) {
        *lock(&self.0.0) = Weak::new();
    }
}

/// A pod that is about to be made on a node.
pub struct Placed {
    hub: Arc<Hub>,
    pod: Arc<PodView>,
    node: String,
    stored: bool,
}

impl Placed {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The pod is stored.
    pub fn stored(mut self) {
        self.stored = true;
        let key = Key::new(&self.pod.namespace, &self.pod.name);
        let message = format!("Successfully assigned {key} to {}", self.node);
        let (source, about) = (DEFAULT_SCHEDULER, about(&key, &self.pod));
        self.hub.recorder.record(Event { source, about, warning: false, reason: "Scheduled", message });
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // What was kept free for it may help others now. One that was seen is assumed no longer.
        if !self.stored
            && let Some(node) = { self.hub.world().nodes.forget(&self.pod.uid) }
        {
            load_changed(&self.hub, &node);
        }
    }
}

#[cfg(test)]
mod tests {
    use decide::view::NodeView;
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn pod(name: &str) -> Option<Pod> {
        let pod = json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": {"containers": []}});
        serde_json::from_value(pod).unwrap()
    }

    /// A hub that knows one node, which has room for one pod.
    fn hub() -> Arc<Hub> {
        let (hub, _) = testing::hub(|_, _| (200, json!({})));
        let node =
            json!({"metadata": {"name": "n"}, "status": {"allocatable": {"pods": "1", "cpu": "1", "memory": "1Gi"}}});
        let node: Node = serde_json::from_value(node).unwrap();
        hub.world().put_node(Arc::new(NodeView::from(&node)));
        hub
    }

    #[tokio::test]
    async fn nobody_chooses_while_no_scheduler_runs() {
        let (hub, placer) = (hub(), Placer::default());
        assert!(placer.place(|| panic!("nobody reads the pod")).is_none());
        let open = placer.open(&hub);
        assert!(placer.place(|| pod("p")).is_some());
        drop(open);
        assert!(placer.place(|| panic!("nobody reads the pod")).is_none());
    }

    #[tokio::test]
    async fn a_node_is_taken_until_the_pod_is_not_stored_or_seen() {
        let (hub, placer) = (hub(), Placer::default());
        let _open = placer.open(&hub);
        assert!(placer.place(|| None).is_none(), "what is no pod waits for whoever can read it");
        let placed = placer.place(|| pod("p")).unwrap();
        assert_eq!(placed.node(), "n");
        assert!(placer.place(|| pod("q")).is_none(), "there is room for one");
        let waits = Key::new("a", "w");
        hub.world().parked.put(&waits, vec!["n".to_owned()], false);
        drop(placed);
        assert_eq!(hub.pods.take().ok(), Some(waits), "who waits for the room is tried again");
        let placed = placer.place(|| pod("q")).unwrap();
        placed.stored();
        assert!(placer.place(|| pod("r")).is_none(), "it is stored, though not seen yet");
        let mut bound = pod("q").unwrap();
        bound.spec.as_mut().unwrap().node_name = Some("n".to_owned());
        hub.world().put_pod(Key::new("a", "q"), Arc::new(PodView::from(&bound)));
        assert!(placer.place(|| pod("r")).is_none(), "it is there");
        hub.world().remove_pod(&Key::new("a", "q"));
        assert!(placer.place(|| pod("r")).is_some(), "it is gone");
    }
}
