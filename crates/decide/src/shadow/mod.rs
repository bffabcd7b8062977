//! What another DaemonSet controller does that ours would not do, and what ours would do that the other does not.
//!
//! [`compare`] is given one snapshot after the other. From each it makes our plan, and holds it against what has happened
//! since the snapshot before: pods that were made and ended, and the status that was stored. Whoever acts on a cluster sees
//! it a moment earlier or later than whoever looks on, so that nothing counts as a difference before it has lasted for
//! [`Terms::patience`]: what happened must be right in no snapshot of that time before or after, and what ours would do must
//! be left undone for all of it.
//!
//! Invariants: the order in which nodes are updated is the other's to choose: an old daemon may go first or last, as long as
//! no policy holds it and no more are missing by updates than the budget allows; the same snapshots at the same times give
//! the same differences; a difference is told once while it lasts; what is remembered is bounded by the DaemonSet's pods and
//! nodes.
//!
//! Absent: who did it. A pod that a user deletes looks the same as one that a controller deletes; only evictions say that
//! they are some.

mod difference;
mod judge;
mod late;

use std::collections::{BTreeMap, BTreeSet};

use api::rollout_policy;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;

pub use difference::{Difference, Kind};

use crate::daemonset::{self, Backoff, Directive, Observed};
use crate::view::PodView;
use judge::Judge;
use late::Late;

/// On what terms is compared.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long something must last to count as a difference.
    pub patience: SignedDuration,
}

/// How far clocks of different machines may be apart when it matters whether a pod is available already.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// What is remembered of one DaemonSet from one snapshot to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// UID of the DaemonSet.
    uid: String,
    /// Its pods as they were last, by UID.
    pods: BTreeMap<String, Known>,
    /// Pods that were made and are not known to be right yet, by UID.
    made: BTreeMap<String, Suspect>,
    /// Pods that ended and are not known to have had to, by UID.
    ended: BTreeMap<String, Suspect>,
    /// Until when our plan would have ended these pods, by UID.
    may_end: BTreeMap<String, Timestamp>,
    /// Until when these nodes wanted a daemon.
    wanted: BTreeMap<String, Timestamp>,
    /// Until when these revisions were those that pods are made of.
    hashes: BTreeMap<String, Timestamp>,
    /// Until when our plan would have made a pod of these revisions on these nodes.
    makes: BTreeMap<String, BTreeMap<String, Timestamp>>,
    /// Nodes whose available daemon ended for an update and whose new one is not available yet.
    updating: BTreeSet<String>,
    /// The budget in nodes, and until when it was that large.
    limit: Option<(usize, Timestamp)>,
    /// When the other last made or ended a pod.
    acted: Option<Timestamp>,
    late: Late,
    backoff: BTreeMap<String, Backoff>,
    policy: Option<rollout_policy::Memory>,
    over_budget: bool,
}

/// A pod as it was last.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    name: String,
    node: Option<String>,
    hash: Option<String>,
    is_available: bool,
    /// It was ready once: then it has not ended by itself when it is found deleted and ended at a time.
    was_ready: bool,
    /// Its end was asked for already, or it has ended by itself, or somebody evicts it.
    ends: bool,
}

/// Something that happened, and is not known to be right.
#[derive(Debug, Clone, PartialEq)]
struct Suspect {
    pod: Known,
    since: Timestamp,
}

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// What is to be remembered.
    pub memory: Memory,
    /// What differs and was not told before.
    pub differences: Vec<Difference>,
    /// Pods that the other made as ours would have.
    pub made: usize,
    /// Pods that the other ended as ours would have.
    pub ended: usize,
    /// What is not known to be right yet, and what ours would do now.
    pub open: usize,
    /// When to look again even if nothing changes.
    pub look_again: Option<Timestamp>,
}

/// Compares what happened since `memory` was made with what ours would do. `is_there` says whether the pod with this name
/// and UID is still there although it is not among those of the snapshot: then another owner has it.
#[must_use]
pub fn compare(
    memory: Memory,
    set: &DaemonSet,
    observed: Observed<'_>,
    is_there: &dyn Fn(&str, &str) -> bool,
    terms: Terms,
    now: Timestamp,
) -> Look {
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let is_new = memory.uid != uid;
    let mut memory = if is_new { Memory { uid: uid.clone(), ..Memory::default() } } else { memory };
    let remembered = memory.policy.take();
    let policy = observed.policy.map(|d| Directive { memory: d.memory.or(remembered.as_ref()), ..d });
    let backoff = std::mem::take(&mut memory.backoff);
    let observed = Observed { policy, backoff: &backoff, ..observed };
    let plan = daemonset::explain(set, observed, now);
    if plan.hash.is_empty() {
        // It is being deleted, or there is nothing to compare with yet.
        return Look { memory: Memory::default(), ..Look::default() };
    }
    memory.backoff.clone_from(&plan.backoff);
    memory.policy = plan.memory.as_deref().cloned().or_else(|| policy.and_then(|d| d.memory.cloned()));
    let judge = Judge::new(set, observed, &plan, now);
    let mut comparison = Comparison { look: Look { memory, ..Look::default() }, set, terms, now };
    comparison.note_permits(&judge);
    comparison.follow_pods(&judge, is_there, is_new);
    comparison.settle(&judge);
    comparison.check_budget(&judge);
    comparison.check_undone(&judge);
    let mut look = comparison.look;
    look.open = look.memory.made.len() + look.memory.ended.len() + look.memory.late.len();
    look.look_again = [look.look_again, plan.requeue_at].into_iter().flatten().min();
    look
}

