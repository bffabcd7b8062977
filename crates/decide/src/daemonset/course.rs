//! Where a rollout under a policy is, and what it may do next.
//!
//! Invariants: what survives a restart of the controller is in [`Memory`] and nowhere else, and is stored before anything
//! is done because of it; a way back to the last good revision waits for no wave, no window and no verdict; a policy
//! never makes a rollout faster than the DaemonSet's own strategy.
//!
//! Absent: the steps themselves (`rollout`), what is said of them (`conditions`).

use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy::{FailureAction, Memory, Phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as ApiTime;

use super::causal::{self, Causes, Excuse};
use super::history::Good;
use super::outlook::Outlook;
use super::verdict::{self, Failed};
use super::waves::{self, State, Walk};
use super::windows::{self, Time};
use super::{Budget, Directive, Event, Hold, Scene};
use crate::dead_man;
use crate::view::NodeView;

/// Why a revision counts as bad although nothing failed yet: it was replaced once already.
pub(super) const ROLLED_BACK_BEFORE: &str = "RolledBackBefore";
/// Why a revision counts as bad: its rollout gets no further.
const DEADLINE: &str = "ProgressDeadlineExceeded";

/// Where a rollout is.
pub(super) struct Course<'a> {
    /// What is to be remembered.
    pub(super) memory: Memory,
    /// True when nothing may be written but the status.
    pub(super) frozen: bool,
    /// True when the template of the last good revision is to be written to the DaemonSet.
    pub(super) restores: bool,
    /// When something changes by time alone.
    pub(super) look_again: Option<Timestamp>,
    pub(super) events: Vec<Event>,
    pub(super) causes: Causes<'a>,
    /// Nodes whose new pods are of the current revision; all if none is given.
    due: Option<BTreeSet<&'a str>>,
    /// Nodes whose update may begin; all if none is given.
    open: Option<BTreeSet<&'a str>>,
    walk: Option<Walk<'a>>,
    /// Seconds that a daemon is on trial.
    trial_s: i64,
}

impl Course<'_> {
    /// True when a pod that is created on `node` is of the current revision.
    pub(super) fn is_due(&self, node: &str) -> bool {
        self.due.as_ref().is_none_or(|due| due.contains(node))
    }

    /// True when the update of `node` may begin.
    pub(super) fn is_open(&self, node: &str) -> bool {
        self.open.as_ref().is_none_or(|open| open.contains(node))
    }

    /// True when the update of `node` does not begin now: its turn has not come, or it is out of reach.
    pub(super) fn holds(&self, node: &str) -> bool {
        !self.is_open(node) || self.causes.excused.get(node) == Some(&Excuse::NodeNotReady)
    }

    /// What it makes of the rollout.
    pub(super) fn outlook(&self) -> Outlook {
        Outlook {
            phase: self.memory.phase,
            message: self.memory.message.clone(),
            excused: self.causes.excused.iter().map(|(node, excuse)| ((*node).to_owned(), *excuse)).collect(),
            waves: self.walk.as_ref().map(|walk| walk.waves(self.trial_s)).unwrap_or_default(),
        }
    }

    /// What the update of `node` waits for, if it is the policy.
    pub(super) fn hold(&self, node: &str) -> Option<Hold> {
        if self.is_open(node) {
            return self.causes.excused.get(node).map(|excuse| Hold::Excused(*excuse));
        }
        let wave = || self.walk.as_ref().map(|w| w.wave_of(node).to_owned()).unwrap_or_default();
        let after = self.memory.wave.clone().unwrap_or_default();
        Some(match self.memory.phase {
            Phase::Frozen => Hold::Frozen,
            Phase::Paused => Hold::Paused,
            Phase::Failed => Hold::Failed(self.memory.message.clone().unwrap_or_default()),
            Phase::WaitingForWindow => Hold::Window(self.look_again),
            Phase::Baking => Hold::Bakes { wave: after, until: self.walk.as_ref().and_then(|w| w.until) },
            Phase::WaitingForPromotion => Hold::Promotion(after),
            _ => Hold::Wave { wave: wave(), after },
        })
    }
}

/// What is known before the course is chosen.
struct Found<'a, 's> {
    scene: &'s Scene<'a>,
    directive: Directive<'s>,
    budget: &'s Budget,
    /// What was remembered, whatever the revision was.
    stored: Option<&'s Memory>,
    /// The same, if the revision is the same.
    same: Option<&'s Memory>,
    good: &'s Good<'a>,
    states: BTreeMap<&'a str, State>,
    /// As [`waves::states`] takes it.
    trial_s: Option<i64>,
    failed: Failed,
}

