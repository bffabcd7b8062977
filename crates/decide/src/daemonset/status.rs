//! `status` of a DaemonSet, counted over the snapshot that the plan was made from.
//!
//! Invariants: per node one pod counts, the first of [`super::spots`]; `numberUnavailable` is what is missing of
//! `desiredNumberScheduled`.
//!
//! Absent: the effect of the plan itself; it is counted once it can be seen.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};

use super::course::Course;
use super::spots::At;
use super::{Budget, Gauge, conditions};

/// What is counted, of one node or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) desired: i32,
    current: i32,
    misscheduled: i32,
    ready: i32,
    available: i32,
    updated: i32,
}

impl Counts {
    /// What one node counts for.
    pub(super) fn of(gauge: &Gauge, at: At<'_, '_>) -> Self {
        let mut counts = Self::default();
        let (Some(access), pod) = (at.access, at.pods.first()) else { return counts };
        if !access.may_start() {
            counts.misscheduled = i32::from(pod.is_some());
            return counts;
        }
        counts.desired = 1;
        if let Some(pod) = pod {
            counts.current = 1;
            counts.ready = i32::from(pod.ready);
            counts.available = i32::from(gauge.is_available(pod));
            counts.updated = i32::from(gauge.is_current(pod));
        }
        counts
    }

    /// Counts so many times what another counts for: once, or once less.
    pub(super) fn add(&mut self, other: &Self, times: i32) {
        self.desired += times * other.desired;
        self.current += times * other.current;
        self.misscheduled += times * other.misscheduled;
        self.ready += times * other.ready;
        self.available += times * other.available;
        self.updated += times * other.updated;
    }
}

/// The status that these counts deserve, if it is not the stored one.
pub(super) fn changed(
    set: &DaemonSet,
    gauge: &Gauge,
    counts: &Counts,
    budget: &Budget,
    course: Option<&Course<'_>>,
) -> Option<DaemonSetStatus> {
    let stored = set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        collision_count: stored.collision_count,
        observed_generation: Some(set.metadata.generation.unwrap_or_default()),
        desired_number_scheduled: counts.desired,
        current_number_scheduled: counts.current,
        number_misscheduled: counts.misscheduled,
        number_ready: counts.ready,
        number_available: some_unless_zero(counts.available),
        updated_number_scheduled: some_unless_zero(counts.updated),
        number_unavailable: some_unless_zero(counts.desired - counts.available),
        conditions: None,
    };
    let known = stored.conditions.as_deref().unwrap_or_default();
    status.conditions = conditions::conditions(gauge, &status, budget, course, known);
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
        && course_of(stored) == course_of(new)
}

/// What the conditions say of the rollout itself: whether it goes on, and why not.
fn course_of(status: &DaemonSetStatus) -> Vec<(&str, &str, Option<&str>)> {
    let conditions = status.conditions.iter().flatten().filter(|c| c.type_ != conditions::AVAILABLE);
    conditions.map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref())).collect()
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
