//! `metav1.Status`: the answer of the API when something is refused, in Kubernetes' words, codes
//! and reasons, so that every client reacts as it does to Kubernetes.
//!
//! Invariants: `code` is the HTTP status of the answer and stands in the body too.
//!
//! Absent: deciding whether to refuse.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::quote::quoted;
use crate::validate::{FieldError, aggregate};

/// Why an update that names an outdated resourceVersion is refused.
pub const OBJECT_MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// One answer: the HTTP code and the Status object.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The Status object.
    pub body: Value,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// One cause of a Status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable kind of cause, as `FieldValueInvalid`; may be empty.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// Which field it is about; may be empty.
    pub field: String,
}

/// Who was denied what, for [`denied`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempt<'a> {
    /// Name of the user.
    pub user: &'a str,
    /// The verb, as `list`.
    pub verb: &'a str,
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural of the resource.
    pub resource: &'a str,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Namespace, empty for the whole cluster.
    pub namespace: &'a str,
    /// Name of the object, empty for none.
    pub name: &'a str,
}

#[derive(Default)]
struct Details<'a> {
    name: &'a str,
    group: &'a str,
    kind: &'a str,
    causes: Vec<Cause>,
    retry_after: u32,
}

impl Details<'_> {
    fn of<'a>(group: &'a str, kind: &'a str, name: &'a str) -> Details<'a> {
        Details { name, group, kind, ..Details::default() }
    }

    fn to_json(&self) -> Option<Value> {
        let mut out = Map::new();
        for (key, text) in [("name", self.name), ("group", self.group), ("kind", self.kind)] {
            if !text.is_empty() {
                out.insert(key.to_owned(), Value::from(text));
            }
        }
        if !self.causes.is_empty() {
            out.insert("causes".to_owned(), self.causes.iter().map(Cause::to_json).collect());
        }
        if self.retry_after > 0 {
            out.insert("retryAfterSeconds".to_owned(), Value::from(self.retry_after));
        }
        Some(Value::Object(out))
    }
}

impl Cause {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                out.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
        Value::Object(out)
    }
}

impl From<&FieldError> for Cause {
    fn from(error: &FieldError) -> Self {
        Self { reason: error.kind.reason().to_owned(), message: error.body(), field: error.field.clone() }
    }
}

impl Status {
    fn failure(code: u16, reason: &str, message: impl Into<String>, details: Option<Details<'_>>) -> Self {
        let message: String = message.into();
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "code": code,
        });
        if !reason.is_empty() {
            body["reason"] = Value::from(reason);
        }
        if let Some(details) = details.and_then(|details| details.to_json()) {
            body["details"] = details;
        }
        Self { code, body }
    }

    /// The sentence of the Status.
    #[must_use]
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or("")
    }

    /// The machine-readable reason, empty when unknown.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or("")
    }

    /// Seconds after which a client may try again, for the `Retry-After` header.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.body["details"]["retryAfterSeconds"].as_u64()
    }

    /// The same with another sentence before it.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.body["message"] = Value::from(format!("{prefix}{}", self.message()));
        self
    }
}

/// `daemonsets.apps`, or just `pods` in the core group.
#[must_use]
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// The object does not exist.
#[must_use]
pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
    let message = format!("{} {} not found", qualified(group, resource), quoted(name));
    Status::failure(404, "NotFound", message, Some(Details::of(group, resource, name)))
}

/// The path names no resource that is served.
#[must_use]
pub fn no_such_resource() -> Status {
    let message = "the server could not find the requested resource";
    Status::failure(404, "NotFound", message, Some(Details::default()))
}

/// An object of this name exists already.
#[must_use]
pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
    let message = format!("{} {} already exists", qualified(group, resource), quoted(name));
    Status::failure(409, "AlreadyExists", message, Some(Details::of(group, resource, name)))
}

/// No free name could be made from `generateName`.
#[must_use]
pub fn generate_name_conflict(group: &str, resource: &str, name: &str, retry_after: u32) -> Status {
    let message = format!(
        "{} {} already exists, the server was not able to generate a unique name for the object",
        qualified(group, resource),
        quoted(name)
    );
    let details = Details { retry_after, ..Details::of(group, resource, name) };
    Status::failure(409, "AlreadyExists", message, Some(details))
}

/// The object is not in the state that the request supposes; see [`OBJECT_MODIFIED`].
#[must_use]
pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let message = format!("Operation cannot be fulfilled on {} {}: {why}", qualified(group, resource), quoted(name));
    Status::failure(409, "Conflict", message, Some(Details::of(group, resource, name)))
}

/// A server-side apply touches fields of other managers.
#[must_use]
pub fn apply_conflict(causes: Vec<Cause>, message: &str) -> Status {
    Status::failure(409, "Conflict", message, Some(Details { causes, ..Details::default() }))
}

/// The object breaks rules; `kind` is its kind, as `DaemonSet`.
#[must_use]
pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Status {
    let mut message = format!("{} {} is invalid", qualified(group, kind), quoted(name));
    if !errors.is_empty() {
        message = format!("{message}: {}", aggregate(errors));
    }
    let causes = errors.iter().map(Cause::from).collect();
    Status::failure(422, "Invalid", message, Some(Details { causes, ..Details::of(group, kind, name) }))
}

