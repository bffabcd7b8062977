//! Making room: which less important pods end so that a pod can start.
//!
//! Invariants: a pod ends only for one of higher priority, and only if it is in the way; those whose end breaks a
//! disruption budget end last; no pod ends while ones that were ended before for the same pod are still going.
//!
//! Absent: needs for pods that would end, which are not looked at, as in Kubernetes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Question;
use super::cluster::{Allowance, Cluster, Load};
use super::message::{Obstacle, sentence};
use crate::view::{NodeView, PodView};

/// Nodes on which room could be made are compared until this many are found, or this share of those looked at, in
/// hundredths. Kubernetes' figures: enough to choose from, few enough to choose soon.
const CANDIDATES_MIN: usize = 100;
const CANDIDATES_PERCENT: usize = 10;

/// What came of it.
#[derive(Debug, PartialEq)]
pub(super) enum Room {
    /// On this node these pods end, the most important first.
    Made { node: String, victims: Vec<Arc<PodView>> },
    /// None can be made, for these counted reasons.
    Nowhere(String),
    /// None may be made now.
    NotNow(&'static str),
}

struct Candidate<'a> {
    node: &'a str,
    victims: Vec<Arc<PodView>>,
    broken: usize,
}

/// Looks for room, given why each node that was looked at is out.
pub(super) fn find(question: &Question<'_, impl Cluster>, out: &BTreeMap<&str, Vec<Obstacle>>) -> Room {
    let wishes = question.demands.wishes;
    if !wishes.preempts {
        return Room::NotNow("not eligible due to preemptionPolicy=Never.");
    }
    if is_waiting(question, out) {
        return Room::NotNow("not eligible due to a terminating pod on the nominated node.");
    }
    let total = question.cluster.count();
    let potential: Vec<&str> =
        out.iter().filter(|(_, why)| why.iter().all(Obstacle::is_load)).map(|(name, _)| *name).collect();
    let enough = (potential.len() * CANDIDATES_PERCENT / 100).max(CANDIDATES_MIN);
    let allowances = if potential.is_empty() { Vec::new() } else { question.cluster.allowances() };
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    let mut refused: Vec<Obstacle> = Vec::new();
    for name in &potential {
        let Some((node, load)) = question.cluster.one(name) else { continue };
        match victims(question, node, load, &allowances) {
            Ok((victims, broken)) => candidates.push(Candidate { node: &node.name, victims, broken }),
            Err(why) => refused.extend(why),
        }
        if candidates.len() >= enough && candidates.iter().any(|c| c.broken == 0) {
            break;
        }
    }
    match candidates.into_iter().min_by_key(Candidate::cost) {
        Some(best) => Room::Made { node: best.node.to_owned(), victims: best.victims },
        None => Room::Nowhere(sentence(total, refused.iter(), (total - potential.len(), Obstacle::NotHelpful))),
    }
}

/// True while pods that were ended for this one are still going on its nominated node.
fn is_waiting(question: &Question<'_, impl Cluster>, out: &BTreeMap<&str, Vec<Obstacle>>) -> bool {
    let Some(name) = question.demands.wishes.nominated.as_deref() else { return false };
    let hopeless = out.get(name).is_none_or(|why| !why.iter().all(Obstacle::is_load));
    let Some((_, load)) = question.cluster.one(name).filter(|_| !hopeless) else { return false };
    let priority = question.demands.pod.priority;
    load.pods.values().any(|p| p.priority < priority && p.deleting.is_some() && p.preempted)
}

/// The pods of a node that have to end, and how many of them break a budget.
fn victims(
    question: &Question<'_, impl Cluster>,
    node: &NodeView,
    load: &Load,
    allowances: &[Allowance],
) -> Result<(Vec<Arc<PodView>>, usize), Vec<Obstacle>> {
    let pod = question.demands.pod;
    let mut potential: Vec<Arc<PodView>> = load.pods.values().filter(|p| p.priority < pod.priority).cloned().collect();
    if potential.is_empty() {
        return Err(vec![Obstacle::NoVictims]);
    }
    potential.sort_by_key(|p| importance(p));
    let mut trial = question.trial(node, load);
    potential.iter().for_each(|p| trial.remove(p));
    let why = trial.check();
    if !why.is_empty() {
        return Err(why);
    }
    let (breaking, harmless) = split(&potential, allowances);
    let mut victims = Vec::new();
    let mut broken = 0;
    for (spared, breaks) in breaking.iter().map(|p| (p, true)).chain(harmless.iter().map(|p| (p, false))) {
        trial.add(spared);
        if !trial.check().is_empty() {
            trial.remove(spared);
            victims.push((*spared).clone());
            broken += usize::from(breaks);
        }
    }
    victims.sort_by_key(|p| importance(p));
    if victims.is_empty() { Err(vec![Obstacle::NoVictims]) } else { Ok((victims, broken)) }
}

/// The order of importance: by priority, then by age.
fn importance(pod: &PodView) -> (Reverse<i32>, Timestamp, String, String) {
    let started = pod.started.unwrap_or(Timestamp::MAX);
    (Reverse(pod.priority), started, pod.namespace.clone(), pod.name.clone())
}

/// The pods whose end breaks a budget, and the others.
fn split<'a>(pods: &'a [Arc<PodView>], allowances: &[Allowance]) -> (Vec<&'a Arc<PodView>>, Vec<&'a Arc<PodView>>) {
    let mut left: Vec<i64> = allowances.iter().map(|a| a.left).collect();
    pods.iter().partition(|pod| {
        let mut breaks = false;
        for (allowance, left) in allowances.iter().zip(&mut left) {
            let meant = allowance.namespace == pod.namespace
                && !pod.labels.is_empty()
                && !allowance.selector.is_empty()
                && allowance.selector.matches(&pod.labels)
                && !allowance.disrupted.contains(&pod.name);
            if meant {
                *left -= 1;
                breaks |= *left < 0;
            }
        }
        breaks
    })
}

impl Candidate<'_> {
    /// What a choice costs, the least first: broken budgets, the most important victim, all priorities, the number of
    /// victims; among equals the youngest of the most important ones go.
    fn cost(&self) -> (usize, i32, i64, usize, Reverse<Timestamp>, String) {
        let highest = self.victims.first().map_or(i32::MIN, |p| p.priority);
        let sum = self.victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
        let eldest = self.victims.iter().filter(|p| p.priority == highest).filter_map(|p| p.started).min();
        let eldest = Reverse(eldest.unwrap_or(Timestamp::MAX));
        (self.broken, highest, sum, self.victims.len(), eldest, self.node.to_owned())
    }
}
