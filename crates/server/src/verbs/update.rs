//! Replacing an object.

use std::sync::Arc;

use api::defaults;
use api::kinds::Kind;
use api::rbac::Asked;
use api::status::{self, Attempt, Status};
use api::validate::{ErrorType, FieldError};
use http::StatusCode;
use serde_json::Value;
use store::Store;

use super::create;
use super::field_manager::FieldManager;
use super::options::WriteOptions;
use super::write::{Part, replace, settle_name};
use crate::app::{App, Ask, Place};
use crate::auth::{self, Attributes, Decision};
use crate::body;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::negotiate;
use crate::object::{self, meta};
use crate::reply::{self, Reply};

/// Kinds that an update makes when there is none: those that Kubernetes' strategies allow it for.
fn creates_on_update(kind: &Kind) -> bool {
    matches!(
        (kind.group, kind.plural),
        ("", "endpoints" | "events" | "limitranges" | "services")
            | ("coordination.k8s.io", "leases")
            | ("rbac.authorization.k8s.io", _)
    )
}

/// Kinds whose updates must say which resourceVersion they replace.
fn needs_revision(kind: &Kind) -> bool {
    kind.custom.is_some()
        || matches!(
            (kind.group, kind.plural),
            ("coordination.k8s.io", "leases")
                | ("apiregistration.k8s.io" | "apiextensions.k8s.io" | "storage.k8s.io", _)
        )
}

/// Answers an update.
pub(crate) async fn update<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>, part: Part) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let options = WriteOptions::parse(&ask.query)?;
    let manager = FieldManager::of_write(&ask.query, &ask.headers, "UpdateOptions")?;
    let text = body::Text::read(&ask.headers, ask.body).await?;
    let _turn = app.event_turns.turn(place.kind).await?;
    let decoded = text.object(place.kind, options.validation)?;
    let (mut new, warnings) = (decoded.value, decoded.warnings);
    defaults::apply(place.kind, &mut new);
    settle_name(place, &mut new)?;
    let asked = meta(&new, "resourceVersion").to_owned();
    for _ in 0..CONFLICT_RETRIES_MAX {
        let Some(entry) = app.lookup(place.kind, place.namespace, place.name).await? else {
            if part != Part::Whole || !creates_on_update(place.kind) || !asked.is_empty() {
                return Err(place.not_found());
            }
            may_create(app, place)?;
            api::apply::record(place.kind, None, &mut new, &manager.writer(part));
            let written = create::make(app, place, new, options.dry_run).await?;
            return warned(written.respond(StatusCode::CREATED, form, place)?, &warnings);
        };
        if asked.is_empty() && needs_revision(place.kind) {
            let error = FieldError {
                kind: ErrorType::Invalid,
                field: "metadata.resourceVersion".to_owned(),
                bad_value: Value::from(0),
                detail: "must be specified for an update".to_owned(),
            };
            return Err(status::invalid(place.kind.group, place.kind.plural, place.name, &[error]));
        }
        if !asked.is_empty() && asked != entry.mod_revision.0.to_string() {
            return Err(place.modified());
        }
        let old = object::decode_as(place.kind, &entry)?;
        let warnings = [warnings.clone(), part.warnings(place.kind, &new, &old)].concat();
        // With a resourceVersion there is no second try.
        let mut written = if asked.is_empty() { new.clone() } else { std::mem::take(&mut new) };
        api::apply::record(place.kind, Some(&old), &mut written, &manager.writer(part));
        match replace(app, place, part, &entry, old, written, options.dry_run).await? {
            Some(written) => return warned(written.respond(StatusCode::OK, form, place)?, &warnings),
            None if !asked.is_empty() => return Err(place.modified()),
            None => {}
        }
    }
    Err(place.modified())
}

/// An update that makes an object needs the right to create it, too.
fn may_create<S: Store>(app: &App<S>, place: Place<'_>) -> Result<(), Status> {
    let Place { kind, namespace, name } = place;
    let (user, namespace) = (auth::current(), namespace.unwrap_or_default());
    let asked = Asked { verb: "create", group: kind.group, resource: kind.plural, subresource: "", name };
    let decision = app.access.decide(&user, &Attributes::Resource { asked, namespace });
    let Decision::Deny(why) = decision else { return Ok(()) };
    let Asked { verb, group, resource, subresource, name } = asked;
    Err(status::denied(&Attempt { user: &user.name, verb, group, resource, subresource, namespace, name }, &why))
}

fn warned(mut response: http::Response<reply::Body>, warnings: &[String]) -> Reply {
    reply::warn(&mut response, warnings);
    Ok(response)
}
