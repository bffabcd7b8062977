//! Objects are made only in namespaces that exist and stay.

use api::status::{self, Status};
use serde_json::json;
use store::Store;

use crate::app::{App, Place};
use crate::selection::is_deleting;

/// # Errors
/// 404 when the namespace does not exist, 403 when it is being deleted.
pub(super) async fn must_take_content<S: Store>(app: &App<S>, place: Place<'_>) -> Result<(), Status> {
    let (true, Some(namespace)) = (place.kind.namespaced, place.namespace) else { return Ok(()) };
    let Some(kind) = api::kinds::find("", "v1", "namespaces") else { return Ok(()) };
    let entry = app.lookup(kind, None, namespace).await?;
    let entry = entry.ok_or_else(|| status::not_found("", "namespaces", namespace))?;
    if !is_deleting(&entry.value) {
        return Ok(());
    }
    let mut status = place
        .forbidden(&format!("unable to create new content in namespace {namespace} because it is being terminated"));
    status.body["details"]["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(status)
}
