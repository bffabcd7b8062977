//! Answers `serviceaccounts/NAME/token`.
//!
//! # Invariants
//! A node gets tokens only for the accounts of pods that it runs, bound to those pods.

use std::sync::Arc;

use api::kinds::{Kind, Subresource};
use api::status::{self, Status};
use api::validate::{ErrorType, FieldError};
use http::StatusCode;
use serde_json::{Value, json};
use store::Store;

use super::claims::Kubernetes;
use super::{Claims, ISSUER, Reference, encode};
use crate::app::{App, Ask, Place};
use crate::auth::User;
use crate::body;
use crate::negotiate;
use crate::object::{self, meta};
use crate::reply::Reply;
use crate::shape;
use crate::verbs::options::WriteOptions;

/// How long tokens hold for those who do not say, in seconds.
const DEFAULT_S: i64 = 3600;
/// Shorter ones would be asked for too often.
const MIN_S: i64 = 600;
/// Longer ones can't be meant.
const MAX_S: i64 = 1 << 32;
/// What admission asks for in pods: an hour, and seven seconds that tell these tokens from others.
const ADMISSION_S: i64 = 3607;
/// Those hold a year, so that clients which never read their token again, or a node that can't reach this server, go on
/// working; agents renew them by the hour all the same.
const EXTENDED_S: i64 = 365 * 24 * 3600;

/// Makes a token.
pub(crate) async fn issue<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let options = WriteOptions::parse(&ask.query)?;
    let kind = Subresource::Token.body_kind().ok_or_else(status::no_such_resource)?;
    let decoded = body::object(kind, &ask.headers, ask.body, options.validation).await?;
    let mut request = decoded.value;
    for (field, wanted) in [("name", place.name), ("namespace", place.namespace.unwrap_or_default())] {
        let found = meta(&request, field);
        if !found.is_empty() && found != wanted {
            let field = format!("metadata.{field}");
            let detail = "must match the service account if specified";
            return Err(refused(kind, place.name, &field, found.into(), detail));
        }
    }
    let account = object::decode(&app.entry(place).await?)?;
    let now = jiff::Timestamp::now();
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_S);
    must_last(kind, seconds)?;
    if request["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        request["spec"]["audiences"] = json!([ISSUER]);
    }
    request["spec"]["expirationSeconds"] = seconds.into();
    let bound = bound(app, place, &request["spec"]["boundObjectRef"]).await?;
    node_may(&ask.user, place, &request["spec"]["boundObjectRef"], &bound)?;
    let claims = claims(&account, &request["spec"], bound, seconds, now.as_second());
    let token = encode(&app.issuer.key, &claims).ok_or_else(|| status::internal("the token can't be signed"))?;
    let ends = jiff::Timestamp::from_second(now.as_second() + seconds).map_err(status::internal)?;
    for field in ["name", "namespace", "uid"] {
        object::metadata_mut(&mut request).insert(field.to_owned(), meta(&account, field).into());
    }
    let made = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    object::metadata_mut(&mut request).insert("creationTimestamp".to_owned(), made.into());
    let ends = ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    request["status"] = json!({"token": token, "expirationTimestamp": ends});
    shape::respond_value(StatusCode::CREATED, form, kind, request)
}

fn refused(kind: &Kind, name: &str, field: &str, bad_value: Value, detail: &str) -> Status {
    let error = FieldError { kind: ErrorType::Invalid, field: field.into(), bad_value, detail: detail.into() };
    status::invalid(kind.group, kind.kind, name, &[error])
}

