//! What one version of a definition must look like, or what all its versions share.
//!
//! Invariants: texts and paths are Kubernetes'.
//! Absent: the definition as a whole (`definition`).

use serde_json::Value;

use super::schema::{Schema, list};
use super::{props, rules, structural};
use crate::validate::{FieldError, Path};

/// Fields that an object can be selected by: as many as Kubernetes allows.
const SELECTABLE_MAX: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn deprecation(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const LETTERS_MAX: usize = 256;
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let path = path.child("deprecationWarning");
    let mut wrong = |detail: String| errors.push(FieldError::invalid(&path, warning, detail));
    if version["deprecated"] != true {
        return wrong("can only be set for deprecated versions".to_owned());
    }
    if warning.len() > LETTERS_MAX {
        wrong(format!("must be <= {LETTERS_MAX} characters long"));
    }
    if warning.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    let odd = warning.char_indices().find(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' '));
    if let Some((at, _)) = odd {
        wrong(format!("must only contain printable UTF-8 characters; non-printable character found at index {at}"));
    }
}

pub(super) fn schema(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const AT_ROOT: [&str; 22] = [
        "Description",
        "Type",
        "Format",
        "Title",
        "Maximum",
        "ExclusiveMaximum",
        "Minimum",
        "ExclusiveMinimum",
        "MaxLength",
        "MinLength",
        "Pattern",
        "MaxItems",
        "MinItems",
        "UniqueItems",
        "MultipleOf",
        "Required",
        "Items",
        "Properties",
        "ExternalDocs",
        "Example",
        "XPreserveUnknownFields",
        "XValidations",
    ];
    let Some(schema) = version["schema"].get("openAPIV3Schema").filter(|schema| schema.is_object()) else { return };
    let path = path.child("openAPIV3Schema");
    if version["subresources"]["status"].is_object() {
        let go_name = |key: &str| match key {
            "x-kubernetes-preserve-unknown-fields" => "XPreserveUnknownFields".to_owned(),
            "x-kubernetes-validations" => "XValidations".to_owned(),
            key => {
                let mut letters = key.chars();
                letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
            }
        };
        let is_allowed = |key: &String| AT_ROOT.contains(&go_name(key).as_str());
        let ty = text(schema, "type");
        if !ty.is_empty() && ty != "object" {
            let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is \
                enabled";
            errors.push(FieldError::invalid(&path.child("type"), ty, detail));
        } else if schema.as_object().is_some_and(|map| !map.keys().all(is_allowed)) {
            let allowed = AT_ROOT.join(" ");
            let detail = format!(
                "only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
            );
            errors.push(FieldError::invalid(&path, schema.clone(), detail));
        }
    }
    if schema["nullable"] == true {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let unstructured = structural::faults(&path, schema);
    match unstructured.is_empty() {
        true => errors.extend(props::default_faults(&path, schema)),
        false => errors.extend(unstructured),
    }
    errors.extend(props::faults(&path, schema));
    if errors.is_empty() {
        errors.extend(rules::faults(&path, &Schema::compile(schema)));
    }
}

pub(super) fn subresources(subresources: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(scale) = subresources.get("scale").filter(|scale| scale.is_object()) else { return };
    for (key, prefix, place) in [("specReplicasPath", ".spec.", ".spec"), ("statusReplicasPath", ".status.", ".status")]
    {
        let (path, value) = (path.child("scale").child(key), text(scale, key));
        if value.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !value.starts_with('.') {
            errors.push(FieldError::invalid(&path, value, "must be a simple json path starting with ."));
        } else if !value.starts_with(prefix) {
            errors.push(FieldError::invalid(&path, value, format!("should be a json path under {place}")));
        }
    }
    let selector = text(scale, "labelSelectorPath");
    let path = path.child("scale").child("labelSelectorPath");
    if !selector.is_empty() && !selector.starts_with('.') {
        errors.push(FieldError::invalid(&path, selector, "must be a simple json path starting with ."));
    } else if !selector.is_empty() && !selector.starts_with(".spec.") && !selector.starts_with(".status.") {
        let detail = "should be a json path under either .spec or .status";
        errors.push(FieldError::invalid(&path, selector, detail));
    }
}

pub(super) fn columns(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (at, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let path = path.child("additionalPrinterColumns").index(at);
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        let (ty, types) = (text(column, "type"), format!("must be one of {}", COLUMN_TYPES.join(",")));
        if ty.is_empty() {
            errors.push(FieldError::required(&path.child("type"), types));
        } else if !COLUMN_TYPES.contains(&ty) {
            errors.push(FieldError::invalid(&path.child("type"), ty, types));
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(&path.child("format"), format, detail));
        }
        let (json_path, value) = (path.child("JSONPath"), text(column, "jsonPath"));
        if value.is_empty() {
            errors.push(FieldError::required(&json_path, ""));
        } else if !value.starts_with('.') {
            errors.push(FieldError::invalid(&json_path, value, "must be a simple json path starting with ."));
        }
    }
}

pub(super) fn selectable(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let fields = list(version, "selectableFields");
    let path = path.child("selectableFields");
    let mut seen: Vec<&str> = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        let (path, value) = (path.index(at).child("jsonPath"), text(field, "jsonPath"));
        if value.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let steps = value.strip_prefix('.').map(|steps| steps.split('.'));
        let place = steps.and_then(|mut steps| {
            steps.try_fold(&version["schema"]["openAPIV3Schema"], |schema, step| schema["properties"].get(step))
        });
        let Some(place) = place else {
            let detail = "is an invalid path: does not refer to a valid field";
            errors.push(FieldError::invalid(&path, value, detail));
            continue;
        };
        if value.starts_with(".metadata") {
            errors.push(FieldError::invalid(&path, value, "must not point to fields in metadata"));
        }
        if !matches!(text(place, "type"), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                formats are allowed.";
            errors.push(FieldError::invalid(&path, value, detail));
        }
        match seen.contains(&value) {
            true => errors.push(FieldError::duplicate(&path, value)),
            false => seen.push(value),
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(&path, seen.len(), SELECTABLE_MAX));
    }
}
