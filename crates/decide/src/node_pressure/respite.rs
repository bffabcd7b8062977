//! Which DaemonSets have given up a pod to the node already, and are left alone.
//!
//! A DaemonSet's controller makes a pod that was evicted anew, on the same node. If memory is still short, ending that pod too
//! wins nothing and begins again; so one is all that a DaemonSet gives, until the node has long been well.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::eviction::Candidate;
use super::{Shortage, Signal};

/// How long memory must have been enough before a DaemonSet can lose a pod again: long enough that a daemon which is itself
/// what makes memory short ends a few times a day, not all the time.
pub const RESPITE: SignedDuration = SignedDuration::from_hours(1);

/// When memory was last short, for each DaemonSet that has given up a pod. Bounded by time: a look adds one at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Respite(BTreeMap<String, Timestamp>);

impl Respite {
    /// Takes a look at the node into account: while memory is short, no respite ends.
    pub fn look(&mut self, shortages: &[Shortage], now: Timestamp) {
        let short = shortages.iter().any(|shortage| shortage.signal == Signal::Memory);
        for at in self.0.values_mut().filter(|at| short || **at > now) {
            // Also a clock that went back begins it anew.
            *at = now;
        }
        self.0.retain(|_, at| now.duration_since(*at) < RESPITE);
    }

    /// The pod ends for the node. Only daemons are noted: others do not come again here.
    pub fn given_up(&mut self, candidate: &Candidate, now: Timestamp) {
        if candidate.standing.daemon {
            self.0.insert(candidate.controller.clone(), now);
        }
    }

    /// Whether pods of this controller are left alone.
    #[must_use]
    pub fn spares(&self, controller: &str) -> bool {
        self.0.contains_key(controller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_pressure::eviction::Standing;

    fn short(signal: Signal) -> Vec<Shortage> {
        vec![Shortage { signal, threshold: String::new(), available: String::new() }]
    }

    #[test]
    fn a_respite_lasts_an_hour_beyond_the_last_shortage_of_memory() {
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let standing = Standing { daemon: true, ..Standing::default() };
        let daemon = Candidate { controller: "d".to_owned(), standing, ..Candidate::default() };
        let mut respite = Respite::default();
        respite.given_up(&daemon, at(0));
        for (minute, shortages, spared) in
            [(50, short(Signal::Memory), true), (109, short(Signal::NodeDisk), true), (110, Vec::new(), false)]
        {
            respite.look(&shortages, at(minute));
            assert_eq!(respite.spares("d"), spared, "{minute}");
        }
        // A clock that goes back a year does not make it last a year.
        respite.given_up(&daemon, at(500_000));
        respite.look(&[], at(0));
        respite.look(&[], at(60));
        assert!(!respite.spares("d"));
    }

    #[test]
    fn only_daemons_have_one() {
        let mut respite = Respite::default();
        respite.given_up(&Candidate { controller: "r".to_owned(), ..Candidate::default() }, Timestamp::UNIX_EPOCH);
        assert!(!respite.spares("r"));
    }
}
