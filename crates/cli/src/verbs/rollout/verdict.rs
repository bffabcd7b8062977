//! How far a DaemonSet's rollout is, as the server says it: by its conditions where it writes them, by its counts otherwise.
//!
//! # Invariants
//! - Every state ends or names what it waits for.

use serde_json::Value;

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on by itself.
    Going,
    /// It goes on only when somebody does something.
    Waiting,
    /// Every node that counts runs the new revision.
    Complete,
    /// It has stopped and will not go on.
    Failed,
}

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Going => "Progressing",
            Self::Waiting => "Waiting",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
        }
    }
}

/// A rollout, read from its DaemonSet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    /// One word of the server's, or of kubectl's reckoning.
    pub(super) phase: String,
    /// A sentence.
    pub(super) message: String,
    pub(super) desired: i64,
    pub(super) updated: i64,
    pub(super) available: i64,
    /// Whether the server says by itself when a rollout takes too long.
    pub(super) has_deadline: bool,
}

/// Whether the controller has seen the newest spec.
pub(super) fn observed(object: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    number(&object["metadata"]["generation"]) <= number(&object["status"]["observedGeneration"])
}

/// Reads how far the rollout of a DaemonSet is.
pub(super) fn of(set: &Value) -> Verdict {
    let count = |field: &str| set["status"][field].as_i64().unwrap_or_default();
    let (desired, updated, available) =
        (count("desiredNumberScheduled"), count("updatedNumberScheduled"), count("numberAvailable"));
    let progressing = condition(set, "Progressing");
    let mut verdict = Verdict {
        outcome: Outcome::Going,
        phase: "Unobserved".to_owned(),
        message: "waiting for the controller to see the newest spec".to_owned(),
        desired,
        updated,
        available,
        has_deadline: progressing.is_some(),
    };
    if !observed(set) {
        return verdict;
    }
    let name = set["metadata"]["name"].as_str().unwrap_or_default();
    let counted = updated >= desired && available >= desired;
    let by_hand = set["spec"]["updateStrategy"]["type"] == "OnDelete" && updated < desired;
    let (outcome, phase, message) = match progressing {
        Some(condition) => of_condition(&condition, set, counted),
        None if counted => (Outcome::Complete, "Complete", format!("daemon set {name:?} successfully rolled out")),
        None if by_hand => {
            let left = desired - updated;
            let text = format!("the strategy is OnDelete: {left} of {desired} pods are updated when you delete them");
            (Outcome::Waiting, "WaitingForDeletion", text)
        }
        None => {
            let text = format!("{updated} of {desired} pods are updated, {available} available");
            (Outcome::Going, "RollingOut", text)
        }
    };
    (verdict.outcome, verdict.phase, verdict.message) = (outcome, phase.to_owned(), message);
    verdict
}

/// One condition: status, reason, message.
struct Condition<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

fn condition<'a>(set: &'a Value, kind: &str) -> Option<Condition<'a>> {
    let condition = set["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    Some(Condition { status: text("status"), reason: text("reason"), message: text("message") })
}

fn of_condition<'a>(progressing: &Condition<'a>, set: &Value, counted: bool) -> (Outcome, &'a str, String) {
    let message = progressing.message.to_owned();
    let rolled_back = condition(set, "Degraded").filter(|c| c.status == "True" && c.reason == "RolledBack");
    let outcome = match (progressing.status, progressing.reason) {
        ("False", _) => Outcome::Failed,
        (_, "Complete") => Outcome::Complete,
        (_, "Paused" | "Frozen" | "WaitingForPromotion" | "WaitingForDeletion") => Outcome::Waiting,
        // The counts may be there before the condition is.
        (_, "RollingOut") if counted => Outcome::Complete,
        _ => Outcome::Going,
    };
    match rolled_back {
        // The way back is done: what was rolled out has failed.
        Some(why) if outcome == Outcome::Complete => (Outcome::Failed, "RolledBack", why.message.to_owned()),
        _ => (outcome, progressing.reason, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(strategy: &str, updated: i64, conditions: &Value) -> Value {
        json!({
            "metadata": {"name": "d", "generation": 2},
            "spec": {"updateStrategy": {"type": strategy}},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": updated,
                "numberAvailable": 3, "conditions": conditions},
        })
    }

    fn progressing(status: &str, reason: &str) -> Value {
        json!([{"type": "Progressing", "status": status, "reason": reason, "message": "m"}])
    }

    #[test]
    fn the_servers_word_counts_before_the_counts() {
        let rolled_back = json!([
            {"type": "Progressing", "status": "True", "reason": "Complete", "message": "m"},
            {"type": "Degraded", "status": "True", "reason": "RolledBack", "message": "revision x failed"},
        ]);
        let cases = [
            (set("RollingUpdate", 1, &progressing("True", "RollingOut")), Outcome::Going, "RollingOut"),
            (set("RollingUpdate", 1, &progressing("True", "Baking")), Outcome::Going, "Baking"),
            (set("RollingUpdate", 3, &progressing("True", "RollingOut")), Outcome::Complete, "RollingOut"),
            (set("RollingUpdate", 2, &progressing("True", "Complete")), Outcome::Complete, "Complete"),
            (
                set("RollingUpdate", 1, &progressing("False", "ProgressDeadlineExceeded")),
                Outcome::Failed,
                "ProgressDeadlineExceeded",
            ),
            (set("RollingUpdate", 1, &progressing("Unknown", "Paused")), Outcome::Waiting, "Paused"),
            (set("OnDelete", 1, &progressing("True", "WaitingForDeletion")), Outcome::Waiting, "WaitingForDeletion"),
            (set("RollingUpdate", 3, &rolled_back), Outcome::Failed, "RolledBack"),
            (set("RollingUpdate", 2, &json!([])), Outcome::Going, "RollingOut"),
            (set("RollingUpdate", 3, &json!([])), Outcome::Complete, "Complete"),
            (set("OnDelete", 1, &json!(null)), Outcome::Waiting, "WaitingForDeletion"),
        ];
        for (set, outcome, phase) in cases {
            let verdict = of(&set);
            assert_eq!((verdict.outcome, verdict.phase.as_str()), (outcome, phase), "{set}");
        }
        let mut unseen = set("RollingUpdate", 3, &progressing("True", "Complete"));
        unseen["metadata"]["generation"] = json!(3);
        assert_eq!(of(&unseen).outcome, Outcome::Going, "what is said of an older spec does not count");
    }
}
