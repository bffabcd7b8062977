//! The health of a node: what its silence and its conditions mean for its `Ready` condition and its taints, and which of
//! its pods have to go.
//!
//! Invariants: a node is unreachable only after it was silent for [`Grace`]; every taint given here is taken back when
//! its cause is gone; taints of others are kept, in their order; the taint that drives pods away is given no faster than
//! the zone allows ([`Zones`]).
//!
//! Absent: what daemon pods tolerate (all of it); the writes.

mod eviction;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;

pub use eviction::{Eviction, evict};
pub use zones::{ZoneState, Zones, zone};

use crate::view::NodeView;
use zones::Drive;

/// Seconds of silence after which a node counts as unreachable. Kubernetes' figure: five renewals missed.
pub const GRACE_S: i64 = 50;

/// Seconds of silence after which a node counts as unreachable, as whoever runs the controllers wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub i64);

impl Default for Grace {
    fn default() -> Self {
        Self(GRACE_S)
    }
}

/// Seconds that a new node has until its first word. Kubernetes' figure.
pub const STARTUP_GRACE_S: i64 = 60;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions other than `Ready` that taint a node while true, with their taints.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// Conditions that a node itself reports and that nobody knows once it is silent.
pub const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The last time that a node was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// When whoever watches saw the node's lease or status change, by its own clock.
    pub at: Option<Timestamp>,
    /// How long that lasts.
    pub grace: Grace,
}

/// What to do about one node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// True when the reported conditions become `Unknown`.
    pub lost: bool,
    /// The taints that the node gets, if not those it has.
    pub taints: Option<Vec<Taint>>,
    /// True when those include one that drives pods away and that the node did not have; [`Zones::drove`] is to be told.
    pub drives: bool,
    /// When to look again even if nothing is heard.
    pub look_again: Option<Timestamp>,
}

/// Labels that old clients read, with those that they repeat.
const OLD_LABELS: [(&str, &str); 2] =
    [("beta.kubernetes.io/os", "kubernetes.io/os"), ("beta.kubernetes.io/arch", "kubernetes.io/arch")];

/// The labels for old clients that a node lacks or has wrong.
#[must_use]
pub fn old_labels(node: &NodeView) -> BTreeMap<&'static str, String> {
    let wrong = |(old, new): &(&'static str, &'static str)| {
        let value = node.labels.get(*new)?;
        (node.labels.get(*old) != Some(value)).then(|| (*old, value.clone()))
    };
    OLD_LABELS.iter().filter_map(wrong).collect()
}

/// The verdict over a node that was last heard of at `heard`, given how the zones do.
#[must_use]
pub fn judge(node: &NodeView, heard: Heard, zones: &Zones, now: Timestamp) -> Verdict {
    let (since, grace) = match (heard.at, node.created) {
        (Some(at), _) => (at, heard.grace.0),
        (None, created) => (created.unwrap_or(now), STARTUP_GRACE_S),
    };
    let due = since.checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
    let silent = due <= now;
    let ready = node.conditions.get("Ready").map_or("", |c| c.status.as_str());
    let lost = silent && REPORTED.iter().any(|c| node.conditions.get(*c).is_none_or(|c| c.status != "Unknown"));
    let ready = if silent { "Unknown" } else { ready };
    let drive = if is_driven(node) && !zones.all_lost() { Drive::Now } else { zones.drive(node, ready, now) };
    let (taints, held) = taints(node, ready, drive, now);
    let drives = !is_driven(node) && taints.iter().any(is_drive);
    let look_again = [(!silent).then_some(due), held].into_iter().flatten().min();
    Verdict { lost, taints: (taints != node.taints).then_some(taints), drives, look_again }
}

/// True for the taints by which an unhealthy node drives pods away.
fn is_drive(taint: &Taint) -> bool {
    taint.effect == api::taint::NO_EXECUTE && matches!(taint.key.as_str(), NOT_READY | UNREACHABLE)
}

fn is_driven(node: &NodeView) -> bool {
    node.taints.iter().any(is_drive)
}

/// The taint of a cordoned node.
#[must_use]
pub fn unschedulable_taint() -> Taint {
    taint(UNSCHEDULABLE, api::taint::NO_SCHEDULE, None)
}

fn taint(key: &str, effect: &str, added: Option<Timestamp>) -> Taint {
    Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added: added.map(Into::into) }
}

/// The taints that a node gets, and when to look again at one that could not be given yet.
fn taints(node: &NodeView, ready: &str, drive: Drive, now: Timestamp) -> (Vec<Taint>, Option<Timestamp>) {
    let mut held = None;
    let trouble = match ready {
        "True" => None,
        "Unknown" => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (condition, key) in PRESSURES {
        if node.conditions.get(condition).is_some_and(|c| c.status == "True") {
            wanted.push((key, api::taint::NO_SCHEDULE));
        }
    }
    if node.unschedulable {
        wanted.push((UNSCHEDULABLE, api::taint::NO_SCHEDULE));
    }
    if let Some(key) = trouble {
        wanted.push((key, api::taint::NO_SCHEDULE));
        // A node that never was ready has nothing to drive away, and pods that wait for it would be driven away.
        if node.conditions.contains_key("Ready") {
            match drive {
                Drive::Now => wanted.push((key, api::taint::NO_EXECUTE)),
                Drive::Later(at) => held = Some(at),
                Drive::Undo => {}
            }
        }
    }
    let ours = |t: &Taint| {
        let keys = [NOT_READY, UNREACHABLE, UNSCHEDULABLE];
        keys.contains(&t.key.as_str()) || PRESSURES.iter().any(|(_, key)| *key == t.key)
    };
    let is_wanted = |t: &Taint| wanted.iter().any(|(key, effect)| *key == t.key && *effect == t.effect);
    let mut taints: Vec<Taint> = node.taints.iter().filter(|t| !ours(t) || is_wanted(t)).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|t| t.key == key && t.effect == effect) {
            taints.push(taint(key, effect, Some(now)));
        }
    }
    (taints, held)
}