/// A patch that cannot be applied to the object.
#[must_use]
pub fn patch_not_applicable() -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status::failure(422, "Invalid", message, Some(Details::default()))
}

/// The request cannot be understood.
#[must_use]
pub fn bad_request(message: impl Into<String>) -> Status {
    Status::failure(400, "BadRequest", message, None)
}

/// Nobody is known by the given credentials.
#[must_use]
pub fn unauthorized() -> Status {
    Status::failure(401, "Unauthorized", "Unauthorized", None)
}

/// The request is not allowed; without a resource the sentence is about the request as a whole.
#[must_use]
pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let message = if resource.is_empty() {
        format!("forbidden: {why}")
    } else if name.is_empty() {
        format!("{} is forbidden: {why}", qualified(group, resource))
    } else {
        format!("{} {} is forbidden: {why}", qualified(group, resource), quoted(name))
    };
    Status::failure(403, "Forbidden", message, Some(Details::of(group, resource, name)))
}

/// No rule allows a user to do something with a resource; `why` may add what the authorizer says.
#[must_use]
pub fn denied(attempt: &Attempt<'_>, why: &str) -> Status {
    let Attempt { user, verb, group, resource, subresource, namespace, name } = *attempt;
    let target = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {}", quoted(namespace))
    };
    let mut sentence = format!(
        "User {} cannot {verb} resource {} in API group {} {place}",
        quoted(user),
        quoted(&target),
        quoted(group)
    );
    if !why.is_empty() {
        sentence = format!("{sentence}: {why}");
    }
    forbidden(group, resource, name, &sentence)
}

/// No rule allows a user to reach a path that is no resource.
#[must_use]
pub fn denied_path(user: &str, verb: &str, path: &str) -> Status {
    forbidden("", "", "", &format!("User {} cannot {verb} path {}", quoted(user), quoted(path)))
}

/// The revision asked for is no longer kept: the client must list again.
#[must_use]
pub fn expired(message: impl Into<String>) -> Status {
    Status::failure(410, "Expired", message, None)
}

/// What was asked for is gone for good.
#[must_use]
pub fn gone(message: impl Into<String>) -> Status {
    Status::failure(410, "Gone", message, None)
}

/// The verb does not exist for the resource.
#[must_use]
pub fn method_not_allowed(group: &str, resource: &str, action: &str) -> Status {
    let message = format!("{action} is not supported on resources of kind {}", quoted(&qualified(group, resource)));
    Status::failure(405, "MethodNotAllowed", message, Some(Details::of(group, resource, "")))
}

/// No wanted content type can be produced.
#[must_use]
pub fn not_acceptable(accepted: &[&str]) -> Status {
    let message = format!("only the following media types are accepted: {}", accepted.join(", "));
    Status::failure(406, "NotAcceptable", message, None)
}

/// The body has a content type that cannot be read.
#[must_use]
pub fn unsupported_media(accepted: &[&str]) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    );
    Status::failure(415, "UnsupportedMediaType", message, None)
}

/// The body is too large.
#[must_use]
pub fn request_too_large(message: &str) -> Status {
    let message = format!("Request entity too large: {message}");
    Status::failure(413, "RequestEntityTooLarge", message, None)
}

/// The client must slow down.
#[must_use]
pub fn too_many_requests(message: &str, retry_after: u32) -> Status {
    Status::failure(429, "TooManyRequests", message, Some(Details { retry_after, ..Details::default() }))
}

/// The server cannot serve this right now.
#[must_use]
pub fn service_unavailable(message: &str) -> Status {
    Status::failure(503, "ServiceUnavailable", message, None)
}

/// The server cannot serve this right now, and expects to in a moment: clients try again by themselves.
#[must_use]
pub fn unavailable_for_a_moment(message: &str, retry_after: u32) -> Status {
    Status::failure(503, "ServiceUnavailable", message, Some(Details { retry_after, ..Details::default() }))
}

/// A passing trouble: the client should try the operation again.
#[must_use]
pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after: u32) -> Status {
    let message = format!(
        "The {operation} operation against {} could not be completed at this time, please try again.",
        qualified(group, resource)
    );
    let details = Details { retry_after, ..Details::of(group, resource, operation) };
    Status::failure(500, "ServerTimeout", message, Some(details))
}

/// The request took too long; it may still complete.
#[must_use]
pub fn timeout(message: &str, retry_after: u32) -> Status {
    let details = Details { retry_after, ..Details::default() };
    Status::failure(504, "Timeout", format!("Timeout: {message}"), Some(details))
}

/// A fault of the server itself.
#[must_use]
pub fn internal(error: impl fmt::Display) -> Status {
    let error = error.to_string();
    let cause = Cause { reason: String::new(), message: error.clone(), field: String::new() };
    let details = Details { causes: vec![cause], ..Details::default() };
    Status::failure(500, "InternalError", format!("Internal error occurred: {error}"), Some(details))
}

/// An operation succeeded; the object it was about is named, with the resource as its kind.
#[must_use]
pub fn success(group: &str, resource: &str, name: &str, uid: &str) -> Status {
    let mut details = Details::of(group, resource, name).to_json().unwrap_or_default();
    if !uid.is_empty() {
        details["uid"] = Value::from(uid);
    }
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Status { code: 200, body }
}

#[cfg(test)]
mod tests;
