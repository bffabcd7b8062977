//! Gives each definition the status that is due, one after the other.
//!
//! # Invariants
//! A status is written only over the revision that it was made from; who writes in between wakes this loop again.

use std::sync::{Arc, PoisonError};

use api::crd;
use api::status::Status;
use bytes::Bytes;
use serde_json::Value;
use store::{Expect, Revision, Store};
use tracing::warn;

use super::{PREFIX, end};
use crate::app::App;
use crate::limits::FOLLOW_RETRY;
use crate::object;
use crate::verbs::write::now;

/// Settles whatever is unsettled, whenever something is.
pub(super) async fn run<S: Store>(app: &Arc<App<S>>) {
    loop {
        app.customs.unsettled.notified().await;
        loop {
            let next = app.customs.registry.write().unwrap_or_else(PoisonError::into_inner).next_unsettled();
            let Some((name, value, revision, taken)) = next else {
                if app.customs.registry().is_unsettled() {
                    continue;
                }
                break;
            };
            if let Err(error) = one(app, &name, &value, revision, &taken).await {
                warn!(definition = name, %error, "the status of a custom resource definition can't be written");
                tokio::time::sleep(FOLLOW_RETRY).await;
                app.customs.registry.write().unwrap_or_else(PoisonError::into_inner).unsettle(&name);
            }
        }
    }
}

async fn one<S: Store>(
    app: &Arc<App<S>>,
    name: &str,
    value: &Bytes,
    revision: Revision,
    taken: &crd::Names,
) -> Result<(), Status> {
    let definition: Value = object::decode_at(value, revision)?;
    if crd::is_terminating(&definition) {
        end::begin(app, name);
        return Ok(());
    }
    let Some(settled) = crd::settle(&definition, taken, &now()) else { return Ok(()) };
    app.put(&format!("{PREFIX}{name}"), Expect::At(revision), object::encode(&settled)?).await?;
    Ok(())
}
