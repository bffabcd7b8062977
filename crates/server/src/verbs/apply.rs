//! Server-side apply: PATCH with a configuration.
//!
//! # Invariants
//! What an apply makes goes the way of every create and update: defaults, admission, validation.

use std::sync::Arc;

use api::apply::Configuration;
use api::decode::{self, FieldValidation};
use api::defaults;
use api::kinds::Kind;
use api::rbac::Asked;
use api::status::{self, Attempt, Status};
use http::StatusCode;
use serde_json::Value;
use store::Store;

use super::create;
use super::field_manager::FieldManager;
use super::options::WriteOptions;
use super::write::{Part, Written, replace, settle_name};
use crate::app::{App, Ask, Place};
use crate::auth::{Attributes, Decision, User};
use crate::body;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::negotiate;
use crate::object::{self, meta};
use crate::reply::{self, Reply};
use crate::request::{Query, ResourcePath, Verb};

/// The media type of configurations.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// Answers an apply; computes it anew when someone else wrote in between.
pub(super) async fn apply<S: Store>(
    app: &Arc<App<S>>,
    ask: Ask,
    path: &ResourcePath,
    place: Place<'_>,
    part: Part,
) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let options = WriteOptions::parse(&ask.query)?;
    let manager = FieldManager::of_apply(&ask.query)?;
    let config = Configuration::read(&body::bytes(ask.body).await?)?;
    let _turn = app.event_turns.turn(place.kind).await?;
    for _ in 0..CONFLICT_RETRIES_MAX {
        let old = match app.lookup(place.kind, place.namespace, place.name).await? {
            Some(entry) => Some((object::decode_as(place.kind, &entry)?, entry)),
            None if part == Part::Whole => None,
            None => return Err(place.not_found()),
        };
        let live = old.as_ref().map(|(object, _)| object);
        let merged = api::apply::apply(place.kind, live, &config.value, &manager.writer(part), manager.force)?;
        let repeated = config.repeated(options.validation)?;
        let mut new = decoded(place.kind, merged)?;
        let (code, written, warnings) = match old {
            None => {
                may_create(app, &ask.user, path, &ask.query)?;
                let warnings = api::validate::warnings(place.kind, &new, None);
                (StatusCode::CREATED, make(app, place, &mut new, options).await?, warnings)
            }
            Some((old, entry)) => {
                if meta(&new, "resourceVersion") != meta(&old, "resourceVersion") {
                    return Err(place.modified());
                }
                let warnings = part.warnings(place.kind, &new, &old);
                (StatusCode::OK, replace(app, place, part, &entry, old, new, options.dry_run).await?, warnings)
            }
        };
        if let Some(written) = written {
            let mut response = written.respond(code, form, place)?;
            reply::warn(&mut response, &[repeated, warnings].concat());
            return Ok(response);
        }
    }
    Err(place.modified())
}

/// A merged object in the form of its kind, with its defaults.
fn decoded(kind: &Kind, mut merged: Value) -> Result<Value, Status> {
    decode::normalize(kind, &mut merged, FieldValidation::Ignore)?;
    defaults::apply(kind, &mut merged);
    Ok(merged)
}

/// Makes the object; None when someone else just did.
async fn make<S: Store>(
    app: &Arc<App<S>>,
    place: Place<'_>,
    new: &mut Value,
    options: WriteOptions,
) -> Result<Option<Written>, Status> {
    let uid = meta(new, "uid");
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(place.conflict(&why));
    }
    settle_name(place, new)?;
    match create::make(app, place, new.clone(), options.dry_run).await {
        Err(status) if status.reason() == "AlreadyExists" => Ok(None),
        made => made.map(Some),
    }
}

/// An apply that makes an object needs the right to create it, too.
fn may_create<S: Store>(app: &App<S>, user: &User, path: &ResourcePath, query: &Query) -> Result<(), Status> {
    let create = ResourcePath { verb: Verb::Create, ..path.clone() };
    let attributes = Attributes::of(&create, query);
    let Decision::Deny(why) = app.access.decide(user, &attributes) else { return Ok(()) };
    let Attributes::Resource { asked, namespace } = attributes else { return Ok(()) };
    let Asked { verb, group, resource, subresource, name } = asked;
    Err(status::denied(&Attempt { user: &user.name, verb, group, resource, subresource, namespace, name }, &why))
}
