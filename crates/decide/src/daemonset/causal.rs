//! Who is to blame for a daemon that is missing: the node, which was sick before its update, or the revision.
//!
//! A node that was sick before its update is excused: it does not use up `maxUnavailable`, holds no wave up, counts as no
//! failure, and is updated when it comes back. One that turns sick after its update is none: its revision may have done
//! that.
//!
//! Invariants: only a daemon of the last good revision that is not available speaks against its node; one of any other
//! revision speaks against that revision. What cannot be told is not excused.
//!
//! Absent: nodes that want no daemon.

use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy::{Memory, NODES_NAMED_MAX, NodeReason};
use jiff::Timestamp;

use super::{HASH_LABEL, Scene};
use crate::view::{NodeView, PodView};

/// Why a node is excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excuse {
    /// The daemon was not available before its update, on a node that says it is ready.
    PodNotReady,
    /// The node is not ready, and was not before its update.
    NodeNotReady,
}

impl Excuse {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PodNotReady => "PodNotReady",
            Self::NodeNotReady => "NodeNotReady",
        }
    }
}

/// What is known of causes.
#[derive(Debug, Default)]
pub(super) struct Causes<'a> {
    /// Nodes that were sick before their update.
    pub(super) excused: BTreeMap<&'a str, Excuse>,
    /// Nodes that were lost after their update.
    pub(super) lost: BTreeSet<&'a str>,
    /// Excused nodes whose old daemon is gone: only memory tells that they were sick.
    remembered: BTreeSet<&'a str>,
}

/// When a node that is not ready became so.
fn down_since(node: &NodeView) -> Option<Timestamp> {
    let ready = node.conditions.get("Ready").filter(|c| c.status != "True")?;
    Some(ready.changed.unwrap_or(Timestamp::MIN))
}

/// The causes of what is missing. `good` is the hash of the last good revision, `memory` that of the current revision.
pub(super) fn causes<'a>(scene: &Scene<'a>, good: Option<&str>, memory: Option<&Memory>) -> Causes<'a> {
    let named = memory.map(|m| m.excused_nodes.as_slice()).unwrap_or_default();
    let named: BTreeMap<&str, &str> = named.iter().map(|n| (n.node.as_str(), n.reason.as_str())).collect();
    let mut causes = Causes::default();
    for at in scene.spots.wanting() {
        let (node, pods) = (at.node, at.pods);
        let standing =
            |current: bool| pods.iter().find(|p| p.deleting.is_none() && scene.gauge.is_current(p) == current);
        let (new, old) = (standing(true), standing(false));
        let named = named.get(node).copied();
        match at.view.and_then(down_since) {
            Some(since) if named.is_some() || was_down_before(pods, new.copied(), since) => {
                causes.excused.insert(node, Excuse::NodeNotReady);
            }
            Some(_) if new.is_some() => {
                causes.lost.insert(node);
            }
            Some(_) => {}
            None if new.or(old).is_some_and(|p| scene.gauge.is_available(p)) => {}
            None => {
                let is_good = |p: &&PodView| good.is_some() && p.labels.get(HASH_LABEL).map(String::as_str) == good;
                let sick = new.is_none() && old.is_some_and(is_good);
                let remembered = named == Some(Excuse::PodNotReady.word());
                if sick || remembered {
                    causes.excused.insert(node, Excuse::PodNotReady);
                }
                if remembered && !sick {
                    causes.remembered.insert(node);
                }
            }
        }
    }
    causes
}

/// True when a node that is down since then was so before its update began.
fn was_down_before(pods: &[&PodView], new: Option<&PodView>, since: Timestamp) -> bool {
    match new {
        Some(new) => new.created.is_some_and(|created| since < created),
        // While the old daemon ends, its update has begun.
        None => pods.iter().all(|p| p.ending_since.is_none_or(|asked| since <= asked)),
    }
}

impl<'a> Causes<'a> {
    pub(super) fn is_excused(&self, node: &str) -> bool {
        self.excused.contains_key(node)
    }

    /// How many more sick daemons may be replaced now: of their nodes only memory will tell that they were sick, and
    /// memory is bounded.
    pub(super) fn room(&self) -> usize {
        NODES_NAMED_MAX.saturating_sub(self.remembered.len())
    }

    /// The excused nodes as they are remembered: first those of which nothing else tells.
    pub(super) fn named(&self) -> Vec<NodeReason> {
        let rank = |node: &str, excuse: Excuse| (!self.remembered.contains(node), excuse);
        let mut all: Vec<(&&'a str, &Excuse)> = self.excused.iter().collect();
        all.sort_by_key(|(node, excuse)| (rank(node, **excuse), **node));
        all.truncate(NODES_NAMED_MAX);
        all.sort();
        let one = |(node, excuse): (&&str, &Excuse)| NodeReason {
            node: (*node).to_owned(),
            reason: excuse.word().to_owned(),
        };
        all.into_iter().map(one).collect()
    }
}
