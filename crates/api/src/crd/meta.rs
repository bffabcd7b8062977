//! The metadata of custom objects and of those embedded in them, which has a type of its own whatever the schema says.
//!
//! Invariants: what comes out is metadata as Go writes it after reading.
//! Absent: rules about the root's metadata, which are those of every kind.

use serde_json::Value;

use super::schema::Schema;
use crate::decode;
use crate::validate::{self, FieldError, Path, content};

/// Brings the metadata of the root into its normal form; returns unknown fields as strict decoding errors.
///
/// # Errors
/// What is of a wrong type.
pub(super) fn root(object: &mut Value) -> Result<Vec<String>, String> {
    normalize(object, "metadata")
}

/// The same for all embedded objects; `path` is that of the place.
///
/// # Errors
/// What is of a wrong type, with its path.
pub(super) fn embedded(value: &mut Value, schema: &Schema, path: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(_) => {
            if schema.embedded {
                for key in ["apiVersion", "kind"] {
                    if let Some(wrong) = value.get(key).filter(|value| !value.is_string()) {
                        return Err(format!("{}: Invalid value: {wrong}: must be a string", below(key)));
                    }
                }
                let path = below("metadata");
                found.extend(normalize(value, &path).map_err(|why| format!("{path}: Invalid value: {why}"))?);
            }
            let Value::Object(map) = value else { return Ok(found) };
            for (name, value) in map.iter_mut() {
                if let Some(schema) = schema.field(name) {
                    found.extend(embedded(value, schema, &below(name))?);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter_mut().enumerate() {
                    found.extend(embedded(item, schema, &format!("{path}[{at}]"))?);
                }
            }
        }
        _ => {}
    }
    Ok(found)
}

fn normalize(object: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let Some(metadata) = object.get_mut("metadata") else { return Ok(Vec::new()) };
    let (normal, unknown) = decode::metadata(std::mem::take(metadata), path)?;
    *metadata = normal;
    Ok(unknown)
}

/// What embedded objects break.
pub(super) fn broken(path: &Path, value: &Value, schema: &Schema, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                type_meta(path, value, errors);
                if let Some(metadata) = map.get("metadata") {
                    errors.extend(validate::embedded_metadata(&path.child("metadata"), metadata));
                }
            }
            for (name, value) in map {
                if let Some(below) = schema.properties.get(name) {
                    broken(&path.child(name), value, below, errors);
                } else if let Some(below) = schema.field(name) {
                    broken(&path.key(name), value, below, errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter().enumerate().for_each(|(at, item)| broken(&path.index(at), item, below, errors));
            }
        }
        _ => {}
    }
}

fn type_meta(path: &Path, value: &Value, errors: &mut Vec<FieldError>) {
    for key in ["apiVersion", "kind"] {
        if value.get(key).is_none() {
            errors.push(FieldError::required(&path.child(key), ""));
        }
    }
    if let Some(text) = value.get("apiVersion").and_then(Value::as_str) {
        let path = path.child("apiVersion");
        if text.is_empty() {
            errors.push(FieldError::invalid(&path, text, "must not be empty"));
        } else if text.matches('/').count() > 1 {
            errors.push(FieldError::invalid(&path, text, format!("unexpected GroupVersion string: {text}")));
        }
    }
    if let Some(text) = value.get("kind").and_then(Value::as_str) {
        let path = path.child("kind");
        let sentences = content::dns1035_label(&text.to_lowercase());
        if text.is_empty() {
            errors.push(FieldError::invalid(&path, text, "must not be empty"));
        } else if !sentences.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", sentences.join(","));
            errors.push(FieldError::invalid(&path, text, detail));
        }
    }
}
