//! One watch of a node's pods, and the choice between it and a watch of the store.
//!
//! # Invariants
//! - What lies between the revision asked for and the moment of registration comes from the store's history, what comes
//!   after from the queue: each change once, in order.
//! - A pod that is not on the node is not there, before a change or after it.

use std::sync::Arc;

use store::{Entry, Event, Revision, Store, StoreError, Watch};

use super::queue::Queue;
use super::{PREFIX, node_of};
use crate::app::App;
use crate::limits::INDEX_LOOK_EVERY;

/// The changes of one watch, wherever they come from.
pub(crate) enum Events<S: Store> {
    /// Straight from the store.
    Store(S::Watch),
    /// Those of one node's pods.
    Node(NodeWatch<S>),
}

/// See the module. Dropping it ends it.
pub(crate) struct NodeWatch<S: Store> {
    app: Arc<App<S>>,
    node: Box<str>,
    id: u64,
    queue: Arc<Queue>,
    /// What is still to come from the store's history, and up to where.
    history: Option<(S::Watch, Revision)>,
    delivered: Revision,
}

/// Watches the pods of a node after a revision.
///
/// # Errors
/// When the revision is older than the store's history, or newer than the store.
pub(crate) async fn open<S: Store>(app: &Arc<App<S>>, node: &str, after: Revision) -> Result<Events<S>, StoreError> {
    let (id, queue, registered) = app.node_pods.register(node);
    let mut watch =
        NodeWatch { app: app.clone(), node: node.into(), id, queue, history: None, delivered: after.max(registered) };
    // One that is ahead of the index skips what it has seen.
    if after != registered {
        watch.history = Some((app.store.watch(PREFIX.as_bytes(), after).await?, registered));
        watch.delivered = after;
    }
    Ok(Events::Node(watch))
}

impl<S: Store> NodeWatch<S> {
    /// The next event of the history that is asked for; None at its end.
    async fn past(&mut self) -> Result<Option<Event>, StoreError> {
        while let Some((history, upto)) = &mut self.history {
            if history.progress() >= *upto {
                break;
            }
            tokio::select! {
                biased;
                event = history.next() => match event? {
                    Some(event) if event.revision <= *upto => {
                        if let Some(event) = on_node(&self.node, event) {
                            return Ok(Some(event));
                        }
                    }
                    _ => break,
                },
                // Nothing of this prefix came: the store may have got further by other writes.
                () = tokio::time::sleep(INDEX_LOOK_EVERY) => {}
            }
        }
        self.history = None;
        Ok(None)
    }
}

/// A change as one node sees it; None when it is none of its pods'.
fn on_node(node: &str, event: Event) -> Option<Event> {
    let here = |entry: &Entry| node_of(Some(entry)).as_deref() == Some(node);
    let event = Event { current: event.current.filter(here), previous: event.previous.filter(here), ..event };
    (event.current.is_some() || event.previous.is_some()).then_some(event)
}

impl<S: Store> Watch for NodeWatch<S> {
    async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        if let Some(event) = self.past().await? {
            self.delivered = event.revision;
            return Ok(Some(event));
        }
        loop {
            let event = self.queue.next().await.map_err(|_| StoreError::Lagged)?;
            if event.revision > self.delivered {
                self.delivered = event.revision;
                return Ok(Some(Arc::unwrap_or_clone(event)));
            }
        }
    }

    fn progress(&self) -> Revision {
        // Read before the queue: what the index has is in the queue by then.
        let position = *self.app.node_pods.position.borrow();
        match self.history.is_none() && self.queue.is_empty() {
            true => position.max(self.delivered),
            false => self.delivered,
        }
    }
}

impl<S: Store> Drop for NodeWatch<S> {
    fn drop(&mut self) {
        self.app.node_pods.unregister(&self.node, self.id);
    }
}

impl<S: Store> Watch for Events<S> {
    async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        match self {
            Events::Store(watch) => watch.next().await,
            Events::Node(watch) => watch.next().await,
        }
    }

    fn progress(&self) -> Revision {
        match self {
            Events::Store(watch) => watch.progress(),
            Events::Node(watch) => watch.progress(),
        }
    }
}
