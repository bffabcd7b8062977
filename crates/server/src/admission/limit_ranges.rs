//! Limit ranges of the namespace, held against new pods and claims.

use api::admission::{check_claim, check_pod, default_resources};
use api::status::Status;
use serde_json::Value;
use store::Store;

use crate::app::{App, Place, failure};
use crate::object;

/// Fills in a new pod's resources, and refuses what no range allows.
pub(super) async fn admit_pod<S: Store>(app: &App<S>, place: Place<'_>, pod: &mut Value) -> Result<(), Status> {
    let ranges = ranges(app, place).await?;
    ranges.iter().for_each(|range| default_resources(pod, range));
    ranges.iter().try_for_each(|range| check_pod(pod, range)).map_err(|refused| place.forbidden(&refused.0))
}

/// Refuses a claim that no range allows.
pub(super) async fn admit_claim<S: Store>(app: &App<S>, place: Place<'_>, claim: &Value) -> Result<(), Status> {
    let ranges = ranges(app, place).await?;
    ranges.iter().try_for_each(|range| check_claim(claim, range)).map_err(|refused| place.forbidden(&refused.0))
}

async fn ranges<S: Store>(app: &App<S>, place: Place<'_>) -> Result<Vec<Value>, Status> {
    let Some(kind) = api::kinds::find("", "v1", "limitranges") else { return Ok(Vec::new()) };
    let prefix = object::prefix(kind, place.namespace);
    let page = app.store.list(prefix.as_bytes(), b"", 0, None).await.map_err(failure)?;
    page.entries.iter().map(object::decode).collect()
}
