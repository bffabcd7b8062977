//! Every bound of the cache, with its reason.

use std::time::Duration;

/// A revision that is not there after this may be one of which the feed tells nothing: the feed is a few milliseconds
/// behind otherwise.
pub(super) const MARK_AFTER: Duration = Duration::from_millis(50);
/// A reader waits this long for the feed; then it is told that the server is behind.
pub(super) const REACH_MAX: Duration = Duration::from_secs(5);
/// The history of some minutes is read again at the start within this.
pub(super) const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// Pause before a feed that broke off is opened again; doubled from time to time.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest such pause: what watchers may be late by after the store is back.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Keys read at a time at the start.
pub(super) const LIST_KEYS: usize = 5000;
/// Events that one step of forgetting takes from the history; the rest follows at once.
pub(super) const FORGET_STEP: usize = usize::MAX;
/// The oldest revision is looked for so often; then the history begins now.
pub(super) const BEGIN_TRIES: usize = 3;
