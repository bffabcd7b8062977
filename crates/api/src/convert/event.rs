//! Events: those of `events.k8s.io` are stored as events of the core group.
//!
//! Invariants: every field of either form has its place in the other.
//! Absent: filling in one field from another; both forms can say everything.

use serde_json::{Map, Value};

use super::rename;

/// Names in `events.k8s.io`, and in the core group.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

pub(super) fn to_core(event: &mut Map<String, Value>) {
    NAMES.iter().for_each(|(new, core)| rename(event, new, core));
}

pub(super) fn from_core(event: &mut Map<String, Value>) {
    NAMES.iter().for_each(|(new, core)| rename(event, core, new));
}
