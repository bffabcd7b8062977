//! What a change of a DaemonSet would do, before it is made.
//!
//! [`forecast`] lets the planner decide about the wanted DaemonSet on the present snapshot and tells what would follow:
//! which nodes gain a daemon and which lose theirs, whose pods are made anew and for which fields, in which order, how many
//! at a time and about how long it takes.
//!
//! Invariants: the same input gives the byte-same forecast; what is as wanted already has an empty forecast; whatever is
//! forecast is what the planner does when nothing else changes meanwhile.
//!
//! Absent: nodes that join, leave or turn sick meanwhile.

mod fields;

use std::collections::BTreeMap;

use api::rollout_policy::Phase;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use serde::Serialize;
use serde_json::Value;

pub use fields::FieldChange;

use crate::daemonset::{self, Budget, Demands, Excuse, Observed, Outlook, Placement, Plan, Wave, template};
use crate::limits::{BURST_PODS, START_TIMES_READ};
use crate::view::{NodeView, PodView};
use crate::why;

/// Why a rollout can't end.
const SURGES_ON_PORTS: &str = "it has maxSurge and a hostPort: the new pod of a node cannot start beside the old one";

/// What happens to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Change {
    /// It is made.
    Created,
    /// It is changed.
    Updated,
    /// It stays as it is.
    Unchanged,
}

/// A node and why it is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeWhy {
    /// Name of the node.
    pub node: String,
    /// Why, in words.
    pub why: String,
}

/// How far the rollout may go at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// `RollingUpdate` or `OnDelete`.
    pub strategy: &'static str,
    /// Nodes that want a daemon.
    pub desired: usize,
    /// Daemons that may be missing.
    pub max_unavailable: usize,
    /// Nodes that may run an old and a new daemon side by side.
    pub max_surge: usize,
    /// Nodes that are updated at a time.
    pub at_a_time: usize,
}

/// Nodes that are updated one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the wave, when a policy has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// The nodes, in order.
    pub nodes: Vec<String>,
    /// Seconds that are waited after it.
    #[serde(skip_serializing_if = "is_zero")]
    pub bake_seconds: i64,
    /// True when a person must let the next one begin.
    #[serde(skip_serializing_if = "is_false")]
    pub gated: bool,
}

/// How long it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Seconds until the last node is done, waits for a person not counted.
    pub seconds: i64,
    /// Seconds that present pods took from their creation until they were ready: the one in the middle.
    pub start_seconds: i64,
    /// How many pods that was seen of.
    pub pods: usize,
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// What happens to the object.
    pub change: Change,
    /// Hash of the revision that pods would be of.
    pub revision: String,
    /// Fields for which pods are made anew.
    pub fields: Vec<FieldChange>,
    /// Other fields that change.
    pub other_fields: Vec<FieldChange>,
    /// Nodes that get a daemon.
    pub gained: Vec<NodeWhy>,
    /// Nodes whose daemon ends.
    pub lost: Vec<NodeWhy>,
    /// Nodes whose daemon is made anew, in order.
    pub steps: Vec<Step>,
    /// Nodes of those whose pod is of the right revision, and of other node classes than they are in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reclassed: Vec<NodeWhy>,
    /// Pods that nothing happens to.
    pub kept: usize,
    /// How fast it goes.
    pub pace: Pace,
    /// Nodes whose daemon is not available now: they use the budget up, and are updated first.
    pub unavailable: Vec<NodeWhy>,
    /// Nodes that are not waited for.
    pub excused: Vec<NodeWhy>,
    /// What keeps the rollout from beginning, or from going on.
    pub held: Vec<String>,
    /// Why it can't end once it has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
    /// How long it takes; absent when it depends on a person, is held or stuck, or when nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
}

