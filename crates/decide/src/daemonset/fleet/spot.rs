//! One node of a fleet: what is on it, and what follows from that.
//!
//! Invariants: what follows depends on nothing but the node, its pods, its pause, the gauge and the mode.
//!
//! Absent: other nodes.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::rollout::{Overlap, Turn, overlap, turn};
use super::super::spots::{At, counts, order};
use super::super::status::Counts;
use super::super::{Access, Backoff, Budget, Event, Gauge, manage};
use crate::view::PodView;

/// How daemons of older revisions are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By the user.
    OnDelete,
    /// Old ones go first.
    Replace,
    /// New ones are made beside them.
    Surge,
}

impl Mode {
    pub(super) fn of(budget: &Budget) -> Self {
        match budget.rolling {
            false => Self::OnDelete,
            true if budget.surge_max == 0 => Self::Replace,
            true => Self::Surge,
        }
    }
}

/// One node.
#[derive(Debug, Default)]
pub(super) struct Spot {
    /// What may be done on it, if it is there.
    pub(super) access: Option<Access>,
    /// Its pods, with the one that counts first.
    pods: Vec<Arc<PodView>>,
    /// What followed when it was looked at last.
    pub(super) outcome: Outcome,
}

/// What follows for one node.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) counts: Counts,
    /// What it needs whatever the revision; most nodes need nothing.
    pub(super) needs: Option<Box<Needs>>,
    pub(super) stand: Stand,
    /// When something changes by itself.
    pub(super) wake: Option<Timestamp>,
}

/// What a node needs whatever the revision.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) delete: Vec<Arc<PodView>>,
    pub(super) creates: bool,
    pub(super) events: Vec<Event>,
}

/// Where a node stands in a rollout.
#[derive(Debug, Default)]
pub(super) enum Stand {
    /// It takes no part.
    #[default]
    Out,
    /// Without surge.
    Turn(Turn<Arc<PodView>>),
    /// With surge.
    Overlap(Overlap<Arc<PodView>>),
}

impl Spot {
    pub(super) fn may_start(&self) -> bool {
        self.access.is_some_and(Access::may_start)
    }

    /// True when nothing is known of the node.
    pub(super) fn is_empty(&self) -> bool {
        self.access.is_none() && self.pods.is_empty()
    }

    /// Adds a pod, unless it is one that does not count.
    pub(super) fn insert(&mut self, pod: &Arc<PodView>) {
        if counts(pod) {
            let place = self.pods.partition_point(|p| order(p, pod).is_lt());
            self.pods.insert(place, pod.clone());
        }
    }

    pub(super) fn remove(&mut self, pod: &str) {
        self.pods.retain(|p| p.name != pod);
    }

    /// Looks at it anew. Returns what follows, and the pause that begins because a failed daemon is removed.
    pub(super) fn look(
        &self,
        gauge: &Gauge,
        node: &str,
        pause: Option<Backoff>,
        mode: Mode,
        allows_surge: bool,
    ) -> (Outcome, Option<Backoff>) {
        let pods: Vec<&PodView> = self.pods.iter().map(AsRef::as_ref).collect();
        let at = At { node, view: None, access: self.access, pods: &pods };
        let own = |pod: &PodView| {
            let kept = self.pods.iter().find(|p| std::ptr::eq(p.as_ref(), pod));
            kept.cloned().unwrap_or_else(|| Arc::new(pod.clone()))
        };
        let upkeep = manage::upkeep(gauge, at, pause, allows_surge);
        let stand = match mode {
            Mode::OnDelete => Stand::Out,
            Mode::Replace => match turn(gauge, at, |p| upkeep.dooms(p)) {
                Some(turn) => Stand::Turn(turn.map(own)),
                None => Stand::Out,
            },
            Mode::Surge if pods.is_empty() => Stand::Out,
            Mode::Surge => Stand::Overlap(overlap(gauge, at, |p| upkeep.dooms(p)).map(own)),
        };
        let ripens = pods.iter().filter_map(|pod| gauge.available_after(pod)).min();
        let wake = [ripens, upkeep.look_again].into_iter().flatten().min();
        let is_needy = upkeep.creates || !upkeep.delete.is_empty() || !upkeep.events.is_empty();
        let needs = is_needy.then(|| {
            let delete = upkeep.delete.iter().map(|pod| own(pod)).collect();
            Box::new(Needs { delete, creates: upkeep.creates, events: upkeep.events })
        });
        (Outcome { counts: Counts::of(gauge, at), needs, stand, wake }, upkeep.pause)
    }
}
