//! What the pods of a DaemonSet are held against: the current revision and the time.
//!
//! Invariants: a pod is judged by itself; what is around it plays no part.
//!
//! Absent: nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;

use super::{GENERATION_LABEL, HASH_LABEL, NodeClasses, template_generation};
use crate::view::PodView;

/// What the pods of a DaemonSet are held against.
pub(super) struct Gauge {
    /// Hash of the current revision.
    pub(super) hash: String,
    /// Hashes of duplicates of the current revision, whose pods are being relabelled.
    pub(super) aliases: BTreeSet<String>,
    /// The count of template changes.
    pub(super) generation: Option<i64>,
    /// `status.observedGeneration`.
    pub(super) observed: i64,
    /// `spec.minReadySeconds`.
    pub(super) min_ready_seconds: i32,
    pub(super) classes: NodeClasses,
    pub(super) now: Timestamp,
}

impl Gauge {
    /// The gauge of `set` at a time, of whose history this is known.
    pub(super) fn of(set: &DaemonSet, hash: &str, aliases: BTreeSet<String>, now: Timestamp) -> Self {
        Self {
            hash: hash.to_owned(),
            aliases,
            generation: template_generation(set),
            observed: set.status.as_ref().and_then(|s| s.observed_generation).unwrap_or_default(),
            min_ready_seconds: set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default(),
            classes: NodeClasses::default(),
            now,
        }
    }

    pub(super) fn is_available(&self, pod: &PodView) -> bool {
        pod.is_available(self.min_ready_seconds, self.now)
    }

    pub(super) fn is_current(&self, pod: &PodView) -> bool {
        self.is_of_revision(pod) && self.classes.fit(pod)
    }

    fn is_of_revision(&self, pod: &PodView) -> bool {
        is_current(pod, &self.hash, self.generation)
            || (!self.aliases.is_empty() && pod.labels.get(HASH_LABEL).is_some_and(|h| self.aliases.contains(h)))
    }

    /// True when a pod is old for no other reason than the classes of its node.
    pub(super) fn is_reclassed(&self, pod: &PodView) -> bool {
        self.is_of_revision(pod) && !self.classes.fit(pod)
    }

    /// When a pod that is ready will be available, if it is not yet.
    pub(super) fn available_after(&self, pod: &PodView) -> Option<Timestamp> {
        pod.available_at(self.min_ready_seconds).filter(|at| *at > self.now && *at < Timestamp::MAX)
    }
}

/// True when a pod is of the revision with this hash, or of this count of template changes.
#[must_use]
pub fn is_current(pod: &PodView, hash: &str, generation: Option<i64>) -> bool {
    let by_generation = || {
        let label = pod.labels.get(GENERATION_LABEL);
        generation.is_some_and(|g| label.is_some_and(|l| *l == g.to_string()))
    };
    pod.labels.get(HASH_LABEL).is_some_and(|h| h == hash) || by_generation()
}
