//! Questions that are answered and never stored: who am I, may I, may they.
//!
//! # Invariants
//! The answer is that of the same authorizer that every request passes.

use std::sync::Arc;

use api::decode::FieldValidation;
use api::kinds::{self, Kind};
use api::rbac::Asked;
use api::status::{self, Status};
use api::validate::{ErrorType, FieldError};
use http::StatusCode;
use serde_json::{Map, Value, json};
use store::Store;

use crate::app::{App, Ask, Place};
use crate::auth::accounts::ISSUER;
use crate::auth::{Attributes, Decision, User, by_token};
use crate::body;
use crate::negotiate::{self, Shape};
use crate::reply::Reply;
use crate::shape;

/// Whether objects of a kind are questions.
pub(crate) fn is_question(kind: &Kind) -> bool {
    matches!(kind.verbs, [kinds::Verb::Create])
}

/// Answers one.
pub(crate) async fn answer<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    if place.kind.plural == "bindings" {
        return crate::verbs::pods::binding::bind_named(app, ask, place.namespace).await;
    }
    let form = negotiate::accept(&ask.headers)?;
    if form.shape != Shape::Whole {
        // An answer is no object that could be printed.
        return Err(status::not_acceptable(&["application/json", "application/yaml"]));
    }
    let decoded = body::object(place.kind, &ask.headers, ask.body, FieldValidation::Warn).await?;
    let mut object = decoded.value;
    object["status"] = match place.kind.plural {
        "selfsubjectreviews" => json!({"userInfo": user_info(&ask.user)}),
        "tokenreviews" => token(app, &object["spec"]).await?,
        "selfsubjectaccessreviews" => {
            must_be_askable(place, &object, false)?;
            decide(app, &ask.user, &object["spec"])
        }
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            must_be_askable(place, &object, true)?;
            decide(app, &asked_user(&object["spec"]), &object["spec"])
        }
        "selfsubjectrulesreviews" => rules(app, &ask.user, object["spec"]["namespace"].as_str().unwrap_or_default())?,
        _ => return Err(status::method_not_allowed(place.kind.group, place.kind.plural, "create")),
    };
    shape::respond_value(StatusCode::CREATED, form, place.kind, object)
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// Who a token speaks for.
async fn token<S: Store>(app: &App<S>, spec: &Value) -> Result<Value, Status> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(status::bad_request("token is required for TokenReview in authentication"));
    }
    let asked: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let audiences = if asked.is_empty() { vec![ISSUER.to_owned()] } else { asked };
    Ok(match by_token(app, token, &audiences).await {
        Ok((user, audiences)) => json!({"authenticated": true, "user": user_info(&user), "audiences": audiences}),
        Err(why) => json!({"user": {}, "error": why}),
    })
}

/// Every rule that holds for a user in a namespace.
fn rules<S: Store>(app: &App<S>, user: &User, namespace: &str) -> Result<Value, Status> {
    if namespace.is_empty() {
        return Err(status::bad_request("no namespace on request"));
    }
    let (held, missing) = app.access.rbac.rules(user, namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in held {
        let json = rule.to_json();
        match rule.non_resource_urls.is_empty() {
            true => resources.push(json),
            false => paths.push(json),
        }
    }
    let mut answer = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": !missing.is_empty()});
    if !missing.is_empty() {
        answer["evaluationError"] = missing.join(", ").into();
    }
    Ok(answer)
}

fn asked_user(spec: &Value) -> User {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = spec["extra"].as_object().cloned().unwrap_or_else(Map::new);
    User {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: list(&spec["groups"]),
        extra: extra.iter().map(|(key, values)| (key.clone(), list(values))).collect(),
    }
}

/// # Errors
/// 422 when it is not clear what is asked, or about whom; 400 when a local question is about another namespace.
fn must_be_askable(place: Place<'_>, object: &Value, names_user: bool) -> Result<(), Status> {
    let spec = &object["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let local = place.kind.namespaced;
    let mut errors = Vec::new();
    let mut refuse = |field: &str, bad_value: Value, detail: &str| {
        let field = format!("spec.{field}");
        errors.push(FieldError { kind: ErrorType::Invalid, field, bad_value, detail: detail.to_owned() });
    };
    match (resource.is_object(), path.is_object()) {
        (true, true) => {
            refuse("nonResourceAttributes", path.clone(), "cannot be specified in combination with resourceAttributes")
        }
        (false, false) => refuse(
            "resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (false, true) if local => {
            refuse("nonResourceAttributes", path.clone(), "disallowed on this kind of request");
        }
        _ => {}
    }
    let nobody = |field: &str| spec[field].as_str().is_none_or(str::is_empty);
    if names_user && nobody("user") && spec["groups"].as_array().is_none_or(Vec::is_empty) {
        refuse("user", "".into(), "at least one of user or group must be specified");
    }
    let asked = resource["namespace"].as_str().unwrap_or_default();
    if local && resource.is_object() && asked != place.namespace.unwrap_or_default() {
        refuse("resourceAttributes.namespace", asked.into(), "must match metadata.namespace");
    }
    match errors.as_slice() {
        [] => Ok(()),
        errors => Err(status::invalid(place.kind.group, place.kind.kind, "", errors)),
    }
}

fn decide<S: Store>(app: &App<S>, user: &User, spec: &Value) -> Value {
    fn text<'a>(value: &'a Value, field: &str) -> &'a str {
        value[field].as_str().unwrap_or_default()
    }
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let attributes = match resource.is_object() {
        true => Attributes::Resource {
            asked: Asked {
                verb: text(resource, "verb"),
                group: text(resource, "group"),
                resource: text(resource, "resource"),
                subresource: text(resource, "subresource"),
                name: text(resource, "name"),
            },
            namespace: text(resource, "namespace"),
        },
        false => Attributes::Path { path: text(path, "path"), verb: text(path, "verb") },
    };
    let (allowed, reason) = match app.access.decide(user, &attributes) {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) => (false, reason),
    };
    match reason.is_empty() {
        true => json!({"allowed": allowed}),
        false => json!({"allowed": allowed, "reason": reason}),
    }
}
