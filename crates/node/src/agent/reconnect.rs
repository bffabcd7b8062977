//! How long a broken watch waits before it is opened again.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use rand::Rng as _;

/// First wait.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait: a server that comes back has its nodes within this.
const LONGEST: Duration = Duration::from_secs(8);

/// Doubles, with a part of chance so that the nodes of a fleet do not come back in one moment.
#[derive(Debug)]
pub(super) struct Reconnect {
    wait: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { wait: FIRST }
    }
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST);
        Some(wait.mul_f64(rand::rng().random_range(0.5..1.0)))
    }
}

impl Backoff for Reconnect {
    fn reset(&mut self) {
        self.wait = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_bounds() {
        let waits: Vec<Duration> = Reconnect::default().take(8).collect();
        for (wait, longest) in waits.iter().zip([500, 1000, 2000, 4000, 8000, 8000, 8000, 8000]) {
            let wait = wait.as_millis();
            assert!((longest / 2..=longest).contains(&wait), "{wait} {longest}");
        }
    }
}
