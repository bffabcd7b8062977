//! The dead-man switch: a node takes back, by itself, an updated daemon that cut it off from the API server.
//!
//! # Invariants
//! - The pod to go back to is kept when it ends, as the API server last knew it: ready, and with what it was made from.
//! - The pod that is taken back has ended before its stand-in begins, and the stand-in before another takes its place.
//! - What was decided outlives the agent and the boot ([`super::kept::Previous`]).
//!
//! # Absent
//! Decisions: [`decide::dead_man`] has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Agent;

mod stand_ins;
mod trial;

pub(super) use stand_ins::{LOOK_EVERY, Lonely};
pub(super) use trial::OnTrial;

/// When the API server last answered, by a clock that nobody sets and that sleeps with the machine.
pub(crate) struct Answers {
    begin: Instant,
    /// Milliseconds after `begin`; 0 for never.
    last: AtomicU64,
}

impl Default for Answers {
    fn default() -> Self {
        Self { begin: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Answers {
    /// Time since the agent began.
    pub(super) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// It answers now.
    pub(crate) fn note(&self) {
        let millis = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX).max(1);
        self.last.fetch_max(millis, Ordering::Relaxed);
    }

    /// The last answer.
    pub(super) fn last(&self) -> Option<Duration> {
        let millis = self.last.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

/// Which pods stand in, by the UID of their DaemonSet, and of which DaemonSets a pod is kept.
#[derive(Default)]
pub(crate) struct StandIns {
    running: Mutex<BTreeMap<String, StandIn>>,
    kept: Mutex<BTreeSet<String>>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StandIn {
    uid: String,
    images: Vec<String>,
    /// Another pod waits for its end.
    ending: bool,
}

impl StandIns {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, StandIn>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the pod with this UID is one.
    pub(super) fn has(&self, uid: &str) -> bool {
        self.lock().values().any(|one| one.uid == uid)
    }

    /// Whether nothing is kept, and nothing runs.
    pub(super) fn is_empty(&self) -> bool {
        self.kept().is_empty() && self.lock().is_empty()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod of that DaemonSet is kept.
    fn note_kept(&self, set: &str) {
        self.kept().insert(set.to_owned());
    }

    /// Asks the one of a DaemonSet to end; true while something of it is left.
    fn displace(&self, set: &str) -> bool {
        let mut all = self.lock();
        let Some(one) = all.get_mut(set) else { return false };
        one.ending = true;
        true
    }

    /// The images that they need.
    pub(super) fn images(&self) -> BTreeSet<String> {
        self.lock().values().flat_map(|one| one.images.clone()).collect()
    }
}

impl<R> Agent<R> {
    /// Nobody goes back to the pod that was kept of a DaemonSet.
    async fn forget_previous(&self, set: &str) {
        self.stand_ins.kept().remove(set);
        self.kept.forget_previous(set).await;
    }

    /// True while a pod that stands in for a DaemonSet's has to end before another may begin.
    pub(super) fn waits_for_stand_in(&self, set: &str) -> bool {
        let waits = self.stand_ins.displace(set);
        if waits {
            self.nudge.notify_one();
        }
        waits
    }
}
