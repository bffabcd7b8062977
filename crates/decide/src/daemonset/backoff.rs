//! The pause between two replacements of a failed daemon on one node.
//!
//! A node that rejects a pod would otherwise be sent one after the other as fast as it can fail them.
//!
//! Invariants: the pause doubles from [`FAILED_POD_BACKOFF_S_MIN`] to [`FAILED_POD_BACKOFF_S_MAX`] and starts anew when
//! nothing failed for twice the longest pause, or when the user changed the DaemonSet and that was observed.
//!
//! Absent: where the state is kept between plans; losing it costs one early retry.

use jiff::{SignedDuration, Timestamp};

use crate::limits::{FAILED_POD_BACKOFF_S_MAX, FAILED_POD_BACKOFF_S_MIN};

/// The state of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Length of the pause in seconds.
    pub pause_s: i64,
    /// When the last failed pod was deleted.
    pub since: Timestamp,
    /// `status.observedGeneration` of the DaemonSet then.
    pub generation: i64,
}

impl Backoff {
    /// The state after a failed pod was deleted at `now`.
    #[must_use]
    pub fn next(previous: Option<Self>, generation: i64, now: Timestamp) -> Self {
        let pause_s = match previous.filter(|p| !p.is_forgotten(generation, now)) {
            Some(previous) => (previous.pause_s * 2).min(FAILED_POD_BACKOFF_S_MAX),
            None => FAILED_POD_BACKOFF_S_MIN,
        };
        Self { pause_s, since: now, generation }
    }

    /// When the next failed pod may be deleted.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.since.checked_add(SignedDuration::from_secs(self.pause_s)).unwrap_or(Timestamp::MAX)
    }

    /// When it may be dropped because nothing failed for so long.
    pub(super) fn forgotten_at(&self) -> Timestamp {
        let second = self.since.as_second() + 2 * FAILED_POD_BACKOFF_S_MAX + 1;
        Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
    }

    /// True when nothing failed for so long, or since the DaemonSet was changed, that the state may be dropped.
    #[must_use]
    pub fn is_forgotten(&self, generation: i64, now: Timestamp) -> bool {
        let age_s = now.as_second().saturating_sub(self.since.as_second());
        age_s > 2 * FAILED_POD_BACKOFF_S_MAX || self.generation != generation
    }
}
