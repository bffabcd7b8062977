//! Keeps the index current by a watch, and gathers the rules of aggregated cluster roles.
//!
//! # Invariants
//! - The first list is in the index, and the default roles have what they gather, before the server is ready.
//! - A watch that ends early begins anew from a list; what the index held until then stays in force.

use std::sync::{Arc, PoisonError};

use api::rbac::{aggregated, is_aggregated};
use api::status::Status;
use serde_json::Value;
use store::{Entry, Expect, Revision, Store, StoreError, Watch};
use tracing::warn;

use super::index::{Index, PREFIX};
use crate::app::{App, failure};
use crate::limits::{FOLLOW_RETRY, LIST_CHUNK};
use crate::object;

/// Fills the index and begins to follow the store.
///
/// # Errors
/// When the store can't be read.
pub(crate) async fn start<S: Store>(app: &Arc<App<S>>) -> Result<(), Status> {
    let at = fill(app).await.map_err(failure)?;
    let watch = app.store.watch(PREFIX.as_bytes(), at).await.map_err(failure)?;
    let following = app.clone();
    app.tasks.spawn(async move {
        let stop = following.shutdown.clone();
        stop.run_until_cancelled(follow(&following, watch)).await;
    });
    Ok(())
}

/// Brings the rules of aggregated roles up to date, and begins to keep them so.
///
/// # Errors
/// When the store fails.
pub(crate) async fn aggregate<S: Store>(app: &Arc<App<S>>) -> Result<(), Status> {
    // Roles gather from those that gather: each round settles one more step of the chain.
    while gather_once(app).await? {}
    let gathering = app.clone();
    app.tasks.spawn(async move {
        let stop = gathering.shutdown.clone();
        stop.run_until_cancelled(gather(&gathering)).await;
    });
    Ok(())
}

/// Reads all roles and bindings into a new index; returns as of which revision.
async fn fill<S: Store>(app: &App<S>) -> Result<Revision, StoreError> {
    let mut index = Index::default();
    let (mut after, mut at) = (Vec::new(), None);
    let revision = loop {
        let page = app.store.list(PREFIX.as_bytes(), &after, LIST_CHUNK, at).await?;
        for entry in &page.entries {
            take(&mut index, &entry.key, Some(entry));
        }
        match page.entries.last() {
            Some(last) if page.more => after = last.key.to_vec(),
            _ => break page.revision,
        }
        at = Some(page.revision);
    };
    *app.access.rbac.index.write().unwrap_or_else(PoisonError::into_inner) = index;
    app.access.rbac.seen.send_replace(revision);
    Ok(revision)
}

fn take(index: &mut Index, key: &[u8], entry: Option<&Entry>) {
    let Ok(key) = std::str::from_utf8(key) else { return };
    let object: Option<Value> = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
    index.apply(key, object.as_ref());
}

async fn follow<S: Store>(app: &App<S>, mut watch: S::Watch) {
    let rbac = &app.access.rbac;
    loop {
        match watch.next().await {
            Ok(Some(event)) => {
                let mut index = rbac.index.write().unwrap_or_else(PoisonError::into_inner);
                take(&mut index, &event.key, event.current.as_ref());
                drop(index);
                rbac.seen.send_replace(event.revision);
                if event.key.starts_with(CLUSTER_ROLES.as_bytes()) {
                    rbac.cluster_roles.notify_one();
                }
            }
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "the watch of roles broke; listing anew");
                watch = again(app).await;
                rbac.cluster_roles.notify_one();
            }
        }
    }
}

/// A new watch after a new list; tries until the store answers.
async fn again<S: Store>(app: &App<S>) -> S::Watch {
    loop {
        match fill(app).await {
            Ok(at) => match app.store.watch(PREFIX.as_bytes(), at).await {
                Ok(watch) => return watch,
                Err(error) => warn!(%error, "roles can't be watched"),
            },
            Err(error) => warn!(%error, "roles can't be listed"),
        }
        tokio::time::sleep(FOLLOW_RETRY).await;
    }
}

/// The prefix of the keys of cluster roles.
const CLUSTER_ROLES: &str = "/registry/rbac.authorization.k8s.io/clusterroles/";

/// Writes the rules of aggregated roles whenever a cluster role changed. Its own writes wake it again, so that roles
/// which gather from those that gather follow.
async fn gather<S: Store>(app: &App<S>) {
    loop {
        app.access.rbac.cluster_roles.notified().await;
        if let Err(error) = gather_once(app).await {
            warn!(%error, "aggregated roles can't be brought up to date");
            tokio::time::sleep(FOLLOW_RETRY).await;
            app.access.rbac.cluster_roles.notify_one();
        }
    }
}

/// Writes what aggregated roles lack; whether there was any.
async fn gather_once<S: Store>(app: &App<S>) -> Result<bool, Status> {
    let mut wrote = false;
    let page = app.store.list(CLUSTER_ROLES.as_bytes(), b"", 0, None).await.map_err(failure)?;
    let roles = page.entries.iter().map(|e| object::decode_at(&e.value, e.mod_revision));
    let roles = roles.collect::<Result<Vec<Value>, Status>>()?;
    for (entry, role) in page.entries.iter().zip(&roles) {
        if !is_aggregated(role) {
            continue;
        }
        let rules = aggregated(role, roles.iter());
        if role["rules"].as_array().is_some_and(|have| *have == rules) || (rules.is_empty() && role["rules"].is_null())
        {
            continue;
        }
        let mut role = role.clone();
        role["rules"] = rules.into();
        let key = String::from_utf8_lossy(&entry.key);
        // Someone else wrote in between: their write wakes this loop again.
        app.put(&key, Expect::At(entry.mod_revision), object::encode(&role)?).await?;
        wrote = true;
    }
    Ok(wrote)
}
