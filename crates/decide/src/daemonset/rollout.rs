//! RollingUpdate: replaces daemons of older revisions, no faster than the budget allows.
//!
//! Without surge, old daemons are deleted and `manage` creates the new ones. With surge, new ones are created beside the
//! old, which go once the new are available.
//!
//! Invariants: without surge, missing and unavailable daemons together never exceed `maxUnavailable` through a deletion
//! of an available one; an unavailable old daemon may always be replaced, since nothing is lost by it. With surge, no
//! more than `maxSurge` nodes run a new daemon beside an available old one, and a daemon on a node that wants none any
//! more stays until enough others are available.
//!
//! Under a policy, only nodes whose turn it is are updated, and nodes that were sick before their update do not use the
//! budget up (`course`).
//!
//! Absent: daemons in excess (`manage` removes them; such a node counts as used up).

use std::sync::Arc;

use super::causal::Excuse;
use super::course::Course;
use super::node_pods::{Pair, pair};
use super::{Budget, Hold, Moves, Scene, Used};

/// Adds the next steps of the rollout to `moves`.
pub(super) fn decide<'a>(scene: &Scene<'a>, budget: &Budget, course: Option<&Course<'a>>, moves: &mut Moves<'a>) {
    if budget.surge_max == 0 {
        replace(scene, budget, course, moves);
    } else {
        surge(scene, budget, course, moves);
    }
}

/// Nodes with pods, and those that want one, in order of name.
fn nodes<'a>(scene: &Scene<'a>) -> std::collections::BTreeSet<&'a str> {
    let wanting = scene.placements.iter().filter(|(_, p)| p.may_start()).map(|(node, _)| *node);
    scene.pods.iter().map(|(node, _)| node).chain(wanting).collect()
}

fn replace<'a>(scene: &Scene<'a>, budget: &Budget, course: Option<&Course<'a>>, moves: &mut Moves<'a>) {
    let mut unavailable = Used::new(budget.unavailable_max);
    let mut room_of_sick = course.map_or(0, |c| c.causes.room());
    let mut free = Vec::new();
    let mut candidates = Vec::new();
    for node in nodes(scene) {
        let excuse = course.and_then(|c| c.causes.excused.get(node));
        let is_open = course.is_none_or(|c| c.is_open(node));
        match pair(scene, scene.pods.on(node), |p| moves.is_doomed(p)) {
            Pair::Tidy { new: Some(new), old: None } if scene.is_available(new) => {}
            Pair::Tidy { new: None, old: Some(old) } if excuse == Some(&Excuse::PodNotReady) => {
                if is_open && room_of_sick > 0 {
                    room_of_sick -= 1;
                    free.push(old);
                }
            }
            _ if excuse.is_some() => {}
            Pair::Tidy { new: None, old: Some(old) } if scene.is_available(old) => {
                if is_open {
                    candidates.push((node, old));
                }
            }
            Pair::Tidy { new: None, old: Some(old) } => {
                if is_open {
                    free.push(old);
                }
                unavailable.by(node);
            }
            _ => unavailable.by(node),
        }
    }
    let room = budget.unavailable_max.saturating_sub(unavailable.count);
    for (node, pod) in candidates.iter().take(room) {
        unavailable.by(node);
        moves.delete(pod);
    }
    free.into_iter().for_each(|pod| moves.delete(pod));
    if candidates.len() > room {
        moves.hold = Some(Hold::Budget(Arc::new(unavailable)));
    }
}

fn surge<'a>(scene: &Scene<'a>, budget: &Budget, course: Option<&Course<'a>>, moves: &mut Moves<'a>) {
    let (mut surging, mut available) = (Used::new(budget.surge_max), 0_usize);
    let mut obsolete = Vec::new();
    let mut unwanted = Vec::new();
    let mut free = Vec::new();
    let mut candidates = Vec::new();
    for (node, pods) in scene.pods.iter() {
        let Pair::Tidy { new, old } = pair(scene, pods, |p| moves.is_doomed(p)) else {
            surging.by(node);
            continue;
        };
        if old.or(new).is_some_and(|p| scene.is_available(p)) {
            available += 1;
        }
        match (new, old) {
            (_, None) => {}
            (Some(new), Some(old)) if scene.is_available(new) => obsolete.push(old),
            (Some(_), Some(_)) if course.is_some_and(|c| c.causes.is_excused(node)) => {}
            (Some(_), Some(_)) => surging.by(node),
            (None, Some(_)) if scene.may_start(node) && course.is_some_and(|c| c.holds(node)) => {}
            (None, Some(old)) => match (scene.may_start(node), scene.is_available(old)) {
                (true, true) => candidates.push(node),
                (true, false) => free.push(node),
                (false, true) => unwanted.push(old),
                (false, false) => obsolete.push(old),
            },
        }
    }
    let spare = available.saturating_sub(budget.desired);
    let room = budget.surge_max.saturating_sub(surging.count);
    obsolete.into_iter().chain(unwanted.into_iter().take(spare)).for_each(|pod| moves.delete(pod));
    moves.create.extend(free);
    for node in candidates.iter().take(room) {
        surging.by(node);
        moves.create.insert(node);
    }
    if candidates.len() > room {
        moves.hold = Some(Hold::Surge(Arc::new(surging)));
    }
}
