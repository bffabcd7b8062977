//! Patches: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch.
//!
//! `json`, `merge` and `strategic` are the plain operations; `apply` does all that a PATCH request asks for, from the
//! body to an object in normal form, with the answers of a kube-apiserver when it cannot.
//!
//! Invariants: the object is not changed when a patch fails; an empty patch changes nothing.
//! Absent: server-side apply; see `apply`.

mod apply;
mod duplicates;
mod gotext;
mod growth;
mod lists;
mod strategic;
mod untouched;

pub use apply::{Patch, PatchType, apply};
pub(crate) use duplicates::read as read_repeated;

use crate::depth::{DEPTH_MAX, is_too_deep};
use crate::kinds::Kind;
use crate::schema::{Ty, schema};
use crate::status::{self, Status};
use json_patch::{AddOperation, PatchOperation};
use serde_json::{Value, json};

/// Operations of a JSON patch: as many as a kube-apiserver takes.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// Why a patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is sound, but not for this object: 422.
    #[error("{0}")]
    NotApplicable(String),
    /// The patch is longer than allowed: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The patch contradicts the types of the object; a kube-apiserver answers 500.
    #[error("{0}")]
    Contradictory(String),
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Malformed(message) => status::bad_request(message),
            PatchError::NotApplicable(_) => status::patch_not_applicable(),
            PatchError::TooLarge(message) => status::request_too_large(&message),
            PatchError::Contradictory(message) => Status {
                code: 500,
                body: json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": 500,
                }),
            },
        }
    }
}

/// `object` after the operations of a JSON patch.
///
/// # Errors
/// A patch that is no list of operations, is too long, or has an operation that fails.
pub fn json(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations: Vec<PatchOperation> = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut patched = object.clone();
    let mut growth = growth::Growth::of(object);
    for operation in operations {
        growth.allow(&operation, &patched)?;
        let operation = as_kubernetes_means(operation, &patched);
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(&operation))
            .map_err(|error| PatchError::NotApplicable(error.to_string()))?;
    }
    if is_too_deep(&patched) {
        return Err(PatchError::NotApplicable(format!("the object would be nested deeper than {DEPTH_MAX} levels")));
    }
    Ok(patched)
}

/// A kube-apiserver lets `replace` set a member that an object does not have, such as a field left out as zero.
fn as_kubernetes_means(operation: PatchOperation, object: &Value) -> PatchOperation {
    match operation {
        PatchOperation::Replace(replace)
            if replace
                .path
                .split_back()
                .is_some_and(|(holder, _)| holder.resolve(object).is_ok_and(Value::is_object)) =>
        {
            PatchOperation::Add(AddOperation { path: replace.path, value: replace.value })
        }
        other => other,
    }
}

/// `object` after a merge patch.
///
/// # Errors
/// A patch that is no object.
pub fn merge(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        let found = gotext::json_kind(patch);
        let message = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
        return Err(PatchError::Malformed(format!("error decoding patch: {message}")));
    }
    let mut patched = object.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}

/// `object` of `kind` after a strategic merge patch.
///
/// # Errors
/// A patch that is no object, has malformed directives, or contradicts the kind's type.
pub fn strategic(kind: &Kind, object: &Value, patch: &Value) -> Result<Value, PatchError> {
    use_up(kind, object, &mut patch.clone())
}

/// As [`strategic()`], leaving in `patch` what a kube-apiserver shows of it in messages.
fn use_up(kind: &Kind, object: &Value, patch: &mut Value) -> Result<Value, PatchError> {
    let found = gotext::json_kind(patch);
    let Value::Object(patch) = patch else {
        let message = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
        return Err(PatchError::Malformed(message));
    };
    let Value::Object(object) = object else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    let ty = schema().find_id(kind.type_name).map_or(Ty::Json, Ty::Ref);
    strategic::merge_map(object.clone(), patch, ty).map(Value::Object)
}

#[cfg(test)]
mod tests;
