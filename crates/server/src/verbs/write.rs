//! What create, update, patch and delete share: metadata that only the server sets, and the one way an object changes.
//!
//! # Invariants
//! - A change is stored only over the revision that it was computed from.
//! - What does not change is not written, so its resourceVersion stays.
//! - A write that waits for the disk holds text and no objects: in a large fleet thousands wait at once, and an object is
//!   twenty times its text in many small pieces.

use api::kinds::Kind;
use api::prepare;
use api::status::{self, Status};
use api::validate;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};
use store::{Entry, Expect, Revision, Store};

use crate::admission;
use crate::app::{App, Place};
use crate::negotiate::Form;
use crate::object::{self, meta, metadata_mut};
use crate::outline::Outline;
use crate::reply::Body;
use crate::services;
use crate::shape::{self, Include};

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Status,
    /// The finalizers in a namespace's spec.
    Finalize,
    /// The debugging containers of a pod.
    EphemeralContainers,
    /// The resources of a pod's containers.
    Resize,
}

impl Part {
    /// The subresource's name; empty for the whole object.
    pub(super) fn subresource(self) -> &'static str {
        match self {
            Part::Whole => "",
            Part::Status => "status",
            Part::Finalize => "finalize",
            Part::EphemeralContainers => "ephemeralcontainers",
            Part::Resize => "resize",
        }
    }

    /// What is accepted in `new` but likely not meant. Only whole objects are written by people.
    pub(crate) fn warnings(self, kind: &Kind, new: &Value, old: &Value) -> Vec<String> {
        match self {
            Part::Whole => validate::warnings(kind, new, Some(old)),
            Part::Status | Part::Finalize | Part::EphemeralContainers | Part::Resize => Vec::new(),
        }
    }
}

/// What came of a write.
pub(crate) enum Written {
    /// It is stored, or was so already.
    Stored(Bytes, Revision),
    /// It would be stored, but was not asked to; or it was removed. This is how it looks.
    Shown(Value),
}

impl Written {
    /// The response that shows it.
    ///
    /// # Errors
    /// 500 when stored bytes are broken.
    pub(crate) fn respond(self, code: StatusCode, form: Form, place: Place<'_>) -> Result<Response<Body>, Status> {
        match self {
            Written::Stored(value, revision) => {
                shape::respond(code, form, Include::Metadata, place.kind, &value, revision)
            }
            Written::Shown(object) => shape::respond_value(code, form, place.kind, object),
        }
    }
}

/// Now, as objects carry it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Holds the namespace of an object against the one of the request, and fills it in.
///
/// # Errors
/// 400 when they differ.
pub(crate) fn settle_namespace(place: Place<'_>, object: &mut Value) -> Result<(), Status> {
    let metadata = metadata_mut(object);
    let found = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    match (place.kind.namespaced, place.namespace) {
        (true, Some(wanted)) if found.is_empty() || found == wanted => {
            metadata.insert("namespace".to_owned(), wanted.into());
            Ok(())
        }
        (true, Some(_)) => Err(status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        (true, None) => Err(status::bad_request("an empty namespace may not be set during creation")),
        (false, _) if found.is_empty() => Ok(()),
        (false, _) => Err(status::bad_request("namespace is not allowed on this type")),
    }
}

/// Holds the name of an object against the one in the path.
///
/// # Errors
/// 400 when they differ.
pub(crate) fn settle_name(place: Place<'_>, object: &mut Value) -> Result<(), Status> {
    match meta(object, "name") {
        "" => {
            metadata_mut(object).insert("name".to_owned(), place.name.into());
            Ok(())
        }
        name if name == place.name => Ok(()),
        name => Err(status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            place.name
        ))),
    }
}

/// Keeps what only the server sets in the metadata.
pub(crate) fn keep_system_metadata(new: &mut Value, old: &Value) {
    let old: &Map<String, Value> = match old["metadata"].as_object() {
        Some(old) => old,
        None => return,
    };
    let metadata = metadata_mut(new);
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        match old.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    metadata.remove("selfLink");
}

