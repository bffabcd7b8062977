//! What Services are given: cluster IPs and node ports.
//!
//! Each address and port that is taken has a key of its own in the store: an IPAddress object, as in Kubernetes, or a
//! record of the port. Who makes the key has the address.
//!
//! # Invariants
//! - No two Services get the same address or port, also not from two servers on one store.
//! - What was taken for a write that failed is given back; what a crash left over is found by `repair`.
//!
//! # Absent
//! IPv6, further ServiceCIDRs, and a proxy: nothing here forwards traffic.

mod addresses;
mod holding;
pub(crate) mod own;
mod ports;
mod range;
mod repair;

use api::status::{self, Status};
use api::validate::FieldError;
use serde_json::Value;
use store::{Expect, Revision, Store};
use tracing::debug;

pub use range::{RangeError, ServiceRange};
pub(crate) use repair::start;

use crate::app::{App, Place};
use holding::Holding;

/// What was taken for one write.
#[derive(Debug, Default)]
pub(crate) struct Claims(Vec<(String, Revision)>);

/// Whether a place is one of a Service.
fn is_service(place: Place<'_>) -> bool {
    (place.kind.group, place.kind.plural) == ("", "services")
}

/// Gives a Service that was validated what it lacks, and takes what it names. `old` is the stored one.
///
/// # Errors
/// 422 for an address or port that is taken or out of range; 500 when none is left.
pub(crate) async fn claim<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    service: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Claims, Status> {
    let mut claims = Claims::default();
    if !is_service(place) {
        return Ok(claims);
    }
    let held = old.map(holding::of).unwrap_or_default();
    let taker = Taker { app, place, dry_run };
    let taken = match addresses::claim(&taker, service, &held, &mut claims).await {
        Ok(()) => ports::claim(&taker, service, &held, &mut claims).await,
        refused => refused,
    };
    match taken {
        Ok(()) => Ok(claims),
        Err(status) => {
            claims.give_back(app).await;
            Err(status)
        }
    }
}

impl Claims {
    /// Gives everything back: the write did not happen.
    pub(crate) async fn give_back<S: Store>(self, app: &App<S>) {
        for (key, revision) in self.0 {
            if let Err(error) = app.remove(&key, revision).await {
                debug!(key, %error, "an address or port is given back later");
            }
        }
    }
}

/// What a Service had and no longer has.
#[derive(Debug, Default)]
pub(crate) struct GivenUp(Vec<Holding>);

/// What is given up when `new` takes the place of a Service, or when nothing does.
pub(crate) fn given_up(place: Place<'_>, old: &Value, new: Option<&Value>) -> GivenUp {
    if !is_service(place) {
        return GivenUp::default();
    }
    let kept = new.map(holding::of).unwrap_or_default();
    GivenUp(holding::of(old).into_iter().filter(|holding| !kept.contains(holding)).collect())
}

impl GivenUp {
    /// Gives it back: the write happened.
    pub(crate) async fn release<S: Store>(self, app: &App<S>, place: Place<'_>) {
        for holding in self.0 {
            if let Err(error) = holding.give_back(app, place.namespace.unwrap_or_default(), place.name).await {
                debug!(?holding, %error, "an address or port is given back later");
            }
        }
    }
}

/// Who takes something, for which Service.
struct Taker<'a, S> {
    app: &'a App<S>,
    place: Place<'a>,
    dry_run: bool,
}

impl<S: Store> Taker<'_, S> {
    /// Takes one address or port; false when it is taken.
    async fn take(&self, holding: Holding, claims: &mut Claims) -> Result<bool, Status> {
        let key = holding.key();
        if self.dry_run {
            return Ok(self.app.store.get(key.as_bytes()).await.map_err(crate::app::failure)?.0.is_none());
        }
        let record = holding.record(self.place.namespace.unwrap_or_default(), self.place.name)?;
        let taken = self.app.put(&key, Expect::Absent, record).await?;
        claims.0.extend(taken.map(|revision| (key, revision)));
        Ok(taken.is_some())
    }

    fn invalid(&self, error: FieldError) -> Status {
        status::invalid(self.place.kind.group, self.place.kind.kind, self.place.name, &[error])
    }
}