struct Comparison<'a> {
    look: Look,
    set: &'a DaemonSet,
    terms: Terms,
    now: Timestamp,
}

impl Comparison<'_> {
    fn past(&self) -> Timestamp {
        self.now.checked_sub(self.terms.patience).unwrap_or(Timestamp::MIN)
    }

    fn due(&self, since: Timestamp) -> Timestamp {
        since.checked_add(self.terms.patience).unwrap_or(Timestamp::MAX)
    }

    fn tell(&mut self, kind: Kind, node: Option<String>, pod: Option<String>, theirs: String, ours: String) {
        let name = |text: &Option<String>| text.clone().unwrap_or_default();
        self.look.differences.push(Difference {
            time: self.now,
            namespace: name(&self.set.metadata.namespace),
            daemon_set: name(&self.set.metadata.name),
            kind,
            node,
            pod,
            theirs,
            ours,
        });
    }

    fn wait_until(&mut self, at: Timestamp) {
        self.look.look_again = Some(self.look.look_again.map_or(at, |earlier| earlier.min(at)));
    }

    /// Notes what is right as of this snapshot, and forgets what was right too long ago.
    fn note_permits(&mut self, judge: &Judge<'_>) {
        let (now, past) = (self.now, self.past());
        let memory = &mut self.look.memory;
        memory.wanted.extend(judge.wanting().map(|node| (node.to_owned(), now)));
        memory.wanted.retain(|_, at| *at >= past);
        memory.hashes.insert(judge.hash().to_owned(), now);
        memory.hashes.retain(|_, at| *at >= past);
        for (node, hash) in judge.makes() {
            memory.makes.entry(node.to_owned()).or_default().insert(hash.to_owned(), now);
        }
        memory.makes.values_mut().for_each(|hashes| hashes.retain(|_, at| *at >= past));
        memory.makes.retain(|_, hashes| !hashes.is_empty());
        let ends = |pod: &&PodView| judge.allows_end(&judge.known(pod, memory.pods.get(&pod.uid)), Some(pod));
        let ending: Vec<String> = judge.pods().filter(ends).map(|pod| pod.uid.clone()).collect();
        memory.may_end.extend(ending.into_iter().map(|uid| (uid, now)));
        memory.may_end.retain(|_, at| *at >= past);
    }

    /// Finds the pods that are new and those that ended since the last look.
    fn follow_pods(&mut self, judge: &Judge<'_>, is_there: &dyn Fn(&str, &str) -> bool, is_first: bool) {
        let before = std::mem::take(&mut self.look.memory.pods);
        let mut after: BTreeMap<String, Known> = BTreeMap::new();
        for pod in judge.pods() {
            let was = before.get(&pod.uid);
            let known = judge.known(pod, was);
            match was {
                None if !is_first => self.pod_made(pod, &known),
                Some(was) if !was.ends && known.ends => self.pod_ended(judge, &pod.uid, was),
                _ => {}
            }
            after.insert(pod.uid.clone(), known);
        }
        for (uid, was) in before.iter().filter(|(uid, was)| !after.contains_key(*uid) && !was.ends) {
            if !is_there(&was.name, uid) {
                self.pod_ended(judge, uid, was);
            }
        }
        self.look.memory.pods = after;
    }

    fn pod_made(&mut self, pod: &PodView, known: &Known) {
        self.look.memory.acted = Some(self.now);
        self.look.memory.made.insert(pod.uid.clone(), Suspect { pod: known.clone(), since: self.now });
    }

    fn pod_ended(&mut self, judge: &Judge<'_>, uid: &str, was: &Known) {
        self.look.memory.acted = Some(self.now);
        if let Some(node) = was.node.as_ref().filter(|_| was.is_available && judge.is_old(was)) {
            self.look.memory.updating.insert(node.clone());
        }
        self.look.memory.ended.insert(uid.to_owned(), Suspect { pod: was.clone(), since: self.now });
    }

    /// The revision that ours would have made a pod of, if it is another one.
    fn other_revision(&self, judge: &Judge<'_>, pod: &Known) -> Option<String> {
        let memory = &self.look.memory;
        let hashes = pod.node.as_ref().and_then(|node| memory.makes.get(node)).unwrap_or(&memory.hashes);
        let is_right = pod.hash.as_ref().is_some_and(|hash| hashes.contains_key(hash)) || !judge.is_old(pod);
        let newest = hashes.iter().max_by_key(|(_, at)| **at).map(|(hash, _)| hash.clone());
        newest.filter(|_| !is_right)
    }

    /// Drops what turns out to be right, and tells of what does not in time.
    fn settle(&mut self, judge: &Judge<'_>) {
        for (uid, suspect) in std::mem::take(&mut self.look.memory.made) {
            let node = suspect.pod.node.as_ref();
            let wanted = node.is_some_and(|node| self.look.memory.wanted.contains_key(node));
            let other = self.other_revision(judge, &suspect.pod);
            let is_surplus = judge.is_surplus(&uid, &suspect.pod);
            if wanted && other.is_none() && !is_surplus {
                self.look.made += 1;
            } else if self.due(suspect.since) > self.now {
                self.wait_until(self.due(suspect.since));
                self.look.memory.made.insert(uid, suspect);
            } else {
                let (pod, none) = (suspect.pod, "none".to_owned());
                let (kind, ours) = match other.filter(|_| wanted && !is_surplus) {
                    Some(hash) => (Kind::Revision, format!("would make it of revision {hash}")),
                    None => (Kind::Created, judge.why_none(&pod)),
                };
                let theirs = match kind {
                    Kind::Revision => {
                        format!("made pod {} of revision {}", pod.name, pod.hash.as_ref().unwrap_or(&none))
                    }
                    _ => format!("made pod {}", pod.name),
                };
                self.tell(kind, pod.node, Some(pod.name), theirs, ours);
            }
        }
        for (uid, suspect) in std::mem::take(&mut self.look.memory.ended) {
            let allowed = self.look.memory.may_end.contains_key(&uid) || judge.allows_end(&suspect.pod, None);
            if allowed {
                self.look.ended += 1;
            } else if self.due(suspect.since) > self.now {
                self.wait_until(self.due(suspect.since));
                self.look.memory.ended.insert(uid, suspect);
            } else {
                let ours = format!("would keep it: {}", judge.why_kept(&suspect.pod));
                let theirs = format!("ended pod {}", suspect.pod.name);
                self.tell(Kind::Deleted, suspect.pod.node, Some(suspect.pod.name), theirs, ours);
            }
        }
    }

    /// Counts the nodes that miss a daemon because of the update, or run two.
    fn check_budget(&mut self, judge: &Judge<'_>) {
        let budget = judge.budget();
        let (what, limit) = match budget.surge_max {
            0 => ("maxUnavailable", budget.unavailable_max),
            surge => ("maxSurge", surge),
        };
        let past = self.past();
        let memory = &mut self.look.memory;
        memory.updating.retain(|node| judge.still_updates(node));
        let before = memory.limit.filter(|(_, at)| *at >= past).map_or(0, |(limit, _)| limit);
        memory.limit = Some(if before > limit { memory.limit.unwrap_or((limit, self.now)) } else { (limit, self.now) });
        let nodes: Vec<String> = match budget.surge_max {
            0 => memory.updating.iter().cloned().collect(),
            _ => judge.surging().map(str::to_owned).collect(),
        };
        let over = budget.rolling && nodes.len() > limit.max(before);
        if over && !std::mem::replace(&mut memory.over_budget, over) {
            let count = nodes.len();
            let some: Vec<&str> = nodes.iter().take(crate::limits::USED_NODES_NAMED).map(String::as_str).collect();
            let theirs = format!("updates {count} nodes at a time: {}", some.join(", "));
            let ours = format!("would update no more than {limit} ({what})");
            self.tell(Kind::Budget, None, None, theirs, ours);
        }
        self.look.memory.over_budget = over;
    }

    /// Tells of what ours would have done for a while, and of a status that has been another for a while.
    fn check_undone(&mut self, judge: &Judge<'_>) {
        let mut wanted = judge.undone();
        wanted.extend(judge.status());
        let acted = self.look.memory.acted;
        let mut late = std::mem::take(&mut self.look.memory.late);
        let (due, next) = late.look(wanted, acted, self.terms.patience, self.now);
        self.look.memory.late = late;
        if let Some(at) = next {
            self.wait_until(at);
        }
        for undone in due {
            self.tell(undone.kind, undone.node, undone.pod, undone.theirs, undone.ours);
        }
    }
}
