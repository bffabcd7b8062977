//! What a RolloutPolicy says of a DaemonSet, ready to be used by a plan.
//!
//! Invariants: a policy that cannot work is read as one that is paused: nothing is rolled out by a rule that was meant to
//! hold it back.
//!
//! Absent: which policy is for which DaemonSet ([`choose`] says which of several), where memory is stored.

use api::rollout_policy::{Failure, Memory, Opening, RolloutPolicy, Spec, validate};

use super::Classes;
use crate::node_health::Grace;

/// Seconds without progress after which a rollout has failed, when nobody says. Kubernetes' figure for Deployments.
pub const PROGRESS_DEADLINE_S: i64 = 600;

/// A policy, read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// What the user wants.
    pub spec: Spec,
    /// The windows in which nodes are updated; none means at any time.
    pub openings: Vec<Opening>,
    /// What differs on some nodes; not known of a policy that cannot work.
    pub classes: Option<Classes>,
    /// Why it cannot work.
    pub fault: Option<String>,
}

impl Policy {
    /// Reads a policy.
    #[must_use]
    pub fn read(policy: &RolloutPolicy) -> Self {
        let fault = match &policy.unreadable {
            Some(error) => Some(error.clone()),
            None => validate(&policy.spec).first().map(|f| format!("{}: {}", f.field, f.message)),
        };
        Self {
            name: policy.metadata.name.clone().unwrap_or_default(),
            uid: policy.metadata.uid.clone().unwrap_or_default(),
            openings: policy.spec.windows.iter().filter_map(|w| Opening::read(w).ok()).collect(),
            spec: policy.spec.clone(),
            classes: fault.is_none().then(|| Classes::read(&policy.spec)),
            fault,
        }
    }

    /// True when rollouts stop: the user said so, or the policy cannot work.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.spec.paused || self.fault.is_some()
    }

    /// What makes a revision a bad one. A node that it cut off does, also where nobody says what else may.
    #[must_use]
    pub fn limits(&self) -> Option<Failure> {
        self.spec.failure.clone().or_else(|| self.spec.dead_man.map(|_| Failure::default()))
    }

    /// Seconds without progress after which a rollout has failed.
    #[must_use]
    pub fn deadline_s(&self) -> i64 {
        self.spec.progress_deadline_seconds.map_or(PROGRESS_DEADLINE_S, i64::from)
    }
}

/// The policy of a DaemonSet, and what is remembered of its rollout.
#[derive(Debug, Clone, Copy)]
pub struct Directive<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// What the last plan under it said to remember.
    pub memory: Option<&'a Memory>,
    /// After how long a silent node is known as one.
    pub grace: Grace,
}

/// Of all policies of a namespace the one that is for the DaemonSet with this name and these labels: of several the
/// oldest, and of those that are as old the first by name.
pub fn choose<'a>(
    policies: impl Iterator<Item = &'a RolloutPolicy>,
    name: &str,
    labels: Option<&std::collections::BTreeMap<String, String>>,
) -> Option<&'a RolloutPolicy> {
    let age = |p: &&RolloutPolicy| (p.metadata.creation_timestamp.as_ref().map(|t| t.0), p.metadata.name.clone());
    policies.filter(|p| p.metadata.deletion_timestamp.is_none() && p.targets(name, labels)).min_by_key(age)
}
