//! RollingUpdate: replaces daemons of older revisions, no faster than the budget allows.
//!
//! Without surge, old daemons are deleted and `manage` creates the new ones. With surge, new ones are created beside the
//! old, which go once the new are available.
//!
//! Invariants: without surge, missing and unavailable daemons together never exceed `maxUnavailable` through a deletion
//! of an available one; an unavailable old daemon may always be replaced, since nothing is lost by it. With surge, no
//! more than `maxSurge` nodes run a new daemon beside an available old one, and a daemon on a node that wants none any
//! more stays until enough others are available. Where a node stands depends on nothing but the node and its pods.
//!
//! Under a policy, only nodes whose turn it is are updated, and nodes that were sick before their update do not use the
//! budget up (`course`).
//!
//! Absent: daemons in excess (`manage` removes them; such a node counts as used up).

use std::sync::Arc;

use super::ahead::{Ahead, Standing};
use super::causal::Excuse;
use super::course::Course;
use super::spots::{At, Pair, pair};
use super::{Budget, Gauge, Hold, Moves, Scene, Used};
use crate::limits::BURST_PODS;
use crate::view::PodView;

/// Where one node stands in a rollout without surge.
#[derive(Debug, PartialEq)]
pub(super) enum Turn<P> {
    /// It is done.
    Done,
    /// Its daemon is missing, or new and not available.
    Missing,
    /// Its daemon is old and not available: it may be replaced, and counts as missing.
    Sick(P),
    /// Its daemon is old and available: it waits until one more may be missing.
    Waits(P),
}

impl<P> Turn<P> {
    pub(super) fn map<Q>(self, f: impl FnOnce(P) -> Q) -> Turn<Q> {
        match self {
            Self::Done => Turn::Done,
            Self::Missing => Turn::Missing,
            Self::Sick(pod) => Turn::Sick(f(pod)),
            Self::Waits(pod) => Turn::Waits(f(pod)),
        }
    }
}

/// Where a node without surge stands, if it takes part in a rollout.
pub(super) fn turn<'a>(gauge: &Gauge, at: At<'a, '_>, doomed: impl Fn(&PodView) -> bool) -> Option<Turn<&'a PodView>> {
    if at.pods.is_empty() {
        return at.may_start().then_some(Turn::Missing);
    }
    Some(match pair(gauge, at.pods, doomed) {
        Pair::Tidy { new: Some(new), old: None } if gauge.is_available(new) => Turn::Done,
        Pair::Tidy { new: None, old: Some(old) } if gauge.is_available(old) => Turn::Waits(old),
        Pair::Tidy { new: None, old: Some(old) } => Turn::Sick(old),
        _ => Turn::Missing,
    })
}

/// Where one node stands in a rollout with surge.
#[derive(Debug, PartialEq)]
pub(super) struct Overlap<P> {
    /// True when one of its daemons is available.
    pub(super) available: bool,
    pub(super) next: Next<P>,
}

/// What is next on a node in a rollout with surge.
#[derive(Debug, PartialEq)]
pub(super) enum Next<P> {
    /// Nothing.
    Rests,
    /// It has too many daemons.
    Excess,
    /// Its new daemon stands beside the old one and is not available yet.
    Overlaps,
    /// Its old daemon is available: a new one is made beside it when there is room.
    Waits,
    /// Its old daemon is not available: a new one is made at once.
    Sick,
    /// Its old daemon goes.
    Obsolete(P),
    /// It wants no daemon any more: the old one goes when enough others are available.
    Unwanted(P),
}

impl<P> Overlap<P> {
    pub(super) fn map<Q>(self, f: impl FnOnce(P) -> Q) -> Overlap<Q> {
        let next = match self.next {
            Next::Rests => Next::Rests,
            Next::Excess => Next::Excess,
            Next::Overlaps => Next::Overlaps,
            Next::Waits => Next::Waits,
            Next::Sick => Next::Sick,
            Next::Obsolete(pod) => Next::Obsolete(f(pod)),
            Next::Unwanted(pod) => Next::Unwanted(f(pod)),
        };
        Overlap { available: self.available, next }
    }
}

