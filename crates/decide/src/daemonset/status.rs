//! `status` of a DaemonSet, counted over the snapshot that the plan was made from.
//!
//! Invariants: per node one pod counts, the first of [`super::node_pods`]; `numberUnavailable` is what is missing of
//! `desiredNumberScheduled`.
//!
//! Absent: the effect of the plan itself; it is counted once it can be seen.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::course::Course;
use super::{Budget, Scene, conditions};
use crate::view::PodView;

/// The status that the snapshot deserves, if it is not the stored one.
pub(super) fn changed(
    scene: &Scene<'_>,
    budget: &Budget,
    course: Option<&Course<'_>>,
    stored: Option<&DaemonSetStatus>,
) -> Option<DaemonSetStatus> {
    let generation = scene.set.metadata.generation.unwrap_or_default();
    let stored = stored.cloned().unwrap_or_default();
    let mut status = DaemonSetStatus {
        collision_count: stored.collision_count,
        observed_generation: Some(generation),
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for (node, placement) in &scene.placements {
        let pod = scene.pods.on(node).first();
        if !placement.may_start() {
            status.number_misscheduled += i32::from(pod.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = pod else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod.ready);
        available += i32::from(scene.is_available(pod));
        updated += i32::from(scene.is_current(pod));
    }
    status.number_available = some_unless_zero(available);
    status.updated_number_scheduled = some_unless_zero(updated);
    status.number_unavailable = some_unless_zero(status.desired_number_scheduled - available);
    let known = stored.conditions.as_deref().unwrap_or_default();
    status.conditions = conditions::conditions(scene, &status, budget, course, known);
    (!same(&status, &stored)).then_some(status)
}

/// True when a change of the status tells only of progress: more of it follows, and nobody waits for this step.
pub(super) fn may_wait(stored: Option<&DaemonSetStatus>, new: &DaemonSetStatus) -> bool {
    let Some(stored) = stored else { return false };
    let wanted = new.desired_number_scheduled;
    let done = new.number_available.unwrap_or_default() == wanted
        && new.updated_number_scheduled.unwrap_or_default() == wanted
        && new.current_number_scheduled == wanted;
    !done
        && stored.observed_generation == new.observed_generation
        && stored.desired_number_scheduled == wanted
        && stored.number_misscheduled == new.number_misscheduled
}

/// These fields are absent when zero.
fn some_unless_zero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

fn same(a: &DaemonSetStatus, b: &DaemonSetStatus) -> bool {
    let numbers = |s: &DaemonSetStatus| {
        [
            s.current_number_scheduled,
            s.desired_number_scheduled,
            s.number_misscheduled,
            s.number_ready,
            s.number_available.unwrap_or_default(),
            s.number_unavailable.unwrap_or_default(),
            s.updated_number_scheduled.unwrap_or_default(),
        ]
    };
    let conditions = |s: &DaemonSetStatus| s.conditions.clone().unwrap_or_default();
    numbers(a) == numbers(b) && a.observed_generation <= b.observed_generation && conditions(a) == conditions(b)
}

/// When a pod that is ready becomes available, the earliest of them.
pub(super) fn next_change(scene: &Scene<'_>) -> Option<Timestamp> {
    let due = |pod: &&PodView| pod.available_at(scene.min_ready_seconds).filter(|at| *at > scene.now);
    scene.pods.iter().flat_map(|(_, pods)| pods.iter().filter_map(due)).min().filter(|at| *at < Timestamp::MAX)
}
