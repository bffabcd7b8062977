//! When a node's certificate is renewed, and the renewing.
//!
//! # Invariants
//! - It begins at a moment between 70 % and 90 % of the certificate's life, other for each node, and is tried until it works.
//! - The new pair is on the disk before it is used. Pods, watches and the tunnel go on; what is opened next shows the new one.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::identity::{Folder, Identity, Life};
use super::link::Link;
use super::request;

/// The part of the life after which renewing begins, and over which the nodes of a fleet spread: as the kubelet's.
const BEGIN: f64 = 0.7;
const SPREAD: f64 = 0.2;
/// Tries in what is left of a life, before waits are cut to the bounds: enough that one server's restart does no harm.
const TRIES: u32 = 20;
/// Bounds of the wait between two tries.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// The longest sleep: the clock may have been set, or the machine have slept.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// When to begin; `chance` is between 0 and 1.
fn begin(life: Life, chance: f64) -> Timestamp {
    let whole = life.until.duration_since(life.from).as_secs_f64().max(0.0);
    let part = Duration::try_from_secs_f64(whole * (BEGIN + SPREAD * chance)).unwrap_or_default();
    life.from.checked_add(part).unwrap_or(life.until)
}

/// How long to wait after a try that failed.
fn wait(life: Life, now: Timestamp) -> Duration {
    let left = life.until.duration_since(now);
    let left = if left.is_negative() { Duration::ZERO } else { left.unsigned_abs() };
    (left / TRIES).clamp(WAIT_MIN, WAIT_MAX)
}

/// Renews the certificate again and again until shutdown.
pub(crate) async fn keep(folder: Folder, mut identity: Identity, link: Arc<Link>, shutdown: CancellationToken) {
    loop {
        let at = begin(identity.life, rand::rng().random_range(0.0..1.0));
        tracing::debug!("node {}: its certificate is renewed at {at}", folder.node());
        if shutdown.run_until_cancelled(sleep_until(at)).await.is_none() {
            return;
        }
        match shutdown.run_until_cancelled(renewed(&folder, &identity, &link)).await {
            Some(new) => identity = new,
            None => return,
        }
    }
}

/// Tries until there is a new certificate.
async fn renewed(folder: &Folder, old: &Identity, link: &Arc<Link>) -> Identity {
    let (mut told, mut told_expired) = (false, false);
    loop {
        match renew(folder, old, link).await {
            Ok(new) => return new,
            Err(error) if !told => {
                told = true;
                tracing::warn!("node {}: its certificate can't be renewed yet: {error:#}", folder.node());
            }
            Err(error) => tracing::debug!("node {}: its certificate: {error:#}", folder.node()),
        }
        let now = Timestamp::now();
        if old.life.has_ended(now) && !told_expired {
            told_expired = true;
            tracing::error!("{}", folder.expired(old.life));
        }
        tokio::time::sleep(wait(old.life, now)).await;
    }
}

async fn renew(folder: &Folder, old: &Identity, link: &Arc<Link>) -> anyhow::Result<Identity> {
    let pair = request::pair(&link.client(), folder.node()).await?;
    let new = Identity::new(old.servers.clone(), old.authority_pem.clone(), pair)?;
    folder.write(&new)?;
    link.show(&new)?;
    tracing::info!("node {}: its certificate is renewed; the new one ends {}", folder.node(), new.life.until);
    Ok(new)
}

async fn sleep_until(at: Timestamp) {
    loop {
        let left = at.duration_since(Timestamp::now());
        if left.is_negative() || left.is_zero() {
            return;
        }
        tokio::time::sleep(left.unsigned_abs().min(LOOK_EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Life {
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Life { from, until: from + Duration::from_secs(1000) }
    }

    #[test]
    fn between_70_and_90_percent_of_the_life() {
        let after = |chance| begin(life(), chance).duration_since(life().from).as_secs();
        assert_eq!([0.0, 0.5, 1.0].map(after), [700, 800, 900]);
    }

    #[test]
    fn waits_fit_into_what_is_left() {
        let at = |seconds| wait(life(), life().from + Duration::from_secs(seconds));
        assert_eq!(at(900), Duration::from_secs(5));
        assert_eq!([at(1000), at(5000)], [WAIT_MIN; 2]);
        let year = Life { until: life().from + Duration::from_secs(365 * 86400), ..life() };
        assert_eq!(wait(year, year.from), WAIT_MAX);
    }
}
