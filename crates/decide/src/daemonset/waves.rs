//! Waves: which nodes are updated first, and whether the next ones may follow.
//!
//! The waves of a policy become steps: one for each wave, and for a topology wave one for each value of its label, in
//! order of the values, nodes without the label last. All other nodes are in a last step. Each node is in the first step
//! that takes it, by what its labels say now: a node whose labels change moves to another step, keeps its daemon if it is
//! updated already, and waits if its new step is not due. A rollout never goes back to an earlier step: a node that moves
//! to one is updated at once. The user may pass a step that is done, and then neither its bake time nor its gate counts.
//!
//! Invariants: with a topology wave, a node's update begins only while no node of another step is being updated; a step
//! that was to have nodes and has none is passed by the user only.
//!
//! Absent: budgets (they hold within a step as everywhere).

use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy::{Gate, Memory, PROMOTED_ALL, Phase, REST, Wave, WaveNodes};
use api::selector::Labels;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Scene;
use super::causal::Causes;
use super::outlook;
use super::spots::{At, Pair, pair};
use crate::view::{NodeView, PodView};

/// Where a node that wants a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It runs the current revision and is well.
    Settled,
    /// It is not to be waited for.
    Excused,
    /// It runs the current revision, which is well but may still cut it off: until then.
    OnTrial(Timestamp),
    /// A daemon of another revision stands there.
    Pending,
    /// Its daemon is on the way.
    Busy,
}

/// Where each node that wants a daemon is. `trial_s` are the seconds after which daemons of the current revision
/// are known not to cut their nodes off, where they may.
pub(super) fn states<'a>(scene: &Scene<'a>, causes: &Causes<'_>, trial_s: Option<i64>) -> BTreeMap<&'a str, State> {
    let gauge = &scene.gauge;
    let proven = |pod: &PodView| {
        let trial = SignedDuration::from_secs(trial_s?);
        let at = pod.started.or(pod.created)?.checked_add(trial).unwrap_or(Timestamp::MAX);
        Some(at).filter(|at| *at > gauge.now)
    };
    let state = |at: At<'a, '_>| {
        let ending = at.pods.iter().any(|p| p.deleting.is_some());
        match pair(gauge, at.pods, |p| p.deleting.is_some()) {
            _ if causes.is_excused(at.node) => State::Excused,
            Pair::Tidy { new: Some(new), old: None } if !ending && gauge.is_available(new) => {
                proven(new).map_or(State::Settled, State::OnTrial)
            }
            Pair::Tidy { new: None, old: Some(_) } if !ending => State::Pending,
            _ => State::Busy,
        }
    };
    scene.spots.wanting().map(|at| (at.node, state(at))).collect()
}

/// When the last trial ends, if these are what is waited for and nothing else is.
pub(super) fn trials<'s>(states: impl Iterator<Item = &'s State>) -> Option<Timestamp> {
    let waited_for = states.filter(|state| !matches!(state, State::Settled | State::Excused));
    let ends: Option<Vec<Timestamp>> =
        waited_for.map(|state| if let State::OnTrial(until) = state { Some(*until) } else { None }).collect();
    ends?.into_iter().max()
}

/// Nodes that are updated together.
#[derive(Debug)]
struct Step<'a> {
    /// Name of the wave, with the value of the label in a topology wave.
    name: String,
    nodes: BTreeSet<&'a str>,
    bake_s: i64,
    gate: Gate,
    /// Not beside another step.
    lone: bool,
    /// It has no nodes although it was to have some.
    is_void: bool,
}

/// How far a rollout has come.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    steps: Vec<Step<'a>>,
    at: usize,
    /// `Rolling`, `Baking`, `WaitingForPromotion`, or `Complete` when all steps are passed.
    pub(super) phase: Phase,
    /// Since when all of the step is well.
    pub(super) bake_since: Option<Timestamp>,
    /// When the pause after the step is over, or the trials of its nodes are.
    pub(super) until: Option<Timestamp>,
}