impl Forecast {
    /// True when nothing would happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.change == Change::Unchanged && self.gained.is_empty() && self.lost.is_empty() && self.steps.is_empty()
    }

    /// Number of nodes whose daemon is made anew.
    #[must_use]
    pub fn restarted(&self) -> usize {
        self.steps.iter().map(|s| s.nodes.len()).sum()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What would happen if `wanted`, with all defaults, took the place of `current` in this snapshot.
#[must_use]
pub fn forecast(current: Option<&DaemonSet>, wanted: &DaemonSet, observed: Observed<'_>, now: Timestamp) -> Forecast {
    let plan = daemonset::explain(wanted, observed, now);
    let (fields, other_fields) = changed(current, wanted);
    let view = View {
        wanted,
        plan: &plan,
        now,
        same_template: fields.is_empty(),
        rolling: Budget::of(wanted, 0).rolling,
        pods: live_pods(wanted, observed),
        excused: plan.outlook.as_ref().map(|outlook| outlook.excused.clone()).unwrap_or_default(),
    };
    let mut nodes = Nodes::default();
    let before = current.map(|set| (set, Demands::of(set, observed.namespace_nodes)));
    let demands = Demands::of(wanted, observed.namespace_nodes);
    for (name, node) in observed.nodes {
        view.sort(name, node, &demands, before.as_ref(), &mut nodes);
    }
    let budget = Budget::of(wanted, nodes.desired);
    let pace = pace(&budget);
    nodes.restart.append(&mut nodes.available);
    let waves = plan.outlook.as_ref().map(|outlook| outlook.waves.as_slice()).unwrap_or_default();
    let steps = order(nodes.restart, waves);
    let held: Vec<String> = plan.outlook.as_deref().and_then(held).filter(|_| !steps.is_empty()).into_iter().collect();
    let surges_on_ports = !steps.is_empty() && daemonset::surges_on_ports(wanted);
    let stuck = surges_on_ports.then(|| SURGES_ON_PORTS.to_owned());
    let change = match current {
        None => Change::Created,
        Some(_) if fields.is_empty() && other_fields.is_empty() => Change::Unchanged,
        Some(_) => Change::Updated,
    };
    let is_gated = steps.iter().rev().skip(1).any(|step| step.gated);
    let foreseeable = held.is_empty() && stuck.is_none() && !is_gated;
    let estimate = foreseeable.then(|| estimate(wanted, &view.pods, &steps, &pace, nodes.gained.len())).flatten();
    Forecast {
        change,
        revision: plan.hash.clone(),
        fields,
        other_fields,
        gained: nodes.gained,
        lost: nodes.lost,
        steps,
        reclassed: nodes.reclassed,
        kept: nodes.kept,
        pace,
        unavailable: nodes.unavailable,
        excused: view.excused.iter().map(|(node, why)| NodeWhy { node: node.clone(), why: excuse(*why) }).collect(),
        held,
        stuck,
        estimate,
    }
}

/// What is read for each node.
struct View<'a> {
    wanted: &'a DaemonSet,
    plan: &'a Plan,
    now: Timestamp,
    same_template: bool,
    rolling: bool,
    pods: BTreeMap<&'a str, &'a PodView>,
    excused: BTreeMap<String, Excuse>,
}

/// What becomes of nodes, in order of name.
#[derive(Default)]
struct Nodes {
    desired: usize,
    gained: Vec<NodeWhy>,
    lost: Vec<NodeWhy>,
    reclassed: Vec<NodeWhy>,
    kept: usize,
    unavailable: Vec<NodeWhy>,
    /// To be updated: those that are not available, which go first.
    restart: Vec<String>,
    /// To be updated: the others.
    available: Vec<String>,
}

