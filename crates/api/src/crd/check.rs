//! Whether a value keeps the rules of a schema, in the words of kube-openapi's validator.
//!
//! Invariants: rules are told in the order of names; a path is that of the field below the object, without a leading dot.
//! Absent: metadata, lists that are sets or maps (`lists`), expressions.

use serde_json::{Map, Value};

use super::fault::{Fault, FaultKind, Outcome};
use super::formats;
use super::numbers::{self, go_float};
use super::schema::{Additional, Rules, Schema, Type};
use crate::schema::ListType;
use crate::validate::{FieldError, Path};

/// What a value breaks at a place that is called `base` (none for the whole object). Rules about what is as it was in
/// `old` are not held against it.
pub(super) fn broken(base: &Path, value: &Value, old: Option<&Value>, schema: &Schema) -> Vec<FieldError> {
    let outcome = at(schema, value, old, "");
    outcome.faults.into_iter().map(|fault| fault.told(base)).collect()
}

fn at(schema: &Schema, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut out = Outcome::default();
    if old == Some(value) {
        return out;
    }
    if value.is_null() {
        out.merge(type_of(schema, value, path));
        if let Some(rules) = &schema.rules {
            out.merge(enumeration(rules, value, path));
        }
        return out;
    }
    if schema.ty != Type::Any || schema.int_or_string {
        out.merge(type_of(schema, value, path));
        out.count += 1;
    }
    if let Some(rules) = &schema.rules {
        out.merge(junctors(rules, value, old, path));
        match value {
            Value::String(text) => {
                out.merge(string(rules, text, path));
                out.merge(format(rules, text, path));
            }
            Value::Number(_) => out.merge(numbers_of(schema, rules, value, path)),
            _ => {}
        }
    }
    match value {
        Value::Array(items) => out.merge(array(schema, items, old, path)),
        Value::Object(map) => out.merge(object(schema, map, old, path)),
        _ => {}
    }
    if let Some(rules) = &schema.rules {
        out.merge(enumeration(rules, value, path));
    }
    out.count += 2;
    out
}

fn type_of(schema: &Schema, value: &Value, path: &str) -> Outcome {
    let wanted = match (schema.int_or_string, schema.ty) {
        (true, _) => "integer,string",
        (false, ty) => ty.as_str(),
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = match (schema.int_or_string, schema.ty, found) {
        (false, Type::Any, _) => true,
        (_, _, "null") => schema.nullable,
        (true, _, found) => matches!(found, "integer" | "string"),
        (false, Type::Number, "integer") => true,
        (false, Type::Integer, "number") => numbers::is_whole(value),
        // A format takes a text for what it formats.
        (false, ty, "string" | "array") if has_format(schema) => {
            ty.as_str() == found || !matches!(ty, Type::Number | Type::Integer)
        }
        (false, ty, found) => ty.as_str() == found,
    };
    match fits {
        true => Outcome { faults: Vec::new(), count: 1 },
        false => Outcome::of(Fault::wrong_type(path, wanted, found)),
    }
}

fn has_format(schema: &Schema) -> bool {
    schema.rules.as_ref().is_some_and(|rules| rules.format.is_some())
}

fn enumeration(rules: &Rules, value: &Value, path: &str) -> Outcome {
    if rules.enumeration.is_empty() || rules.enumeration.iter().any(|one| numbers::equal(one, value)) {
        return Outcome::default();
    }
    let kind = FaultKind::Enum { value: value.clone(), allowed: rules.enumeration.clone() };
    Outcome::of(Fault::new(path, format!("{path} in body should be one of"), kind))
}

fn string(rules: &Rules, text: &str, path: &str) -> Outcome {
    let length = text.chars().count() as u64;
    if let Some(limit) = rules.max_length.filter(|limit| length > *limit) {
        let message = format!("{path} in body should be at most {limit} chars long");
        return Outcome::of(Fault::new(path, message, FaultKind::TooLong(limit)));
    }
    if let Some(limit) = rules.min_length.filter(|limit| length < *limit) {
        return Outcome::of(Fault::invalid(path, &format!("should be at least {limit} chars long"), text.into()));
    }
    let Some(pattern) = &rules.pattern else { return Outcome::default() };
    let shown = match pattern.matches(text) {
        Ok(true) => return Outcome::default(),
        Ok(false) => pattern.text().to_owned(),
        Err(why) => format!("{}, but pattern is invalid: {why}", pattern.text()),
    };
    Outcome::of(Fault::invalid(path, &format!("should match '{shown}'"), text.into()))
}

fn format(rules: &Rules, text: &str, path: &str) -> Outcome {
    let Some(format) = rules.format.as_deref().filter(|format| !formats::fits(format, text)) else {
        return Outcome::default();
    };
    let message = format!("{path} in body must be of type {format}: {}", crate::quote::quoted(text));
    Outcome::of(Fault::new(path, message, FaultKind::Type(text.into())))
}

fn numbers_of(schema: &Schema, rules: &Rules, value: &Value, path: &str) -> Outcome {
    let mut out = Outcome { faults: Vec::new(), count: 1 };
    if let (Type::Integer, Some("int32")) = (schema.ty, rules.format.as_deref())
        && value.as_i64().is_none_or(|n| i32::try_from(n).is_err())
    {
        let message = format!("Checked value must be of type integer with format int32 in {path}");
        out.add(Fault::placeless(message));
    }
    let is_float = value.is_f64();
    let number = value.as_f64().unwrap_or_default();
    let shown = |bound: f64| if is_float { go_float(bound) } else { go_float(bound.trunc()) };
    if let Some(factor) = rules.multiple_of {
        if factor <= 0.0 {
            let message = format!("factor MultipleOf declared for {path} must be positive: {}", go_float(factor));
            out.add(Fault::new(path, message, FaultKind::Invalid(factor.into())));
        } else if !numbers::is_multiple(value, factor) {
            out.add(Fault::invalid(path, &format!("should be a multiple of {}", shown(factor)), value.clone()));
        }
    }
    if let Some(bound) = rules.minimum {
        let exclusive = rules.exclusive_minimum;
        if number < bound || (exclusive && number <= bound) {
            let words = if exclusive { "greater than" } else { "greater than or equal to" };
            out.add(Fault::invalid(path, &format!("should be {words} {}", shown(bound)), value.clone()));
        }
    }
    if let Some(bound) = rules.maximum {
        let exclusive = rules.exclusive_maximum;
        if number > bound || (exclusive && number >= bound) {
            let words = if exclusive { "less than" } else { "less than or equal to" };
            out.add(Fault::invalid(path, &format!("should be {words} {}", shown(bound)), value.clone()));
        }
    }
    out
}

fn array(schema: &Schema, items: &[Value], old: Option<&Value>, path: &str) -> Outcome {
    let mut out = Outcome::default();
    if let Some(below) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let before = same_item(schema, item, old);
            out.merge(at(below, item, before, &format!("{path}[{index}]")));
        }
    }
    if let Some(rules) = &schema.rules {
        if let Some(limit) = rules.min_items.filter(|limit| (items.len() as u64) < *limit) {
            out.add(Fault::invalid(path, &format!("should have at least {limit} items"), items.len().into()));
        }
        if let Some(limit) = rules.max_items.filter(|limit| items.len() as u64 > *limit) {
            let message = format!("{path} in body should have at most {limit} items");
            out.add(Fault::new(path, message, FaultKind::TooMany { actual: items.len(), limit }));
        }
    }
    out.count += 1;
    out
}

