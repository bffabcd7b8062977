//! The pods of a node as they stand.
//!
//! # Invariants
//! What is listed is the store at one revision, none older than the newest at the time of asking.

use store::{Entry, Revision, Store, StoreError};

use crate::app::App;

/// A node's pods in order of their keys; None when the index can't tell in time.
///
/// # Errors
/// When the store can't be read.
pub(crate) async fn list<S: Store>(app: &App<S>, node: &str) -> Result<Option<(Vec<Entry>, Revision)>, StoreError> {
    let newest = app.store.revision().await?;
    if !app.node_pods.sees(newest).await {
        return Ok(None);
    }
    let (keys, at) = app.node_pods.keys(node);
    let mut entries = Vec::with_capacity(keys.len());
    for key in keys {
        match app.store.list(&key, b"", 1, Some(at)).await {
            // The first with this prefix is the key itself.
            Ok(page) => entries.extend(page.entries.into_iter().filter(|entry| entry.key == key)),
            Err(StoreError::Compacted { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some((entries, at)))
}
