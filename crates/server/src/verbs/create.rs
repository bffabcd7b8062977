//! Making an object.

use std::sync::Arc;

use api::status::{self, Status};
use api::validate;
use api::{defaults, prepare};
use http::StatusCode;
use rand::Rng;
use serde_json::Value;
use store::{Expect, Store};

use super::field_manager::FieldManager;
use super::options::WriteOptions;
use super::write::{Part, Written, encode, now, settle_namespace};
use crate::admission;
use crate::app::{App, Ask, Place};
use crate::body;
use crate::limits::GENERATE_RETRIES_MAX;
use crate::negotiate;
use crate::object::{meta, metadata_mut};
use crate::reply::{self, Reply};
use crate::services;

/// Letters of generated names: no vowels, so that no words come out, and nothing that looks like something else.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters that are added to a generateName.
const NAME_SUFFIX_LETTERS: usize = 5;
/// The longest generated name, as in Kubernetes.
const GENERATED_NAME_MAX: usize = 63;

/// Answers a create.
pub(crate) async fn create<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let options = WriteOptions::parse(&ask.query)?;
    let manager = FieldManager::of_write(&ask.query, &ask.headers, "CreateOptions")?;
    let text = body::Text::read(&ask.headers, ask.body).await?;
    let _turn = app.event_turns.turn(place.kind).await?;
    let decoded = text.object(place.kind, options.validation)?;
    let mut object = decoded.value;
    defaults::apply(place.kind, &mut object);
    api::apply::record(place.kind, None, &mut object, &manager.writer(Part::Whole));
    let warnings = [decoded.warnings, validate::warnings(place.kind, &object, None)].concat();
    let written = make(app, place, object, options.dry_run).await?;
    let mut response = written.respond(StatusCode::CREATED, form, place)?;
    reply::warn(&mut response, &warnings);
    Ok(response)
}

/// Makes an object that was decoded and has its defaults.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn make<S: Store>(
    app: &Arc<App<S>>,
    place: Place<'_>,
    mut object: Value,
    dry_run: bool,
) -> Result<Written, Status> {
    settle_namespace(place, &mut object)?;
    if !meta(&object, "resourceVersion").is_empty() {
        return Err(status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let generate = match meta(&object, "name") {
        "" => meta(&object, "generateName").to_owned(),
        _ => String::new(),
    };
    let kind = place.kind;
    let mut name = meta(&object, "name").to_owned();
    if !generate.is_empty() {
        for _ in 0..GENERATE_RETRIES_MAX {
            name = created_name(&generate);
            if app.lookup(kind, place.namespace, &name).await?.is_none() {
                break;
            }
        }
    }
    let place = Place { name: &name, ..place };
    fill_metadata(&mut object, &name);
    admission::create(app, place, &mut object).await?;
    if let Some(written) = store_new(app, place, object, dry_run).await? {
        return Ok(written);
    }
    // Of two that get the same free name in the same moment one is told to try again, as by Kubernetes.
    Err(match generate.is_empty() {
        true => status::already_exists(kind.group, kind.plural, &name),
        false => status::generate_name_conflict(kind.group, kind.plural, &name, 1),
    })
}

/// Prepares, validates and stores a new object. None when there is one of this name.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn store_new<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    mut object: Value,
    dry_run: bool,
) -> Result<Option<Written>, Status> {
    prepare::create(place.kind, &mut object);
    let errors = validate::create(place.kind, &object);
    if !errors.is_empty() {
        return Err(status::invalid(place.kind.group, place.kind.kind, place.name, &errors));
    }
    let claims = services::claim(app, place, &mut object, None, dry_run).await?;
    if dry_run {
        // Nothing was taken.
        let there = app.lookup(place.kind, place.namespace, place.name).await?.is_some();
        return Ok((!there).then_some(Written::Shown(object)));
    }
    let placed = app.placing.place(place.kind, &mut object);
    let value = encode(place.kind, object.into());
    let stored = match value {
        Ok(value) => app.put(&place.key(), Expect::Absent, value.clone()).await.map(|at| at.map(|at| (value, at))),
        Err(status) => Err(status),
    };
    match (&stored, placed) {
        (Ok(Some(_)), Some(placed)) => placed.stored(),
        (Ok(Some(_)), None) => {}
        _ => claims.give_back(app).await,
    }
    Ok(stored?.map(|(value, revision)| Written::Stored(value, revision)))
}

/// What only the server sets.
fn fill_metadata(object: &mut Value, name: &str) {
    let metadata = metadata_mut(object);
    if !name.is_empty() {
        metadata.insert("name".to_owned(), name.into());
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), now().into());
}

/// A name from a generateName.
pub(crate) fn created_name(base: &str) -> String {
    let room = GENERATED_NAME_MAX - NAME_SUFFIX_LETTERS;
    let mut name: String = base.chars().take(room).collect();
    let mut random = rand::rng();
    for _ in 0..NAME_SUFFIX_LETTERS {
        name.push(NAME_LETTERS[random.random_range(0..NAME_LETTERS.len())].into());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit() {
        let name = created_name(&"x".repeat(100));
        assert_eq!(name.len(), GENERATED_NAME_MAX);
        assert_ne!(created_name("a-"), created_name("a-"));
    }
}