/// Whether an object whose deletion waits has nothing left that it waits for.
fn is_let_go(place: Place<'_>, new: &Value, old: &Value) -> bool {
    let metadata = &old["metadata"];
    let marked = metadata["deletionTimestamp"].is_string();
    let graceless = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    let in_spec = place.kind.plural == "namespaces"
        && place.kind.group.is_empty()
        && new["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    marked && graceless && !in_spec && !object::has_finalizers(new)
}

/// Puts `new` in the place of the object in `entry`, which `old` is the parse of, as far as `new` goes. None when someone
/// else wrote in between. `new` is decoded and has its defaults.
///
/// # Errors
/// What is wrong with `new`.
pub(crate) async fn replace<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    part: Part,
    entry: &Entry,
    old: Value,
    new: impl Into<Outline>,
    dry_run: bool,
) -> Result<Option<Written>, Status> {
    let Outline { object: mut new, left } = new.into();
    settle_namespace(place, &mut new)?;
    settle_name(place, &mut new)?;
    let (asked, found) = (meta(&new, "uid"), meta(&old, "uid"));
    if !asked.is_empty() && asked != found {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}");
        return Err(place.conflict(&why));
    }
    admission::update(app, place, &new, &old)?;
    let errors = match part {
        Part::Whole => {
            prepare::update(place.kind, &mut new, &old);
            keep_system_metadata(&mut new, &old);
            validate::update(place.kind, &new, &old)
        }
        Part::Status => {
            prepare::update_status(place.kind, &mut new, &old);
            keep_system_metadata(&mut new, &old);
            validate::update_status(place.kind, &new, &old)
        }
        Part::Finalize => {
            prepare::finalize(&mut new, &old);
            keep_system_metadata(&mut new, &old);
            validate::finalize(&new, &old)
        }
        Part::EphemeralContainers => {
            prepare::ephemeral_containers(&mut new, &old);
            keep_system_metadata(&mut new, &old);
            validate::ephemeral_containers(&new, &old)
        }
        Part::Resize => {
            prepare::resize(&mut new, &old);
            keep_system_metadata(&mut new, &old);
            validate::resize(&new, &old)
        }
    };
    if !errors.is_empty() {
        return Err(status::invalid(place.kind.group, place.kind.kind, place.name, &errors));
    }
    api::apply::keep_times(&mut new, &old);
    if is_let_go(place, &new, &old) && !dry_run {
        let given_up = services::given_up(place, &old, None);
        let removed = app.remove(&place.key(), entry.mod_revision).await?;
        if removed.is_some() {
            given_up.release(app, place).await;
        }
        let shown = Outline { object: new, left }.whole()?;
        return Ok(removed.map(|_| Written::Shown(shown)));
    }
    let claims = services::claim(app, place, &mut new, Some(&old), dry_run).await?;
    if dry_run {
        return Ok(Some(Written::Shown(Outline { object: new, left }.whole()?)));
    }
    let given_up = services::given_up(place, &old, Some(&new));
    let value = encode(place.kind, Outline { object: new, left });
    drop(old);
    let stored = match value {
        Ok(value) => store_value(app, place, entry, value).await,
        Err(status) => Err(status),
    };
    match &stored {
        Ok(Some(_)) => given_up.release(app, place).await,
        _ => claims.give_back(app).await,
    }
    stored
}

/// The stored form of an object. One that is too large may become small enough without the account of its managers.
pub(super) fn encode(kind: &Kind, mut object: Outline) -> Result<Bytes, Status> {
    match object::encode_as(kind, &object) {
        Err(status) if status.code == 413 => match object.forget_managers() {
            true => object::encode_as(kind, &object),
            false => Err(status),
        },
        encoded => encoded,
    }
}

/// Stores an object that was checked already over `entry`. None when someone else wrote in between.
pub(crate) async fn store_over<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    entry: &Entry,
    new: impl Into<Outline>,
) -> Result<Option<Written>, Status> {
    let value = object::encode_as(place.kind, &new.into())?;
    store_value(app, place, entry, value).await
}

async fn store_value<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    entry: &Entry,
    value: Bytes,
) -> Result<Option<Written>, Status> {
    if value == entry.value {
        return Ok(Some(Written::Stored(value, entry.mod_revision)));
    }
    let revision = app.put(&place.key(), Expect::At(entry.mod_revision), value.clone()).await?;
    Ok(revision.map(|revision| Written::Stored(value, revision)))
}
