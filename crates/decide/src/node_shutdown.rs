//! In which order the pods of a machine that goes down end, and how long each may take.
//!
//! # Invariants
//! - Others end before daemons, which may serve them; critical pods end last of all.
//! - All have ended within the whole period, and what is kept for critical pods nobody else uses.

use std::time::Duration;

use crate::node_pressure::eviction::Standing;

/// How long the end of all pods may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Periods {
    /// All of it; zero ends no pod.
    pub whole: Duration,
    /// The part of it that is kept for critical pods.
    pub critical: Duration,
}

/// A pod that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// metadata.uid.
    pub uid: String,
    /// What it is to the node.
    pub standing: Standing,
    /// How long it asks for.
    pub grace: Duration,
}

/// Pods that end together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Their UIDs, and how long each has.
    pub pods: Vec<(String, Duration)>,
    /// When the next wave begins at the latest, from the begin of the first.
    pub until: Duration,
}

/// The waves, the first one first; none is empty.
///
/// What ends before critical pods has the rest of the whole period: others may use half of it where there are daemons too, and
/// daemons what is left then.
#[must_use]
pub fn waves(periods: Periods, pods: &[Running]) -> Vec<Wave> {
    let common = periods.whole.saturating_sub(periods.critical);
    let others_until = if pods.iter().any(|pod| rank(pod) == Rank::Daemon) { common / 2 } else { common };
    let mut begin = Duration::ZERO;
    let mut waves = Vec::new();
    for (wanted, until) in [(Rank::Other, others_until), (Rank::Daemon, common), (Rank::Critical, periods.whole)] {
        let limit = until.saturating_sub(begin);
        let pods: Vec<(String, Duration)> =
            pods.iter().filter(|pod| rank(pod) == wanted).map(|pod| (pod.uid.clone(), pod.grace.min(limit))).collect();
        if !pods.is_empty() {
            begin = until;
            waves.push(Wave { pods, until });
        }
    }
    waves
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Other,
    Daemon,
    Critical,
}

fn rank(pod: &Running) -> Rank {
    match pod.standing {
        Standing { critical: true, .. } => Rank::Critical,
        Standing { daemon: true, .. } => Rank::Daemon,
        _ => Rank::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, grace_seconds: u64) -> Running {
        let standing = Standing { daemon: uid.starts_with('d'), critical: uid.starts_with('c'), ..Standing::default() };
        Running { uid: uid.to_owned(), standing, grace: Duration::from_secs(grace_seconds) }
    }

    fn check(whole: u64, critical: u64, pods: &[Running], expect: &[&str]) {
        let periods = Periods { whole: Duration::from_secs(whole), critical: Duration::from_secs(critical) };
        let words = |wave: &Wave| {
            let pods: Vec<String> = wave.pods.iter().map(|(uid, grace)| format!("{uid} {}", grace.as_secs())).collect();
            format!("{} until {}", pods.join(", "), wave.until.as_secs())
        };
        assert_eq!(waves(periods, pods).iter().map(words).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn daemons_end_late_and_critical_pods_last() {
        let all = [pod("c1", 30), pod("d1", 3), pod("o1", 30), pod("o2", 2), pod("d2", 30)];
        check(30, 10, &all, &["o1 10, o2 2 until 10", "d1 3, d2 10 until 20", "c1 10 until 30"]);
        check(30, 10, &all[..2], &["d1 3 until 20", "c1 10 until 30"]);
        check(30, 10, &all[2..3], &["o1 20 until 20"]);
        check(30, 10, &all[..1], &["c1 30 until 30"]);
        check(30, 30, &all[1..3], &["o1 0 until 0", "d1 0 until 0"]);
        check(10, 30, &all[1..3], &["o1 0 until 0", "d1 0 until 0"]);
        check(30, 10, &[], &[]);
    }
}
