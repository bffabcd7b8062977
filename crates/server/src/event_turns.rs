//! Events yield: what writes them is worked on a few at a time, in the order in which it came, and only slowly while other
//! writes follow each other.
//!
//! A pod's start tells four of them, a rollout of a fleet tens of thousands, and nothing waits for one; the statuses and
//! bindings beside them are what everybody waits for.
//!
//! # Invariants
//! - A turn is taken when the body is there, so that a slow client does not hold it.
//! - No wait without an end: who waits too long is told when to try again, and whose turn it is waits for others a moment at
//!   most, so that events come through under any load.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use api::kinds::Kind;
use api::status::{self, Status};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::limits::{EVENT_LOOK_EVERY, EVENT_QUIET, EVENT_WAIT, EVENT_YIELD, EVENTS_AT_ONCE, RETRY_SECONDS};

/// Who writes events now, and what else is written.
pub(crate) struct EventTurns {
    events: Semaphore,
    others: Others,
}

/// Writes that events yield to.
pub(crate) struct Others {
    began: Instant,
    running: AtomicUsize,
    /// When there was one last, in milliseconds since `began`; none yet where it is 0.
    last: AtomicU64,
}

impl Others {
    fn new() -> Self {
        Self { began: Instant::now(), running: AtomicUsize::new(0), last: AtomicU64::new(0) }
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.last.store(self.milliseconds(), Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is none, and has been none for a little.
    fn are_quiet(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let quiet = last == 0 || u128::from(self.milliseconds().saturating_sub(last)) >= EVENT_QUIET.as_millis();
        quiet && self.running.load(Ordering::Relaxed) == 0
    }
}

/// A write that is worked on, until it is dropped.
pub(crate) enum Turn<'a> {
    /// One of an event.
    Event { _turn: SemaphorePermit<'a> },
    /// One that events yield to.
    Other(&'a Others),
    /// One that nobody waits for either: a heartbeat, of which a fleet always has some under way.
    Heartbeat,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Turn::Other(others) = self {
            others.end();
        }
    }
}

impl Default for EventTurns {
    fn default() -> Self {
        EventTurns { events: Semaphore::new(EVENTS_AT_ONCE), others: Others::new() }
    }
}

impl EventTurns {
    /// A turn for a write of `kind`: at once for all that is no event.
    ///
    /// # Errors
    /// 429 when the events before this one take too long.
    pub(crate) async fn turn(&self, kind: &Kind) -> Result<Turn<'_>, Status> {
        if let Some(turn) = self.other(kind) {
            return Ok(turn);
        }
        match tokio::time::timeout(EVENT_WAIT, self.events.acquire()).await {
            Ok(Ok(turn)) => {
                self.let_others_go_first().await;
                Ok(Turn::Event { _turn: turn })
            }
            Ok(Err(_)) | Err(_) => {
                Err(status::too_many_requests("Too many events, please try again later.", RETRY_SECONDS))
            }
        }
    }

    /// A turn for a write of `kind` that is no event; None for one.
    pub(crate) fn other(&self, kind: &Kind) -> Option<Turn<'_>> {
        match (kind.group, kind.plural) {
            ("" | "events.k8s.io", "events") => None,
            ("coordination.k8s.io", "leases") => Some(Turn::Heartbeat),
            _ => {
                self.others.begin();
                Some(Turn::Other(&self.others))
            }
        }
    }

    async fn let_others_go_first(&self) {
        let began = Instant::now();
        while !self.others.are_quiet() && began.elapsed() < EVENT_YIELD {
            tokio::time::sleep(EVENT_LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, plural: &str) -> &'static Kind {
        api::kinds::find(group, "v1", plural).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn events_wait_for_each_other_and_nothing_else_waits() {
        let turns = EventTurns::default();
        let mut held = Vec::new();
        for _ in 0..EVENTS_AT_ONCE {
            held.push(turns.turn(kind("", "events")).await.unwrap());
        }
        assert!(matches!(turns.turn(kind("", "pods")).await, Ok(Turn::Other(_))));
        assert!(matches!(turns.turn(kind("coordination.k8s.io", "leases")).await, Ok(Turn::Heartbeat)));
        let refused = turns.turn(kind("events.k8s.io", "events")).await.err().unwrap();
        assert_eq!((refused.code, refused.body["details"]["retryAfterSeconds"].as_u64()), (429, Some(1)));
        let next = turns.turn(kind("", "events"));
        tokio::pin!(next);
        assert!(futures::poll!(&mut next).is_pending());
        held.pop();
        assert!(matches!(next.await, Ok(Turn::Event { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn events_let_others_go_first_for_a_moment() {
        let turns = EventTurns::default();
        let took = async || {
            let began = Instant::now();
            turns.turn(kind("", "events")).await.unwrap();
            began.elapsed()
        };
        assert!(took().await.is_zero(), "nobody else is there");
        let other = turns.turn(kind("", "nodes")).await.unwrap();
        let waited = took().await;
        assert!(waited >= EVENT_YIELD && waited < EVENT_YIELD * 2, "{waited:?}");
        let event = turns.turn(kind("", "events"));
        tokio::pin!(event);
        assert!(futures::poll!(&mut event).is_pending());
        let began = Instant::now();
        drop(other);
        assert!(matches!(event.await, Ok(Turn::Event { .. })));
        let waited = began.elapsed();
        assert!(waited >= EVENT_QUIET && waited <= EVENT_QUIET + EVENT_LOOK_EVERY, "{waited:?}");
        assert!(took().await.is_zero(), "it is quiet by now");
        assert!(turns.other(kind("", "events")).is_none());
    }
}