/// Where the rollout is.
pub(super) fn chart<'a>(
    scene: &Scene<'a>,
    nodes: &BTreeMap<String, &NodeView>,
    budget: &Budget,
    directive: Directive<'_>,
    good: &Good<'a>,
) -> Course<'a> {
    let uid = scene.set.metadata.uid.as_deref().unwrap_or_default();
    let stored = directive.memory.filter(|m| m.uid == uid);
    let same = stored.filter(|m| m.revision == scene.gauge.hash);
    let spec = &directive.policy.spec;
    let causes = causal::causes(scene, good.hash.as_deref(), same);
    let limits = directive.policy.limits();
    let failed = verdict::failed(scene, limits.as_ref(), &causes, same);
    // Only a revision that is another one than the last good one is on trial, as on the nodes.
    let is_new = good.hash.as_deref().is_some_and(|hash| hash != scene.gauge.hash);
    let trial = spec.dead_man.filter(|_| is_new);
    let trial_s = trial.map(|trial| dead_man::proven_within_s(trial.after_seconds, directive.grace));
    let states = waves::states(scene, &causes, trial_s);
    let found = Found { scene, directive, budget, stored, same, good, states, trial_s, failed };
    let walk = found.in_waves().then(|| waves::walk(scene, nodes, &spec.waves, &found.states, same));
    found.course(causes, walk)
}