/// Walks as far as the nodes, the time and the user allow. `memory` is that of the current revision.
pub(super) fn walk<'a>(
    scene: &Scene<'a>,
    nodes: &BTreeMap<String, &NodeView>,
    waves: &[Wave],
    states: &BTreeMap<&'a str, State>,
    memory: Option<&Memory>,
) -> Walk<'a> {
    let steps = steps(scene, nodes, waves, states);
    let remembered = memory.and_then(|m| m.wave.as_deref());
    let promoted = memory.and_then(|m| m.promoted.as_deref());
    let at = remembered.map_or(0, |name| position(&steps, name));
    let mut walk = Walk { steps, at, phase: Phase::Rolling, bake_since: None, until: None };
    if remembered == Some(walk.wave()) {
        walk.bake_since = memory.and_then(|m| m.bake_since.as_ref()).map(|t| t.0);
    }
    while let Some(step) = walk.steps.get(walk.at) {
        let is_promoted = promoted.is_some_and(|p| p == PROMOTED_ALL || p == step.name);
        let is_done = |node: &&str| match states.get(node) {
            Some(State::Settled | State::Excused) => true,
            // The user waits for it no longer.
            Some(State::OnTrial(_)) => is_promoted,
            _ => false,
        };
        if !step.nodes.iter().all(is_done) {
            walk.bake_since = None;
            walk.until = trials(step.nodes.iter().filter_map(|node| states.get(node)));
            walk.phase = Phase::Rolling;
            return walk;
        }
        let since = *walk.bake_since.get_or_insert(scene.gauge.now);
        if !is_promoted {
            let until = since.checked_add(SignedDuration::from_secs(step.bake_s)).unwrap_or(Timestamp::MAX);
            if until > scene.gauge.now {
                (walk.phase, walk.until) = (Phase::Baking, Some(until));
                return walk;
            }
            if step.gate == Gate::Manual || step.is_void {
                walk.phase = Phase::WaitingForPromotion;
                return walk;
            }
        }
        if walk.at + 1 == walk.steps.len() {
            break;
        }
        walk.at += 1;
        walk.bake_since = None;
    }
    walk.phase = Phase::Complete;
    walk
}

impl<'a> Walk<'a> {
    /// The name of the step.
    pub(super) fn wave(&self) -> &str {
        self.steps.get(self.at).map_or(REST, |step| step.name.as_str())
    }

    /// All steps. A trial of so many seconds is waited for too.
    pub(super) fn waves(&self, trial_s: i64) -> Vec<outlook::Wave> {
        let wave = |(at, step): (usize, &Step<'_>)| outlook::Wave {
            name: step.name.clone(),
            nodes: step.nodes.iter().map(|node| (*node).to_owned()).collect(),
            is_passed: at < self.at || self.phase == Phase::Complete,
            bake_s: step.bake_s.saturating_add(trial_s),
            is_gated: step.gate == Gate::Manual,
            is_void: step.is_void,
        };
        self.steps.iter().enumerate().map(wave).collect()
    }

    /// The step of a node.
    pub(super) fn wave_of(&self, node: &str) -> &str {
        self.steps.iter().find(|step| step.nodes.contains(node)).map_or(REST, |step| step.name.as_str())
    }

    /// True when the step was to have nodes and has none.
    pub(super) fn is_void(&self) -> bool {
        self.steps.get(self.at).is_some_and(|step| step.is_void)
    }

    /// The nodes of all steps that are due: pods that are created there are of the current revision.
    pub(super) fn due(&self) -> BTreeSet<&'a str> {
        self.steps.iter().take(self.at + 1).flat_map(|step| step.nodes.iter().copied()).collect()
    }

    /// The nodes whose update may begin.
    pub(super) fn open(&self, states: &BTreeMap<&'a str, State>) -> BTreeSet<&'a str> {
        if !self.steps.iter().any(|step| step.lone) {
            return self.due();
        }
        let has = |step: &Step<'_>, is: fn(&State) -> bool| step.nodes.iter().filter_map(|n| states.get(n)).any(is);
        let updates = |step: &&Step<'_>| has(step, |state| matches!(state, State::Busy | State::OnTrial(_)));
        let busy = self.steps.iter().position(|step| updates(&step));
        let several = self.steps.iter().filter(updates).count() > 1;
        let pending = || self.steps.iter().position(|step| has(step, |state| *state == State::Pending));
        let one = busy.or_else(pending).filter(|at| *at <= self.at && !several);
        one.and_then(|at| self.steps.get(at)).map(|step| step.nodes.clone()).unwrap_or_default()
    }
}