/// The old item of the same keys, where a list has keys.
fn same_item<'a>(schema: &Schema, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if schema.list_type != Some(ListType::Map) {
        return None;
    }
    let is_same = |before: &&Value| schema.list_keys.iter().all(|key| before.get(key) == item.get(key));
    old?.as_array()?.iter().find(is_same)
}

fn object(schema: &Schema, map: &Map<String, Value>, old: Option<&Value>, path: &str) -> Outcome {
    let mut out = Outcome::default();
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let before = |name: &str| old.and_then(|old| old.get(name));
    let rules = schema.rules.as_deref();
    if let Some(limit) = rules.and_then(|rules| rules.min_properties).filter(|limit| (map.len() as u64) < *limit) {
        out.add(Fault::invalid(path, &format!("should have at least {limit} properties"), map.len().into()));
    }
    if let Some(limit) = rules.and_then(|rules| rules.max_properties).filter(|limit| map.len() as u64 > *limit) {
        let message = format!("{path} in body should have at most {limit} properties");
        out.add(Fault::new(path, message, FaultKind::TooMany { actual: map.len(), limit }));
    }
    for (name, value) in map.iter().filter(|(name, _)| !schema.properties.contains_key(*name)) {
        match &schema.additional {
            Some(Additional::Allowed(false)) => {
                let message = format!("{path}.{name} in body is a forbidden property");
                out.add(Fault::new(path, message, FaultKind::Invalid(name.as_str().into())));
            }
            Some(Additional::Schema(values)) => out.merge(at(values, value, before(name), &format!("{path}.{name}"))),
            _ => {}
        }
    }
    for (name, property) in &schema.properties {
        if let Some(value) = map.get(name) {
            out.merge(at(property, value, before(name), &below(name)));
        }
    }
    for name in rules.map(|rules| rules.required.as_slice()).unwrap_or_default() {
        if !map.contains_key(name) {
            let message = format!("{path}.{name} in body is required");
            out.add(Fault::new(&format!("{path}.{name}"), message, FaultKind::Required));
        }
    }
    out
}

