//! The schema of a custom kind, compiled once: a tree that pruning, defaulting, applying and checking walk.
//!
//! Invariants: compiling never fails; what a schema says that no rule here knows is left out. Depth is that of the JSON
//! it was read from, which decoding bounds.
//! Absent: whether the schema is allowed (`structural`, `props`), what is done along it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pattern::Pattern;
use crate::cel::Program;
use crate::schema::ListType;

/// A place in the tree.
#[derive(Debug, Default)]
pub struct Schema {
    pub(crate) ty: Type,
    /// An integer or a string.
    pub(crate) int_or_string: bool,
    pub(crate) nullable: bool,
    /// Fields that nobody declared stay.
    pub(crate) preserve: bool,
    /// A whole object with metadata of its own.
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    pub(crate) list_type: Option<ListType>,
    pub(crate) list_keys: Vec<String>,
    /// The map is owned as one.
    pub(crate) atomic: bool,
    pub(crate) rules: Option<Box<Rules>>,
    /// Rules that are written as expressions.
    pub(crate) validations: Vec<Validation>,
    /// Whether a default stands here or below.
    pub(crate) has_defaults: bool,
    /// Whether an expression stands here or below.
    pub(crate) has_validations: bool,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Type {
    /// Anything.
    #[default]
    Any,
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl Type {
    fn parse(text: &str) -> Type {
        match text {
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            "array" => Type::Array,
            "object" => Type::Object,
            _ => Type::Any,
        }
    }

    /// As schemas write it; empty for anything.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Type::Any => "",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
            Type::Array => "array",
            Type::Object => "object",
        }
    }
}

/// What keys beside the declared ones may hold.
#[derive(Debug)]
pub(crate) enum Additional {
    /// Anything, or nothing.
    Allowed(bool),
    /// This.
    Schema(Box<Schema>),
}

impl Additional {
    /// The schema of values, if there is one.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        match self {
            Additional::Schema(schema) => Some(schema),
            Additional::Allowed(_) => None,
        }
    }
}

/// Rules about a value beyond its shape.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// A format that is known for the type.
    pub(crate) format: Option<String>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) required: Vec<String>,
    pub(crate) enumeration: Vec<Value>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// One of `x-kubernetes-validations`.
#[derive(Debug)]
pub(crate) struct Validation {
    pub(crate) rule: String,
    /// The rule as an expression, or what keeps it from being one.
    pub(crate) program: Result<Program, String>,
    pub(crate) message: String,
    pub(crate) message_expression: Option<Result<Program, String>>,
    pub(crate) reason: String,
    pub(crate) field_path: String,
    pub(crate) optional_old_self: bool,
    /// The rule is about a change.
    pub(crate) uses_old_self: bool,
}

impl Validation {
    fn read(json: &Value) -> Validation {
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let program = Program::parse(&text("rule"));
        let message_expression = text("messageExpression");
        Validation {
            rule: text("rule"),
            uses_old_self: program.as_ref().is_ok_and(|program| program.uses("oldSelf")),
            program,
            message: text("message"),
            message_expression: (!message_expression.is_empty()).then(|| Program::parse(&message_expression)),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old_self: json.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or_default(),
        }
    }
}

impl Schema {
    /// Compiles `openAPIV3Schema`.
    pub fn compile(json: &Value) -> Schema {
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or_default();
        let ty = Type::parse(text("type"));
        let properties: BTreeMap<String, Schema> =
            entries(json, "properties").map(|(name, schema)| (name.clone(), Schema::compile(schema))).collect();
        let additional = match json.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Some(Additional::Allowed(*allowed)),
            Some(schema @ Value::Object(_)) => Some(Additional::Schema(Box::new(Schema::compile(schema)))),
            _ => None,
        };
        let items = json.get("items").filter(|items| items.is_object()).map(|items| Box::new(Schema::compile(items)));
        let default = json.get("default").filter(|default| !default.is_null()).cloned();
        let validations: Vec<Validation> =
            list(json, "x-kubernetes-validations").iter().map(Validation::read).collect();
        let below = || {
            let additional = additional.as_ref().and_then(Additional::schema);
            properties.values().chain(additional).chain(items.as_deref())
        };
        let has_defaults = default.is_some() || below().any(|schema| schema.has_defaults);
        let has_validations = !validations.is_empty() || below().any(|schema| schema.has_validations);
        Schema {
            ty,
            int_or_string: flag("x-kubernetes-int-or-string"),
            nullable: flag("nullable"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            list_type: match text("x-kubernetes-list-type") {
                "atomic" => Some(ListType::Atomic),
                "set" => Some(ListType::Set),
                "map" => Some(ListType::Map),
                _ => None,
            },
            list_keys: texts(json, "x-kubernetes-list-map-keys"),
            atomic: text("x-kubernetes-map-type") == "atomic",
            rules: Rules::compile(json, ty),
            has_defaults,
            has_validations,
            validations,
            properties,
            additional,
            items,
            default,
        }
    }

    /// The schema of a field, declared or not.
    pub(crate) fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or_else(|| self.additional.as_ref()?.schema())
    }

    /// Whether a null may not stand here.
    pub(crate) fn refuses_null(&self) -> bool {
        !self.nullable
    }
}

impl Rules {
    fn compile(json: &Value, ty: Type) -> Option<Box<Rules>> {
        let number = |key: &str| json.get(key).and_then(Value::as_f64);
        let count = |key: &str| json.get(key).and_then(Value::as_f64).map(|n| n.max(0.0) as u64);
        let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or_default();
        let text = |key: &str| json.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let schemas = |key: &str| list(json, key).iter().map(Schema::compile).collect::<Vec<_>>();
        let rules = Rules {
            format: text("format").filter(|f| crate::validate::is_known_format(ty.as_str(), f)).map(str::to_owned),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: text("pattern").map(Pattern::new),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: texts(json, "required"),
            enumeration: list(json, "enum").to_vec(),
            all_of: schemas("allOf"),
            any_of: schemas("anyOf"),
            one_of: schemas("oneOf"),
            not: json.get("not").filter(|not| not.is_object()).map(|not| Box::new(Schema::compile(not))),
        };
        let has_any = rules.format.is_some()
            || rules.maximum.or(rules.minimum).or(rules.multiple_of).is_some()
            || rules.max_length.or(rules.min_length).or(rules.max_items).or(rules.min_items).is_some()
            || rules.max_properties.or(rules.min_properties).is_some()
            || rules.pattern.is_some()
            || rules.not.is_some()
            || !(rules.required.is_empty() && rules.enumeration.is_empty())
            || !(rules.all_of.is_empty() && rules.any_of.is_empty() && rules.one_of.is_empty());
        has_any.then(|| Box::new(rules))
    }
}

/// The items of a list, none when there is no list.
pub(super) fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The entries of a map, none when there is no map.
pub(super) fn entries<'a>(json: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    json.get(key).and_then(Value::as_object).into_iter().flatten()
}

/// A list of texts.
pub(super) fn texts(json: &Value, key: &str) -> Vec<String> {
    list(json, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