impl View<'_> {
    /// Notes what becomes of one node.
    fn sort(
        &self,
        name: &str,
        node: &NodeView,
        demands: &Demands<'_>,
        before: Option<&(&DaemonSet, Demands<'_>)>,
        nodes: &mut Nodes,
    ) {
        let placement = demands.place(node);
        nodes.desired += usize::from(placement.may_start());
        let named = |why: String| NodeWhy { node: name.to_owned(), why };
        let Some(pod) = self.pods.get(name) else {
            if placement.may_start() {
                nodes.gained.push(named(gain(before, node)));
            }
            return;
        };
        if let Placement::Exclude(why) = &placement {
            nodes.lost.push(named(why::exclusion(self.wanted, node, why)));
            return;
        }
        let seconds = self.wanted.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default();
        let available = pod.is_available(seconds, self.now);
        let excuse = self.excused.get(name);
        if !available && placement.may_start() && excuse.is_none() {
            nodes.unavailable.push(named(trouble(pod).to_owned()));
        }
        let generation = daemonset::template_generation(self.wanted).filter(|_| self.same_template);
        let same_revision = daemonset::is_current(pod, &self.plan.hash, generation);
        let current = same_revision && self.plan.classes.fit(pod);
        if same_revision && !current && placement.may_start() {
            nodes.reclassed.push(named(self.plan.classes.words(name)));
        }
        match &placement {
            // It would go with the update, and none would start.
            Placement::Stay(why) if !current && self.rolling => {
                let why = why::exclusion(self.wanted, node, why);
                nodes.lost.push(named(format!("its pod is outdated, and none would start: {why}")));
            }
            _ if current => nodes.kept += 1,
            // It is updated whenever it comes back.
            _ if excuse == Some(&Excuse::NodeNotReady) => {}
            _ if available => nodes.available.push(name.to_owned()),
            _ => nodes.restart.push(name.to_owned()),
        }
    }
}

/// Why a node gets a daemon.
fn gain(before: Option<&(&DaemonSet, Demands<'_>)>, node: &NodeView) -> String {
    let Some((set, demands)) = before else { return "the DaemonSet is new".to_owned() };
    match demands.place(node) {
        Placement::Run => "it wants a daemon already and has none yet".to_owned(),
        Placement::Stay(why) | Placement::Exclude(why) => {
            format!("until now {}", why::exclusion(set, node, &why))
        }
    }
}

fn trouble(pod: &PodView) -> &'static str {
    match (pod.node.is_some(), pod.ready) {
        (false, _) => "its pod is not scheduled",
        (true, false) => "its pod is not ready",
        (true, true) => "its pod is not ready for minReadySeconds yet",
    }
}

/// The pods that the DaemonSet has or would adopt and that stay, by node: of several the one that counts.
fn live_pods<'a>(set: &DaemonSet, observed: Observed<'a>) -> BTreeMap<&'a str, &'a PodView> {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let selector = set.spec.as_ref().map(|s| &s.selector);
    let selector =
        api::selector::Labels::from_label_selector(selector).unwrap_or_else(|_| api::selector::Labels::nothing());
    let claimant = crate::claim::Claimant { uid, selector: &selector, deleting: false };
    let mut found: BTreeMap<&str, &PodView> = BTreeMap::new();
    for pod in observed.pods {
        let controller = pod.controller.as_ref().map(|c| c.uid.as_str());
        let claim = claimant.claim(&pod.labels, controller, pod.deleting.is_some());
        let ours = matches!(claim, crate::claim::Claim::Owned | crate::claim::Claim::Adopt);
        if !ours || pod.deleting.is_some() || pod.phase.is_terminal() {
            continue;
        }
        let Some(node) = pod.node_or_target() else { continue };
        let rank = |p: &PodView| (p.node.is_none(), p.created, p.name.clone());
        found
            .entry(node)
            .and_modify(|known| {
                if rank(pod) < rank(known) {
                    *known = pod
                }
            })
            .or_insert(pod);
    }
    found
}

/// The fields of the template that differ, without those that only say what is so anyway, and other fields of the spec.
fn changed(current: Option<&DaemonSet>, wanted: &DaemonSet) -> (Vec<FieldChange>, Vec<FieldChange>) {
    let Some(current) = current else { return (Vec::new(), Vec::new()) };
    let spec = |set: &DaemonSet| set.spec.as_ref().and_then(|s| serde_json::to_value(s).ok()).unwrap_or_default();
    let (mut old, mut new) = (spec(current), spec(wanted));
    let canonical = |spec: &mut Value| -> Value {
        let template = spec.as_object_mut().and_then(|s| s.remove("template")).unwrap_or_default();
        serde_json::from_str(&template::canonical(&template)).unwrap_or(template)
    };
    let (old_template, new_template) = (canonical(&mut old), canonical(&mut new));
    (
        fields::differences("spec.template", Some(&old_template), Some(&new_template)),
        fields::differences("spec", Some(&old), Some(&new)),
    )
}

