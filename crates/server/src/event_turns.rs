//! Events yield: what writes them is worked on a few at a time, in the order in which it came.
//!
//! A pod's start tells four of them, a rollout of a fleet tens of thousands, and nothing waits for one; the statuses and
//! bindings beside them are what everybody waits for.
//!
//! # Invariants
//! - A turn is taken when the body is there, so that a slow client does not hold it.
//! - No wait without an end: who waits too long is told when to try again.

use api::kinds::Kind;
use api::status::{self, Status};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::{EVENT_WAIT, EVENTS_AT_ONCE, RETRY_SECONDS};

/// Who writes events now.
pub(crate) struct EventTurns(Semaphore);

impl Default for EventTurns {
    fn default() -> Self {
        EventTurns(Semaphore::new(EVENTS_AT_ONCE))
    }
}

impl EventTurns {
    /// A turn for a write of `kind`: at once and None for all that is no event.
    ///
    /// # Errors
    /// 429 when the events before this one take too long.
    pub(crate) async fn turn(&self, kind: &Kind) -> Result<Option<SemaphorePermit<'_>>, Status> {
        if kind.plural != "events" || !matches!(kind.group, "" | "events.k8s.io") {
            return Ok(None);
        }
        match tokio::time::timeout(EVENT_WAIT, self.0.acquire()).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            Ok(Err(_)) | Err(_) => {
                Err(status::too_many_requests("Too many events, please try again later.", RETRY_SECONDS))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_wait_for_each_other_and_nothing_else_waits() {
        let turns = EventTurns::default();
        let kind = |group, plural| api::kinds::find(group, "v1", plural).unwrap();
        let mut held = Vec::new();
        for _ in 0..EVENTS_AT_ONCE {
            held.push(turns.turn(kind("", "events")).await.unwrap().unwrap());
        }
        assert!(turns.turn(kind("", "pods")).await.unwrap().is_none());
        let refused = turns.turn(kind("events.k8s.io", "events")).await.unwrap_err();
        assert_eq!((refused.code, refused.body["details"]["retryAfterSeconds"].as_u64()), (429, Some(1)));
        let next = turns.turn(kind("", "events"));
        tokio::pin!(next);
        assert!(futures::poll!(&mut next).is_pending());
        held.pop();
        assert!(next.await.unwrap().is_some());
    }
}