/// Where a node with surge stands.
pub(super) fn overlap<'a>(gauge: &Gauge, at: At<'a, '_>, doomed: impl Fn(&PodView) -> bool) -> Overlap<&'a PodView> {
    let Pair::Tidy { new, old } = pair(gauge, at.pods, doomed) else {
        return Overlap { available: false, next: Next::Excess };
    };
    let next = match (new, old) {
        (_, None) => Next::Rests,
        (Some(new), Some(old)) if gauge.is_available(new) => Next::Obsolete(old),
        (Some(_), Some(_)) => Next::Overlaps,
        (None, Some(old)) => match (at.may_start(), gauge.is_available(old)) {
            (true, true) => Next::Waits,
            (true, false) => Next::Sick,
            (false, true) => Next::Unwanted(old),
            (false, false) => Next::Obsolete(old),
        },
    };
    Overlap { available: old.or(new).is_some_and(|p| gauge.is_available(p)), next }
}

/// Where all nodes stand.
pub(super) enum Stands<'a> {
    /// No daemon is replaced by itself.
    None,
    /// Without surge.
    Turns(Vec<(&'a str, Turn<&'a PodView>)>),
    /// With surge.
    Overlaps(Vec<(&'a str, Overlap<&'a PodView>)>),
}

impl<'a> Stands<'a> {
    /// Nothing yet, of a rollout with this budget.
    pub(super) fn new(budget: &Budget) -> Self {
        match budget.rolling {
            false => Self::None,
            true if budget.surge_max == 0 => Self::Turns(Vec::new()),
            true => Self::Overlaps(Vec::new()),
        }
    }

    /// Adds a node.
    pub(super) fn add(&mut self, gauge: &Gauge, at: At<'a, '_>, doomed: impl Fn(&PodView) -> bool) {
        match self {
            Self::None => {}
            Self::Turns(turns) => match turn(gauge, at, doomed) {
                None | Some(Turn::Done) => {}
                Some(turn) => turns.push((at.node, turn)),
            },
            Self::Overlaps(_) if at.pods.is_empty() => {}
            Self::Overlaps(overlaps) => overlaps.push((at.node, overlap(gauge, at, doomed))),
        }
    }
}

/// Adds the next steps of the rollout to `moves`.
pub(super) fn decide<'a>(
    scene: &Scene<'a>,
    stands: Stands<'a>,
    budget: &Budget,
    course: Option<&Course<'a>>,
    ahead: Option<&Ahead<'_>>,
    moves: &mut Moves<'a>,
) {
    match stands {
        Stands::None => {}
        Stands::Turns(turns) => {
            replace(turns, budget, course, moves, |waiting, moves| match ahead {
                Some(ahead) => pull(scene, ahead, waiting, budget, moves),
                None => waiting,
            });
        }
        Stands::Overlaps(overlaps) => surge(overlaps, budget, course, moves),
    }
}

/// How many of those that wait may go on: one plan makes no more writes than its burst.
pub(super) fn going(room: usize) -> usize {
    room.min(BURST_PODS)
}

