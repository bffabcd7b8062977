//! One broken rule about one field, in Kubernetes' words.

use std::fmt;

use serde_json::Value;

use crate::quote::quoted;

use super::path::Path;

/// What kind of rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// The value refers to something that does not exist.
    NotFound,
    /// A value is missing.
    Required,
    /// A value that must be unique is not.
    Duplicate,
    /// The value is malformed or out of bounds.
    Invalid,
    /// As `Invalid`, of a value that is too large to be shown.
    InvalidUnshown,
    /// The value is none of those allowed.
    NotSupported,
    /// The value may not be set here.
    Forbidden,
    /// The value is too long.
    TooLong,
    /// The value is too short.
    TooShort,
    /// The list has too many items.
    TooMany,
    /// The value has a wrong type.
    TypeInvalid,
    /// The rule could not be checked.
    Internal,
}

impl ErrorType {
    /// The word for it in `details.causes[].reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid | Self::InvalidUnshown => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::InvalidUnshown | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(
            self,
            Self::Required | Self::Forbidden | Self::TooLong | Self::TooShort | Self::Internal | Self::InvalidUnshown
        )
    }
}

/// One broken rule. Its text is `field: kind of rule: value: detail`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What kind of rule is broken.
    pub kind: ErrorType,
    /// Path of the field, as `spec.containers[0].name`.
    pub field: String,
    /// The value that breaks the rule.
    pub bad_value: Value,
    /// What to do about it; may be empty.
    pub detail: String,
}

impl FieldError {
    fn new(kind: ErrorType, path: &Path, bad_value: Value, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), bad_value, detail: detail.into() }
    }

    /// A value is missing.
    #[must_use]
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, Value::String(String::new()), detail)
    }

    /// A value is malformed or out of bounds.
    #[must_use]
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, value.into(), detail)
    }

    /// A value is none of those allowed, which are named in the given order.
    #[must_use]
    pub fn not_supported(path: &Path, value: impl Into<Value>, allowed: &[&str]) -> Self {
        let names: Vec<String> = allowed.iter().map(|name| quoted(name)).collect();
        let detail = if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
        Self::new(ErrorType::NotSupported, path, value.into(), detail)
    }

    /// A value may not be set here.
    #[must_use]
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, Value::String(String::new()), detail)
    }

    /// A value that must be unique is not.
    #[must_use]
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, value.into(), "")
    }

    /// A value refers to something that does not exist.
    #[must_use]
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, value.into(), "")
    }

    /// A value has more than `limit` bytes.
    #[must_use]
    pub fn too_long(path: &Path, limit: usize) -> Self {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, path, Value::Null, format!("may not be more than {limit} {unit}"))
    }

    /// A list has more than `limit` items.
    #[must_use]
    pub fn too_many(path: &Path, actual: usize, limit: usize) -> Self {
        let unit = if limit == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooMany, path, Value::from(actual), format!("must have at most {limit} {unit}"))
    }

    /// A rule could not be checked.
    #[must_use]
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, path, Value::Null, detail)
    }

    /// The text without the field.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if self.kind.shows_value() {
            text.push_str(": ");
            match &self.bad_value {
                Value::String(value) => text.push_str(&quoted(value)),
                value => text.push_str(&go_json(value)),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

/// JSON as Go writes it: `<`, `>` and `&` are escaped inside strings.
fn go_json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// All texts as one: a single one bare, several in brackets, each only once.
#[must_use]
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts() {
        fn check(error: &FieldError, expect: &str) {
            assert_eq!(error.to_string(), expect);
        }
        let path = Path::root("spec").child("containers").index(0);
        check(&FieldError::required(&path, ""), "spec.containers[0]: Required value");
        check(&FieldError::required(&path, "name it"), "spec.containers[0]: Required value: name it");
        check(&FieldError::invalid(&path, "a\"", "no"), "spec.containers[0]: Invalid value: \"a\\\"\": no");
        check(&FieldError::invalid(&path, -1, "no"), "spec.containers[0]: Invalid value: -1: no");
        check(&FieldError::invalid(&path, Value::Null, "no"), "spec.containers[0]: Invalid value: null: no");
        check(
            &FieldError::invalid(&path, json!({"a": "<"}), ""),
            r#"spec.containers[0]: Invalid value: {"a":"\u003c"}"#,
        );
        check(
            &FieldError::not_supported(&path, "x", &["a", "b"]),
            "spec.containers[0]: Unsupported value: \"x\": supported values: \"a\", \"b\"",
        );
        check(&FieldError::too_long(&path, 1), "spec.containers[0]: Too long: may not be more than 1 byte");
        check(&FieldError::too_many(&path, 4, 3), "spec.containers[0]: Too many: 4: must have at most 3 items");
        check(&FieldError::duplicate(&path.key("k"), "x"), "spec.containers[0][k]: Duplicate value: \"x\"");
    }

    #[test]
    fn aggregates() {
        let error = FieldError::required(&Path::root("a"), "");
        assert_eq!(aggregate(&[error.clone(), error.clone()]), "a: Required value");
        let other = FieldError::required(&Path::root("b"), "");
        assert_eq!(aggregate(&[error, other]), "[a: Required value, b: Required value]");
    }
}