/// `anyOf`, `oneOf`, `allOf` and `not`.
fn junctors(rules: &Rules, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut out = Outcome::default();
    let quoted = crate::quote::quoted(path);
    if !rules.any_of.is_empty() {
        let (valid, best) = alternatives(&rules.any_of, value, old, path);
        if valid == 0 {
            out.add(Fault::placeless(format!("{quoted} must validate at least one schema (anyOf)")));
        }
        out.merge(best);
    }
    if !rules.one_of.is_empty() {
        let (valid, best) = alternatives(&rules.one_of, value, old, path);
        if valid != 1 {
            let found = match valid {
                0 => "Found none valid".to_owned(),
                count => format!("Found {count} valid alternatives"),
            };
            out.add(Fault::placeless(format!("{quoted} must validate one and only one schema (oneOf). {found}")));
        }
        if valid < 2 {
            out.merge(best);
        }
    }
    if !rules.all_of.is_empty() {
        let mut valid = 0;
        for schema in &rules.all_of {
            let outcome = at(schema, value, old, path);
            valid += usize::from(outcome.is_valid());
            out.merge(outcome);
        }
        if valid != rules.all_of.len() {
            let more = if valid == 0 { ". None validated" } else { "" };
            out.add(Fault::placeless(format!("{quoted} must validate all the schemas (allOf){more}")));
        }
    }
    if let Some(not) = &rules.not
        && at(not, value, old, path).is_valid()
    {
        out.add(Fault::placeless(format!("{quoted} must not validate the schema (not)")));
    }
    out.count += 1;
    out
}

/// How many schemas a value fits, and the outcome of the first that it fits or else of the one that it comes closest to.
fn alternatives(schemas: &[Schema], value: &Value, old: Option<&Value>, path: &str) -> (usize, Outcome) {
    let (mut valid, mut success, mut best) = (0, None, None::<Outcome>);
    for schema in schemas {
        let outcome = at(schema, value, old, path);
        if outcome.is_valid() {
            valid += 1;
            success.get_or_insert(outcome);
        } else if valid == 0 && best.as_ref().is_none_or(|best| outcome.count > best.count) {
            best = Some(outcome);
        }
    }
    (valid, success.or(best).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: Value, value: Value, want: &[&str]) {
        let found = broken(&Path::none(), &value, None, &Schema::compile(&schema));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, want, "{schema} {value}");
    }

    #[test]
    fn types() {
        let spec = |ty: Value| json!({"type": "object", "properties": {"a": ty}});
        check(
            spec(json!({"type": "integer"})),
            json!({"a": "x"}),
            &["a: Invalid value: \"string\": a in body must be of type integer: \"string\""],
        );
        check(
            spec(json!({"type": "string"})),
            json!({"a": null}),
            &["a: Invalid value: \"null\": a in body must be of type string: \"null\""],
        );
        check(spec(json!({"type": "string", "nullable": true})), json!({"a": null}), &[]);
        check(spec(json!({"type": "number"})), json!({"a": 3}), &[]);
        check(
            spec(json!({"type": "integer"})),
            json!({"a": 3.5}),
            &["a: Invalid value: \"number\": a in body must be of type integer: \"number\""],
        );
        check(spec(json!({"x-kubernetes-int-or-string": true})), json!({"a": "50%"}), &[]);
        check(
            spec(json!({"x-kubernetes-int-or-string": true})),
            json!({"a": true}),
            &["a: Invalid value: \"boolean\": a in body must be of type integer,string: \"boolean\""],
        );
        check(
            spec(json!({"type": "string", "format": "date-time"})),
            json!({"a": "soon"}),
            &["a: Invalid value: \"soon\": a in body must be of type date-time: \"soon\""],
        );
    }

    #[test]
    fn bounds() {
        let schema = json!({"type": "object", "required": ["r"], "properties": {"spec": {
        "type": "object", "required": ["x"], "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 10},
            "s": {"type": "string", "maxLength": 3, "pattern": "^[a-c]*$"},
            "e": {"type": "string", "enum": ["A", "B"]},
            "l": {"type": "array", "maxItems": 1, "items": {"type": "string", "minLength": 2}},
        }}}});
        check(
            schema,
            json!({"spec": {"n": 11, "s": "xyz", "e": "C", "l": ["a", "bb"]}}),
            &[
                "spec.e: Unsupported value: \"C\": supported values: \"A\", \"B\"",
                "spec.l[0]: Invalid value: \"a\": spec.l[0] in body should be at least 2 chars long",
                "spec.l: Too many: 2: must have at most 1 item",
                "spec.n: Invalid value: 11: spec.n in body should be less than or equal to 10",
                "spec.s: Invalid value: \"xyz\": spec.s in body should match '^[a-c]*$'",
                "spec.x: Required value",
                "r: Required value",
            ],
        );
    }

    #[test]
    fn junctions() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}}});
        check(schema.clone(), json!({"spec": {"a": "1"}}), &[]);
        check(
            schema.clone(),
            json!({"spec": {"a": "1", "b": "2"}}),
            &[
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        );
        check(
            schema,
            json!({"spec": {}}),
            &[
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
                "spec.a: Required value",
            ],
        );
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "not": {"enum": [3]}}}});
        check(schema, json!({"a": 3}), &["<nil>: Invalid value: \"\": \"a\" must not validate the schema (not)"]);
    }
}
