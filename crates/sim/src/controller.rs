//! The controller as it lives: on an old view of the cluster, through lost writes and crashes.
//!
//! Each kind is seen by a watch of its own, so that the view of one may be older than that of another: what happened
//! first is not always seen first.
//!
//! It plans by a fleet that is told what changed in its view, as `control` does.
//!
//! Invariants: it plans only on a view that shows its own last writes, as `control` does; a plan by the fleet is the one that
//! a look at everything gives; a crash forgets everything that is not in the cluster, and ends with a fresh look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use decide::daemonset::{Action, Around, Backoff, Fleet, Observed, Plan, plan};
use decide::view::{NodeView, PodView};
use k8s_openapi::api::apps::v1::ControllerRevision;

use crate::cluster::Cluster;
use crate::random::Random;

/// What can go wrong, in hundredths.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// The view of one kind is not brought up to date before a plan.
    pub stale: usize,
    /// The controller crashes between two writes.
    pub crash: usize,
    /// A write does not reach the cluster, and the controller is told so.
    pub lost: usize,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { stale: 0, crash: 0, lost: 0 };
}

/// What a sync did.
#[derive(Debug)]
pub struct Synced {
    /// The plan that was made.
    pub plan: Plan,
    /// How many of its writes were tried.
    pub tried: usize,
    /// True when the view was the truth.
    pub fresh: bool,
}

/// A kind that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Set,
    Nodes,
    Pods,
    Revisions,
}

const KINDS: [Kind; 4] = [Kind::Set, Kind::Nodes, Kind::Pods, Kind::Revisions];

/// The kind that a write changes.
fn changed(action: &Action) -> Kind {
    match action {
        Action::AdoptRevision(_)
        | Action::ReleaseRevision(_)
        | Action::CreateRevision(_)
        | Action::UpdateRevision { .. }
        | Action::DeleteRevision(_) => Kind::Revisions,
        Action::AdoptPod(_)
        | Action::ReleasePod(_)
        | Action::RelabelPod(..)
        | Action::PrePull(..)
        | Action::DeletePod(_)
        | Action::CreatePod(_) => Kind::Pods,
        Action::RestoreTemplate(_) => Kind::Set,
    }
}

/// A controller.
#[derive(Debug)]
pub struct Controller {
    view: Cluster,
    /// Kinds that were written: no plan before their view is fresh.
    written: BTreeSet<Kind>,
    backoff: BTreeMap<String, Backoff>,
    /// None until everything was looked at, and after what changes everything.
    fleet: Option<Fleet>,
}

impl Controller {
    /// A controller that has just started.
    #[must_use]
    pub fn new(truth: &Cluster) -> Self {
        Self { view: truth.clone(), written: BTreeSet::new(), backoff: BTreeMap::new(), fleet: None }
    }

    /// The plan for its view.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let view = &self.view;
        let nodes: BTreeMap<String, &NodeView> = view.nodes.iter().map(|(k, v)| (k.clone(), v)).collect();
        let pods: Vec<&PodView> = view.pods.values().collect();
        let revisions: Vec<&ControllerRevision> = view.revisions.values().collect();
        let observed = Observed {
            nodes: &nodes,
            pods: &pods,
            revisions: &revisions,
            namespace_nodes: None,
            backoff: &self.backoff,
            policy: None,
        };
        plan(&view.set, observed, view.now)
    }

    /// The plan by the fleet, if it can make one, and else by a look at everything.
    ///
    /// # Errors
    ///
    /// The fleet's plan is another one.
    fn plan_by_fleet(&mut self) -> Result<Plan, String> {
        let all = self.plan();
        let fleet = self.fleet.get_or_insert_with(|| {
            let mut fleet = Fleet::new(self.backoff.clone());
            tell(&BTreeMap::new(), &self.view.nodes, |name, node| fleet.node(name, node));
            tell(&BTreeMap::new(), &self.view.pods, |name, pod| fleet.pod(name, pod));
            fleet
        });
        let set = Arc::new(self.view.set.clone());
        let revisions: Vec<_> = self.view.revisions.values().cloned().map(Arc::new).collect();
        let around = Around { set: &set, revisions: &revisions, namespace_nodes: None };
        match fleet.plan(around, self.view.now) {
            None => self.fleet = None,
            Some(plan) => {
                let plan = Plan { backoff: fleet.backoff().clone(), ..plan };
                if plan != all {
                    return Err(format!("the plan of the fleet is {plan:?}, that of everything {all:?}"));
                }
            }
        }
        Ok(all)
    }

    fn look(&mut self, truth: &Cluster, kind: Kind) {
        let fleet = self.fleet.as_mut();
        match kind {
            Kind::Set => self.view.set = truth.set.clone(),
            Kind::Nodes => {
                let before = std::mem::replace(&mut self.view.nodes, truth.nodes.clone());
                fleet.into_iter().for_each(|f| tell(&before, &truth.nodes, |name, node| f.node(name, node)));
            }
            Kind::Pods => {
                let before = std::mem::replace(&mut self.view.pods, truth.pods.clone());
                fleet.into_iter().for_each(|f| tell(&before, &truth.pods, |name, pod| f.pod(name, pod)));
            }
            Kind::Revisions => self.view.revisions = truth.revisions.clone(),
        }
    }

    /// One sync; `None` when the view does not show the last one's writes yet.
    ///
    /// # Errors
    ///
    /// What changed asks for another plan than everything does.
    pub fn sync(&mut self, truth: &mut Cluster, random: &mut Random, faults: Faults) -> Result<Option<Synced>, String> {
        let now = truth.now;
        let mut fresh = true;
        for kind in KINDS {
            if random.chance(faults.stale) {
                fresh = false;
            } else {
                self.look(truth, kind);
                self.written.remove(&kind);
            }
        }
        if !self.written.is_empty() {
            return Ok(None);
        }
        self.view.now = now;
        let plan = self.plan_by_fleet()?;
        self.backoff = plan.backoff.clone();
        let mut tried = 0;
        for action in &plan.actions {
            if random.chance(faults.crash) {
                *self = Self::new(truth);
                return Ok(Some(Synced { plan, tried, fresh }));
            }
            self.written.insert(changed(action));
            if random.chance(faults.lost) {
                // The rest would be retried with the key; the next plan decides anew.
                return Ok(Some(Synced { plan, tried, fresh }));
            }
            tried += 1;
            let refused = truth.write(&self.view.set, &plan.hash, action).is_err();
            let is_history = matches!(action, Action::CreateRevision(_) | Action::UpdateRevision { .. });
            if refused && is_history {
                return Ok(Some(Synced { plan, tried, fresh }));
            }
        }
        if let Some(status) = plan.status.clone() {
            self.written.insert(Kind::Set);
            // A conflict is told and tried again with the next view.
            let _ = truth.store_status(&self.view.set, status);
        }
        Ok(Some(Synced { plan, tried, fresh }))
    }
}

/// Tells of each object that is another one now.
fn tell<T: Clone + PartialEq>(
    before: &BTreeMap<String, T>,
    now: &BTreeMap<String, T>,
    mut change: impl FnMut(&str, Option<Arc<T>>),
) {
    before.keys().filter(|name| !now.contains_key(*name)).for_each(|name| change(name, None));
    for (name, object) in now.iter().filter(|(name, object)| before.get(*name) != Some(object)) {
        change(name, Some(Arc::new(object.clone())));
    }
}
