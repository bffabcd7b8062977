//! What waits for one watcher of a node's pods.
//!
//! # Invariants
//! A watcher that falls behind loses its queue, not the server its memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::Event;
use tokio::sync::Notify;

use crate::limits::NODE_EVENTS_MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    lagged: bool,
}

/// The watcher missed something.
#[derive(Debug)]
pub(super) struct Lagged;

impl Queue {
    /// False: the watcher is out.
    pub(super) fn push(&self, event: &Arc<Event>) -> bool {
        let mut waiting = self.locked();
        if waiting.events.len() < NODE_EVENTS_MAX {
            waiting.events.push_back(event.clone());
        } else {
            *waiting = Waiting { events: VecDeque::new(), lagged: true };
        }
        let stays = !waiting.lagged;
        drop(waiting);
        self.wake.notify_one();
        stays
    }

    /// Ends the watcher: what it would have to see is not known.
    pub(super) fn lag(&self) {
        *self.locked() = Waiting { events: VecDeque::new(), lagged: true };
        self.wake.notify_one();
    }

    /// Cancel safe.
    pub(super) async fn next(&self) -> Result<Arc<Event>, Lagged> {
        loop {
            {
                let mut waiting = self.locked();
                if waiting.lagged {
                    return Err(Lagged);
                }
                if let Some(event) = waiting.events.pop_front() {
                    return Ok(event);
                }
            }
            // A wake-up between the look and the wait is kept by the Notify.
            self.wake.notified().await;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.locked();
        waiting.events.is_empty() && !waiting.lagged
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
