//! What must never happen, and what must be in the end; written apart from the rules that it checks.
//!
//! Invariants: reads the truth only.

use std::collections::{BTreeMap, BTreeSet};

use decide::daemonset::{Action, Budget, Demands, HASH_LABEL, Plan};
use decide::view::PodView;

use crate::cluster::Cluster;
use crate::controller::Synced;

/// Daemons of the set that are neither ended nor ending, by the node that they are for.
fn live(cluster: &Cluster) -> BTreeMap<&str, Vec<&str>> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pod in cluster.pods.values() {
        let owned = pod.controller.as_ref().is_some_and(|c| c.uid == "uid-d");
        if owned && pod.deleting.is_none() && !pod.phase.is_terminal() {
            nodes.entry(pod.node_or_target().unwrap_or_default()).or_default().push(&pod.name);
        }
    }
    nodes
}

/// Nodes that want a daemon.
fn wanting(cluster: &Cluster) -> Vec<&str> {
    let demands = Demands::of(&cluster.set, None);
    cluster.nodes.values().filter(|n| demands.place(n).may_start()).map(|n| n.name.as_str()).collect()
}

/// True when `pod` is available for as long as the set asks.
fn is_available(cluster: &Cluster, pod: &PodView) -> bool {
    let seconds = cluster.set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default();
    pod.is_available(seconds, cluster.now)
}

/// The available daemons on nodes that want one, not counting those in `without`.
fn available(cluster: &Cluster, without: &BTreeSet<&str>) -> usize {
    let nodes = live(cluster);
    let one = |name: &&&str| !without.contains(**name) && is_available(cluster, &cluster.pods[**name]);
    wanting(cluster).iter().filter(|node| nodes.get(*node).is_some_and(|names| names.iter().any(|n| one(&n)))).count()
}

/// Holds the deletions of a plan that was made on the truth to the budget, and to what the user asked for.
fn deletions(before: &Cluster, plan: &Plan) -> Result<(), String> {
    let deleted: BTreeSet<&str> = plan
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::DeletePod(target) => Some(target.name.as_str()),
            _ => None,
        })
        .collect();
    let mut taken = before.clone();
    for action in &plan.actions {
        if let Action::AdoptPod(target) = action {
            // The checker's own word is enough: what is adopted first counts from then on.
            let _ = taken.write(&before.set, &plan.hash, &Action::AdoptPod(target.clone()));
        }
    }
    let before = &taken;
    let wanting = wanting(before);
    let budget = Budget::of(&before.set, wanting.len());
    let (had, has) = (available(before, &BTreeSet::new()), available(before, &deleted));
    let allowed = if budget.surge_max > 0 { 0 } else { budget.unavailable_max };
    if has < had && wanting.len() - has > allowed {
        return Err(format!("{had} were available of {}, {has} stay, {allowed} may be missing", wanting.len()));
    }
    let nodes = live(before);
    for (node, names) in nodes.iter().filter(|(node, _)| wanting.contains(node)) {
        let [name] = names.as_slice() else { continue };
        let pod = &before.pods[*name];
        if deleted.contains(name) && pod.labels.get(HASH_LABEL) == Some(&plan.hash) {
            return Err(format!("{name} on {node} is current and alone, and is deleted"));
        }
    }
    Ok(())
}

/// Holds the writes that a plan tried against the truth before them.
///
/// # Errors
///
/// Says what must never happen and did.
pub fn step(before: &Cluster, synced: &Synced) -> Result<(), String> {
    let Synced { plan, tried, fresh } = synced;
    let surge = before.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let surge = surge.and_then(|s| s.rolling_update.as_ref()).is_some_and(|r| r.max_surge.is_some());
    let most = if surge { 2 } else { 1 };
    if *fresh {
        deletions(before, plan)?;
    }
    let mut nodes = live(before);
    for action in &plan.actions[..*tried] {
        match action {
            Action::DeletePod(target) => {
                let Some(pod) = before.pods.get(&target.name).filter(|p| p.uid == target.uid) else { continue };
                let owner = pod.controller.as_ref().map(|c| c.uid.as_str());
                let adopted = plan.actions.iter().any(|a| matches!(a, Action::AdoptPod(t) if t.uid == pod.uid));
                if *fresh && owner != Some("uid-d") && !adopted {
                    return Err(format!("{} is deleted, which belongs to {owner:?}", pod.name));
                }
                let others = nodes.get_mut(pod.node_or_target().unwrap_or_default());
                others.into_iter().for_each(|names| names.retain(|name| *name != pod.name));
            }
            Action::ReleasePod(target) => {
                nodes.values_mut().for_each(|names| names.retain(|name| *name != target.name));
            }
            Action::CreatePod(node) => {
                let names = nodes.entry(node).or_default();
                names.push("new");
                if names.len() > most {
                    return Err(format!("{node} gets more than {most}: {names:?}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Holds the truth to what the user asked for.
///
/// # Errors
///
/// Says what is not as it should be.
pub fn settled(cluster: &Cluster, plan: &Plan) -> Result<(), String> {
    if !plan.actions.is_empty() || plan.status.is_some() {
        return Err(format!("something is left to do: {:?} {:?}", plan.actions, plan.status));
    }
    let nodes = live(cluster);
    let wanting = wanting(cluster);
    for node in &wanting {
        let names = nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        let [name] = names else { return Err(format!("{node} has {names:?}")) };
        let pod = &cluster.pods[*name];
        if pod.labels.get(HASH_LABEL) != Some(&plan.hash) || !pod.ready {
            return Err(format!("{name} on {node} is old or not ready: {:?}", pod.labels));
        }
    }
    let status = cluster.set.status.clone().unwrap_or_default();
    let count = i32::try_from(wanting.len()).unwrap_or(i32::MAX);
    let told = (status.desired_number_scheduled, status.number_available.unwrap_or_default());
    if told != (count, count) || status.observed_generation != cluster.set.metadata.generation {
        return Err(format!("the status says {told:?} where {count} are wanted"));
    }
    let current = cluster
        .revisions
        .values()
        .filter(|r| r.metadata.labels.as_ref().and_then(|l| l.get(HASH_LABEL)) == Some(&plan.hash));
    let newest = cluster.revisions.values().map(|r| r.revision).max();
    match current.map(|r| r.revision).collect::<Vec<_>>()[..] {
        [number] if Some(number) == newest => Ok(()),
        ref numbers => Err(format!("the current revision has {numbers:?}, the newest is {newest:?}")),
    }
}
