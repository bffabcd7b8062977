//! Certificate requests: who may approve and sign them, and the signer of this cluster's authority.
//!
//! # Invariants
//! - Who asks is written into the request by the server, never by the client.
//! - Nobody asks for a client certificate of the group that may do everything.
//!
//! # Absent
//! Signers of others: they sign through the `status` of a request, if a role lets them.

mod approval;
mod signer;

use api::rbac::Asked;
use api::status::Status;
use serde_json::{Value, json};
use store::Store;

use super::{MASTERS, User};
use crate::app::{App, Place};
use crate::pki::request;

pub(crate) use approval::update as approve;
pub(crate) use signer::start;

/// The API group of requests.
const GROUP: &str = "certificates.k8s.io";

/// Whether a place is one of a request.
fn is_request(place: Place<'_>) -> bool {
    (place.kind.group, place.kind.plural) == (GROUP, "certificatesigningrequests")
}

/// Writes who asks into a new request.
///
/// # Errors
/// 403 for what no signer of ours may be asked.
pub(crate) fn admit(user: &User, place: Place<'_>, object: &mut Value) -> Result<(), Status> {
    if !is_request(place) {
        return Ok(());
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        for field in ["uid", "extra"] {
            spec.remove(field);
        }
        spec.insert("username".to_owned(), user.name.as_str().into());
        spec.insert("groups".to_owned(), json!(user.groups));
        if !user.uid.is_empty() {
            spec.insert("uid".to_owned(), user.uid.as_str().into());
        }
        if !user.extra.is_empty() {
            spec.insert("extra".to_owned(), json!(user.extra));
        }
    }
    if object["spec"]["signerName"] != request::CLIENT {
        return Ok(());
    }
    match request::read(&pem(object)) {
        Ok(wanted) if wanted.groups.iter().any(|g| g == MASTERS) => {
            Err(place.forbidden(&format!("use of {} signer with {MASTERS} group is not allowed", request::CLIENT)))
        }
        // What is no request is told by validation.
        _ => Ok(()),
    }
}

/// Checks a change of a request's status: who sets a certificate must be let sign.
///
/// # Errors
/// 403 otherwise.
pub(crate) fn admit_status<S: Store>(
    app: &App<S>,
    user: &User,
    place: Place<'_>,
    new: &Value,
    old: &Value,
) -> Result<(), Status> {
    let signs = new["status"]["certificate"] != old["status"]["certificate"];
    let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
    if !is_request(place) || !signs || may(app, user, "sign", signer) {
        return Ok(());
    }
    Err(place.forbidden(&format!("user not permitted to sign requests with signerName {signer:?}")))
}

/// Whether a user may approve or sign for a signer, by its name or by all of its domain.
fn may<S: Store>(app: &App<S>, user: &User, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*")).unwrap_or_default();
    [signer, &domain].into_iter().any(|name| {
        let asked = Asked { verb, group: GROUP, resource: "signers", subresource: "", name };
        app.access.may(user, asked, "")
    })
}

/// The PEM of a request.
fn pem(object: &Value) -> String {
    use base64::Engine as _;
    let text = object["spec"]["request"].as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a request has a condition that holds.
fn has(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == condition)
}

/// A condition as of now.
fn condition(kind: &str, reason: &str, message: &str) -> Value {
    let now = crate::verbs::write::now();
    json!({"type": kind, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now})
}

/// Adds a condition.
fn add_condition(object: &mut Value, condition: Value) {
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    match object["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => object["status"]["conditions"] = json!([condition]),
    }
}
