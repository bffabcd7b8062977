//! Keeps the index current by one watch of all pods.
//!
//! # Invariants
//! - The first list is in the index before the server is ready.
//! - A watch that breaks begins anew from a list, and the watchers that hung on it are told to list again.

use std::sync::Arc;

use api::status::Status;
use store::{Revision, Store, StoreError, Watch};
use tracing::warn;

use super::PREFIX;
use crate::app::{App, failure};
use crate::limits::{FOLLOW_RETRY, LIST_CHUNK};

/// Fills the index and begins to follow the store.
///
/// # Errors
/// When the store can't be read.
pub(crate) async fn start<S: Store>(app: &Arc<App<S>>) -> Result<(), Status> {
    let watch = begin(app).await.map_err(failure)?;
    let following = app.clone();
    app.tasks.spawn(async move {
        let stop = following.shutdown.clone();
        stop.run_until_cancelled(follow(&following, watch)).await;
    });
    Ok(())
}

async fn begin<S: Store>(app: &App<S>) -> Result<S::Watch, StoreError> {
    let at = fill(app).await?;
    app.store.watch(PREFIX.as_bytes(), at).await
}

async fn fill<S: Store>(app: &App<S>) -> Result<Revision, StoreError> {
    let (mut entries, mut after, mut at) = (Vec::new(), Vec::new(), None);
    loop {
        let page = app.store.list(PREFIX.as_bytes(), &after, LIST_CHUNK, at).await?;
        entries.extend(page.entries);
        if !page.more || entries.is_empty() {
            app.node_pods.refill(&entries, page.revision);
            return Ok(page.revision);
        }
        after = entries.last().map(|last| last.key.to_vec()).unwrap_or_default();
        at = Some(page.revision);
    }
}

async fn follow<S: Store>(app: &App<S>, mut watch: S::Watch) {
    let pods = &app.node_pods;
    loop {
        tokio::select! {
            biased;
            event = watch.next() => match event {
                Ok(Some(event)) => {
                    pods.take(&Arc::new(event));
                    pods.reached(watch.progress());
                }
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "the watch of pods broke; listing anew");
                    watch = again(app).await;
                }
            },
            () = pods.look.notified() => pods.reached(watch.progress()),
        }
    }
}

/// A new watch after a new list; tries until the store answers.
async fn again<S: Store>(app: &App<S>) -> S::Watch {
    loop {
        match begin(app).await {
            Ok(watch) => return watch,
            Err(error) => warn!(%error, "pods can't be followed"),
        }
        tokio::time::sleep(FOLLOW_RETRY).await;
    }
}
