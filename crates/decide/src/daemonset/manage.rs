//! One daemon per node: creates the missing, removes the surplus, the ended and those whose node no longer wants them.
//!
//! Invariants: the oldest bound daemon of a node is the one that stays; with surge, an old daemon and a new one may stand
//! side by side until the new one is available, and one that is available goes before none that is not.
//!
//! Absent: the replacement of old daemons (`rollout`).

use std::collections::BTreeMap;

use super::{Backoff, Event, Moves, Plan, Scene};
use crate::view::{NodeView, Phase, PodView};

/// What the nodes need, whatever the revision.
pub(super) fn decide<'a>(
    scene: &Scene<'a>,
    nodes: &BTreeMap<String, &'a NodeView>,
    backoff: &BTreeMap<String, Backoff>,
    surge: bool,
    plan: &mut Plan,
) -> Moves<'a> {
    let mut moves = Moves::default();
    plan.backoff = backoff
        .iter()
        .filter(|(_, b)| !b.is_forgotten(scene.observed, scene.now))
        .map(|(n, b)| (n.clone(), *b))
        .collect();
    for (node, placement) in &scene.placements {
        let pods = scene.pods.on(node);
        if !placement.may_stay() {
            pods.iter().filter(|p| p.deleting.is_none()).for_each(|p| moves.delete(p));
        } else if pods.is_empty() {
            if placement.may_start() {
                moves.create.insert(node);
            }
        } else {
            let live = remove_ended(scene, node, pods, &mut moves, plan);
            if surge {
                // A failed daemon that waits for its pause holds its place: otherwise the pause would mean nothing.
                if placement.may_start() && pods.iter().all(|p| moves.is_doomed(p)) {
                    moves.create.insert(node);
                }
                thin_out_surging(scene, &live, &mut moves);
            } else {
                live.iter().skip(1).for_each(|p| moves.delete(p));
            }
        }
    }
    for (node, pods) in scene.pods.iter() {
        if !nodes.contains_key(node) {
            // Such a pod will never be bound, and whoever clears up after lost nodes looks at bound pods only.
            pods.iter().filter(|p| p.node.is_none() && p.deleting.is_none()).for_each(|p| moves.delete(p));
        }
    }
    moves
}

/// Removes the ended daemons of a node, failed ones not too fast, and returns the others.
fn remove_ended<'a>(
    scene: &Scene<'_>,
    node: &str,
    pods: &[&'a PodView],
    moves: &mut Moves<'a>,
    plan: &mut Plan,
) -> Vec<&'a PodView> {
    let mut live = Vec::with_capacity(pods.len());
    for pod in pods.iter().filter(|p| p.deleting.is_none()) {
        let name = format!("{}/{} on node {node}", pod.namespace, pod.name);
        match pod.phase {
            Phase::Failed => {
                let previous = plan.backoff.get(node).copied();
                if let Some(until) = previous.map(|b| b.until()).filter(|until| *until > scene.now) {
                    plan.look_again(until);
                    continue;
                }
                plan.backoff.insert(node.to_owned(), Backoff::next(previous, scene.observed, scene.now));
                plan.events.push(Event {
                    warning: true,
                    reason: "FailedDaemonPod",
                    message: format!("Found failed daemon pod {name}, will try to kill it"),
                });
                moves.delete(pod);
            }
            Phase::Succeeded => {
                plan.events.push(Event {
                    warning: false,
                    reason: "SucceededDaemonPod",
                    message: format!("Found succeeded daemon pod {name}, will try to delete it"),
                });
                moves.delete(pod);
            }
            _ => live.push(*pod),
        }
    }
    live
}

/// With surge: at most one daemon of the current revision and one older, and the older only as long as it is needed.
/// Of several the oldest stays, but never in the place of one that is available.
fn thin_out_surging<'a>(scene: &Scene<'a>, live: &[&'a PodView], moves: &mut Moves<'a>) {
    let [new, old] = [true, false].map(|current| {
        let mut group = live.iter().copied().filter(|p| scene.is_current(p) == current).peekable();
        let oldest = group.peek().copied();
        group.find(|p| scene.is_available(p)).or(oldest)
    });
    let stays = |pod: &PodView| [new, old].into_iter().flatten().any(|p| p.uid == pod.uid);
    live.iter().filter(|p| !stays(p)).for_each(|p| moves.delete(p));
    if let (Some(new), Some(old)) = (new, old)
        && (!old.ready || scene.is_available(new))
    {
        moves.delete(old);
    }
}
