//! What a policy makes of a rollout, for whoever tells of it before it begins.
//!
//! Invariants: each node that wants a daemon is in one wave, if there are waves.
//!
//! Absent: what becomes of the nodes (`crate::forecast`).

use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy::Phase;

use super::causal::Excuse;

/// What a policy makes of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Where the rollout is.
    pub phase: Phase,
    /// What it waits for, in words.
    pub message: Option<String>,
    /// Nodes that are not waited for.
    pub excused: BTreeMap<String, Excuse>,
    /// The waves in order; none: all nodes at once.
    pub waves: Vec<Wave>,
}

/// Nodes that are updated together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Its name, with the value of the label in a topology wave.
    pub name: String,
    /// Its nodes, whether they are updated already or not.
    pub nodes: BTreeSet<String>,
    /// True when the rollout has got beyond it: then nothing is waited for after it.
    pub is_passed: bool,
    /// Seconds that are waited after it.
    pub bake_s: i64,
    /// True when the user must let the next one begin.
    pub is_gated: bool,
    /// True when it was to have nodes and has none, which the user has to pass.
    pub is_void: bool,
}
