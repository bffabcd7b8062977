//! Patience: how long to wait before a container is started, or an image pulled, once more.

use jiff::{SignedDuration, Timestamp};

use super::Waiting;

/// First wait after a second crash, as Kubernetes has it.
pub(super) const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// Longest wait, as Kubernetes has it: a broken container costs at most one start in five minutes.
pub(super) const LONGEST: SignedDuration = SignedDuration::from_secs(300);
/// A container that ran this long is well again; twice the longest wait, as Kubernetes has it.
const FORGIVEN_AFTER: SignedDuration = SignedDuration::from_secs(600);
/// First wait after a start that failed for its configuration: a ConfigMap of the same apply is there a moment later.
const CONFIG_FIRST: SignedDuration = SignedDuration::from_secs(1);
/// Longest wait after a start that failed for its configuration: bounds how late a container starts once it is there.
const CONFIG_LONGEST: SignedDuration = SignedDuration::from_secs(15);
/// ErrImagePull is shown this long, then ImagePullBackOff, so that people see the cause before the consequence.
pub const IMAGE_BACKOFF_SHOWN_AFTER: SignedDuration = SignedDuration::from_secs(3);

/// The crash loop of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait between the end and the next start.
    pub wait: SignedDuration,
    /// When the container was last started for it.
    pub since: Timestamp,
}

impl Backoff {
    /// When a container that ended at `finished` may start: None is at once.
    pub(super) fn until(self, finished: Timestamp) -> Option<Timestamp> {
        if finished.duration_since(self.since) > FORGIVEN_AFTER {
            return None;
        }
        finished.checked_add(self.wait).ok()
    }

    /// What to remember when it is started at `now` after it ended at `finished`.
    pub(super) fn after_start(old: Option<Self>, finished: Timestamp, now: Timestamp) -> Self {
        let wait = match old {
            Some(old) if finished.duration_since(old.since) <= FORGIVEN_AFTER => doubled(old.wait, LONGEST),
            _ => FIRST,
        };
        Self { wait, since: now }
    }

    /// The crash loop an agent finds when it starts: the runtime shows the number of starts and how long the last ran.
    pub(super) fn found(attempt: u32, started: Timestamp, finished: Timestamp) -> Option<Self> {
        if attempt == 0 || finished.duration_since(started) > FORGIVEN_AFTER {
            return None;
        }
        let mut wait = FIRST;
        for _ in 1..attempt.min(10) {
            wait = doubled(wait, LONGEST);
        }
        Some(Self { wait, since: started })
    }
}

/// A start that did not come to a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// Why.
    pub waiting: Waiting,
    /// When.
    pub at: Timestamp,
    /// Wait until the next try.
    pub wait: SignedDuration,
    /// The image that could not be pulled, where that is the cause.
    pub image: Option<String>,
}

impl StartFailure {
    /// An image that could not be pulled.
    pub fn image(old: Option<&Self>, waiting: Waiting, image: &str, now: Timestamp) -> Self {
        let before = old.filter(|o| o.image.as_deref() == Some(image));
        let wait = before.map_or(FIRST, |o| doubled(o.wait, LONGEST));
        Self { waiting, at: now, wait, image: Some(image.to_owned()) }
    }

    /// Anything else: configuration, the making, the first instruction.
    pub fn other(old: Option<&Self>, waiting: Waiting, now: Timestamp) -> Self {
        let before = old.filter(|o| o.image.is_none());
        let wait = before.map_or(CONFIG_FIRST, |o| doubled(o.wait, CONFIG_LONGEST));
        Self { waiting, at: now, wait, image: None }
    }

    /// When to try again.
    pub fn retry_at(&self) -> Timestamp {
        self.at.checked_add(self.wait).unwrap_or(Timestamp::MAX)
    }

    /// When ImagePullBackOff replaces ErrImagePull.
    pub(super) fn consequence_at(&self) -> Option<Timestamp> {
        let pulled = self.image.is_some() && self.waiting.reason != "ErrImageNeverPull";
        let pulled = pulled && self.waiting.reason != "InvalidImageName";
        pulled.then(|| self.at.checked_add(IMAGE_BACKOFF_SHOWN_AFTER).unwrap_or(Timestamp::MAX))
    }
}

fn doubled(wait: SignedDuration, longest: SignedDuration) -> SignedDuration {
    wait.saturating_add(wait).min(longest)
}

/// A duration as Go prints it: 10s, 2m40s, 5m0s.
pub(super) fn go_duration(wait: SignedDuration) -> String {
    let (minutes, seconds) = (wait.as_secs() / 60, wait.as_secs() % 60);
    if minutes == 0 { format!("{seconds}s") } else { format!("{minutes}m{seconds}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn doubles_to_the_longest_and_forgives() {
        let mut backoff = Backoff::after_start(None, at(0), at(0));
        let mut waits = vec![backoff.wait.as_secs()];
        for _ in 0..6 {
            backoff = Backoff::after_start(Some(backoff), at(1), at(1));
            waits.push(backoff.wait.as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.until(at(2)), Some(at(302)));
        assert_eq!(backoff.until(at(602)), None);
        assert_eq!(Backoff::after_start(Some(backoff), at(602), at(602)).wait.as_secs(), 10);
    }

    #[test]
    fn found_by_a_new_agent() {
        for (attempt, ran, expect) in
            [(0, 5, None), (1, 5, Some(10)), (3, 5, Some(40)), (99, 5, Some(300)), (3, 601, None)]
        {
            let found = Backoff::found(attempt, at(0), at(ran));
            assert_eq!(found.map(|b| b.wait.as_secs()), expect, "{attempt} {ran}");
        }
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (seconds, expect) in [(10, "10s"), (80, "1m20s"), (160, "2m40s"), (300, "5m0s")] {
            assert_eq!(go_duration(SignedDuration::from_secs(seconds)), expect);
        }
    }
}