impl<'a> Found<'a, '_> {
    /// True when the current revision is the last good one.
    fn is_back(&self) -> bool {
        self.good.hash.as_deref() == Some(self.scene.gauge.hash.as_str())
    }

    /// True when there is a last good revision and it is another one: only then is there something to be careful about.
    fn is_new(&self) -> bool {
        self.good.hash.is_some() && !self.is_back()
    }

    /// True when daemons of the right revision stand on nodes whose classes are others now.
    fn is_reclassing(&self) -> bool {
        let scene = self.scene;
        scene.spots.pods().any(|p| p.deleting.is_none() && scene.gauge.is_reclassed(p))
    }

    /// True when the policy wants bad revisions to be replaced.
    fn rolls_back(&self) -> bool {
        self.directive.policy.spec.failure.as_ref().and_then(|f| f.action) == Some(FailureAction::Rollback)
    }

    fn in_waves(&self) -> bool {
        self.is_new() && self.scene.rolling && !self.directive.policy.spec.waves.is_empty()
    }

    fn has(&self, state: State) -> bool {
        self.states.values().any(|s| *s == state)
    }

    fn is_complete(&self, walk: Option<&Walk<'_>>) -> bool {
        let ends = |state: &State| matches!(state, State::Settled | State::Excused);
        let all = self.states.values().all(ends);
        let some = self.has(State::Settled) || self.states.is_empty() || self.is_back();
        let keeps = self.is_back() && self.same.is_some_and(|m| m.phase == Phase::Complete);
        (all && some && walk.is_none_or(|w| w.phase == Phase::Complete)) || (keeps && !self.has(State::Pending))
    }

    fn course(self, causes: Causes<'a>, walk: Option<Walk<'a>>) -> Course<'a> {
        let policy = self.directive.policy;
        let mut memory = self.carried();
        let mut course = Course {
            frozen: policy.spec.frozen,
            restores: false,
            look_again: self.failed.next,
            events: Vec::new(),
            causes,
            due: None,
            open: None,
            memory: Memory::default(),
            walk: None,
            trial_s: self.trial_s.unwrap_or(0),
        };
        if let Some(walk) = &walk {
            memory.wave = Some(walk.wave().to_owned());
            memory.bake_since = walk.bake_since.map(api_time);
        }
        let complete = self.is_complete(walk.as_ref());
        let time = windows::time(policy.spec.windows.len(), &policy.openings, self.scene.gauge.now);
        if complete && !self.is_back() && memory.cause.as_deref() == Some(DEADLINE) {
            // Late, but there.
            (memory.cause, memory.message) = (None, None);
        }
        self.judge(&mut memory);
        memory.phase = self.phase(&memory, walk.as_ref(), complete, time);
        self.keep_since(&mut memory);
        if memory.phase == Phase::Rolling && self.is_late(&mut memory, &mut course) {
            memory.phase = Phase::Failed;
            self.keep_since(&mut memory);
        }
        if complete && memory.cause.is_none() && !self.is_back() && self.has(State::Settled) {
            memory.last_good_revision = Some(self.scene.gauge.hash.clone());
        }
        match time {
            Time::Open(Some(at)) | Time::Closed(Some(at)) if self.is_new() || self.is_reclassing() => {
                look(&mut course, at)
            }
            _ => {}
        }
        if let (Phase::Baking, Some(at)) = (memory.phase, self.watched_until(walk.as_ref())) {
            look(&mut course, at);
        }
        self.say(&mut memory, walk.as_ref(), time, &mut course);
        self.limit(&memory, walk.as_ref(), &mut course);
        memory.failed_node_count = count(self.failed.nodes.len());
        memory.failed_nodes = self.failed.named();
        memory.excused_node_count = count(course.causes.excused.len());
        memory.excused_nodes = course.causes.named();
        course.memory = memory;
        course.walk = walk;
        course
    }

    /// What stays remembered from one plan to the next.
    fn carried(&self) -> Memory {
        let name = self.scene.set.metadata.name.clone().unwrap_or_default();
        let uid = self.scene.set.metadata.uid.clone().unwrap_or_default();
        let mut memory = Memory {
            name,
            uid,
            revision: self.scene.gauge.hash.clone(),
            last_good_revision: self.good.hash.clone(),
            ..Memory::default()
        };
        if let Some(same) = self.same {
            memory.promoted = same.promoted.clone();
            memory.overridden = same.overridden;
            memory.cause = same.cause.clone();
            memory.message = same.message.clone().filter(|_| same.cause.is_some());
            memory.rolled_back_from = same.rolled_back_from.clone();
            memory.wave = same.wave.clone();
            memory.bake_since = same.bake_since.clone();
        } else if let Some(stored) = self.stored {
            if self.is_back() && stored.phase == Phase::Failed && self.rolls_back() {
                memory.rolled_back_from = Some(stored.revision.clone());
                memory.cause = stored.cause.clone();
                memory.message = stored.message.clone();
            } else if stored.rolled_back_from.as_deref() == Some(self.scene.gauge.hash.as_str()) {
                memory.rolled_back_from = stored.rolled_back_from.clone();
                memory.cause = Some(ROLLED_BACK_BEFORE.to_owned());
            }
        }
        if memory.overridden {
            (memory.cause, memory.message) = (None, None);
        }
        memory
    }

    /// Condemns a revision under which too many nodes failed.
    fn judge(&self, memory: &mut Memory) {
        let limits = self.directive.policy.limits();
        let desired = self.budget.desired;
        if self.is_back() || memory.overridden || memory.cause.is_some() {
            return;
        }
        if let Some(limits) = limits.as_ref().filter(|limits| self.failed.is_too_many(limits, desired)) {
            memory.cause = Some(self.failed.cause());
            memory.message = Some(self.failed.sentence(limits, desired));
        }
    }

    fn phase(&self, memory: &Memory, walk: Option<&Walk<'_>>, complete: bool, time: Time) -> Phase {
        let policy = self.directive.policy;
        let changes = self.is_new() || self.is_reclassing();
        let begins = changes && self.scene.rolling && self.has(State::Pending);
        // What is left after the last wave is nodes whose update has begun.
        match walk.map(|w| w.phase).filter(|phase| *phase != Phase::Complete).unwrap_or(Phase::Rolling) {
            _ if policy.spec.frozen => Phase::Frozen,
            _ if memory.cause.is_some() && !self.is_back() => Phase::Failed,
            _ if policy.is_paused() => Phase::Paused,
            _ if complete => Phase::Complete,
            _ if self.is_back() && memory.rolled_back_from.is_some() => Phase::RollingBack,
            Phase::Rolling if begins && matches!(time, Time::Closed(_)) => Phase::WaitingForWindow,
            Phase::Rolling if self.watched_until(walk).is_some() => Phase::Baking,
            other => other,
        }
    }

    /// Until when nothing but time is waited for.
    fn watched_until(&self, walk: Option<&Walk<'_>>) -> Option<Timestamp> {
        walk.and_then(|walk| walk.until).or_else(|| waves::trials(self.states.values()))
    }

    fn keep_since(&self, memory: &mut Memory) {
        let unchanged = self.same.filter(|m| m.phase == memory.phase && m.wave == memory.wave);
        memory.since = unchanged.and_then(|m| m.since.clone()).or_else(|| Some(api_time(self.scene.gauge.now)));
    }

    /// True when the rollout gets no further; otherwise it is looked at again when it might be late.
    fn is_late(&self, memory: &mut Memory, course: &mut Course<'_>) -> bool {
        if !self.scene.rolling || self.is_back() || memory.overridden {
            return false;
        }
        let deadline_s = self.directive.policy.deadline_s();
        let since = memory.since.as_ref().map(|t| t.0);
        let progress = self.scene.last_progress().max(since).unwrap_or(self.scene.gauge.now);
        let due = progress.checked_add(SignedDuration::from_secs(deadline_s)).unwrap_or(Timestamp::MAX);
        if due > self.scene.gauge.now {
            look(course, due);
            return false;
        }
        let waiting: Vec<&str> =
            self.states.iter().filter(|(_, state)| **state == State::Busy).map(|(node, _)| *node).take(5).collect();
        memory.cause = Some(DEADLINE.to_owned());
        let trouble =
            self.scene.spots.pods().find_map(|p| Some((p.node.as_ref()?, p.pre_pull.as_ref()?.trouble.as_ref()?)));
        memory.message = Some(match (waiting.is_empty(), trouble) {
            (true, None) => format!("no node was updated for {deadline_s} s"),
            (true, Some((node, why))) => {
                format!("no node was updated for {deadline_s} s: {node} can't pull the new images: {why}")
            }
            (false, _) => format!("no node was updated for {deadline_s} s: {} not available", waiting.join(", ")),
        });
        true
    }

    /// Puts what it waits for into words, and tells of a verdict.
    fn say(&self, memory: &mut Memory, walk: Option<&Walk<'_>>, time: Time, course: &mut Course<'_>) {
        let wave = memory.wave.clone().unwrap_or_default();
        match memory.phase {
            Phase::Failed if memory.cause.as_deref() == Some(ROLLED_BACK_BEFORE) => {
                memory.message =
                    Some("the revision failed before and was rolled back: change it, or resume the rollout".into());
            }
            Phase::Baking => {
                let until = seconds(self.watched_until(walk).unwrap_or(self.scene.gauge.now));
                memory.message = Some(match walk {
                    Some(_) => format!("wave {wave} is watched until {until}"),
                    None => format!("the last nodes may cut themselves off until {until}"),
                });
            }
            Phase::WaitingForPromotion if walk.is_some_and(Walk::is_void) => {
                memory.message = Some(format!("wave {wave} selects no node: correct the policy, or promote the wave"));
            }
            Phase::WaitingForPromotion => {
                memory.message = Some(format!("wave {wave} is done and waits to be promoted"));
            }
            Phase::WaitingForWindow => {
                memory.message = Some(match time {
                    Time::Closed(Some(at)) => format!("the next window opens at {}", seconds(at)),
                    _ => "no window ever opens".to_owned(),
                });
            }
            Phase::Paused => memory.message = self.directive.policy.fault.clone(),
            _ => {}
        }
        let was = self.same.map(|m| m.phase);
        if memory.phase == Phase::Failed && was != Some(Phase::Failed) {
            let message =
                format!("Revision {} failed: {}", memory.revision, memory.message.clone().unwrap_or_default());
            course.events.push(Event { warning: true, reason: "RolloutFailed", message });
        }
    }

    /// Says which nodes may do what.
    fn limit(&self, memory: &Memory, walk: Option<&Walk<'a>>, course: &mut Course<'a>) {
        let (none, all) = (Some(BTreeSet::new()), None);
        let due = || if self.is_new() { none.clone() } else { all.clone() };
        (course.due, course.open) = match memory.phase {
            Phase::Frozen | Phase::Paused | Phase::WaitingForWindow => (due(), none.clone()),
            Phase::Failed => (due(), none.clone()),
            _ => match walk {
                Some(walk) => (Some(walk.due()), Some(walk.open(&self.states))),
                None => (all.clone(), all.clone()),
            },
        };
        let again = memory.cause.as_deref() == Some(ROLLED_BACK_BEFORE);
        course.restores = memory.phase == Phase::Failed
            && self.rolls_back()
            && !again
            && !self.directive.policy.is_paused()
            && self.good.revision.is_some()
            && self.is_new();
    }
}

fn look(course: &mut Course<'_>, at: Timestamp) {
    course.look_again = Some(course.look_again.map_or(at, |earlier| earlier.min(at)));
}

fn count(nodes: usize) -> i32 {
    i32::try_from(nodes).unwrap_or(i32::MAX)
}

/// A time as the API keeps it: in whole seconds.
pub(super) fn api_time(at: Timestamp) -> ApiTime {
    ApiTime(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn seconds(at: Timestamp) -> Timestamp {
    api_time(at).0
}
