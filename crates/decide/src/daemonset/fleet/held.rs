//! The pods of a fleet by name, with what their DaemonSet claims of them.
//!
//! Invariants: the claims and the counts are those of the pods that are held.
//!
//! Absent: where they are.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{Action, HASH_LABEL, Target, claim};
use crate::claim::{Claim, Claimant};
use crate::view::PodView;

/// A pod in order of its name, by which it is found.
#[derive(Debug, Clone)]
pub(super) struct ByName(pub(super) Arc<PodView>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

/// The pods of a fleet.
#[derive(Debug, Default)]
pub(super) struct Held {
    all: BTreeSet<ByName>,
    /// Writes that take and release pods, by name of the pod.
    claims: BTreeMap<String, Action>,
    /// How many claimed pods have a hash.
    hashes: BTreeMap<String, usize>,
    /// Claimed pods whose nodes were asked to pull images.
    asked: BTreeSet<String>,
}

impl Held {
    /// Holds a pod; returns true when the DaemonSet has it or takes it. No other of its name is held.
    pub(super) fn insert(&mut self, pod: &Arc<PodView>, claimant: &Claimant<'_>) -> bool {
        let claim = claim(claimant, pod);
        let owner = pod.controller.as_ref().map(|c| c.uid.as_str());
        if owner.is_some_and(|uid| uid != claimant.uid) {
            // Nobody tells what becomes of it.
            return false;
        }
        self.all.insert(ByName(pod.clone()));
        let action = match claim {
            Claim::Adopt => Some(Action::AdoptPod(Target::pod(pod))),
            Claim::Release => Some(Action::ReleasePod(Target::pod(pod))),
            Claim::Owned | Claim::Ignore => None,
        };
        self.claims.extend(action.map(|action| (pod.name.clone(), action)));
        let is_claimed = matches!(claim, Claim::Owned | Claim::Adopt);
        if is_claimed && pod.pre_pull.is_some() {
            self.asked.insert(pod.name.clone());
        }
        if let Some(hash) = pod.labels.get(HASH_LABEL).filter(|_| is_claimed) {
            match self.hashes.get_mut(hash) {
                Some(count) => *count += 1,
                None => drop(self.hashes.insert(hash.clone(), 1)),
            }
        }
        is_claimed
    }

    /// Lets a pod go; it was held under the same claimant.
    pub(super) fn remove(&mut self, name: &str, claimant: &Claimant<'_>) -> Option<Arc<PodView>> {
        let ByName(pod) = self.all.take(name)?;
        self.claims.remove(name);
        self.asked.remove(name);
        let is_claimed = matches!(claim(claimant, &pod), Claim::Owned | Claim::Adopt);
        if let Some(hash) = pod.labels.get(HASH_LABEL).filter(|_| is_claimed)
            && let Some(count) = self.hashes.get_mut(hash)
        {
            *count -= 1;
            if *count == 0 {
                self.hashes.remove(hash);
            }
        }
        Some(pod)
    }

    /// The writes that take and release pods.
    pub(super) fn claims(&self) -> impl Iterator<Item = &Action> {
        self.claims.values()
    }

    /// True when the node of a claimed pod was asked to pull images, which only a policy does.
    pub(super) fn are_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// True when a claimed pod has this hash.
    pub(super) fn uses(&self, hash: &str) -> bool {
        self.hashes.contains_key(hash)
    }
}