/// Where the step with this name is. Of a topology wave whose value is gone it is the next value.
fn position(steps: &[Step<'_>], name: &str) -> usize {
    if let Some(at) = steps.iter().position(|step| step.name == name) {
        return at;
    }
    let Some((wave, _)) = name.split_once('/') else { return 0 };
    let of_wave = |step: &Step<'_>| step.name.split_once('/').is_some_and(|(w, _)| w == wave);
    let next = steps.iter().position(|step| of_wave(step) && step.lone && step.name.as_str() > name);
    next.or_else(|| steps.iter().rposition(of_wave)).unwrap_or_default()
}

/// A node that waves choose from. In the order of choice: updated ones first, so that a choice once made stays, then
/// those that are well, then the oldest, so that nodes that join push nobody out.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Choice<'a> {
    is_other: bool,
    is_sick: bool,
    created: Option<Timestamp>,
    name: &'a str,
}

fn steps<'a>(
    scene: &Scene<'a>,
    nodes: &BTreeMap<String, &NodeView>,
    waves: &[Wave],
    states: &BTreeMap<&'a str, State>,
) -> Vec<Step<'a>> {
    let mut left: Vec<Choice<'a>> = states
        .iter()
        .map(|(name, state)| Choice {
            is_other: !scene.spots.on(name).iter().any(|p| scene.gauge.is_current(p)),
            is_sick: *state == State::Excused,
            created: nodes.get(*name).and_then(|n| n.created),
            name,
        })
        .collect();
    left.sort();
    let total = left.len();
    let mut steps = Vec::new();
    for wave in waves {
        let (bake_s, gate) = (wave.bake_seconds.unwrap_or_default().into(), wave.gate.unwrap_or_default());
        let selector = wave.nodes.as_ref().and_then(|wanted| wanted.selector.as_ref());
        let mut wanting = states.keys().filter_map(|name| nodes.get(*name));
        let is_void = total > 0 && selector.is_some_and(|s| !wanting.any(|node| fits(s, &node.labels)));
        let step =
            |name: String, nodes: BTreeSet<&'a str>, lone: bool| Step { name, nodes, bake_s, gate, lone, is_void };
        if let Some(key) = &wave.topology_key {
            let mut zones: BTreeMap<Option<&str>, BTreeSet<&'a str>> = BTreeMap::new();
            for choice in left.drain(..) {
                let zone = nodes.get(choice.name).and_then(|n| n.labels.get(key)).map(String::as_str);
                zones.entry(zone).or_default().insert(choice.name);
            }
            let without = zones.remove(&None);
            steps.extend(
                zones
                    .into_iter()
                    .map(|(zone, nodes)| step(format!("{}/{}", wave.name, zone.unwrap_or_default()), nodes, true)),
            );
            steps.extend(without.map(|nodes| step(format!("{}/", wave.name), nodes, true)));
        } else if let Some(wanted) = &wave.nodes {
            let chosen = choose(&left, wanted, nodes, total);
            left.retain(|choice| !chosen.contains(choice.name));
            steps.push(step(wave.name.clone(), chosen, false));
        }
    }
    if !left.is_empty() || steps.is_empty() {
        let nodes = left.iter().map(|choice| choice.name).collect();
        steps.push(Step { name: REST.to_owned(), nodes, bake_s: 0, gate: Gate::Auto, lone: false, is_void: false });
    }
    steps
}

/// The nodes of a wave, of those that are left.
fn choose<'a>(
    left: &[Choice<'a>],
    wanted: &WaveNodes,
    nodes: &BTreeMap<String, &NodeView>,
    total: usize,
) -> BTreeSet<&'a str> {
    let first = |count: usize| left.iter().take(count).map(|choice| choice.name).collect();
    let labels = |name: &str| nodes.get(name).map(|n| &n.labels);
    match wanted {
        WaveNodes { count: Some(count), .. } => first(usize::try_from(*count).unwrap_or_default()),
        WaveNodes { percent: Some(percent), .. } => {
            first(usize::try_from(*percent).unwrap_or_default().saturating_mul(total).div_ceil(100))
        }
        WaveNodes { selector: Some(selector), .. } => {
            let fits = |name: &&str| labels(name).is_some_and(|labels| fits(selector, labels));
            left.iter().map(|choice| choice.name).filter(fits).collect()
        }
        WaveNodes { diverse: Some(keys), .. } => {
            let mut seen = BTreeSet::new();
            let values = |name: &str| -> Vec<Option<&String>> {
                keys.iter().map(|key| labels(name).and_then(|labels| labels.get(key))).collect()
            };
            left.iter().map(|choice| choice.name).filter(|name| seen.insert(values(name))).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn fits(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Labels::from_label_selector(Some(selector)).is_ok_and(|s| s.matches(labels))
}
