//! How long a broken watch waits before it is opened again.

use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;
use rand::Rng as _;

/// First wait.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait: a server that comes back has its nodes within this.
const LONGEST: Duration = Duration::from_secs(8);
/// A watch that has held for this long has forgotten its trouble: more than the longest wait and a try that fails after it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Doubles, with a part of chance so that the nodes of a fleet do not come back in one moment.
#[derive(Debug)]
pub(super) struct Reconnect {
    wait: Duration,
    failed_at: Option<Instant>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { wait: FIRST, failed_at: None }
    }
}

impl Reconnect {
    /// The wait after a failure at `now`, at most.
    fn failed(&mut self, now: Instant) -> Duration {
        if self.failed_at.replace(now).is_some_and(|at| now.duration_since(at) > FORGOTTEN_AFTER) {
            self.wait = FIRST;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST);
        wait
    }
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.failed(Instant::now()).mul_f64(rand::rng().random_range(0.5..1.0)))
    }
}

impl Backoff for Reconnect {
    /// Says nothing of the server: it is called when a list begins, before anybody was asked.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_bounds_though_each_list_begins_anew() {
        let (mut reconnect, mut now) = (Reconnect::default(), Instant::now());
        for wait_ms in [500, 1000, 2000, 4000, 8000, 8000, 8000, 8000] {
            let wait = reconnect.failed(now);
            assert_eq!(wait.as_millis(), wait_ms);
            now += wait + Duration::from_secs(5);
            reconnect.reset();
        }
    }

    #[test]
    fn trouble_is_forgotten_by_a_watch_that_holds() {
        let (mut reconnect, now) = (Reconnect::default(), Instant::now());
        for _ in 0..6 {
            reconnect.failed(now);
        }
        assert_eq!(reconnect.failed(now + FORGOTTEN_AFTER), LONGEST);
        let later = now + FORGOTTEN_AFTER * 2 + Duration::from_secs(1);
        assert_eq!(reconnect.failed(later), FIRST);
    }

    #[test]
    fn nodes_do_not_come_back_in_one_moment() {
        let waits: Vec<Duration> = (0..50).filter_map(|_| Reconnect::default().next()).collect();
        assert!(waits.iter().all(|wait| (250..=500).contains(&wait.as_millis())), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
