//! A place in an object: what stands there, and its path for the error.
//!
//! Invariants: absent and null are the same; what is absent reads as empty.

use serde_json::Value;

use crate::quantity::Quantity;

use super::content::Rule;
use super::{FieldError, Path};

/// The broken rules found so far.
pub(super) type Errors = Vec<FieldError>;

const NULL: &Value = &Value::Null;

/// A place in an object.
#[derive(Clone)]
pub(super) struct At<'a> {
    value: &'a Value,
    pub(super) path: Path,
}

impl<'a> At<'a> {
    /// A field of the object itself.
    pub(super) fn root(obj: &'a Value, name: &str) -> Self {
        Self { value: obj.get(name).unwrap_or(NULL), path: Path::root(name) }
    }

    /// A value that is said to stand at a path.
    pub(super) fn new(value: Option<&'a Value>, path: Path) -> Self {
        Self { value: value.unwrap_or(NULL), path }
    }

    pub(super) fn child(&self, name: &str) -> Self {
        Self { value: self.value.get(name).unwrap_or(NULL), path: self.path.child(name) }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = At<'a>> + use<'_, 'a> {
        let list = self.value.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().enumerate().map(|(i, value)| At { value, path: self.path.index(i) })
    }

    /// The entries of a map, in order of their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'_, 'a> {
        let map = self.value.as_object().into_iter().flatten();
        map.map(|(key, value)| (key.as_str(), At { value, path: self.path.key(key) }))
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// How many items or entries there are.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    /// Whether nothing stands here, or something without content.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or("")
    }

    pub(super) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// A number, zero when absent.
    pub(super) fn number(&self) -> i64 {
        self.int().unwrap_or(0)
    }

    /// Whether a flag is set and true.
    pub(super) fn is_true(&self) -> bool {
        self.value.as_bool() == Some(true)
    }

    pub(super) fn quantity(&self) -> Option<Quantity> {
        Quantity::from_json(self.value).ok()
    }

    // ---- errors about this place

    pub(super) fn required(&self, detail: impl Into<String>) -> FieldError {
        FieldError::required(&self.path, detail)
    }

    pub(super) fn invalid(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, self.value.clone(), detail)
    }

    /// Invalid, with another value than the one that stands here.
    pub(super) fn invalid_value(&self, value: impl Into<Value>, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, value, detail)
    }

    pub(super) fn forbidden(&self, detail: impl Into<String>) -> FieldError {
        FieldError::forbidden(&self.path, detail)
    }

    pub(super) fn not_supported(&self, allowed: &[&str]) -> FieldError {
        FieldError::not_supported(&self.path, self.value.clone(), allowed)
    }

    pub(super) fn duplicate(&self) -> FieldError {
        FieldError::duplicate(&self.path, self.value.clone())
    }

    // ---- rules about this place

    /// Each sentence of a rule about a text becomes an error.
    pub(super) fn content(&self, rule: Rule, errors: &mut Errors) {
        errors.extend(rule(self.text()).into_iter().map(|detail| self.invalid_value(self.text(), detail)));
    }

    /// As [`At::content`], where a text is required.
    pub(super) fn required_content(&self, rule: Rule, errors: &mut Errors) {
        if self.text().is_empty() { errors.push(self.required("")) } else { self.content(rule, errors) }
    }

    /// A text that is one of few; `allowed` is named in this order.
    pub(super) fn one_of(&self, allowed: &[&str], errors: &mut Errors) {
        if self.text().is_empty() {
            errors.push(self.required(""));
        } else {
            self.optional_one_of(allowed, errors);
        }
    }

    /// As [`At::one_of`], where nothing is fine too.
    pub(super) fn optional_one_of(&self, allowed: &[&str], errors: &mut Errors) {
        if self.is_set() && !allowed.contains(&self.text()) {
            errors.push(FieldError::not_supported(&self.path, self.text(), allowed));
        }
    }

    /// A number that is not negative, absent is zero.
    pub(super) fn not_negative(&self, errors: &mut Errors) {
        if self.number() < 0 {
            errors.push(self.invalid("must be greater than or equal to 0"));
        }
    }

    /// A number above zero.
    pub(super) fn positive(&self, errors: &mut Errors) {
        if self.number() <= 0 {
            errors.push(self.invalid_value(self.number(), "must be greater than 0"));
        }
    }

    /// A user or group id.
    pub(super) fn id(&self, errors: &mut Errors) {
        if self.int().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            errors.push(self.invalid(super::content::range_error(0, i32::MAX)));
        }
    }

    /// A field that may never change.
    pub(super) fn immutable(&self, old: &At<'_>, errors: &mut Errors) {
        if !self.same(old) {
            errors.push(self.invalid("field is immutable"));
        }
    }

    /// Whether the same stands here and there; nothing and emptiness are the same.
    pub(super) fn same(&self, other: &At<'_>) -> bool {
        self.value == other.value || (self.is_empty() && other.is_empty())
    }

    /// An address of IPv4 or IPv6.
    pub(super) fn ip(&self, errors: &mut Errors) {
        if self.text().parse::<std::net::IpAddr>().is_err() {
            errors
                .push(self.invalid_value(self.text(), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
        }
    }

    /// A range of addresses.
    pub(super) fn cidr(&self, errors: &mut Errors) {
        let parsed = self.text().split_once('/').and_then(|(ip, bits)| {
            let (ip, bits) = (ip.parse::<std::net::IpAddr>().ok()?, bits.parse::<u8>().ok()?);
            (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some(())
        });
        if parsed.is_none() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(self.invalid_value(self.text(), detail));
        }
    }
}
