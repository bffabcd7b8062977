//! Why a node runs a daemon, waits for one or has none: one reason for each pair of DaemonSet and node.
//!
//! Invariants: every node of the snapshot has exactly one reason; it follows from the same data as the plan.
//!
//! Absent: what the node itself says of its containers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::causal::Excuse;
use super::course::Course;
use super::spots::At;
use super::{Backoff, Demands, Exclusion, Gauge, Moves, Placement, Scene};
use crate::limits::USED_NODES_NAMED;
use crate::view::{Phase, PodView};

/// Why a node runs a daemon, waits for one or has none.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// The daemon of the current revision runs and is available.
    Runs {
        /// Name of the pod.
        pod: String,
    },
    /// The daemon runs and is ready, but not yet for as long as `minReadySeconds` asks.
    Settles {
        /// Name of the pod.
        pod: String,
    },
    /// The daemon is on its node and not ready.
    Starts {
        /// Name of the pod.
        pod: String,
    },
    /// The daemon waits for the scheduler to bind it to the node.
    Unbound {
        /// Name of the pod.
        pod: String,
    },
    /// A daemon is created now.
    Creates,
    /// The daemon is created by a later plan: this one is full.
    Postponed,
    /// A daemon of an older revision stays until its turn comes.
    Outdated {
        /// Name of the pod.
        pod: String,
        /// What its turn waits for.
        hold: Hold,
    },
    /// A daemon of the newest revision, but of other node classes than its node is in, stays until its turn comes.
    Reclassed {
        /// Name of the pod.
        pod: String,
        /// What its node is in, in words.
        classes: String,
        /// What its turn waits for.
        hold: Hold,
    },
    /// A daemon of an older revision stays until its successor beside it is available.
    Overlaps {
        /// Name of the pod.
        pod: String,
        /// Name of the successor, once there is one.
        successor: Option<String>,
    },
    /// The old daemon ends; a new one follows.
    Replaces {
        /// Name of the pod.
        pod: String,
    },
    /// The daemon failed and is replaced after a pause.
    Pauses {
        /// Name of the pod.
        pod: String,
        /// End of the pause.
        until: Timestamp,
    },
    /// The daemon may stay although none would start here now.
    Stays {
        /// Name of the pod.
        pod: String,
        /// Why none would start.
        why: Exclusion,
    },
    /// The daemon ends because its node no longer wants one.
    Leaves {
        /// Name of the pod.
        pod: String,
        /// Why the node wants none.
        why: Exclusion,
    },
    /// The node has no daemon and wants none.
    Excluded(Exclusion),
}

/// What the update of one node waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// The user: with the strategy `OnDelete` a daemon is updated when its pod is deleted.
    OnDelete,
    /// Other nodes: so many daemons may be missing at a time, and these are.
    Budget(Arc<Used>),
    /// Other nodes: so many may run an old and a new daemon at a time, and these do.
    Surge(Arc<Used>),
    /// The next plan: this one does as much as one may.
    Turn,
    /// Somebody who unfreezes: the policy says that nothing changes.
    Frozen,
    /// Somebody who resumes: the policy says that the rollout is paused.
    Paused,
    /// Another revision: this one has failed, with this sentence.
    Failed(String),
    /// Its wave: another one comes before.
    Wave {
        /// The wave of the node.
        wave: String,
        /// The wave that is being updated.
        after: String,
    },
    /// The end of the pause after a wave.
    Bakes {
        /// The wave that is done.
        wave: String,
        /// When the pause ends.
        until: Option<Timestamp>,
    },
    /// Somebody who promotes this wave, which is done.
    Promotion(String),
    /// The next time window, which opens then.
    Window(Option<Timestamp>),
    /// The node: it was sick before.
    Excused(Excuse),
    /// The node, which pulls the images of the new daemon, and what went wrong there.
    PrePull(Option<String>),
    /// Other nodes, which pull the images of the new daemon first.
    PulledElsewhere,
}

/// What uses a budget up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Used {
    /// How many nodes it allows.
    pub allowed: usize,
    /// The nodes that use it, in order of name, no more than [`USED_NODES_NAMED`].
    pub nodes: Vec<String>,
    /// How many nodes use it.
    pub count: usize,
}

impl Used {
    pub(super) fn new(allowed: usize) -> Self {
        Self { allowed, ..Self::default() }
    }

