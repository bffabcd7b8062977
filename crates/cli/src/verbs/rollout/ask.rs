//! What pausing, freezing and promoting a DaemonSet's rollout changes of its RolloutPolicy.
//!
//! # Invariants
//! - What is asked for and is so already, or cannot be, is an error that says what to do; nothing is written then.
//! - A policy that is made here says no more than it was asked for.
//!
//! # Absent
//! Requests ([`super::govern`]).

use api::rollout_policy::{Memory, PROMOTED_ALL, Phase, RolloutPolicy};
use serde_json::{Value, json};

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Pause,
    Resume,
    Freeze,
    Unfreeze,
    Promote {
        /// All waves instead of the one that waits.
        full: bool,
    },
}

impl Ask {
    /// `pausing`, as refusals name it.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Pause => "pausing",
            Self::Resume => "resuming",
            Self::Freeze => "freezing",
            Self::Unfreeze => "unfreezing",
            Self::Promote { .. } => "promoting",
        }
    }

    /// `paused`, as it is told when it is done.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Freeze => "frozen",
            Self::Unfreeze => "unfrozen",
            Self::Promote { full: false } => "promoted",
            Self::Promote { full: true } => "fully promoted",
        }
    }
}

/// What is noted in the policy's memory of the rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// This wave is passed, or all are.
    Promoted(String),
    /// The revision goes on although it has failed.
    Overridden,
}

impl Note {
    /// Puts the note into the entry of a policy's `status.daemonSets`.
    pub(super) fn write(&self, entry: &mut Value) {
        match self {
            Self::Promoted(wave) => entry["promoted"] = wave.as_str().into(),
            Self::Overridden => entry["overridden"] = true.into(),
        }
    }
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Change {
    /// A patch of the policy's spec; what a new policy says beside its target.
    pub(super) spec: Option<Value>,
    pub(super) note: Option<Note>,
}

/// What a policy has to do with a DaemonSet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    /// The policy that is for it.
    pub(super) policy: Option<&'a RolloutPolicy>,
    /// What is remembered of its rollout.
    pub(super) memory: Option<&'a Memory>,
    /// Whether the controller has seen its newest spec.
    pub(super) observed: bool,
}

