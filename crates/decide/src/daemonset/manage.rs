//! One daemon per node: creates the missing, removes the surplus, the ended and those whose node no longer wants them.
//!
//! Invariants: the oldest bound daemon of a node is the one that stays; with surge, an old daemon and a new one may stand
//! side by side until the new one is available, and one that is available goes before none that is not; what a node needs
//! depends on nothing but the node, its pods and its pause.
//!
//! Absent: the replacement of old daemons (`rollout`).

use jiff::Timestamp;

use super::spots::At;
use super::{Backoff, Event, Gauge};
use crate::view::{Phase, PodView};

/// What one node needs, whatever the revision.
#[derive(Default)]
pub(super) struct Upkeep<'a> {
    pub(super) delete: Vec<&'a PodView>,
    /// True when a daemon is to be created.
    pub(super) creates: bool,
    pub(super) events: Vec<Event>,
    /// When a failed daemon may be removed.
    pub(super) look_again: Option<Timestamp>,
    /// The pause that begins because a failed daemon is removed.
    pub(super) pause: Option<Backoff>,
}

impl Upkeep<'_> {
    /// True when a pod of the node does not stay.
    pub(super) fn dooms(&self, pod: &PodView) -> bool {
        pod.deleting.is_some() || self.delete.iter().any(|d| d.name == pod.name)
    }
}

/// What a node needs. `pause` is that after its last failed daemon.
pub(super) fn upkeep<'a>(gauge: &Gauge, at: At<'a, '_>, pause: Option<Backoff>, surge: bool) -> Upkeep<'a> {
    let (mut upkeep, pods) = (Upkeep::default(), at.pods);
    let Some(access) = at.access else {
        // Such a pod will never be bound, and whoever clears up after lost nodes looks at bound pods only.
        upkeep.delete = pods.iter().copied().filter(|p| p.node.is_none() && p.deleting.is_none()).collect();
        return upkeep;
    };
    if !access.may_stay() {
        upkeep.delete = pods.iter().copied().filter(|p| p.deleting.is_none()).collect();
    } else if pods.is_empty() {
        upkeep.creates = access.may_start();
    } else if let [pod] = pods
        && pod.deleting.is_none()
        && !pod.phase.is_terminal()
    {
        // One daemon that lives: so it is on almost all nodes.
    } else {
        let live = remove_ended(gauge, at, pause, &mut upkeep);
        if surge {
            // A failed daemon that waits for its pause holds its place: otherwise the pause would mean nothing.
            upkeep.creates = access.may_start() && pods.iter().all(|p| upkeep.dooms(p));
            thin_out_surging(gauge, &live, &mut upkeep);
        } else {
            upkeep.delete.extend(live.into_iter().skip(1));
        }
    }
    upkeep
}

/// Removes the ended daemons of a node, failed ones not too fast, and returns the others.
fn remove_ended<'a>(
    gauge: &Gauge,
    at: At<'a, '_>,
    mut pause: Option<Backoff>,
    upkeep: &mut Upkeep<'a>,
) -> Vec<&'a PodView> {
    let mut live = Vec::with_capacity(at.pods.len());
    for pod in at.pods.iter().filter(|p| p.deleting.is_none()) {
        let name = || format!("{}/{} on node {}", pod.namespace, pod.name, at.node);
        match pod.phase {
            Phase::Failed => {
                if let Some(until) = pause.map(|b| b.until()).filter(|until| *until > gauge.now) {
                    upkeep.look_again = Some(upkeep.look_again.map_or(until, |earlier| earlier.min(until)));
                    continue;
                }
                pause = Some(Backoff::next(pause, gauge.observed, gauge.now));
                upkeep.pause = pause;
                upkeep.events.push(Event {
                    warning: true,
                    reason: "FailedDaemonPod",
                    message: format!("Found failed daemon pod {}, will try to kill it", name()),
                });
                upkeep.delete.push(pod);
            }
            Phase::Succeeded => {
                upkeep.events.push(Event {
                    warning: false,
                    reason: "SucceededDaemonPod",
                    message: format!("Found succeeded daemon pod {}, will try to delete it", name()),
                });
                upkeep.delete.push(pod);
            }
            _ => live.push(*pod),
        }
    }
    live
}

/// With surge: at most one daemon of the current revision and one older, and the older only as long as it is needed.
/// Of several the oldest stays, but never in the place of one that is available.
fn thin_out_surging<'a>(gauge: &Gauge, live: &[&'a PodView], upkeep: &mut Upkeep<'a>) {
    let [new, old] = [true, false].map(|current| {
        let mut group = live.iter().copied().filter(|p| gauge.is_current(p) == current).peekable();
        let oldest = group.peek().copied();
        group.find(|p| gauge.is_available(p)).or(oldest)
    });
    let stays = |pod: &PodView| [new, old].into_iter().flatten().any(|p| p.uid == pod.uid);
    upkeep.delete.extend(live.iter().copied().filter(|p| !stays(p)));
    if let (Some(new), Some(old)) = (new, old)
        && (!old.ready || gauge.is_available(new))
    {
        upkeep.delete.push(old);
    }
}
