//! The order in which surplus pods are given up.
//!
//! Invariants: a total order, so that the same pods are given up whatever order they come in.
//!
//! Absent: availability, which Kubernetes does not look at here either.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::view::{Phase, PodView};

/// Ages are compared by their power of two: pods of about the same age are given up in no order that could be gamed.
fn age(since: Option<Timestamp>, now: Timestamp) -> i32 {
    let Some(since) = since else { return -2 };
    let nanoseconds = now.as_nanosecond() - since.as_nanosecond();
    u128::try_from(nanoseconds)
        .ok()
        .and_then(u128::checked_ilog2)
        .map_or(-1, |power| i32::try_from(power).unwrap_or(i32::MAX))
}

/// Pods in the order in which they are given up: unbound, not running, not ready, cheap, on crowded nodes, ready lately,
/// restarted often, young.
pub(super) fn rank<'a>(active: &[&'a PodView], related: &[&PodView], now: Timestamp) -> Vec<&'a PodView> {
    let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
    let counted = related.iter().filter(|p| p.deleting.is_none() && !p.phase.is_terminal());
    for pod in active.iter().chain(counted) {
        *crowd.entry(pod.node.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let mut ranked = active.to_vec();
    ranked.sort_by_cached_key(|pod| {
        let running = match pod.phase {
            Phase::Pending => 0,
            Phase::Unknown => 1,
            _ => 2,
        };
        let crowd = Reverse(crowd.get(pod.node.as_deref().unwrap_or_default()).copied().unwrap_or_default());
        let ready_for = if pod.ready { age(pod.ready_changed, now) } else { 0 };
        let (containers, sidecars) = pod.restarts;
        let restarts = (Reverse(containers), Reverse(sidecars));
        let state = (pod.node.is_some(), running, pod.ready, pod.deletion_cost);
        (state, crowd, ready_for, restarts, age(pod.created, now), pod.uid.clone())
    });
    ranked
}
