//! Bodies of requests into objects, as a kube-apiserver takes them.
//!
//! A body is read along the kind's type in `schema`, once: unknown and repeated fields are found, wrong types refused
//! in Kubernetes' words, and the value comes out as Go would write it after reading: no nulls where a field may be
//! left out, no empty values that Go omits, zero values where Go always writes, amounts and times in canonical form.
//!
//! Invariants: what `decode` returns is a fixed point of `normalize`; field names are case-sensitive; depth is bounded
//! by serde_json's limit of 128.
//! Absent: defaults and validation.

mod failure;
mod reader;
mod scalar;
mod syntax;
mod zero;

pub(crate) use failure::Cause;
pub use failure::DecodeError;
pub(crate) use syntax::{message as syntax_message, parse_failure};
pub use zero::zero_struct;

use crate::crd;
use crate::kinds::{self, Kind};
use crate::schema::{Ty, schema};
use crate::yaml;
use reader::{Reader, Words};
use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
}

/// What happens on unknown and repeated fields: the `fieldValidation` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Refuse.
    Strict,
    /// Drop and warn: the default of the API.
    #[default]
    Warn,
    /// Drop silently.
    Ignore,
}

impl FieldValidation {
    /// The value of the parameter; none for one that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Strict" => Some(FieldValidation::Strict),
            "Warn" | "" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            _ => None,
        }
    }
}

/// An object as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, `apiVersion` and `kind` set.
    pub value: Value,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// Reads `body` as an object of `kind`.
///
/// # Errors
/// A body that is no JSON or YAML, is of another kind, has wrong types, or under `Strict` unknown or repeated fields.
pub fn decode(kind: &Kind, body: &[u8], media: Media, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    if let Some(custom) = &kind.custom {
        return crd::decode(kind, custom, body, media, validation);
    }
    match media {
        Media::Json => decode_json(kind, body, validation),
        Media::Yaml => decode_yaml(kind, body, validation),
    }
}

fn decode_json(kind: &Kind, body: &[u8], validation: FieldValidation) -> Result<Decoded, DecodeError> {
    // Go replaces what is not UTF-8 instead of refusing it.
    let text = String::from_utf8_lossy(body);
    let unreadable = |cause: String| DecodeError::unreadable(kind, cause, body);
    let mut reader = Reader::new(Words::Json, validation != FieldValidation::Ignore);
    let mut json = serde_json::Deserializer::from_str(&text);
    let read = reader.root(root_type(kind)).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    let value = read.map_err(|error| unreadable(syntax::parse_failure(&text, &error)))?;
    finish(kind, value, reader, Vec::new(), validation, body)
}

fn decode_yaml(kind: &Kind, body: &[u8], validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let text = String::from_utf8_lossy(body);
    let document = yaml::read_one(&text).map_err(|error| DecodeError::unreadable(kind, error.to_string(), body))?;
    let mut reader = Reader::new(Words::Json, validation != FieldValidation::Ignore);
    let read = reader.root(root_type(kind)).deserialize(document.value);
    let value = read.map_err(|error| DecodeError::unreadable(kind, error.to_string(), body))?;
    let repeated = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Strict | FieldValidation::Warn => yaml::unmarshal_errors(&document.duplicates),
    };
    finish(kind, value, reader, repeated, validation, body)
}

/// Reads a value that was built from an object, such as a patched one, and puts the normal form in its place.
///
/// # Errors
/// As [`decode`].
pub fn normalize(kind: &Kind, value: &mut Value, validation: FieldValidation) -> Result<Vec<String>, DecodeError> {
    if let Some(custom) = &kind.custom {
        return crd::normalize(kind, custom, value, validation);
    }
    let mut reader = Reader::new(Words::Json, validation != FieldValidation::Ignore);
    let read = reader.root(root_type(kind)).deserialize(std::mem::take(value));
    let read = read.map_err(|error| DecodeError::unreadable(kind, error.to_string(), b""))?;
    let decoded = finish(kind, read, reader, Vec::new(), validation, b"")?;
    *value = decoded.value;
    Ok(decoded.warnings)
}

