//! Which pods the NoExecute taints of their node drive away, and when.
//!
//! Invariants: a taint that is not tolerated drives away at once, whatever the others allow.
//!
//! Absent: the deletion itself.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;

use crate::view::PodView;

/// What the NoExecute taints of its node mean for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// It may stay.
    Stay,
    /// It may stay until then.
    StayUntil(Timestamp),
    /// It has to go.
    Go,
}

/// Whether `pod` may stay on a node with these taints. `since` says when a taint without a time was first seen.
#[must_use]
pub fn evict(pod: &PodView, taints: &[Taint], since: Timestamp, now: Timestamp) -> Eviction {
    let mut until: Option<Timestamp> = None;
    for taint in taints.iter().filter(|t| t.effect == api::taint::NO_EXECUTE) {
        // The first that tolerates a taint is the one that counts.
        let Some(tolerated) = pod.tolerations.iter().find(|s| api::taint::tolerates(s, taint)) else {
            return Eviction::Go;
        };
        let Some(seconds) = tolerated.toleration_seconds else { continue };
        let start = taint.time_added.as_ref().map_or(since, |t| t.0);
        let end = start.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX);
        until = Some(until.map_or(end, |u| u.min(end)));
    }
    match until {
        None => Eviction::Stay,
        Some(end) if end <= now => Eviction::Go,
        Some(end) => Eviction::StayUntil(end),
    }
}
