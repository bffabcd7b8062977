//! Which of the nodes that a pod fits on is best: the sum of Kubernetes' default scores with their default weights.
//!
//! Invariants: among equals the node with fewer pods wins, then the first by name, so that the answer depends on nothing
//! but the input.
//!
//! Absent: chance, by which Kubernetes chooses among equals.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Load};
use super::fit::Demands;
use super::{near, spread};
use crate::view::NodeView;

/// The best that one rule can say of a node.
const MOST: i64 = 100;

/// Weights of the rules. Kubernetes' figures.
const TAINTS: i64 = 3;
const AFFINITY: i64 = 2;
const SPREAD: i64 = 2;
const NEAR: i64 = 2;

/// Images smaller than this do not count, and each container counts up to the other. Kubernetes' figures, in bytes.
const IMAGE_MIN: i64 = 23 * 1024 * 1024;
const IMAGE_MAX: i64 = 1000 * 1024 * 1024;

/// The best of the nodes in `fitting`, which are in order of name.
pub(super) fn best<'a>(
    demands: &Demands<'_>,
    cluster: &impl Cluster,
    fitting: &[(&'a NodeView, &'a Load)],
) -> Option<&'a str> {
    if let [(node, _)] = fitting {
        return Some(&node.name);
    }
    let mut totals = vec![0_i64; fitting.len()];
    let mut add = |scores: Vec<i64>, weight: i64| {
        totals.iter_mut().zip(scores).for_each(|(total, score)| *total += score * weight);
    };
    let each = |score: &dyn Fn(&NodeView, &Load) -> i64| fitting.iter().map(|(n, l)| score(n, l)).collect::<Vec<_>>();
    add(fewest(each(&|node, _| avoided(demands, node))), TAINTS);
    add(most(each(&|node, _| preferred(demands, node))), AFFINITY);
    add(each(&|node, load| roomy(demands, node, load)), 1);
    add(each(&|node, load| balanced(demands, node, load)), 1);
    let crowds = spread::crowds(demands, cluster, fitting);
    if !crowds.is_empty() {
        add(emptiest(&crowds), SPREAD);
    }
    let preferences = near::preferences(demands.pod, cluster);
    if !preferences.is_empty() {
        add(between(each(&|node, _| near::preference(&preferences, node))), NEAR);
    }
    let holders = images(demands, cluster);
    add(each(&|node, _| local(demands, node, &holders, cluster.count())), 1);
    let mut best: Option<(i64, usize, &str)> = None;
    for ((node, load), total) in fitting.iter().zip(totals) {
        let better = best.is_none_or(|(most, pods, _)| total > most || (total == most && load.pods.len() < pods));
        if better {
            best = Some((total, load.pods.len(), &node.name));
        }
    }
    best.map(|(.., name)| name)
}

fn most(scores: Vec<i64>) -> Vec<i64> {
    let max = scores.iter().copied().max().unwrap_or_default();
    if max == 0 { scores } else { scores.into_iter().map(|s| MOST * s / max).collect() }
}

fn fewest(scores: Vec<i64>) -> Vec<i64> {
    most(scores).into_iter().map(|s| MOST - s).collect()
}

fn between(scores: Vec<i64>) -> Vec<i64> {
    let (min, max) =
        (scores.iter().copied().min().unwrap_or_default(), scores.iter().copied().max().unwrap_or_default());
    scores.into_iter().map(|s| if max > min { MOST * (s - min) / (max - min) } else { 0 }).collect()
}

fn emptiest(crowds: &[Option<i64>]) -> Vec<i64> {
    let known = || crowds.iter().copied().flatten();
    let (min, max) = (known().min().unwrap_or_default(), known().max().unwrap_or_default());
    let score = |crowd: &Option<i64>| match crowd {
        None => 0,
        Some(_) if max == 0 => MOST,
        Some(crowd) => MOST * (max + min - crowd) / max,
    };
    crowds.iter().map(score).collect()
}

/// Taints that ask for other nodes where there are any.
fn avoided(demands: &Demands<'_>, node: &NodeView) -> i64 {
    let soft = node.taints.iter().filter(|t| t.effect == api::taint::PREFER_NO_SCHEDULE);
    let avoided = soft.filter(|taint| !demands.pod.tolerations.iter().any(|t| api::taint::tolerates(t, taint)));
    i64::try_from(avoided.count()).unwrap_or(i64::MAX)
}

fn preferred(demands: &Demands<'_>, node: &NodeView) -> i64 {
    let affinity = demands.wishes.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let terms = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    terms.filter(|t| !t.is_empty()).map_or(0, |terms| api::affinity::preference(terms, &node.skeleton()))
}

/// How much of cpu and memory stays free.
fn roomy(demands: &Demands<'_>, node: &NodeView, load: &Load) -> i64 {
    let own = demands.pod.usual;
    let parts = [("cpu", load.usual.cpu + own.cpu), ("memory", load.usual.memory + own.memory)];
    let scores: Vec<i64> = parts
        .iter()
        .map(|(name, used)| (node.allocatable.get(name), *used))
        .filter(|(all, _)| *all > 0)
        .map(
            |(all, used)| {
                if used > all { 0 } else { i64_of(i128::from(all - used) * i128::from(MOST) / i128::from(all)) }
            },
        )
        .collect();
    let number = i64::try_from(scores.len()).unwrap_or(1).max(1);
    scores.iter().sum::<i64>() / number
}

fn i64_of(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How alike the shares of cpu and memory in use become.
fn balanced(demands: &Demands<'_>, node: &NodeView, load: &Load) -> i64 {
    let pod = &demands.pod.requests;
    if pod.get("cpu") == 0 && pod.get("memory") == 0 {
        return 0;
    }
    let score = |with: bool| {
        let share = |name: &str| {
            let all = node.allocatable.get(name);
            let used = load.requests.get(name) + if with { pod.get(name) } else { 0 };
            (all > 0).then(|| (used as f64 / all as f64).min(1.0))
        };
        match (share("cpu"), share("memory")) {
            (Some(cpu), Some(memory)) => ((1.0 - ((cpu - memory) / 2.0).abs()) * MOST as f64) as i64,
            _ => MOST,
        }
    };
    MOST / 2 + (MOST / 2 + score(true) - score(false)) / 2
}

/// On how many nodes each image of the pod is.
fn images<'a>(demands: &Demands<'a>, cluster: &impl Cluster) -> BTreeMap<&'a str, i64> {
    let mut nodes = BTreeMap::new();
    for image in &demands.wishes.images {
        nodes.entry(image.as_str()).or_insert_with(|| {
            i64::try_from(cluster.all().filter(|(n, _)| n.images.contains_key(image)).count()).unwrap_or(i64::MAX)
        });
    }
    nodes
}

/// How much of the pod's images a node has.
fn local(demands: &Demands<'_>, node: &NodeView, nodes: &BTreeMap<&str, i64>, total: usize) -> i64 {
    let size = |image: &String| {
        let bytes = node.images.get(image).copied().unwrap_or_default();
        let spread = nodes.get(image.as_str()).copied().unwrap_or_default() as f64 / total.max(1) as f64;
        (bytes as f64 * spread) as i64
    };
    let sum: i64 = demands.wishes.images.iter().map(size).sum();
    let max = IMAGE_MAX.saturating_mul(i64::try_from(demands.wishes.images.len()).unwrap_or(1).max(1));
    MOST * (sum.clamp(IMAGE_MIN, max) - IMAGE_MIN) / (max - IMAGE_MIN)
}
