//! What is right as of one snapshot.
//!
//! Invariants: reads the plan and what it was made from, nothing else.
//!
//! Absent: time; what was right a moment ago is remembered by `Comparison`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};

use super::late::Undone;
use super::{CLOCK_SKEW, Kind, Known};
use crate::claim::{Claim, Claimant};
use crate::daemonset::{Action, Budget, HASH_LABEL, Hold, Observed, Plan, Reason};
use crate::view::PodView;

/// One snapshot with our plan for it.
pub(super) struct Judge<'a> {
    set: &'a DaemonSet,
    plan: &'a Plan,
    now: Timestamp,
    /// The pods that are the DaemonSet's or that it would adopt.
    pods: Vec<&'a PodView>,
    by_node: BTreeMap<&'a str, Vec<&'a PodView>>,
    /// UIDs of pods that ours would end.
    ends: BTreeSet<&'a str>,
    frozen: bool,
    budget: Budget,
}

impl<'a> Judge<'a> {
    pub(super) fn new(set: &'a DaemonSet, observed: Observed<'a>, plan: &'a Plan, now: Timestamp) -> Self {
        let selector = set.spec.as_ref().map(|s| &s.selector);
        let selector =
            api::selector::Labels::from_label_selector(selector).unwrap_or_else(|_| api::selector::Labels::nothing());
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let claimant = Claimant { uid, selector: &selector, deleting: false };
        let claims = |pod: &&PodView| {
            let controller = pod.controller.as_ref().map(|c| c.uid.as_str());
            match claimant.claim(&pod.labels, controller, pod.deleting.is_some()) {
                Claim::Owned | Claim::Adopt => true,
                // An owned pod that is deleted stays owned, whatever its labels.
                Claim::Release | Claim::Ignore => controller == Some(uid),
            }
        };
        let pods: Vec<&PodView> = observed.pods.iter().copied().filter(claims).collect();
        let mut by_node: BTreeMap<&str, Vec<&PodView>> = BTreeMap::new();
        for pod in &pods {
            if let Some(node) = pod.node_or_target() {
                by_node.entry(node).or_default().push(pod);
            }
        }
        let ends = plan.actions.iter().filter_map(|action| match action {
            Action::DeletePod(target) | Action::ReleasePod(target) => Some(target.uid.as_str()),
            _ => None,
        });
        let desired = plan.reasons.values().filter(|reason| wants(reason)).count();
        let frozen = observed.policy.is_some_and(|d| d.policy.spec.frozen);
        Self { set, plan, now, pods, by_node, ends: ends.collect(), frozen, budget: Budget::of(set, desired) }
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &'a PodView> {
        self.pods.iter().copied()
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    fn is_current(&self, pod: &PodView) -> bool {
        self.plan.is_current(self.set, pod)
    }

    fn is_available(&self, pod: &PodView) -> bool {
        let seconds = self.set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default();
        pod.is_available(seconds, self.now.checked_add(CLOCK_SKEW).unwrap_or(self.now))
    }

    pub(super) fn known(&self, pod: &PodView, before: Option<&Known>) -> Known {
        Known {
            name: pod.name.clone(),
            node: pod.node_or_target().map(str::to_owned),
            hash: pod.labels.get(HASH_LABEL).cloned(),
            is_available: self.is_available(pod),
            was_ready: pod.ready || before.is_some_and(|b| b.was_ready),
            ends: pod.deleting.is_some() || pod.phase.is_terminal() || pod.disrupted,
        }
    }

    /// The nodes that want a daemon.
    pub(super) fn wanting(&self) -> impl Iterator<Item = &'a str> {
        let frozen = self.frozen;
        self.plan.reasons.iter().filter(move |(_, reason)| !frozen && wants(reason)).map(|(node, _)| node.as_str())
    }

