//! A PATCH request's body, applied to an object and read back into the normal form of its kind.
//!
//! Invariants: strict errors of the patch come before those of the object that it makes.
//! Absent: preconditions, defaults, validation.

use super::untouched::Named;
use super::{PatchError, duplicates, gotext, json, merge, use_up};
use crate::decode::{self, Decoded, FieldValidation};
use crate::kinds::Kind;
use crate::quote::quoted;
use crate::status::{self, Status};
use crate::validate::{FieldError, Path};
use serde_json::Value;

/// The media types of patches of custom objects, whose lists have no merge keys.
const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`
    Strategic,
}

impl PatchType {
    /// The type that a `Content-Type` header without parameters names.
    pub fn of_media(media: &str) -> Option<Self> {
        match media {
            "application/json-patch+json" => Some(PatchType::Json),
            "application/merge-patch+json" => Some(PatchType::Merge),
            "application/strategic-merge-patch+json" => Some(PatchType::Strategic),
            _ => None,
        }
    }
}

/// `current` after the patch in `body`.
///
/// # Errors
/// The answer of a kube-apiserver to a patch that it cannot apply.
pub fn apply(
    kind: &Kind,
    patch_type: PatchType,
    current: &Value,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    Patch::read(kind, patch_type, body)?.apply(current, validation)
}

/// A patch of an object of a kind, read from a request's body.
pub struct Patch<'a> {
    kind: &'a Kind,
    patch_type: PatchType,
    patch: Value,
    /// What strict decoding has to say of the patch itself.
    strict_errors: Vec<String>,
    named: Named,
}

impl<'a> Patch<'a> {
    /// Reads a patch.
    ///
    /// # Errors
    /// The answer of a kube-apiserver to a body that is no patch of the kind.
    pub fn read(kind: &'a Kind, patch_type: PatchType, body: &[u8]) -> Result<Patch<'a>, Status> {
        if patch_type == PatchType::Strategic && kind.custom.is_some() {
            return Err(status::unsupported_media(CUSTOM_PATCHES));
        }
        let (patch, strict_errors) = read_body(patch_type, body)?;
        let named = Named::of(kind, patch_type, &patch);
        Ok(Patch { kind, patch_type, patch, strict_errors, named })
    }

    /// Whether nothing but the status, and what says which object is meant, is read to apply it: it speaks of nothing else.
    /// A refused merge patch shows the whole object that it made, so none of them counts.
    pub fn is_of_status_alone(&self) -> bool {
        self.patch_type == PatchType::Strategic && self.named.is_status_alone()
    }

    /// `current` after the patch.
    ///
    /// # Errors
    /// The answer of a kube-apiserver to a patch that it cannot apply.
    pub fn apply(self, current: &Value, validation: FieldValidation) -> Result<Decoded, Status> {
        let Patch { kind, patch_type, mut patch, mut strict_errors, named } = self;
        let mut patched = match patch_type {
            PatchType::Json => json(current, &patch)?,
            PatchType::Merge => merge(current, &patch)?,
            PatchType::Strategic => use_up(kind, current, &mut patch)?,
        };
        // Only a refusal shows it, so it is made again then.
        let shown = || match patch_type {
            PatchType::Json => json(current, &patch).map(|patched| patched.to_string()).unwrap_or_default(),
            PatchType::Merge => merge(current, &patch).map(|patched| patched.to_string()).unwrap_or_default(),
            PatchType::Strategic => gotext::value(&patch),
        };
        let is_strict = validation != FieldValidation::Ignore;
        let refuse = |detail: String| {
            let path = Path::root("patch");
            status::invalid("", "", "", &[FieldError::invalid(&path, shown().as_str(), detail)])
        };
        let untouched = named.take_others(&mut patched);
        let (mut value, found) = match patch_type {
            PatchType::Strategic => decode::from_merged(kind, patched, is_strict).map_err(&refuse)?,
            PatchType::Json | PatchType::Merge => {
                let mut value = patched;
                let warnings = decode::normalize(kind, &mut value, softened(validation));
                (value, warnings.map_err(|error| refuse(error.cause()))?)
            }
        };
        untouched.put_back(&mut value);
        if !is_strict {
            return Ok(Decoded { value, warnings: Vec::new() });
        }
        strict_errors.extend(found);
        if validation == FieldValidation::Strict && !strict_errors.is_empty() {
            return Err(refuse(format!("strict decoding error: {}", strict_errors.join(", "))));
        }
        Ok(Decoded { value, warnings: strict_errors })
    }
}

/// Strict errors are collected first, because those of the patch itself belong in the same message.
fn softened(validation: FieldValidation) -> FieldValidation {
    match validation {
        FieldValidation::Ignore => FieldValidation::Ignore,
        FieldValidation::Strict | FieldValidation::Warn => FieldValidation::Warn,
    }
}

/// The patch, and what strict decoding has to say of it.
fn read_body(patch_type: PatchType, body: &[u8]) -> Result<(Value, Vec<String>), PatchError> {
    let text = String::from_utf8_lossy(body);
    let (value, repeated) = duplicates::read(&text).map_err(|error| {
        let message = decode::syntax_message(&text, &error);
        PatchError::Malformed(match patch_type {
            PatchType::Strategic => message,
            PatchType::Json | PatchType::Merge => format!("error decoding patch: {message}"),
        })
    })?;
    if patch_type != PatchType::Json {
        return Ok((value, repeated));
    }
    let Value::Array(operations) = &value else {
        let found = gotext::json_kind(&value);
        let message = format!("json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp");
        return Err(PatchError::Malformed(format!("error decoding patch: {message}")));
    };
    let mut errors = repeated;
    for (place, operation) in operations.iter().enumerate() {
        for key in operation.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if !matches!(key.as_str(), "op" | "path" | "from" | "value") {
                errors.push(format!("unknown field {}", quoted(&format!("[{place}].{key}"))));
            }
        }
    }
    let errors = errors.into_iter().map(|error| format!("json patch {error}")).collect();
    Ok((value, errors))
}
