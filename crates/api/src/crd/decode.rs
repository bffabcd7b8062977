//! Bodies of requests into objects of a custom kind, as a kube-apiserver takes them.
//!
//! Invariants: what comes out is pruned, its metadata is in normal form, whole floats are integers; strict errors stand in
//! the order of Kubernetes: repeated fields, then metadata, then what the schema does not know.
//! Absent: defaults, which are filled in where those of built-in kinds are.

use serde_json::Value;

use super::{Custom, meta, numbers, prune};
use crate::decode::{self, Cause, DecodeError, Decoded, FieldValidation, Media};
use crate::kinds::{Kind, split_api_version};
use crate::quote::quoted;
use crate::{patch, yaml};

/// Strict errors that are kept: as many as a kube-apiserver keeps.
const STRICT_ERRORS_MAX: usize = 100;

/// Reads `body` as an object of `kind`, which `custom` is of.
///
/// # Errors
/// A body that is no JSON or YAML, is of another version, has no kind, or under `Strict` unknown or repeated fields.
pub(crate) fn decode(
    kind: &Kind,
    custom: &Custom,
    body: &[u8],
    media: Media,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let unreadable = |cause: String| DecodeError::unreadable(kind, cause, body);
    let text = String::from_utf8_lossy(body);
    let (value, repeated) = match media {
        Media::Json => patch::read_repeated(&text).map_err(|error| unreadable(decode::parse_failure(&text, &error)))?,
        Media::Yaml => {
            let document = yaml::read_one(&text).map_err(|error| unreadable(error.to_string()))?;
            (document.value, yaml::unmarshal_errors(&document.duplicates))
        }
    };
    identity(kind, &value, body)?;
    finish(kind, custom, value, repeated, validation)
}

/// Reads a value that was built from an object, such as a patched one, and puts the normal form in its place.
///
/// # Errors
/// As [`decode()`].
pub(crate) fn normalize(
    kind: &Kind,
    custom: &Custom,
    value: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, DecodeError> {
    identity(kind, value, b"")?;
    let decoded = finish(kind, custom, std::mem::take(value), Vec::new(), validation)?;
    *value = decoded.value;
    Ok(decoded.warnings)
}

/// Holds what a body says it is against the path's group and version. A wrong kind is found by validation.
fn identity(kind: &Kind, value: &Value, body: &[u8]) -> Result<(), DecodeError> {
    let unreadable = |cause: String| Err(DecodeError::unreadable(kind, cause, body));
    let Value::Object(map) = value else {
        return unreadable(
            "couldn't get version/kind; json parse error: json: cannot unmarshal a value that is no object".to_owned(),
        );
    };
    for field in ["apiVersion", "kind"] {
        if map.get(field).is_some_and(|value| !value.is_string() && !value.is_null()) {
            return unreadable(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal into Go struct field .{field} of \
                 type string"
            ));
        }
    }
    let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or_default();
    let shown = || if body.is_empty() { value.to_string() } else { String::from_utf8_lossy(body).into_owned() };
    if text("kind").is_empty() {
        return unreadable(format!("Object 'Kind' is missing in '{}'", shown()));
    }
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return unreadable(format!("Object 'apiVersion' is missing in '{}'", shown()));
    }
    if api_version.matches('/').count() > 1 {
        return unreadable(format!("unexpected GroupVersion string: {api_version}"));
    }
    if split_api_version(api_version) != (kind.group, kind.version) {
        return Err(DecodeError::WrongVersion { found: api_version.to_owned(), expected: kind.api_version() });
    }
    Ok(())
}

fn finish(
    kind: &Kind,
    custom: &Custom,
    mut value: Value,
    mut strict_errors: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let refuse = |cause: Cause| DecodeError::unhandled(kind, kind.version, cause);
    numbers::normalize(&mut value);
    if let Some(map) = value.as_object_mut() {
        map.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    strict_errors.extend(meta::root(&mut value).map_err(|why| refuse(Cause::Type(why)))?);
    if !custom.preserves_unknown {
        let unknown = prune::unknown(&mut value, &custom.schema);
        strict_errors.extend(unknown.iter().map(|path| format!("unknown field {}", quoted(path))));
        prune::nulls(&mut value, Some(&custom.schema));
    }
    let unknown = meta::embedded(&mut value, &custom.schema, "").map_err(|why| refuse(Cause::Type(why)))?;
    strict_errors.extend(unknown);
    strict_errors.truncate(STRICT_ERRORS_MAX);
    match validation {
        FieldValidation::Strict if !strict_errors.is_empty() => Err(refuse(Cause::Strict(strict_errors))),
        FieldValidation::Warn => Ok(Decoded { value, warnings: strict_errors }),
        _ => Ok(Decoded { value, warnings: Vec::new() }),
    }
}
