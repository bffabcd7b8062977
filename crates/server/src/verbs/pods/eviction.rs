//! Deleting a pod unless a disruption budget holds it.

use std::sync::Arc;

use api::decode::FieldValidation;
use api::kinds::EVICTION;
use api::status;
use http::StatusCode;
use serde_json::{Value, json};
use store::Store;

use super::budget::{self, Verdict};
use crate::app::{App, Ask, Place};
use crate::body;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::object::{self, meta};
use crate::reply::{self, Reply};
use crate::verbs::delete::{check_preconditions, remove};
use crate::verbs::options::DeleteOptions;
use crate::verbs::write::{Written, now, store_over};

/// Answers a POST to `pods/NAME/eviction`.
pub(crate) async fn evict<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let eviction = body::object(&EVICTION, &ask.headers, ask.body, FieldValidation::Warn).await?.value;
    if !matches!(meta(&eviction, "name"), "") && meta(&eviction, "name") != place.name {
        return Err(status::bad_request("name in URL does not match name in Eviction object"));
    }
    let asked = eviction.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let mut options = DeleteOptions::parse(&ask.query, Some(&asked))?;
    let entry = app.entry(place).await?;
    let pod = object::decode(&entry)?;
    check_preconditions(place, &options, &pod)?;
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
    if !ended && !pod["metadata"]["deletionTimestamp"].is_string() {
        let verdict = budget::ask(app, place, &pod, &entry, options.dry_run).await?;
        if verdict == Verdict::AsItIs && options.resource_version.is_none() {
            options.resource_version = Some(entry.mod_revision.0.to_string());
        }
    }
    if !options.dry_run {
        tell(app, place, &mut options).await?;
    }
    remove(app, place, &options).await?;
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(reply::json(StatusCode::CREATED, &success))
}

/// Writes into the pod why it goes.
async fn tell<S: Store>(app: &App<S>, place: Place<'_>, options: &mut DeleteOptions) -> Result<(), status::Status> {
    for _ in 0..CONFLICT_RETRIES_MAX {
        let entry = app.entry(place).await?;
        let pod = object::decode(&entry)?;
        check_preconditions(place, options, &pod)?;
        let Some(written) = store_over(app, place, &entry, told(pod)).await? else { continue };
        if let (Written::Stored(_, revision), true) = (written, options.resource_version.is_some()) {
            // The change since was ours.
            options.resource_version = Some(revision.0.to_string());
        }
        return Ok(());
    }
    Err(place.modified())
}

fn told(mut pod: Value) -> Value {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now()});
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    match pod["status"]["conditions"].as_array_mut() {
        None => pod["status"]["conditions"] = json!([condition]),
        Some(all) => match all.iter_mut().find(|other| other["type"] == "DisruptionTarget") {
            // Said already: it stays, with its time.
            Some(other) if other["status"] == "True" => {}
            Some(other) => *other = condition,
            None => all.push(condition),
        },
    }
    pod
}
