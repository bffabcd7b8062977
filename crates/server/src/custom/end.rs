//! The end of a definition: its objects go first.
//!
//! # Invariants
//! The finalizer is taken out only when the store has no object of the definition.

use std::sync::{Arc, PoisonError};

use api::crd::{self, CLEANUP};
use api::kinds::Kind;
use api::status::Status;
use serde_json::Value;
use store::{Expect, Store};
use tracing::warn;

use super::PREFIX;
use crate::app::{App, Place, failure};
use crate::auth::{self, User};
use crate::limits::{END_POLL, LIST_CHUNK};
use crate::object;
use crate::verbs::delete::remove;
use crate::verbs::options::DeleteOptions;
use crate::verbs::write::now;

/// The server itself, as it deletes objects.
const SELF: &str = "system:apiserver";

/// Begins the end of a definition, once.
pub(super) fn begin<S: Store>(app: &Arc<App<S>>, name: &str) {
    if !app.customs.registry.write().unwrap_or_else(PoisonError::into_inner).begin_end(name) {
        return;
    }
    let (app, name) = (app.clone(), name.to_owned());
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        let stop = app.shutdown.clone();
        stop.run_until_cancelled(auth::acting(User::master(SELF), run(&app, &name))).await;
        app.customs.registry.write().unwrap_or_else(PoisonError::into_inner).finish_end(&name);
    });
}

async fn run<S: Store>(app: &App<S>, name: &str) {
    loop {
        match step(app, name).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => warn!(definition = name, %error, "a custom resource definition can't be ended yet"),
        }
        tokio::time::sleep(END_POLL).await;
    }
}

/// Deletes what is left; true when the definition waits for nothing more.
async fn step<S: Store>(app: &App<S>, name: &str) -> Result<bool, Status> {
    let key = format!("{PREFIX}{name}");
    let Some(entry) = app.store.get(key.as_bytes()).await.map_err(failure)?.0 else { return Ok(true) };
    let mut definition = object::decode(&entry)?;
    let finalizers = definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !crd::is_terminating(&definition) || !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
        return Ok(true);
    }
    let kinds = app.customs.registry().kinds_of(name);
    let left = match kinds.first() {
        Some(kind) => delete_all(app, kind).await?,
        None => 0,
    };
    if left > 0 {
        let message = "CustomResource deletion is in progress";
        let before = definition.clone();
        crd::with_condition(&mut definition, "Terminating", ("True", "InstanceDeletionInProgress", message), &now());
        if definition != before {
            app.put(&key, Expect::At(entry.mod_revision), object::encode(&definition)?).await?;
        }
        return Ok(false);
    }
    let rest: Vec<Value> = finalizers.into_iter().filter(|finalizer| finalizer != CLEANUP).collect();
    if rest.is_empty() {
        return Ok(app.remove(&key, entry.mod_revision).await?.is_some());
    }
    definition["metadata"]["finalizers"] = rest.into();
    let state = match kinds.is_empty() {
        true => ("False", "NeverEstablished", "resource was never established"),
        false => ("False", "InstanceDeletionCompleted", "removed all instances"),
    };
    crd::with_condition(&mut definition, "Terminating", state, &now());
    Ok(app.put(&key, Expect::At(entry.mod_revision), object::encode(&definition)?).await?.is_some())
}

/// Deletes all objects of a kind as far as they let themselves be; returns how many are left.
async fn delete_all<S: Store>(app: &App<S>, kind: &Kind) -> Result<usize, Status> {
    let prefix = object::prefix(kind, None);
    let (mut after, mut left) = (Vec::new(), 0);
    loop {
        let page = app.store.list(prefix.as_bytes(), &after, LIST_CHUNK, None).await.map_err(failure)?;
        for entry in &page.entries {
            let (namespace, name) = object::names_of_key(kind, &entry.key);
            let place = Place { kind, namespace: Some(namespace).filter(|_| kind.namespaced), name };
            match remove(app, place, &DeleteOptions::default()).await {
                Ok(crate::verbs::delete::Deleted::Gone { .. }) => {}
                Ok(crate::verbs::delete::Deleted::Marked(_)) => left += 1,
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        match page.entries.last() {
            Some(last) if page.more => after = last.key.to_vec(),
            _ => return Ok(left),
        }
    }
}
