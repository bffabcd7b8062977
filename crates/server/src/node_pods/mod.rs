//! The pods of each node: which they are, and who follows them.
//!
//! Each agent lists and watches the pods bound to its node. Read by a selector, each of them would look at all pods and at
//! every change of one; here a change costs one look at the node it belongs to, however many nodes there are.
//!
//! # Invariants
//! - The index shows the store as of [`NodePods::position`]: all changes of pods up to there, and none after.
//! - A watcher is registered under the lock that changes are handed out under: it sees each change once and in order.
//! - A pod on no node is nobody's here; one never leaves its node but by its deletion.
//! - A watcher is told of a pod only as long as it is on the node: who follows need not look for itself.
//!
//! # Locks
//! The index's lock is taken before a queue's; neither is held across a wait.

mod follow;
mod list;
mod queue;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memchr::memmem;
use store::{Entry, Event, Revision};
use tokio::sync::{Notify, watch as channel};

use crate::limits::{INDEX_LOOK_EVERY, INDEX_WAIT};
use crate::selection;
use queue::Queue;

pub(crate) use follow::start;
pub(crate) use list::list;
pub(crate) use watch::{Events, open};

/// What the keys of all pods begin with.
pub(crate) const PREFIX: &str = "/registry/core/pods/";

/// See the module.
#[derive(Debug)]
pub(crate) struct NodePods {
    nodes: Mutex<Nodes>,
    position: channel::Sender<Revision>,
    /// Asks the follower how far the store is.
    look: Notify,
}

#[derive(Debug, Default)]
struct Nodes {
    by_name: HashMap<Box<str>, Node>,
    position: Revision,
    next_id: u64,
}

#[derive(Debug, Default)]
struct Node {
    /// Keys of the pods bound to it.
    pods: BTreeSet<Bytes>,
    watchers: HashMap<u64, Arc<Queue>>,
}

impl Default for NodePods {
    fn default() -> Self {
        Self { nodes: Mutex::default(), position: channel::Sender::new(Revision(0)), look: Notify::new() }
    }
}

impl NodePods {
    /// The keys of a node's pods in order, and the revision they are as of.
    pub(crate) fn keys(&self, node: &str) -> (Vec<Bytes>, Revision) {
        let nodes = self.locked();
        let keys = nodes.by_name.get(node).map(|n| n.pods.iter().cloned().collect()).unwrap_or_default();
        (keys, nodes.position)
    }

    /// Whether the index has caught up with a revision; waits for it a little.
    pub(crate) async fn sees(&self, revision: Revision) -> bool {
        let mut position = self.position.subscribe();
        let reached = async {
            while *position.borrow_and_update() < revision {
                self.look.notify_one();
                // A follower that looked before the store had handed all out is asked again.
                let _ = tokio::time::timeout(INDEX_LOOK_EVERY, position.changed()).await;
            }
        };
        tokio::time::timeout(INDEX_WAIT, reached).await.is_ok()
    }

    fn locked(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: &Arc<Event>) {
        self.locked().take(event);
    }

    /// Everything up to `revision` has been taken.
    fn reached(&self, revision: Revision) {
        let mut nodes = self.locked();
        nodes.position = nodes.position.max(revision);
        drop(nodes);
        self.position.send_replace(revision);
    }

    /// Begins anew with what a list has; watchers of before can't know what they missed, so they end.
    fn refill(&self, entries: &[Entry], revision: Revision) {
        let mut nodes = self.locked();
        for node in nodes.by_name.values() {
            node.watchers.values().for_each(|queue| queue.lag());
        }
        nodes.by_name.clear();
        for entry in entries {
            if let Some(node) = node_of(Some(entry)) {
                nodes.by_name.entry(node).or_default().pods.insert(entry.key.clone());
            }
        }
        nodes.position = revision;
        drop(nodes);
        self.position.send_replace(revision);
    }

    /// Adds a watcher of what comes after the revision that is returned.
    fn register(&self, node: &str) -> (u64, Arc<Queue>, Revision) {
        let mut nodes = self.locked();
        let queue = Arc::new(Queue::default());
        let id = nodes.next_id;
        nodes.next_id += 1;
        nodes.by_name.entry(node.into()).or_default().watchers.insert(id, queue.clone());
        (id, queue, nodes.position)
    }

    fn unregister(&self, node: &str, id: u64) {
        let mut nodes = self.locked();
        if let Some(found) = nodes.by_name.get_mut(node) {
            found.watchers.remove(&id);
        }
        nodes.forget_if_empty(node);
    }
}

impl Nodes {
    fn take(&mut self, event: &Arc<Event>) {
        self.position = event.revision;
        let now = node_of(event.current.as_ref());
        if let Some(name) = &now {
            let node = self.by_name.entry(name.clone()).or_default();
            if !node.pods.insert(event.key.clone()) {
                // A pod that its node has already was there before.
                return node.tell(event);
            }
        }
        let before = node_of(event.previous.as_ref());
        if let Some(node) = now.as_ref().and_then(|name| self.by_name.get_mut(name)) {
            node.tell(&match before == now || event.previous.is_none() {
                true => event.clone(),
                false => Arc::new(Event { previous: None, ..Event::clone(event) }),
            });
        }
        if let Some(name) = before.filter(|before| now.as_ref() != Some(before)) {
            if let Some(node) = self.by_name.get_mut(&name) {
                node.pods.remove(&event.key);
                node.tell(&match event.current {
                    None => event.clone(),
                    Some(_) => Arc::new(Event { current: None, ..Event::clone(event) }),
                });
            }
            self.forget_if_empty(&name);
        }
    }

    fn forget_if_empty(&mut self, name: &str) {
        if self.by_name.get(name).is_some_and(|node| node.pods.is_empty() && node.watchers.is_empty()) {
            self.by_name.remove(name);
        }
    }
}

impl Node {
    fn tell(&mut self, event: &Arc<Event>) {
        self.watchers.retain(|_, queue| queue.push(event));
    }
}

/// The node that a stored pod is bound to.
fn node_of(entry: Option<&Entry>) -> Option<Box<str>> {
    let value = &entry?.value;
    memmem::find(value, b"\"nodeName\":\"")?;
    Some(selection::node_name(value)).filter(|name| !name.is_empty()).map(String::into_boxed_str)
}

#[cfg(test)]
mod tests;
