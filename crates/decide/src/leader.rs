//! Which of several equal processes acts: the one that holds a Lease, and nobody while it is doubtful.
//!
//! Kubernetes' rules. A holder writes the Lease again and again; who sees it unchanged for as long as it says, by a clock
//! of their own, may take it. A holder that could not write it for a shorter time stops by itself, so that it has stopped
//! before another one begins, whatever their clocks say.
//!
//! Invariants: a Lease that changed within its own duration is never taken from another holder; `RENEW_WITHIN` is shorter
//! than `DURATION`, and `RETRY` shorter than both.
//!
//! Absent: writing the Lease (its resourceVersion decides between two who take it at once).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// How long a Lease counts after it was written. Kubernetes' figure.
pub const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not write it for so long stops. Kubernetes' figure.
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often a holder writes it, and how often others look. Kubernetes' figure.
pub const RETRY: Duration = Duration::from_secs(2);
/// What a holder that goes leaves in the Lease, in seconds: it is free at once. Kubernetes' figure.
const RELEASED_S: i32 = 1;

/// A Lease as it was found.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What it says.
    pub spec: &'a LeaseSpec,
    /// For how long it has been seen to say so, by the own clock.
    pub unchanged_for: Duration,
}

/// What to do about the Lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Someone else holds it.
    Wait {
        /// Who.
        holder: String,
    },
    /// Write this; whose write is accepted holds the Lease.
    Write(LeaseSpec),
}

/// What `me` does about the Lease now.
pub fn step(me: &str, seen: Option<Seen<'_>>, now: Timestamp) -> Step {
    let Some(Seen { spec, unchanged_for }) = seen else { return Step::Write(held(me, now, now, 0)) };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or_default();
    if holder == me {
        let since = spec.acquire_time.as_ref().map_or(now, |time| time.0);
        return Step::Write(held(me, since, now, transitions));
    }
    let counts_for = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
    if !holder.is_empty() && unchanged_for < Duration::from_secs(counts_for) {
        return Step::Wait { holder: holder.to_owned() };
    }
    Step::Write(held(me, now, now, transitions.saturating_add(1)))
}

/// What a holder that goes writes, so that the next one need not wait.
pub fn released(spec: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(RELEASED_S),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        ..spec.clone()
    }
}

/// Whether a holder that last wrote the Lease so long ago must have stopped.
pub fn is_lost(since_written: Duration) -> bool {
    since_written >= RENEW_WITHIN
}

fn held(me: &str, since: Timestamp, now: Timestamp, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(DURATION.as_secs() as i32), // a small constant
        acquire_time: Some(MicroTime(since)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(holder: &str, since: i64, renewed: i64, transitions: i32) -> LeaseSpec {
        held(holder, at(since), at(renewed), transitions)
    }

    #[test]
    fn who_may_write() {
        let wait = |holder: &str| Step::Wait { holder: holder.to_owned() };
        let other = lease("other", 10, 20, 3);
        let short = LeaseSpec { lease_duration_seconds: Some(5), ..other.clone() };
        let broken = LeaseSpec { lease_duration_seconds: Some(-5), ..other.clone() };
        type Case<'a> = (&'a str, Option<(&'a LeaseSpec, u64)>, Step);
        let cases: [Case<'_>; 9] = [
            ("there is none", None, Step::Write(lease("me", 100, 100, 0))),
            ("just seen", Some((&other, 0)), wait("other")),
            ("almost over", Some((&other, 14)), wait("other")),
            // The times in the Lease are another machine's: only the own clock counts.
            ("over", Some((&other, 15)), Step::Write(lease("me", 100, 100, 4))),
            ("over as it says", Some((&short, 5)), Step::Write(lease("me", 100, 100, 4))),
            ("no duration", Some((&broken, 0)), Step::Write(lease("me", 100, 100, 4))),
            ("mine", Some((&lease("me", 50, 90, 4), 3)), Step::Write(lease("me", 50, 100, 4))),
            ("mine, and over", Some((&lease("me", 50, 60, 4), 40)), Step::Write(lease("me", 50, 100, 4))),
            ("released", Some((&released(&other, at(99)), 0)), Step::Write(lease("me", 100, 100, 4))),
        ];
        for (name, seen, want) in cases {
            let seen = seen.map(|(spec, s)| Seen { spec, unchanged_for: Duration::from_secs(s) });
            assert_eq!(step("me", seen, at(100)), want, "{name}");
        }
    }

    #[test]
    fn a_holder_has_stopped_before_another_begins() {
        assert!(!is_lost(RENEW_WITHIN - Duration::from_millis(1)));
        assert!(is_lost(RENEW_WITHIN));
        // It was written, at the latest, when its holder saw the answer; others count from when they saw it change.
        assert!(RENEW_WITHIN + RETRY < DURATION);
    }

    #[test]
    fn who_goes_keeps_the_count() {
        let gone = released(&lease("me", 50, 90, 4), at(91));
        assert_eq!((gone.holder_identity.as_deref(), gone.lease_transitions), (Some(""), Some(4)));
    }
}
