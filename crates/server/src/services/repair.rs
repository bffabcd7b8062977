//! Finds what a crash left over: addresses and ports without their Service, and Services whose addresses nobody keeps.
//!
//! # Invariants
//! - What is young is left alone: its Service may be about to be stored.
//! - Keys are read before Services, so that one that is stored meanwhile is seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use jiff::{SignedDuration, Timestamp};
use store::{Entry, Expect, Store};
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::holding::{self, Holding};
use crate::app::{App, failure};
use crate::object;

/// How often is looked: a leftover costs one of many addresses until then.
const EVERY: Duration = Duration::from_secs(600);
/// A request that makes a Service is over by then.
const YOUNG: SignedDuration = SignedDuration::from_secs(60);

/// Looks until the server stops.
pub(crate) fn start<S: Store>(app: &Arc<App<S>>) {
    let app = Arc::clone(app);
    app.clone().tasks.spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = repair(&app, Timestamp::now()).await {
                warn!(%error, "addresses and ports of Services can't be checked; trying again in ten minutes");
            }
        }
    });
}

/// Looks once.
pub(super) async fn repair<S: Store>(app: &App<S>, now: Timestamp) -> Result<(), Status> {
    let mut kept: Vec<Entry> = Vec::new();
    for prefix in [holding::addresses(), holding::PORTS.to_owned()] {
        kept.extend(app.store.list(prefix.as_bytes(), b"", 0, None).await.map_err(failure)?.entries);
    }
    let mut wanted = services(app).await?;
    for entry in kept {
        let (Some(holding), Some(owner)) = (Holding::of_entry(&entry), holding::owner(&entry)) else { continue };
        let right =
            wanted.remove(&holding).is_some_and(|(namespace, name)| (namespace, name) == (owner.namespace, owner.name));
        if !right && now.duration_since(owner.since) > YOUNG {
            app.remove(&holding.key(), entry.mod_revision).await?;
        }
    }
    for (holding, (namespace, name)) in wanted {
        if matches!(holding, Holding::Address(ip) if !app.service_range.contains(ip)) {
            continue;
        }
        app.put(&holding.key(), Expect::Absent, holding.record(&namespace, &name)?).await?;
    }
    Ok(())
}

/// Who has what.
async fn services<S: Store>(app: &App<S>) -> Result<BTreeMap<Holding, (String, String)>, Status> {
    let mut all = BTreeMap::new();
    let Some(kind) = api::kinds::find("", "v1", "services") else { return Ok(all) };
    let page = app.store.list(object::prefix(kind, None).as_bytes(), b"", 0, None).await.map_err(failure)?;
    for entry in &page.entries {
        let (namespace, name) = object::names_of_key(kind, &entry.key);
        for holding in holding::of(&object::decode(entry)?) {
            all.entry(holding).or_insert_with(|| (namespace.to_owned(), name.to_owned()));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Tokens;
    use crate::auth::accounts::Issuer;
    use crate::pki::AccountKey;
    use serde_json::json;
    use store::embedded::{Embedded, Options};
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn leftovers_go_and_gaps_are_filled() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        let issuer = Issuer { key: AccountKey::open(dir.path()).unwrap(), url: String::new() };
        let app = App::new(store, Tokens::default(), issuer, CancellationToken::new());
        let service =
            json!({"metadata": {"name": "b"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"nodePort": 30001}]}});
        app.put("/registry/core/services/a/b", Expect::Absent, object::encode(&service).unwrap()).await.unwrap();
        let leftover = Holding::Port(30_002);
        app.put(&leftover.key(), Expect::Absent, leftover.record("a", "gone").unwrap()).await.unwrap();

        let now = Timestamp::now();
        repair(&app, now).await.unwrap();
        let there = async |holding: Holding| app.store.get(holding.key().as_bytes()).await.unwrap().0.is_some();
        assert!(there(leftover).await, "its Service may still be on the way");
        assert!(there(Holding::Address([10, 96, 0, 9].into())).await && there(Holding::Port(30_001)).await);
        repair(&app, now + SignedDuration::from_secs(120)).await.unwrap();
        assert!(!there(leftover).await);
        assert!(there(Holding::Port(30_001)).await);
    }
}
