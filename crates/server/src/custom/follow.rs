//! Keeps the registry current by a watch.
//!
//! # Invariants
//! - The first list is in the registry before the server is ready.
//! - A watch that ends early begins anew from a list; what the registry held until then stays in force.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use api::status::Status;
use store::{Entry, Revision, Store, StoreError, Watch};
use tracing::warn;

use super::{PREFIX, settle};
use crate::app::{App, failure};
use crate::limits::{DEFINITIONS_CHUNK, FOLLOW_RETRY};

/// Fills the registry and begins to follow the store.
///
/// # Errors
/// When the store can't be read.
pub(crate) async fn start<S: Store>(app: &Arc<App<S>>) -> Result<(), Status> {
    let at = fill(app).await.map_err(failure)?;
    let watch = app.store.watch(PREFIX.as_bytes(), at).await.map_err(failure)?;
    let (following, settling) = (app.clone(), app.clone());
    app.tasks.spawn(async move {
        let stop = following.shutdown.clone();
        stop.run_until_cancelled(follow(&following, watch)).await;
    });
    app.tasks.spawn(async move {
        let stop = settling.shutdown.clone();
        stop.run_until_cancelled(settle::run(&settling)).await;
    });
    Ok(())
}

/// Reads all definitions into the registry; returns as of which revision.
async fn fill<S: Store>(app: &App<S>) -> Result<Revision, StoreError> {
    let (mut after, mut at, mut names) = (Vec::new(), None, BTreeSet::new());
    let revision = loop {
        let page = app.store.list(PREFIX.as_bytes(), &after, DEFINITIONS_CHUNK, at).await?;
        for entry in &page.entries {
            names.extend(take(app, &entry.key, Some(entry)));
        }
        match page.entries.last() {
            Some(last) if page.more => after = last.key.to_vec(),
            _ => break page.revision,
        }
        at = Some(page.revision);
    };
    app.customs.registry.write().unwrap_or_else(PoisonError::into_inner).retain(&names);
    app.customs.seen.send_replace(revision);
    app.customs.unsettled.notify_one();
    Ok(revision)
}

fn take<S: Store>(app: &App<S>, key: &[u8], entry: Option<&Entry>) -> Option<String> {
    let name = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.to_owned();
    app.customs.registry.write().unwrap_or_else(PoisonError::into_inner).apply(&name, entry);
    Some(name)
}

async fn follow<S: Store>(app: &App<S>, mut watch: S::Watch) {
    loop {
        match watch.next().await {
            Ok(Some(event)) => {
                take(app, &event.key, event.current.as_ref());
                app.customs.seen.send_replace(event.revision);
                app.customs.unsettled.notify_one();
            }
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "the watch of custom resource definitions broke; listing anew");
                watch = again(app).await;
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
                Err(error) => warn!(%error, "custom resource definitions can't be watched"),
            },
            Err(error) => warn!(%error, "custom resource definitions can't be listed"),
        }
        tokio::time::sleep(FOLLOW_RETRY).await;
    }
}
