//! Brakes: how fast the unhealthy nodes of a zone may drive their pods away.
//!
//! Many nodes of a zone that fail at once are more likely a failure of what watches them than of each of them; pods that
//! run there had better be left alone.
//!
//! Invariants: one node per zone drives pods away at a time, with a pause after it; a small zone most of which is
//! unhealthy none at all; when no zone has a healthy node, those that drive pods away stop doing so.
//!
//! Absent: the taint that keeps new pods away, which is given at once.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::view::NodeView;

/// Seconds between two nodes of a zone that start to drive pods away. Kubernetes' figure.
const PAUSE_S: i64 = 10;

/// The same while most of a large zone is unhealthy. Kubernetes' figure.
const PAUSE_DISRUPTED_S: i64 = 100;

/// A zone of more nodes than this is large. Kubernetes' figure.
const LARGE: usize = 50;

/// Most of a zone is unhealthy when this share is, in hundredths, and more than [`UNHEALTHY_MIN`] nodes. Kubernetes'
/// figures.
const UNHEALTHY_PERCENT: usize = 55;
const UNHEALTHY_MIN: usize = 2;

/// Seconds until a node that may not drive pods away is looked at again. Kubernetes' figure for its look at all nodes.
const HOLD_S: i64 = 5;

/// Nodes with this label do not count for the health of their zone.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// How a zone does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneState {
    /// Most nodes are healthy.
    Normal,
    /// Most are not.
    Partial,
    /// None is.
    Full,
}

/// Whether a node may drive its pods away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drive {
    /// It may.
    Now,
    /// Not yet.
    Later(Timestamp),
    /// It must not, and what it does already is taken back.
    Undo,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    ready: usize,
    unready: usize,
}

impl Tally {
    fn state(self) -> ZoneState {
        let most = self.unready * 100 >= (self.unready + self.ready) * UNHEALTHY_PERCENT;
        match self {
            Self { ready: 0, unready } if unready > 0 => ZoneState::Full,
            Self { unready, .. } if unready > UNHEALTHY_MIN && most => ZoneState::Partial,
            _ => ZoneState::Normal,
        }
    }
}

/// The nodes of all zones in numbers, and which of them drove pods away last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Zones {
    tallies: BTreeMap<String, Tally>,
    last: BTreeMap<String, (Timestamp, String)>,
}

/// The zone of a node: its region and its zone.
#[must_use]
pub fn zone(node: &NodeView) -> String {
    let label =
        |new: &str, old: &str| node.labels.get(new).or_else(|| node.labels.get(old)).cloned().unwrap_or_default();
    let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
    let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    format!("{region}:{zone}")
}

/// Where a node counts, and whether as ready.
fn counted(node: &NodeView) -> Option<(String, bool)> {
    let ready = node.conditions.get("Ready").filter(|_| !node.labels.contains_key(EXCLUDED))?;
    Some((zone(node), ready.status == "True"))
}

impl Zones {
    /// Takes a change of a node into account; returns true when it matters here.
    pub fn change(&mut self, before: Option<&NodeView>, after: Option<&NodeView>) -> bool {
        let (before, after) = (before.and_then(counted), after.and_then(counted));
        if before == after {
            return false;
        }
        if let Some((zone, ready)) = before
            && let Some(tally) = self.tallies.get_mut(&zone)
        {
            let number = if ready { &mut tally.ready } else { &mut tally.unready };
            *number = number.saturating_sub(1);
            if *tally == Tally::default() {
                self.tallies.remove(&zone);
                self.last.remove(&zone);
            }
        }
        if let Some((zone, ready)) = after {
            let tally = self.tallies.entry(zone).or_default();
            *if ready { &mut tally.ready } else { &mut tally.unready } += 1;
        }
        true
    }

    /// How a zone does.
    #[must_use]
    pub fn state(&self, zone: &str) -> ZoneState {
        self.tallies.get(zone).copied().unwrap_or_default().state()
    }

    /// True when there are nodes and none of them is healthy.
    #[must_use]
    pub fn all_lost(&self) -> bool {
        !self.tallies.is_empty() && self.tallies.values().all(|t| t.state() == ZoneState::Full)
    }

    /// Whether a node that is `ready` (or not) may start to drive its pods away.
    pub(super) fn drive(&self, node: &NodeView, ready: &str, now: Timestamp) -> Drive {
        let zone = zone(node);
        let mut tally = self.tallies.get(&zone).copied().unwrap_or_default();
        // What was told of the node may be older than what is known.
        if counted(node).is_some_and(|(_, told)| told) && ready != "True" {
            tally.ready = tally.ready.saturating_sub(1);
            tally.unready += 1;
        }
        let others_lost = self.tallies.iter().all(|(name, tally)| *name == zone || tally.state() == ZoneState::Full);
        let pause_s = match tally.state() {
            ZoneState::Full if others_lost => return Drive::Undo,
            ZoneState::Partial if tally.ready + tally.unready <= LARGE => return Drive::Later(after(now, HOLD_S)),
            ZoneState::Partial => PAUSE_DISRUPTED_S,
            ZoneState::Normal | ZoneState::Full => PAUSE_S,
        };
        match self.last.get(&zone) {
            Some((at, name)) if *name != node.name && after(*at, pause_s) > now => Drive::Later(after(*at, pause_s)),
            _ => Drive::Now,
        }
    }

    /// Notes that a node starts to drive its pods away.
    pub fn drove(&mut self, node: &NodeView, now: Timestamp) {
        self.last.insert(zone(node), (now, node.name.clone()));
    }
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