/// Reads a merged object as the strategic merge patch of a kube-apiserver does, whose messages differ.
pub(crate) fn from_merged(kind: &Kind, value: Value, strict: bool) -> Result<(Value, Vec<String>), String> {
    let mut reader = Reader::new(Words::Unstructured, strict);
    let read = reader.root(root_type(kind)).deserialize(value).map_err(|error| error.to_string())?;
    if let Some(error) = reader.failure() {
        return Err(error);
    }
    let mut strict_errors = reader.strict_errors();
    strict_errors.sort();
    Ok((stamped(kind, read), strict_errors))
}

/// Reads metadata that stands at `path` of an object whose kind is not in the table of types, and lists its unknown
/// fields as strict decoding errors.
///
/// # Errors
/// What is of a wrong type.
pub(crate) fn metadata(value: Value, path: &str) -> Result<(Value, Vec<String>), String> {
    let ty = schema().find_id("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").map_or(Ty::Json, Ty::Ref);
    let mut reader = Reader::at(path);
    let read = reader.root(ty).deserialize(value).map_err(|error| error.to_string())?;
    match reader.failure() {
        Some(failure) => Err(failure),
        None => Ok((read, reader.strict_errors())),
    }
}

fn root_type(kind: &Kind) -> Ty {
    match schema().find_id(kind.type_name) {
        Some(id) => Ty::Ref(id),
        // A test holds every row to the schema.
        None => unreachable!("{} has no type", kind.type_name),
    }
}

fn finish(
    kind: &Kind,
    value: Value,
    reader: Reader,
    mut strict_errors: Vec<String>,
    validation: FieldValidation,
    body: &[u8],
) -> Result<Decoded, DecodeError> {
    if let Some(error) = reader.meta_failure() {
        return Err(DecodeError::unreadable(kind, error, body));
    }
    let (group, version, name) = named(kind, &value).map_err(|error| DecodeError::unreadable(kind, error, body))?;
    check_kind(kind, &group, &version, &name)?;
    if let Some(error) = reader.failure() {
        return Err(DecodeError::unhandled(kind, &version, Cause::Type(error)));
    }
    strict_errors.extend(reader.strict_errors());
    if validation == FieldValidation::Strict && !strict_errors.is_empty() {
        return Err(DecodeError::unhandled(kind, &version, Cause::Strict(strict_errors)));
    }
    let warnings = if validation == FieldValidation::Warn { strict_errors } else { Vec::new() };
    Ok(Decoded { value: stamped(kind, value), warnings })
}

/// Group, version and kind that a body names, `kind`'s where it names none.
fn named(kind: &Kind, value: &Value) -> Result<(String, String, String), String> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let api_version = text("apiVersion");
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    let (group, version) = match kinds::split_api_version(api_version) {
        ("", "") => (kind.group, kind.version),
        other => other,
    };
    let name = match text("kind") {
        "" => kind.kind,
        name => name,
    };
    Ok((group.to_owned(), version.to_owned(), name.to_owned()))
}

/// Refuses a body of another kind or version.
fn check_kind(kind: &Kind, group: &str, version: &str, name: &str) -> Result<(), DecodeError> {
    if name == kind.kind && (kind.accepts_any_group() || (group == kind.group && kind.accepts_version(version))) {
        return Ok(());
    }
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    if name == kind.kind && group == kind.group && !kind.group.is_empty() {
        return Err(DecodeError::WrongVersion { found: api_version, expected: kind.api_version() });
    }
    let cause = match kinds::by_kind(&api_version, name) {
        Some(other) => {
            let package = if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() };
            let (version, other) = (other.version, other.kind);
            format!("converting ({version}.{other}) to ({package}.{}): unknown conversion", kind.kind)
        }
        None => format!(
            "no kind \"{name}\" is registered for version \"{api_version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    Err(DecodeError::Unhandled {
        kind: kind.kind,
        found: name.to_owned(),
        version: version.to_owned(),
        cause: Cause::Type(cause),
    })
}

/// `value` with the kind's own `apiVersion` and `kind`.
fn stamped(kind: &Kind, value: Value) -> Value {
    let mut object = match value {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("apiVersion".to_owned(), Value::String(kind.api_version()));
    object.insert("kind".to_owned(), Value::String(kind.kind.to_owned()));
    Value::Object(object)
}

#[cfg(test)]
mod tests;