fn replace<'a>(
    turns: Vec<(&'a str, Turn<&'a PodView>)>,
    budget: &Budget,
    course: Option<&Course<'a>>,
    moves: &mut Moves<'a>,
    ready: impl FnOnce(Vec<(&'a str, &'a PodView)>, &mut Moves<'a>) -> Vec<(&'a str, &'a PodView)>,
) {
    let mut unavailable = Used::new(budget.unavailable_max);
    let mut room_of_sick = course.map_or(0, |c| c.causes.room());
    let mut sick = Vec::new();
    let mut waiting = Vec::new();
    for (node, turn) in turns {
        let excuse = course.and_then(|c| c.causes.excused.get(node));
        let is_open = course.is_none_or(|c| c.is_open(node));
        match turn {
            Turn::Done => {}
            Turn::Waits(old) | Turn::Sick(old) if excuse == Some(&Excuse::PodNotReady) => {
                if is_open && room_of_sick > 0 {
                    room_of_sick -= 1;
                    sick.push(old);
                }
            }
            _ if excuse.is_some() => {}
            Turn::Waits(old) => {
                if is_open {
                    waiting.push((node, old));
                }
            }
            Turn::Sick(old) => {
                if is_open {
                    sick.push(old);
                }
                unavailable.by(node);
            }
            Turn::Missing => unavailable.by(node),
        }
    }
    let waiting = ready(waiting, moves);
    let room = budget.unavailable_max.saturating_sub(unavailable.count);
    for (node, pod) in waiting.iter().take(going(room)) {
        unavailable.by(node);
        moves.delete(pod);
    }
    sick.into_iter().for_each(|pod| moves.delete(pod));
    if waiting.len() > room && room == going(room) {
        moves.hold = Some(Hold::Budget(Arc::new(unavailable)));
    }
}

/// Of the nodes that wait for their turn those that have the images of their new daemon; asks others for them.
fn pull<'a>(
    scene: &Scene<'a>,
    ahead: &Ahead<'_>,
    waiting: Vec<(&'a str, &'a PodView)>,
    budget: &Budget,
    moves: &mut Moves<'a>,
) -> Vec<(&'a str, &'a PodView)> {
    let (mut ready, mut asked, mut later) = (Vec::new(), 0_usize, Vec::new());
    for (node, old) in waiting {
        let standing = scene.spots.view(node).map_or(Standing::Ready, |view| ahead.standing(view, old));
        match standing {
            Standing::Ready => ready.push((node, old)),
            Standing::Ask(images) => later.push((node, old, images)),
            Standing::Pulls { fresh, trouble, look_again } => {
                asked += usize::from(fresh);
                moves.pulling.insert(node, trouble);
                moves.look_again = moves.look_again.into_iter().chain(look_again).min();
            }
        }
    }
    // While so many are updated as may be, as many others pull.
    let most = going(budget.unavailable_max.saturating_mul(2));
    let room = most.saturating_sub(asked + ready.len());
    if later.len() > room {
        moves.hold = Some(Hold::PulledElsewhere);
    }
    for (node, old, images) in later.into_iter().take(room) {
        moves.pulling.insert(node, None);
        moves.ask.push((old, images));
    }
    ready
}

fn surge<'a>(
    overlaps: Vec<(&'a str, Overlap<&'a PodView>)>,
    budget: &Budget,
    course: Option<&Course<'a>>,
    moves: &mut Moves<'a>,
) {
    let (mut surging, mut available) = (Used::new(budget.surge_max), 0_usize);
    let mut obsolete = Vec::new();
    let mut unwanted = Vec::new();
    let mut sick = Vec::new();
    let mut waiting = Vec::new();
    for (node, overlap) in overlaps {
        available += usize::from(overlap.available);
        match overlap.next {
            Next::Rests => {}
            Next::Excess => surging.by(node),
            Next::Overlaps if course.is_some_and(|c| c.causes.is_excused(node)) => {}
            Next::Overlaps => surging.by(node),
            Next::Waits | Next::Sick if course.is_some_and(|c| c.holds(node)) => {}
            Next::Waits => waiting.push(node),
            Next::Sick => sick.push(node),
            Next::Obsolete(old) => obsolete.push(old),
            Next::Unwanted(old) => unwanted.push(old),
        }
    }
    let spare = available.saturating_sub(budget.desired);
    let room = budget.surge_max.saturating_sub(surging.count);
    obsolete.into_iter().chain(unwanted.into_iter().take(going(spare))).for_each(|pod| moves.delete(pod));
    moves.create.extend(sick);
    for node in waiting.iter().take(room) {
        surging.by(node);
        moves.create.insert(node);
    }
    if waiting.len() > room {
        moves.hold = Some(Hold::Surge(Arc::new(surging)));
    }
}
