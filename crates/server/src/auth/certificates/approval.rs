//! Answers `certificatesigningrequests/NAME/approval`.
//!
//! # Invariants
//! Of the request only conditions change, and what was approved or denied stays so.

use std::sync::Arc;

use api::status::{self, Status};
use api::validate::{ErrorType, FieldError};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::Store;

use super::may;
use crate::app::{App, Ask, Place};
use crate::auth::current;
use crate::body;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::negotiate;
use crate::object::{self, meta};
use crate::reply::Reply;
use crate::verbs::Patch;
use crate::verbs::options::WriteOptions;
use crate::verbs::write::{Written, keep_system_metadata, now, settle_name, store_over};

/// How the conditions are told.
enum Asked {
    Whole(Value),
    Change(Patch),
}

/// Takes over the conditions.
pub(crate) async fn update<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let options = WriteOptions::parse(&ask.query)?;
    let asked = match ask.method {
        Method::PATCH => {
            let patch = Patch::read(&negotiate::content_type(&ask.headers), body::bytes(ask.body).await?)?;
            Asked::Change(patch)
        }
        _ => Asked::Whole(body::object(place.kind, &ask.headers, ask.body, options.validation).await?.value),
    };
    for _ in 0..CONFLICT_RETRIES_MAX {
        let entry = app.entry(place).await?;
        let mut new = match &asked {
            Asked::Whole(object) => object.clone(),
            Asked::Change(patch) => patch.apply(place.kind, &object::decode(&entry)?, options.validation)?.value,
        };
        settle_name(place, &mut new)?;
        let asked = meta(&new, "resourceVersion");
        if !asked.is_empty() && asked != entry.mod_revision.0.to_string() {
            return Err(place.modified());
        }
        let old = object::decode(&entry)?;
        let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
        if !may(app, &current(), "approve", signer) {
            let why = format!("user not permitted to approve requests with signerName {signer:?}");
            return Err(place.forbidden(&why));
        }
        let changed = with_conditions(place, &new, &old)?;
        if options.dry_run {
            return Written::Shown(changed).respond(StatusCode::OK, form, place);
        }
        if let Some(written) = store_over(app, place, &entry, changed).await? {
            return written.respond(StatusCode::OK, form, place);
        }
    }
    Err(place.modified())
}

/// The old request with the conditions of the new one.
///
/// # Errors
/// 422 when what was approved or denied would not stay so, or both would be.
fn with_conditions(place: Place<'_>, new: &Value, old: &Value) -> Result<Value, Status> {
    let mut conditions = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let has = |list: &[Value], kind: &str| list.iter().any(|c| c["type"] == kind);
    let before = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let refuse = |detail: &str| {
        let field = "status.conditions".to_owned();
        let error = FieldError { kind: ErrorType::Forbidden, field, bad_value: Value::Null, detail: detail.to_owned() };
        Err(status::invalid(place.kind.group, place.kind.kind, place.name, &[error]))
    };
    for kind in ["Approved", "Denied", "Failed"] {
        if has(&before, kind) && !has(&conditions, kind) {
            return refuse(&format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    if has(&conditions, "Approved") && has(&conditions, "Denied") {
        return refuse("Approved and Denied conditions are mutually exclusive");
    }
    for condition in &mut conditions {
        let kept = before.iter().find(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
        let since = kept.and_then(|c| c["lastTransitionTime"].as_str()).map_or_else(now, str::to_owned);
        for (field, value) in [("lastUpdateTime", now()), ("lastTransitionTime", since)] {
            if condition[field].is_null() {
                condition[field] = value.into();
            }
        }
    }
    let mut changed = old.clone();
    changed["metadata"] = new["metadata"].clone();
    keep_system_metadata(&mut changed, old);
    if !changed["status"].is_object() {
        changed["status"] = json!({});
    }
    changed["status"]["conditions"] = conditions.into();
    Ok(changed)
}
