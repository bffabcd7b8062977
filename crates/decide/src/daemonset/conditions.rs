//! Conditions of a DaemonSet: whether enough of it is available, whether its rollout gets further, whether its revision
//! is a bad one.
//!
//! Invariants: conditions of other types are kept as they are; a condition that says the same as before is the same, so
//! that its time is that of the change; messages hold no counts, which are in the status anyway and would change with
//! every node.
//!
//! Absent: who reads them.

use api::rollout_policy::Phase;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSetCondition, DaemonSetStatus};

use super::course::{Course, api_time};
use super::policy::PROGRESS_DEADLINE_S;
use super::{Budget, Scene};

const AVAILABLE: &str = "Available";
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

/// The conditions for these counts, and when they change by time alone.
pub(super) fn conditions(
    scene: &Scene<'_>,
    counts: &DaemonSetStatus,
    budget: &Budget,
    course: Option<&Course<'_>>,
    stored: &[DaemonSetCondition],
) -> (Vec<DaemonSetCondition>, Option<Timestamp>) {
    let find = |kind: &str| stored.iter().find(|c| c.type_ == kind);
    let (progressing, next) = match course {
        Some(course) => (under_policy(scene, course), None),
        None => progressing(scene, counts, find(PROGRESSING)),
    };
    let mine = [(AVAILABLE, available(counts, budget)), (PROGRESSING, progressing), (DEGRADED, degraded(course))];
    let mut all: Vec<DaemonSetCondition> =
        stored.iter().filter(|c| mine.iter().all(|(kind, _)| *kind != c.type_)).cloned().collect();
    for (kind, says) in mine {
        let before = find(kind).filter(|c| c.status == says.status && c.reason.as_deref() == Some(&says.reason));
        // Another revision is another rollout.
        let before = before.filter(|c| kind != PROGRESSING || c.message.as_deref() == Some(&says.message));
        let since = before.and_then(|c| c.last_transition_time.clone());
        all.push(DaemonSetCondition {
            type_: kind.to_owned(),
            status: says.status.to_owned(),
            reason: Some(says.reason),
            message: Some(says.message),
            last_transition_time: since.or_else(|| Some(api_time(scene.now))),
        });
    }
    (all, next)
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

/// Without a policy: what the pods tell, and the condition as it was stored.
fn progressing(
    scene: &Scene<'_>,
    counts: &DaemonSetStatus,
    stored: Option<&DaemonSetCondition>,
) -> (Says, Option<Timestamp>) {
    let hash = scene.hash;
    let about = |text: &str| format!("revision {hash} {text}");
    let complete = || Says::new("True", "Complete", about("runs on every node that wants a daemon"));
    let stored = stored.filter(|c| c.message.as_deref().is_some_and(|m| m.starts_with(&about(""))));
    let is_stored = |reason: &str| stored.is_some_and(|c| c.reason.as_deref() == Some(reason));
    let wanted = counts.desired_number_scheduled;
    let updated = counts.updated_number_scheduled.unwrap_or_default();
    let all = updated == wanted && counts.number_available.unwrap_or_default() == wanted;
    // A rollout that was complete stays so whatever becomes of nodes, and when nodes join.
    if all || (is_stored("Complete") && !scene.has_old()) {
        return (complete(), None);
    }
    if !scene.rolling && scene.has_old() {
        return (Says::new("True", "WaitingForDeletion", about("is taken up by a node when its pod is deleted")), None);
    }
    let began = stored.filter(|_| is_stored("RollingOut")).and_then(|c| c.last_transition_time.as_ref());
    let began = if is_stored("ProgressDeadlineExceeded") { None } else { Some(began.map_or(scene.now, |t| t.0)) };
    let progress = scene.last_progress().max(began).unwrap_or(scene.now);
    let due = progress.checked_add(SignedDuration::from_secs(PROGRESS_DEADLINE_S)).unwrap_or(Timestamp::MAX);
    if due <= scene.now {
        let message = about(&format!("has reached no further node for {PROGRESS_DEADLINE_S} s"));
        return (Says::new("False", "ProgressDeadlineExceeded", message), None);
    }
    (Says::new("True", "RollingOut", about("is being rolled out")), Some(due))
}

fn under_policy(scene: &Scene<'_>, course: &Course<'_>) -> Says {
    let (memory, hash) = (&course.memory, scene.hash);
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

fn degraded(course: Option<&Course<'_>>) -> Says {
    let fine = || Says::new("False", "AsExpected", "");
    let Some(memory) = course.map(|c| &c.memory) else { return fine() };
    let why = memory.message.clone().unwrap_or_default();
    match (&memory.rolled_back_from, &memory.cause) {
        _ if memory.phase == Phase::Failed => {
            let cause = memory.cause.as_deref().unwrap_or("Failed");
            Says::new("True", cause, format!("revision {} failed: {why}", memory.revision))
        }
        (Some(bad), Some(_)) => {
            Says::new("True", "RolledBack", format!("revision {bad} failed and was rolled back: {why}"))
        }
        _ => fine(),
    }
}
