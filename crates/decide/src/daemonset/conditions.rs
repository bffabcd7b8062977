//! Conditions of a DaemonSet under a policy: whether enough of it is available, whether its rollout gets further, whether
//! its revision is a bad one.
//!
//! Invariants: a DaemonSet that no policy is for has none of them, as in Kubernetes; conditions of other types are kept as
//! they are; a condition that says the same as before is the same, so that its time is that of the change; messages hold
//! no counts, which are in the status anyway and would change with every node.
//!
//! Absent: who reads them.

use api::rollout_policy::Phase;
use k8s_openapi::api::apps::v1::{DaemonSetCondition, DaemonSetStatus};

use super::course::{Course, api_time};
use super::{Budget, Gauge};

pub(super) const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const DEGRADED: &str = "Degraded";

/// What one condition says.
struct Says {
    status: &'static str,
    reason: String,
    message: String,
}

impl Says {
    fn new(status: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into() }
    }
}

/// The conditions for these counts; none without a course, which is the course of a policy.
pub(super) fn conditions(
    gauge: &Gauge,
    counts: &DaemonSetStatus,
    budget: &Budget,
    course: Option<&Course<'_>>,
    stored: &[DaemonSetCondition],
) -> Option<Vec<DaemonSetCondition>> {
    let is_ours = |c: &&DaemonSetCondition| [AVAILABLE, PROGRESSING, DEGRADED].contains(&c.type_.as_str());
    let mut all: Vec<DaemonSetCondition> = stored.iter().filter(|c| !is_ours(c)).cloned().collect();
    let says = course.map(|course| {
        [
            (AVAILABLE, available(counts, budget)),
            (PROGRESSING, progressing(gauge, course)),
            (DEGRADED, degraded(course)),
        ]
    });
    for (kind, says) in says.into_iter().flatten() {
        let before = stored.iter().find(|c| c.type_ == kind);
        let before = before.filter(|c| c.status == says.status && c.reason.as_deref() == Some(&says.reason));
        // Another revision is another rollout.
        let before = before.filter(|c| kind != PROGRESSING || c.message.as_deref() == Some(&says.message));
        let since = before.and_then(|c| c.last_transition_time.clone());
        all.push(DaemonSetCondition {
            type_: kind.to_owned(),
            status: says.status.to_owned(),
            reason: Some(says.reason),
            message: Some(says.message),
            last_transition_time: since.or_else(|| Some(api_time(gauge.now))),
        });
    }
    (!all.is_empty()).then_some(all)
}

fn available(counts: &DaemonSetStatus, budget: &Budget) -> Says {
    let missing = counts.number_unavailable.unwrap_or_default();
    let may = budget.unavailable_max;
    if usize::try_from(missing).is_ok_and(|missing| missing <= may) {
        Says::new("True", "MinimumNodesAvailable", format!("no more than {may} daemons are missing"))
    } else {
        Says::new("False", "MinimumNodesUnavailable", format!("more than {may} daemons are missing"))
    }
}

fn progressing(gauge: &Gauge, course: &Course<'_>) -> Says {
    let (memory, hash) = (&course.memory, &gauge.hash);
    let because = |text: &str| match &memory.message {
        Some(why) => format!("revision {hash} {text}: {why}"),
        None => format!("revision {hash} {text}"),
    };
    match memory.phase {
        Phase::Complete => {
            Says::new("True", "Complete", format!("revision {hash} runs on every node that wants a daemon"))
        }
        Phase::Rolling => Says::new("True", "RollingOut", format!("revision {hash} is being rolled out")),
        Phase::RollingBack => Says::new("True", "RollingBack", because("takes the place of one that failed")),
        Phase::Baking => Says::new("True", "Baking", because("is being watched")),
        Phase::WaitingForPromotion => Says::new("True", "WaitingForPromotion", because("waits")),
        Phase::WaitingForWindow => Says::new("True", "WaitingForWindow", because("waits")),
        Phase::Paused => Says::new("Unknown", "Paused", because("is paused")),
        Phase::Frozen => Says::new("Unknown", "Frozen", because("is frozen")),
        Phase::Failed => {
            let cause = memory.cause.clone().unwrap_or_default();
            Says::new("False", if cause.is_empty() { "Failed" } else { &cause }, because("failed"))
        }
    }
}

fn degraded(course: &Course<'_>) -> Says {
    let memory = &course.memory;
    let why = memory.message.clone().unwrap_or_default();
    match (&memory.rolled_back_from, &memory.cause) {
        _ if memory.phase == Phase::Failed => {
            let cause = memory.cause.as_deref().unwrap_or("Failed");
            Says::new("True", cause, format!("revision {} failed: {why}", memory.revision))
        }
        (Some(bad), Some(_)) => {
            Says::new("True", "RolledBack", format!("revision {bad} failed and was rolled back: {why}"))
        }
        _ => Says::new("False", "AsExpected", ""),
    }
}
