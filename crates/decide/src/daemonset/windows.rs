//! Time windows of a policy, taken together.
//!
//! Invariants: no window at all means that it is always time.
//!
//! Absent: schedules and time zones (`api::rollout_policy`).

use api::rollout_policy::Opening;
use jiff::Timestamp;

/// Whether nodes may be updated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// Yes, until then if there is an end.
    Open(Option<Timestamp>),
    /// No; a window opens then, if one ever does.
    Closed(Option<Timestamp>),
}

/// What time it is. A policy with windows of which none can be read never has time.
pub(super) fn time(windows: usize, openings: &[Opening], now: Timestamp) -> Time {
    if windows == 0 {
        return Time::Open(None);
    }
    match openings.iter().filter_map(|o| o.open_until(now)).max() {
        Some(until) => Time::Open(Some(until)),
        None => Time::Closed(openings.iter().filter_map(|o| o.opens_after(now)).min()),
    }
}
