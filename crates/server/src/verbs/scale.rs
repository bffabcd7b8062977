//! The number of replicas of an object, read and written as a Scale.

use std::sync::Arc;

use api::apply::Configuration;
use api::crd::Scale;
use api::decode::{self, FieldValidation};
use api::kinds::{Kind, SCALE};
use api::selector::Labels;
use api::status::{self, Status};
use http::StatusCode;
use serde_json::{Map, Value, json};
use store::Store;

use super::apply::APPLY;
use super::field_manager::FieldManager;
use super::options::WriteOptions;
use super::patch::Patch;
use super::write::{Part, Written, replace};
use crate::app::{App, Ask, Place};
use crate::body;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::negotiate;
use crate::object::{self, meta};
use crate::reply::Reply;
use crate::request::Verb;
use crate::shape;

/// Answers a request for `NAME/scale`.
pub(super) async fn scale<S: Store>(app: &Arc<App<S>>, ask: Ask, verb: Verb, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let options = WriteOptions::parse(&ask.query)?;
    let content_type = negotiate::content_type(&ask.headers);
    let is_apply = verb == Verb::Patch && content_type == APPLY;
    let manager = match (verb, is_apply) {
        (_, true) => FieldManager::of_apply(&ask.query)?,
        (Verb::Patch, _) => FieldManager::of_write(&ask.query, &ask.headers, "PatchOptions")?,
        _ => FieldManager::of_write(&ask.query, &ask.headers, "UpdateOptions")?,
    };
    let change = match verb {
        Verb::Get => {
            let object = object::decode_as(place.kind, &app.entry(place).await?)?;
            let scale = of(place.kind, &object)?;
            must_have_replicas(place.kind, &object)?;
            return shape::respond_value(StatusCode::OK, form, &SCALE, scale);
        }
        Verb::Update => Change::To(body::object(&SCALE, &ask.headers, ask.body, options.validation).await?.value),
        Verb::Patch if is_apply => Change::Over(Configuration::read(&body::bytes(ask.body).await?)?),
        Verb::Patch => Change::By(Patch::read(&content_type, body::bytes(ask.body).await?)?),
        _ => return Err(status::method_not_allowed(place.kind.group, place.kind.plural, verb.as_str())),
    };
    for _ in 0..CONFLICT_RETRIES_MAX {
        let entry = app.entry(place).await?;
        let old = object::decode_as(place.kind, &entry)?;
        let scale = change.apply(place.kind, &old, options, &manager)?;
        let (asked, found) = (meta(&scale, "resourceVersion"), meta(&old, "resourceVersion"));
        if !asked.is_empty() && asked != found {
            return Err(place.modified());
        }
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            return Err(negative(place, replicas));
        }
        let mut new = old.clone();
        match custom_scale(place.kind) {
            Some(scale) => scale.set(&mut new, replicas),
            None => new["spec"]["replicas"] = replicas.into(),
        }
        api::apply::from_scale(place.kind, &scale, &mut new);
        let written = replace(app, place, Part::Whole, &entry, old, new, options.dry_run).await?;
        let object = match written {
            None => continue,
            Some(Written::Stored(value, revision)) => object::decode_at_as(place.kind, &value, revision)?,
            Some(Written::Shown(object)) => object,
        };
        return shape::respond_value(StatusCode::OK, form, &SCALE, of(place.kind, &object)?);
    }
    Err(place.modified())
}

/// What a request does to a scale.
enum Change {
    To(Value),
    By(Patch),
    Over(Configuration),
}

impl Change {
    /// The scale that comes of it, with who manages it.
    fn apply(
        &self,
        kind: &Kind,
        parent: &Value,
        options: WriteOptions,
        manager: &FieldManager,
    ) -> Result<Value, Status> {
        let mut old = of(kind, parent)?;
        api::apply::to_scale(kind, parent, &mut old);
        let writer = manager.writer_of("scale");
        let mut new = match self {
            Change::To(scale) => scale.clone(),
            Change::By(patch) => patch.apply(&SCALE, &old, options.validation)?.value,
            Change::Over(config) => {
                let mut new = api::apply::apply(&SCALE, Some(&old), &config.value, &writer, manager.force)?;
                config.repeated(options.validation)?;
                decode::normalize(&SCALE, &mut new, FieldValidation::Ignore)?;
                return Ok(new);
            }
        };
        api::apply::record(&SCALE, Some(&old), &mut new, &writer);
        Ok(new)
    }
}

fn negative(place: Place<'_>, replicas: i64) -> Status {
    let path = api::validate::Path::root("spec").child("replicas");
    let error = api::validate::FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
    status::invalid(SCALE.group, SCALE.kind, place.name, &[error])
}

/// Where a custom kind keeps its replicas.
fn custom_scale(kind: &Kind) -> Option<&Scale> {
    kind.custom.as_ref()?.scale.as_ref()
}

/// A custom object that says nothing of replicas has no scale to read.
fn must_have_replicas(kind: &Kind, object: &Value) -> Result<(), Status> {
    let Some(scale) = custom_scale(kind) else { return Ok(()) };
    match scale.replicas(object).map_err(status::internal)? {
        Some(_) => Ok(()),
        None => Err(status::internal(scale.missing())),
    }
}

/// The scale of an object.
fn of(kind: &Kind, object: &Value) -> Result<Value, Status> {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut spec = Map::new();
    let (wanted, current, selector) = match custom_scale(kind) {
        Some(scale) => (
            scale.replicas(object).map_err(status::internal)?,
            scale.current(object).map_err(status::internal)?,
            scale.selector(object).map_err(status::internal)?,
        ),
        None => (
            object["spec"]["replicas"].as_i64(),
            object["status"]["replicas"].as_i64().unwrap_or(0),
            selector(&object["spec"]["selector"]),
        ),
    };
    if let Some(replicas) = wanted.filter(|n| *n != 0) {
        spec.insert("replicas".to_owned(), replicas.into());
    }
    let mut status = json!({"replicas": current});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    Ok(json!({"kind": SCALE.kind, "apiVersion": SCALE.api_version(), "metadata": metadata, "spec": spec,
        "status": status}))
}

/// A selector as text; replication controllers have a plain set of labels.
fn selector(selector: &Value) -> String {
    if selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none() {
        let labels = selector.as_object().into_iter().flatten();
        let terms: Vec<String> = labels.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
        return terms.join(",");
    }
    Labels::from_json(selector).map(|labels| labels.to_string()).unwrap_or_default()
}