    pub(super) fn by(&mut self, node: &str) {
        self.count += 1;
        if let Err(place) = self.nodes.binary_search_by(|n| n.as_str().cmp(node))
            && place < USED_NODES_NAMED
        {
            self.nodes.insert(place, node.to_owned());
            self.nodes.truncate(USED_NODES_NAMED);
        }
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is used up by {}", self.allowed, self.nodes.join(", "))?;
        match self.count.saturating_sub(self.nodes.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnDelete => write!(f, "the strategy is OnDelete: it is updated when its pod is deleted"),
            Self::Budget(used) => write!(f, "maxUnavailable {used}"),
            Self::Surge(used) => write!(f, "maxSurge {used}"),
            Self::Turn => write!(f, "its turn comes with the next step"),
            Self::Frozen => write!(f, "the policy is frozen"),
            Self::Paused => write!(f, "the rollout is paused"),
            Self::Failed(why) => write!(f, "the rollout has failed and stopped: {why}"),
            Self::Wave { wave, after } => write!(f, "its wave {wave} comes after wave {after}"),
            Self::Bakes { wave, until: Some(until) } => write!(f, "wave {wave} is watched until {until}"),
            Self::Bakes { wave, until: None } => write!(f, "wave {wave} is watched"),
            Self::Promotion(wave) => write!(f, "wave {wave} waits to be promoted"),
            Self::Window(Some(at)) => write!(f, "the next window opens at {at}"),
            Self::Window(None) => write!(f, "no window ever opens"),
            Self::PrePull(None) => write!(f, "it stays until its node has pulled the new images"),
            Self::PrePull(Some(why)) => write!(f, "it stays until its node has pulled the new images: {why}"),
            Self::PulledElsewhere => write!(f, "it stays until other nodes have pulled the new images"),
            Self::Excused(Excuse::NodeNotReady) => {
                write!(f, "the node was not ready before its update and is updated when it comes back")
            }
            Self::Excused(Excuse::PodNotReady) => {
                write!(f, "the daemon was not ready before its update, which comes soon")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs { pod } => write!(f, "runs: pod {pod} is available"),
            Self::Settles { pod } => write!(f, "waits: pod {pod} is ready, but not for minReadySeconds yet"),
            Self::Starts { pod } => write!(f, "waits: pod {pod} is not ready"),
            Self::Unbound { pod } => write!(f, "waits: pod {pod} is not scheduled"),
            Self::Creates => write!(f, "waits: a pod is being created"),
            Self::Postponed => write!(f, "waits: a pod will be created after those of other nodes"),
            Self::Outdated { pod, hold } => write!(f, "runs: pod {pod} is of an older revision: {hold}"),
            Self::Reclassed { pod, classes, hold } => {
                write!(f, "runs: pod {pod} is of other node classes, {classes}: {hold}")
            }
            Self::Overlaps { pod, successor: None } => {
                write!(f, "runs: pod {pod} is of an older revision; its successor is being created")
            }
            Self::Overlaps { pod, successor: Some(new) } => {
                write!(f, "runs: pod {pod} is of an older revision and stays until pod {new} is available")
            }
            Self::Replaces { pod } => write!(f, "waits: pod {pod} ends and will be replaced"),
            Self::Pauses { pod, until } => write!(f, "waits: pod {pod} failed and will be replaced after {until}"),
            Self::Stays { pod, why } => write!(f, "runs: pod {pod} stays, though none would start: {why}"),
            Self::Leaves { pod, why } => write!(f, "excluded: {why}; pod {pod} ends"),
            Self::Excluded(why) => write!(f, "excluded: {why}"),
        }
    }
}

/// The reason of every node.
pub(super) fn explain(
    scene: &Scene<'_>,
    demands: &Demands<'_>,
    moves: &Moves<'_>,
    course: Option<&Course<'_>>,
    backoff: &BTreeMap<String, Backoff>,
) -> BTreeMap<String, Reason> {
    let one = |at: At<'_, '_>| {
        let (node, pods, placement) = (at.node, at.pods, demands.place(at.view?));
        let staying = pods.iter().find(|p| !moves.is_doomed(p)).copied();
        let pod = staying.or_else(|| pods.first().copied());
        let reason = match (pod, &placement) {
            (None, Placement::Run) if moves.postponed.contains(node) => Reason::Postponed,
            (None, Placement::Run) => Reason::Creates,
            (None, Placement::Stay(why) | Placement::Exclude(why)) => Reason::Excluded(why.clone()),
            (Some(pod), Placement::Exclude(why)) => Reason::Leaves { pod: pod.name.clone(), why: why.clone() },
            (Some(pod), Placement::Stay(why)) if staying.is_some() => {
                Reason::Stays { pod: pod.name.clone(), why: why.clone() }
            }
            (Some(pod), Placement::Stay(why)) => Reason::Leaves { pod: pod.name.clone(), why: why.clone() },
            (Some(pod), Placement::Run) if staying.is_none() => Reason::Replaces { pod: pod.name.clone() },
            (Some(pod), Placement::Run) if pod.phase != Phase::Failed && !scene.gauge.is_current(pod) => {
                outdated(scene, moves, course, at, pod)
            }
            (Some(pod), Placement::Run) => wanted(&scene.gauge, pod, backoff.get(node)),
        };
        Some((node.to_owned(), reason))
    };
    scene.spots.iter().filter_map(one).collect()
}

/// The reason of a node whose daemon of an older revision stays for now.
fn outdated(
    scene: &Scene<'_>,
    moves: &Moves<'_>,
    course: Option<&Course<'_>>,
    at: At<'_, '_>,
    pod: &PodView,
) -> Reason {
    let (gauge, node, name) = (&scene.gauge, at.node, pod.name.clone());
    let successor = at.pods.iter().find(|p| gauge.is_current(p) && !moves.is_doomed(p));
    if successor.is_some() || moves.create.contains(node) {
        return Reason::Overlaps { pod: name, successor: successor.map(|p| p.name.clone()) };
    }
    let hold = match course.and_then(|c| c.hold(node)) {
        Some(hold) => hold,
        None if moves.pulling.contains_key(node) => Hold::PrePull(moves.pulling.get(node).cloned().flatten()),
        None if scene.rolling => moves.hold.clone().unwrap_or(Hold::Turn),
        None => Hold::OnDelete,
    };
    if gauge.is_reclassed(pod) {
        return Reason::Reclassed { pod: name, classes: gauge.classes.words(node), hold };
    }
    Reason::Outdated { pod: name, hold }
}

fn wanted(gauge: &Gauge, pod: &PodView, backoff: Option<&Backoff>) -> Reason {
    let name = pod.name.clone();
    if pod.phase == Phase::Failed
        && let Some(backoff) = backoff
    {
        return Reason::Pauses { pod: name, until: backoff.until() };
    }
    if gauge.is_available(pod) {
        Reason::Runs { pod: name }
    } else if pod.ready {
        Reason::Settles { pod: name }
    } else if pod.node.is_some() {
        Reason::Starts { pod: name }
    } else {
        Reason::Unbound { pod: name }
    }
}