fn must_last(kind: &Kind, seconds: i64) -> Result<(), Status> {
    let detail = match seconds {
        ..MIN_S => "may not specify a duration less than 10 minutes",
        MIN_S..=MAX_S => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(refused(kind, "", "spec.expirationSeconds", seconds.into(), detail))
}

/// What a token is bound to.
#[derive(Debug, Default)]
struct Bound {
    pod: Option<Reference>,
    secret: Option<Reference>,
    node: Option<Reference>,
}

fn reference(object: &Value) -> Reference {
    Reference { name: meta(object, "name").to_owned(), uid: meta(object, "uid").to_owned() }
}

/// Looks up the object that a token shall be bound to.
async fn bound<S: Store>(app: &App<S>, place: Place<'_>, asked: &Value) -> Result<Bound, Status> {
    let mut bound = Bound::default();
    if !asked.is_object() {
        return Ok(bound);
    }
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let (name, uid) = (text("name"), text("uid"));
    let (plural, namespace) = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => ("pods", place.namespace),
        ("v1", "Secret") => ("secrets", place.namespace),
        ("v1", "Node") => ("nodes", None),
        (version, kind) => {
            return Err(status::bad_request(format!("cannot bind token to object of type {version}, Kind={kind}")));
        }
    };
    let kind = api::kinds::find("", "v1", plural).ok_or_else(status::no_such_resource)?;
    let found = object::decode(&app.entry(Place { kind, namespace, name }).await?)?;
    if !uid.is_empty() && meta(&found, "uid") != uid {
        let found = meta(&found, "uid");
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record ({found}). The object \
             might have been deleted and then recreated"
        );
        return Err(status::conflict("", kind.kind, name, &why));
    }
    match plural {
        "pods" => {
            if found["spec"]["serviceAccountName"].as_str() != Some(place.name) {
                return Err(status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    place.name
                )));
            }
            bound.node = node_of(app, found["spec"]["nodeName"].as_str().unwrap_or_default()).await?;
            bound.pod = Some(reference(&found));
        }
        "secrets" => bound.secret = Some(reference(&found)),
        _ => bound.node = Some(reference(&found)),
    }
    Ok(bound)
}

/// The node that a pod runs on; one that is gone is known by its name alone.
async fn node_of<S: Store>(app: &App<S>, name: &str) -> Result<Option<Reference>, Status> {
    let (false, Some(kind)) = (name.is_empty(), api::kinds::find("", "v1", "nodes")) else { return Ok(None) };
    Ok(Some(match app.lookup(kind, None, name).await? {
        Some(entry) => reference(&object::decode(&entry)?),
        None => Reference { name: name.to_owned(), uid: String::new() },
    }))
}

/// # Errors
/// 403 for a node that asks for a token of a pod that it does not run.
fn node_may(user: &User, place: Place<'_>, asked: &Value, bound: &Bound) -> Result<(), Status> {
    let Some(node) = user.node() else { return Ok(()) };
    let why = match (&bound.pod, &bound.node) {
        (None, _) => "node requested token not bound to a pod",
        (Some(_), _) if asked["uid"].as_str().is_none_or(str::is_empty) => {
            "node requested token with a pod binding without a uid"
        }
        (Some(_), Some(on)) if on.name == node => return Ok(()),
        _ => "node requested token bound to a pod scheduled on a different node",
    };
    Err(place.forbidden(why))
}

fn claims(account: &Value, spec: &Value, bound: Bound, seconds: i64, now: i64) -> Claims {
    let audiences = spec["audiences"].as_array().into_iter().flatten();
    let aud: Vec<String> = audiences.filter_map(Value::as_str).map(str::to_owned).collect();
    let ours = aud.iter().all(|a| a == ISSUER);
    let extended = bound.pod.is_some() && seconds == ADMISSION_S && ours;
    let (namespace, name) = (meta(account, "namespace"), meta(account, "name"));
    Claims {
        aud,
        exp: now + if extended { EXTENDED_S } else { seconds },
        iat: now,
        iss: ISSUER.to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        nbf: now,
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        kubernetes: Kubernetes {
            namespace: namespace.to_owned(),
            node: bound.node,
            pod: bound.pod,
            secret: bound.secret,
            serviceaccount: reference(account),
            warnafter: extended.then_some(now + seconds),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let kind = Subresource::Token.body_kind().unwrap();
        for (seconds, good) in [(0, false), (599, false), (600, true), (MAX_S, true), (MAX_S + 1, false)] {
            assert_eq!(must_last(kind, seconds).is_ok(), good, "{seconds}");
        }
    }
}