    /// The newest revision.
    pub(super) fn hash(&self) -> &'a str {
        &self.plan.hash
    }

    /// The nodes that ours would make a pod on now, and of which revision.
    pub(super) fn makes(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let good = self.plan.last_good.as_deref().map(|good| good.hash.as_str());
        self.plan.actions.iter().filter_map(move |action| {
            let Action::CreatePod(node) = action else { return None };
            let restored = good.filter(|_| self.plan.restored.contains(node));
            Some((node.as_str(), restored.unwrap_or(&self.plan.hash)))
        })
    }

    /// True when a pod that may be gone was of another revision than the newest.
    pub(super) fn is_old(&self, known: &Known) -> bool {
        match self.pods.iter().find(|p| p.name == known.name) {
            Some(pod) => !self.is_current(pod),
            None => known.hash.as_deref() != Some(&self.plan.hash),
        }
    }

    fn reason(&self, node: Option<&String>) -> Option<&'a Reason> {
        self.plan.reasons.get(node?)
    }

    /// True when ours would end this pod sooner or later, or has nothing against its end. Of a pod that is gone only what
    /// was known last is left.
    pub(super) fn allows_end(&self, known: &Known, pod: Option<&PodView>) -> bool {
        let Some(reason) = self.reason(known.node.as_ref()) else { return true };
        // Whoever deletes a pod makes it end, too.
        let by_itself = |p: &PodView| p.phase.is_terminal() && (p.deleting.is_none() || !known.was_ready);
        if pod.is_some_and(|p| self.ends.contains(p.uid.as_str()) || by_itself(p) || p.disrupted) {
            return true;
        }
        let is_current = pod.map_or(!self.is_old(known), |p| self.is_current(p));
        match reason {
            _ if self.frozen => false,
            Reason::Leaves { .. } | Reason::Excluded(_) => true,
            _ if is_current || !self.budget.rolling => false,
            _ => known.node.as_ref().is_none_or(|node| !self.plan.held.contains(node)),
        }
    }

    /// What keeps a pod, in words.
    pub(super) fn why_kept(&self, known: &Known) -> String {
        match self.reason(known.node.as_ref()) {
            Some(Reason::Outdated { hold, .. } | Reason::Reclassed { hold, .. }) => hold.to_string(),
            _ if self.frozen => Hold::Frozen.to_string(),
            _ if !self.is_old(known) => "it is of the newest revision, and its node wants one".to_owned(),
            _ if !self.budget.rolling => Hold::OnDelete.to_string(),
            _ => "its turn has not come".to_owned(),
        }
    }

    /// Why ours would have made no pod there.
    pub(super) fn why_none(&self, known: &Known) -> String {
        match self.reason(known.node.as_ref()) {
            None => "would make none: the node is not there".to_owned(),
            _ if self.frozen => format!("would make none: {}", Hold::Frozen),
            Some(reason) if wants(reason) => "would make none: another pod is there".to_owned(),
            Some(reason) => format!("would make none: {reason}"),
        }
    }

    /// True when a pod is one too many on its node.
    pub(super) fn is_surplus(&self, uid: &str, known: &Known) -> bool {
        let Some(pod) = self.pods.iter().find(|p| p.uid == uid) else { return false };
        let others = || known.node.iter().flat_map(|node| self.by_node.get(node.as_str()).into_iter().flatten());
        let older = |p: &&&PodView| {
            let stays = p.deleting.is_none() && !p.phase.is_terminal();
            stays && p.uid != pod.uid && self.is_current(p) == self.is_current(pod) && p.created <= pod.created
        };
        // One of an older revision may end for the update; then it is not too many but of the wrong revision.
        (self.ends.contains(uid) && self.is_current(pod)) || others().any(|p| older(&p))
    }

    /// True while the update of a node is under way.
    pub(super) fn still_updates(&self, node: &str) -> bool {
        let done = |p: &&PodView| p.deleting.is_none() && self.is_current(p) && self.is_available(p);
        let pods = self.by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        self.plan.reasons.get(node).is_some_and(wants) && !pods.iter().any(done)
    }

    /// The nodes with an available old daemon and a new one that is not.
    pub(super) fn surging(&self) -> impl Iterator<Item = &'a str> {
        let has = |pods: &[&PodView], current: bool, available: bool| {
            let fits = |p: &&PodView| self.is_current(p) == current && self.is_available(p) == available;
            pods.iter().any(|p| p.deleting.is_none() && fits(p))
        };
        self.by_node.iter().filter(move |(_, p)| has(p, true, false) && has(p, false, true)).map(|(node, _)| *node)
    }

    /// What ours would do now.
    pub(super) fn undone(&self) -> Vec<Undone> {
        self.plan.actions.iter().filter_map(|action| self.undone_action(action)).collect()
    }

    fn undone_action(&self, action: &Action) -> Option<Undone> {
        let undone = |id: String, ours: String| Undone {
            id,
            kind: Kind::NotDone,
            node: None,
            pod: None,
            theirs: "has not".to_owned(),
            ours,
            in_turn: false,
        };
        let about = |id: &str, name: &str, ours: &str| undone(format!("{id} {name}"), format!("{ours} {name}"));
        Some(match action {
            Action::CreatePod(node) => {
                let ours = "would make a pod there".to_owned();
                Undone { node: Some(node.clone()), in_turn: true, ..undone(format!("make {node}"), ours) }
            }
            Action::DeletePod(target) => {
                let pod = self.pods.iter().find(|p| p.uid == target.uid)?;
                let node = pod.node_or_target().map(str::to_owned);
                let updates = !self.is_current(pod) && self.reason(node.as_ref()).is_some_and(wants);
                let id = if updates { "update".to_owned() } else { format!("end {}", target.uid) };
                let ours = match self.reason(node.as_ref()) {
                    Some(reason) if !wants(reason) => format!("would end pod {}: {reason}", target.name),
                    _ if updates => format!("would end pod {} for the update", target.name),
                    _ => format!("would end pod {}", target.name),
                };
                Undone { node, pod: Some(target.name.clone()), in_turn: true, ..undone(id, ours) }
            }
            Action::AdoptPod(t) => Undone { pod: Some(t.name.clone()), ..about("adopt", &t.name, "would adopt pod") },
            Action::ReleasePod(t) => {
                Undone { pod: Some(t.name.clone()), ..about("release", &t.name, "would release pod") }
            }
            Action::RelabelPod(t, hash) => {
                let ours = format!("would label pod {} with revision {hash}", t.name);
                Undone { pod: Some(t.name.clone()), ..undone(format!("relabel {}", t.uid), ours) }
            }
            Action::PrePull(t, _) => Undone {
                pod: Some(t.name.clone()),
                ..about("pre-pull", &t.name, "would ask for images for the successor of pod")
            },
            Action::CreateRevision(revision) => {
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                about("store", name, "would store the template as revision")
            }
            Action::UpdateRevision { target, number, .. } => {
                let ours = format!("would give revision {} the number {number}", target.name);
                undone(format!("number {} {number}", target.name), ours)
            }
            Action::DeleteRevision(t) => about("drop", &t.name, "would delete revision"),
            Action::AdoptRevision(t) => about("adopt revision", &t.name, "would adopt revision"),
            Action::ReleaseRevision(t) => about("release revision", &t.name, "would release revision"),
            Action::RestoreTemplate(past) => about("restore", &past.name, "would go back to revision"),
        })
    }

    /// Where the status that is stored says something else than ours would. Conditions are ours alone.
    pub(super) fn status(&self) -> Vec<Undone> {
        let Some(ours) = &self.plan.status else { return Vec::new() };
        let theirs = self.set.status.clone().unwrap_or_default();
        let (ours, theirs) = (numbers(ours), numbers(&theirs));
        let differ = ours.into_iter().zip(theirs).filter(|((_, ours), (_, theirs))| ours != theirs);
        differ
            .map(|((name, ours), (_, theirs))| Undone {
                id: format!("status {name} {ours} {theirs}"),
                kind: Kind::Status,
                node: None,
                pod: None,
                theirs: format!("says {name} {theirs}"),
                ours: format!("would say {ours}"),
                in_turn: false,
            })
            .collect()
    }
}

fn numbers(status: &DaemonSetStatus) -> [(&'static str, i64); 8] {
    let wide = |number: Option<i32>| i64::from(number.unwrap_or_default());
    [
        ("observedGeneration", status.observed_generation.unwrap_or_default()),
        ("desiredNumberScheduled", status.desired_number_scheduled.into()),
        ("currentNumberScheduled", status.current_number_scheduled.into()),
        ("numberMisscheduled", status.number_misscheduled.into()),
        ("numberReady", status.number_ready.into()),
        ("numberAvailable", wide(status.number_available)),
        ("numberUnavailable", wide(status.number_unavailable)),
        ("updatedNumberScheduled", wide(status.updated_number_scheduled)),
    ]
}

/// True when a node with this reason wants a daemon.
fn wants(reason: &Reason) -> bool {
    !matches!(reason, Reason::Excluded(_) | Reason::Leaves { .. } | Reason::Stays { .. })
}
