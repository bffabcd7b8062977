//! Running the controllers in one of several processes: in the one that holds the Lease.
//!
//! Invariants: controllers run only while this process holds the Lease and wrote it less than `RENEW_WITHIN` ago, also
//! when a request hangs; when they must stop they are dropped, so that nothing of them is sent any more.
//!
//! Absent: who may write the Lease (`decide::leader`).

use decide::leader::{DURATION, RENEW_WITHIN, RETRY, Seen, Step, is_lost, released, step};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::rights::Rights;
use crate::{Error, Options, wire};

/// Where the Lease is.
const NAMESPACE: &str = "kube-system";
/// Its name, unless another is given: whoever runs some controllers here and some there gives each group its own.
pub const LEASE: &str = "everynode-controllers";

/// Runs the controllers until `shutdown`, but only while this process holds the Lease: it is known by the first name, and
/// the Lease has the second.
///
/// # Errors
///
/// As [`crate::run`]. Losing the Lease is none: the controllers stop, and run again when it is won again.
pub async fn run_elected(
    client: Client,
    options: Options,
    (identity, lease): (String, String),
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut seat = Seat::new(client.clone(), identity, lease);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = seat.acquire() => {}
        }
        tracing::info!(identity = seat.identity, "this process runs the controllers");
        let term = shutdown.child_token();
        let outcome = tokio::select! {
            ended = crate::run(client.clone(), options.clone(), term) => Some(ended),
            () = seat.hold() => None,
        };
        if let Some(ended) = outcome {
            seat.release().await;
            return ended;
        }
        tracing::warn!(identity = seat.identity, "the lease was lost: this process runs no controllers");
    }
}

/// This process's view of the Lease.
struct Seat {
    api: Api<Lease>,
    identity: String,
    /// The name of the Lease.
    lease: String,
    rights: Rights,
    /// As it was found last, and since when it has been so.
    seen: Option<(Lease, Instant)>,
    /// When the last write that was accepted was sent.
    written: Option<Instant>,
}

impl Seat {
    fn new(client: Client, identity: String, lease: String) -> Seat {
        let api = Api::namespaced(client, NAMESPACE);
        Seat { api, identity, lease, rights: Rights::default(), seen: None, written: None }
    }

    /// Waits until this process holds the Lease.
    async fn acquire(&mut self) {
        let mut told = String::new();
        loop {
            // A request that hangs must not outlast the lease that it may win.
            match timeout(RENEW_WITHIN, self.attempt()).await {
                Ok(Ok(Held::Mine)) => return,
                Ok(Ok(Held::Theirs(holder))) if holder != told => {
                    tracing::info!(holder, "another process runs the controllers; waiting");
                    told = holder;
                }
                Ok(Ok(Held::Theirs(_))) => {}
                Ok(Err(error)) if self.rights.tell(&error) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the lease can't be had"),
                Err(_) => tracing::debug!("the lease can't be had: no answer"),
            }
            sleep(RETRY.mul_f64(jitter(&self.identity))).await;
        }
    }

    /// Writes the Lease again and again; returns when it is lost.
    async fn hold(&mut self) {
        loop {
            let Some(written) = self.written.filter(|at| !is_lost(at.elapsed())) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(written + RENEW_WITHIN) => return,
                () = sleep(RETRY) => {}
            }
            match timeout_at(written + RENEW_WITHIN, self.attempt()).await {
                Ok(Ok(Held::Mine)) => {}
                // Someone wrote to the Lease: the next look says whether they took it.
                Ok(Ok(Held::Theirs(holder))) if holder.is_empty() => {}
                Ok(Ok(Held::Theirs(_))) | Err(_) => return,
                Ok(Err(error)) => tracing::debug!(%error, "the lease can't be renewed; trying again"),
            }
        }
    }

    /// Looks at the Lease and writes it if this process may.
    async fn attempt(&mut self) -> kube::Result<Held> {
        let asked = Instant::now();
        let found = self.api.get_opt(&self.lease).await?;
        let unchanged = match (&self.seen, &found) {
            (Some((before, since)), Some(now)) if before.spec == now.spec => Some(*since),
            _ => None,
        };
        let since = unchanged.unwrap_or(asked);
        self.seen = found.map(|lease| (lease, since));
        let empty = LeaseSpec::default();
        let seen = self
            .seen
            .as_ref()
            .map(|(lease, since)| Seen { spec: lease.spec.as_ref().unwrap_or(&empty), unchanged_for: since.elapsed() });
        let spec = match step(&self.identity, seen, Timestamp::now()) {
            Step::Wait { holder } => return Ok(Held::Theirs(holder)),
            Step::Write(spec) => spec,
        };
        let sent = Instant::now();
        match self.write(spec).await {
            Ok(lease) => {
                self.seen = Some((lease, sent));
                self.written = Some(sent);
                Ok(Held::Mine)
            }
            // Someone else was faster.
            Err(error) if wire::code(&error) == 409 => Ok(Held::Theirs(String::new())),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, spec: LeaseSpec) -> kube::Result<Lease> {
        match &self.seen {
            Some((lease, _)) => {
                let lease = Lease { spec: Some(spec), ..lease.clone() };
                self.api.replace(&self.lease, &PostParams::default(), &lease).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
            }
        }
    }

    /// Frees the Lease for the next process, if that is possible at once.
    async fn release(&mut self) {
        let Some((lease, _)) = &self.seen else { return };
        let Some(spec) = lease.spec.as_ref().filter(|s| s.holder_identity.as_ref() == Some(&self.identity)) else {
            return;
        };
        let free = released(spec, Timestamp::now());
        if let Ok(Err(error)) = timeout(RETRY, self.write(free)).await {
            tracing::debug!(%error, "the lease could not be freed; it ends within {} s", DURATION.as_secs());
        }
    }
}

/// Who holds the Lease.
enum Held {
    Mine,
    /// Empty when it is not known who.
    Theirs(String),
}

/// Between 1 and 1.2, by the name: processes that started together look at different times.
fn jitter(identity: &str) -> f64 {
    let sum = identity.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    1.0 + f64::from(sum) / f64::from(u8::MAX) / 5.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn pauses_differ_but_little() {
        for name in ["", "a", "node-1_x", "node-2_y"] {
            let factor = jitter(name);
            assert!((1.0..=1.2).contains(&factor), "{name}: {factor}");
        }
        assert!(RETRY.mul_f64(1.2) < Duration::from_secs(3));
    }
}
