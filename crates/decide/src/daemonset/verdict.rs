//! Whether a revision is a bad one: too many of its nodes failed.
//!
//! Invariants: a node that failed once under a revision counts until the revision is another one, or the node wants no
//! daemon any more; excused nodes never count.
//!
//! Absent: the deadline for progress, which looks at the rollout as a whole (`course`).

use std::collections::BTreeMap;

use api::rollout_policy::{Failure, Memory, NODES_NAMED_MAX, NodeReason};
use jiff::{SignedDuration, Timestamp};

use super::causal::Causes;
use super::{Scene, scaled};
use crate::dead_man::REASON;
use crate::view::{Phase, PodView};

/// The nodes that failed under the current revision.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// By name, with why.
    pub(super) nodes: BTreeMap<String, String>,
    /// When one more may have failed.
    pub(super) next: Option<Timestamp>,
}

/// The nodes that failed under the current revision. `memory` is that of this revision.
pub(super) fn failed(
    scene: &Scene<'_>,
    limits: Option<&Failure>,
    causes: &Causes<'_>,
    memory: Option<&Memory>,
) -> Failed {
    let mut failed = Failed::default();
    let Some(limits) = limits else { return failed };
    for known in memory.map(|m| m.failed_nodes.as_slice()).unwrap_or_default() {
        if scene.spots.may_start(&known.node) && !causes.is_excused(&known.node) {
            failed.nodes.insert(known.node.clone(), known.reason.clone());
        }
    }
    for at in scene.spots.wanting().filter(|at| !causes.is_excused(at.node)) {
        let node = at.node;
        let Some(new) = at.pods.iter().find(|p| scene.gauge.is_current(p) && p.deleting.is_none()) else { continue };
        match trouble(scene, new, limits, causes.lost.contains(node)) {
            // What the node itself says is more than what was guessed while it was away.
            Trouble::Now(reason) if reason == REASON => {
                failed.nodes.insert(node.to_owned(), reason.to_owned());
            }
            Trouble::Now(reason) => {
                failed.nodes.entry(node.to_owned()).or_insert_with(|| reason.to_owned());
            }
            Trouble::At(at) => failed.next = Some(failed.next.map_or(at, |next| next.min(at))),
            Trouble::None => {}
        }
    }
    failed
}

enum Trouble {
    None,
    Now(&'static str),
    At(Timestamp),
}

fn trouble(scene: &Scene<'_>, pod: &PodView, limits: &Failure, lost: bool) -> Trouble {
    if pod.cut_off {
        return Trouble::Now(REASON);
    }
    if lost {
        return Trouble::Now("NodeLost");
    }
    if pod.phase == Phase::Failed {
        return Trouble::Now("PodFailed");
    }
    if limits.max_restarts.is_some_and(|most| pod.restarts.0.max(pod.restarts.1) > most) {
        return Trouble::Now("TooManyRestarts");
    }
    let Some(seconds) = limits.max_unready_seconds.filter(|_| !pod.ready) else { return Trouble::None };
    let since = pod.ready_changed.max(pod.created).unwrap_or(scene.gauge.now);
    match since.checked_add(SignedDuration::from_secs(seconds.into())) {
        Ok(at) if at <= scene.gauge.now => Trouble::Now("UnreadyTooLong"),
        Ok(at) => Trouble::At(at),
        Err(_) => Trouble::None,
    }
}

impl Failed {
    /// True when so many failed that the revision is a bad one. `desired` nodes want a daemon.
    pub(super) fn is_too_many(&self, limits: &Failure, desired: usize) -> bool {
        self.nodes.len() > allowed(limits, desired)
    }

    /// The reason that most of them have.
    pub(super) fn cause(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.nodes.values().for_each(|reason| *counts.entry(reason).or_default() += 1);
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(reason, _)| reason.to_owned()).unwrap_or_default()
    }

    /// What happened, in a sentence.
    pub(super) fn sentence(&self, limits: &Failure, desired: usize) -> String {
        let some: Vec<String> = self.nodes.iter().take(SHOWN).map(|(node, why)| format!("{node} ({why})")).collect();
        let more = self.nodes.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "{} of {desired} nodes failed, {} may: {}{more}",
            self.nodes.len(),
            allowed(limits, desired),
            some.join(", ")
        )
    }

    /// The nodes as they are remembered.
    pub(super) fn named(&self) -> Vec<NodeReason> {
        let one = |(node, reason): (&String, &String)| NodeReason { node: node.clone(), reason: reason.clone() };
        self.nodes.iter().take(NODES_NAMED_MAX).map(one).collect()
    }
}

/// Nodes named in a sentence: as many as can be read at a glance.
const SHOWN: usize = 5;

fn allowed(limits: &Failure, desired: usize) -> usize {
    limits.max_failed_nodes.as_ref().and_then(|most| scaled(most, desired)).unwrap_or_default()
}