impl Standing<'_> {
    /// What is to be written; otherwise what stands in the way, as it stands behind the DaemonSet's name.
    pub(super) fn change(&self, ask: Ask) -> Result<Change, String> {
        let spec = |field: &str, to: Value| Ok(Change { spec: Some(json!({field: to})), note: None });
        let (paused, frozen) = self.policy.map_or((false, false), |p| (p.spec.paused, p.spec.frozen));
        match ask {
            Ask::Pause if paused => Err("is already paused".into()),
            Ask::Pause => spec("paused", true.into()),
            Ask::Resume => self.resume(paused, frozen),
            Ask::Freeze if frozen => Err("is already frozen".into()),
            Ask::Freeze => spec("frozen", true.into()),
            Ask::Unfreeze if !frozen => Err("is not frozen".into()),
            Ask::Unfreeze => spec("frozen", Value::Null),
            Ask::Promote { .. } if frozen => Err("is frozen (run rollout unfreeze first)".into()),
            Ask::Promote { .. } if paused => Err("is paused (run rollout resume first)".into()),
            Ask::Promote { full } => {
                self.promote(full).map(|wave| Change { spec: None, note: Some(Note::Promoted(wave)) })
            }
        }
    }

    fn resume(&self, paused: bool, frozen: bool) -> Result<Change, String> {
        let failed = self.memory.is_some_and(|m| m.phase == Phase::Failed);
        if !paused && !failed {
            return Err(if frozen { "is frozen, not paused (run rollout unfreeze)" } else { "is not paused" }.into());
        }
        Ok(Change { spec: paused.then(|| json!({"paused": null})), note: failed.then_some(Note::Overridden) })
    }

    /// The wave that is passed.
    fn promote(&self, full: bool) -> Result<String, String> {
        let Some(policy) = self.policy.filter(|p| !p.spec.waves.is_empty()) else {
            return Err("is not rolled out in waves: no RolloutPolicy with waves is for it".into());
        };
        let Some(memory) = self.memory.filter(|_| self.observed) else {
            return Err("is not promoted: the controller has not seen its newest spec yet, try again".into());
        };
        let wave = memory.wave.clone().unwrap_or_default();
        match memory.phase {
            _ if memory.promoted.as_deref() == Some(PROMOTED_ALL) => Err("is already fully promoted".into()),
            Phase::Complete => Err("has no wave to promote: its rollout is complete".into()),
            Phase::RollingBack => Err("has no wave to promote: it goes back to the last good revision".into()),
            Phase::Failed => Err(format!(
                "has failed ({}): run rollout resume to let the revision go on, or rollout undo",
                memory.cause.as_deref().unwrap_or("Failed")
            )),
            // The policy cannot work.
            Phase::Paused => Err(format!(
                "is held back, policy {:?} cannot work: {}",
                policy.metadata.name.as_deref().unwrap_or_default(),
                memory.message.as_deref().unwrap_or_default()
            )),
            Phase::Frozen => Err("is still frozen: try again when the controller has seen the change".into()),
            _ if full => Ok(PROMOTED_ALL.to_owned()),
            Phase::Baking | Phase::WaitingForPromotion if memory.promoted.as_deref() == Some(&wave) => {
                Err(format!("is already promoted past wave {wave:?}"))
            }
            Phase::Baking | Phase::WaitingForPromotion => Ok(wave),
            Phase::Rolling | Phase::WaitingForWindow if wave.is_empty() => {
                Err("has no wave to promote: nothing that stands is at risk".into())
            }
            Phase::Rolling | Phase::WaitingForWindow => {
                Err(format!("has no wave to promote: wave {wave:?} is still being updated (--full passes all waves)"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: &Value, memory: &Value) -> RolloutPolicy {
        let mut policy = json!({"metadata": {"name": "p"}, "spec": {"targets": {"names": ["d"]}}, "status": {"daemonSets": [memory]}});
        policy["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(policy).unwrap()
    }

    fn ask(spec: &Value, memory: &Value, ask: Ask) -> Result<Change, String> {
        let policy = policy(spec, memory);
        let memory = policy.memory("d", "u");
        Standing { policy: Some(&policy), memory, observed: true }.change(ask)
    }

    fn refusal(answer: Result<Change, String>) -> String {
        answer.err().unwrap_or_default()
    }

    #[test]
    fn without_a_policy_one_is_made_for_what_is_asked() {
        let none = Standing { policy: None, memory: None, observed: true };
        let spec = |spec: Value| Ok(Change { spec: Some(spec), note: None });
        assert_eq!(none.change(Ask::Pause), spec(json!({"paused": true})));
        assert_eq!(none.change(Ask::Freeze), spec(json!({"frozen": true})));
        assert_eq!(refusal(none.change(Ask::Resume)), "is not paused");
        assert_eq!(refusal(none.change(Ask::Unfreeze)), "is not frozen");
        assert!(refusal(none.change(Ask::Promote { full: false })).starts_with("is not rolled out in waves"));
    }

    #[test]
    fn pauses_and_freezes_are_set_and_taken_away_once() {
        let rolling = json!({"name": "d", "uid": "u", "phase": "Rolling"});
        let (paused, frozen, both) =
            (json!({"paused": true}), json!({"frozen": true}), json!({"paused": true, "frozen": true}));
        let cases = [
            (&paused, Ask::Pause, Err("is already paused")),
            (&paused, Ask::Resume, Ok(json!({"paused": null}))),
            (&paused, Ask::Freeze, Ok(json!({"frozen": true}))),
            (&paused, Ask::Promote { full: true }, Err("is paused (run rollout resume first)")),
            (&frozen, Ask::Freeze, Err("is already frozen")),
            (&frozen, Ask::Unfreeze, Ok(json!({"frozen": null}))),
            (&frozen, Ask::Pause, Ok(json!({"paused": true}))),
            (&frozen, Ask::Resume, Err("is frozen, not paused (run rollout unfreeze)")),
            (&frozen, Ask::Promote { full: false }, Err("is frozen (run rollout unfreeze first)")),
            (&both, Ask::Resume, Ok(json!({"paused": null}))),
            (&both, Ask::Unfreeze, Ok(json!({"frozen": null}))),
        ];
        for (spec, what, want) in cases {
            let want = want.map(|spec| Change { spec: Some(spec), note: None }).map_err(str::to_owned);
            assert_eq!(ask(spec, &rolling, what), want, "{spec} {what:?}");
        }
    }

    #[test]
    fn resume_lets_a_failed_revision_go_on() {
        let failed = json!({"name": "d", "uid": "u", "phase": "Failed", "cause": "TooManyRestarts"});
        let overridden = |spec: Option<Value>| Ok(Change { spec, note: Some(Note::Overridden) });
        assert_eq!(ask(&json!({}), &failed, Ask::Resume), overridden(None));
        assert_eq!(ask(&json!({"paused": true}), &failed, Ask::Resume), overridden(Some(json!({"paused": null}))));
        let mut entry = failed.clone();
        Note::Overridden.write(&mut entry);
        assert_eq!(entry["overridden"], true);
    }

    #[test]
    fn a_wave_that_is_done_is_promoted() {
        let waves = json!({"waves": [{"name": "canary", "nodes": {"count": 1}, "gate": "Manual"}]});
        let memory = |phase: &str, promoted: Option<&str>| json!({"name": "d", "uid": "u", "phase": phase, "wave": "canary", "promoted": promoted});
        let cases = [
            (memory("WaitingForPromotion", None), false, Ok("canary")),
            (memory("WaitingForPromotion", Some("older")), false, Ok("canary")),
            (memory("Baking", None), false, Ok("canary")),
            (memory("Baking", Some("canary")), false, Err("is already promoted past wave \"canary\"")),
            (memory("Baking", Some("canary")), true, Ok("*")),
            (memory("Baking", Some("*")), false, Err("is already fully promoted")),
            (
                memory("Rolling", None),
                false,
                Err("has no wave to promote: wave \"canary\" is still being updated (--full passes all waves)"),
            ),
            (memory("Rolling", None), true, Ok("*")),
            (memory("WaitingForWindow", None), true, Ok("*")),
            (memory("Complete", None), true, Err("has no wave to promote: its rollout is complete")),
            (memory("RollingBack", None), false, Err("has no wave to promote: it goes back to the last good revision")),
            (
                memory("Failed", None),
                true,
                Err("has failed (Failed): run rollout resume to let the revision go on, or rollout undo"),
            ),
            (memory("Paused", None), true, Err("is held back, policy \"p\" cannot work: ")),
        ];
        for (memory, full, want) in cases {
            let promoted = |wave: &str| Change { spec: None, note: Some(Note::Promoted(wave.to_owned())) };
            let want = want.map(promoted).map_err(str::to_owned);
            assert_eq!(ask(&waves, &memory, Ask::Promote { full }), want, "{memory} {full}");
        }
        let mut entry = json!({"name": "d"});
        Note::Promoted("canary".into()).write(&mut entry);
        assert_eq!(entry, json!({"name": "d", "promoted": "canary"}));
    }

    #[test]
    fn what_the_controller_has_not_seen_is_not_promoted() {
        let waves = json!({"waves": [{"name": "canary", "nodes": {"count": 1}}]});
        let policy = policy(&waves, &json!({"name": "d", "uid": "u", "phase": "Baking", "wave": "canary"}));
        let unseen = Standing { policy: Some(&policy), memory: policy.memory("d", "u"), observed: false };
        assert!(refusal(unseen.change(Ask::Promote { full: false })).contains("try again"));
        let another = Standing { policy: Some(&policy), memory: policy.memory("d", "other"), observed: true };
        assert!(refusal(another.change(Ask::Promote { full: false })).contains("try again"));
    }
}