fn pace(budget: &Budget) -> Pace {
    let at_a_time = if budget.surge_max > 0 { budget.surge_max } else { budget.unavailable_max };
    Pace {
        strategy: if budget.rolling { "RollingUpdate" } else { "OnDelete" },
        desired: budget.desired,
        max_unavailable: budget.unavailable_max,
        max_surge: budget.surge_max,
        at_a_time: at_a_time.min(BURST_PODS),
    }
}

/// The nodes to be updated, in order, by waves if there are some. A wave without nodes is left out unless it has to be passed.
fn order(nodes: Vec<String>, waves: &[Wave]) -> Vec<Step> {
    if waves.is_empty() {
        let all = Step { wave: None, nodes, bake_seconds: 0, gated: false };
        return if all.nodes.is_empty() { Vec::new() } else { vec![all] };
    }
    let step = |wave: &Wave| Step {
        wave: Some(wave.name.clone()),
        nodes: nodes.iter().filter(|node| wave.nodes.contains(*node)).cloned().collect(),
        bake_seconds: if wave.is_passed { 0 } else { wave.bake_s },
        gated: !wave.is_passed && (wave.is_gated || wave.is_void),
    };
    let is_left = |step: &Step, wave: &Wave| !step.nodes.is_empty() || (wave.is_void && !wave.is_passed);
    let steps: Vec<Step> = waves
        .iter()
        .map(|wave| (step(wave), wave))
        .filter(|(step, wave)| is_left(step, wave))
        .map(|(s, _)| s)
        .collect();
    if steps.iter().all(|step| step.nodes.is_empty()) { Vec::new() } else { steps }
}

/// What a policy waits for before it goes on.
fn held(outlook: &Outlook) -> Option<String> {
    let said = || outlook.message.clone().unwrap_or_default();
    match outlook.phase {
        Phase::Frozen => Some("the policy freezes the DaemonSet".to_owned()),
        Phase::Paused => Some(outlook.message.clone().unwrap_or_else(|| "the policy pauses rollouts".to_owned())),
        Phase::Failed | Phase::WaitingForWindow | Phase::Baking | Phase::WaitingForPromotion => Some(said()),
        Phase::Complete | Phase::Rolling | Phase::RollingBack => None,
    }
}

fn excuse(excuse: Excuse) -> String {
    match excuse {
        Excuse::NodeNotReady => "it is not ready: its turn comes when it is back".to_owned(),
        Excuse::PodNotReady => "its daemon is not available already now".to_owned(),
    }
}

/// How long it takes, from how long present pods took to start.
fn estimate(
    set: &DaemonSet,
    pods: &BTreeMap<&str, &PodView>,
    steps: &[Step],
    pace: &Pace,
    gained: usize,
) -> Option<Estimate> {
    if pace.strategy == "OnDelete" && !steps.is_empty() {
        return None;
    }
    let took = |p: &&PodView| Some((p.ready_changed.filter(|_| p.ready)?.as_second() - p.created?.as_second()).max(0));
    let mut seen: Vec<i64> = pods.values().filter_map(took).take(START_TIMES_READ).collect();
    seen.sort_unstable();
    let start_seconds = *seen.get(seen.len() / 2)?;
    let settle = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default();
    let round = start_seconds.max(1).saturating_add(settle.into());
    let rounds = |nodes: usize, at_a_time: usize| i64::try_from(nodes.div_ceil(at_a_time.max(1))).unwrap_or(i64::MAX);
    let of_step = |step: &Step| rounds(step.nodes.len(), pace.at_a_time).saturating_mul(round);
    // Nothing waits for the last one.
    let bakes = steps.iter().rev().skip(1).map(|step| step.bake_seconds);
    let updating = steps.iter().map(of_step).chain(bakes).fold(0_i64, i64::saturating_add);
    let creating = rounds(gained, BURST_PODS).saturating_mul(round);
    Some(Estimate { seconds: updating.max(creating), start_seconds, pods: seen.len() })
}
