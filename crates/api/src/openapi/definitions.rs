//! Schemas of types, in the dialect of either version of OpenAPI.
//!
//! Invariants: a definition for every type that the given roots reach, and no other.
//! Absent: operations.

use super::texts::{self, Texts};
use crate::kinds::{EVICTION, KINDS, Kind, SCALE, TOKEN_REQUEST, Verb};
use crate::schema::{Field, ListType, Ty, Type, schema};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version of OpenAPI to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> String {
        match self {
            Dialect::V2 => format!("#/definitions/{name}"),
            Dialect::V3 => format!("#/components/schemas/{name}"),
        }
    }

    /// A schema that is only a reference.
    pub(super) fn reference_schema(self, name: &str) -> Value {
        json!({ "$ref": self.reference(name) })
    }
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

/// Types that are known in every group.
const META_KINDS: &[&str] = &["DeleteOptions", "WatchEvent"];

/// All definitions that `roots` reach.
pub(super) fn reached_from(roots: BTreeSet<String>, dialect: Dialect) -> Map<String, Value> {
    let gvks = group_version_kinds();
    let table = texts::unpacked();
    let texts = Texts::read(&table);
    let mut definitions: BTreeMap<String, Value> = BTreeMap::new();
    let mut queue: Vec<String> = roots.into_iter().collect();
    while let Some(name) = queue.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        let mut definition = match special(&name, dialect) {
            Some(definition) => definition,
            None => match schema().find(&name) {
                Some(ty) => {
                    let mut found = Vec::new();
                    let definition = object(ty, &name, dialect, &texts, &mut found);
                    queue.extend(found);
                    definition
                }
                None => continue,
            },
        };
        if let Some(text) = texts.of_type(&name) {
            definition["description"] = Value::from(text);
        }
        if let Some(gvks) = gvks.get(&name) {
            definition["x-kubernetes-group-version-kind"] = gvks.clone();
        }
        definitions.insert(name, definition);
    }
    definitions.into_iter().collect()
}

/// Types with an encoding of their own.
fn special(name: &str, dialect: Dialect) -> Option<Value> {
    if name == full_name(Ty::Quantity)? {
        return Some(match dialect {
            Dialect::V2 => json!({"type": "string"}),
            Dialect::V3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        });
    }
    if name == full_name(Ty::IntOrString)? {
        return Some(match dialect {
            Dialect::V2 => json!({"format": "int-or-string", "type": "string"}),
            Dialect::V3 => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        });
    }
    let simple = [
        (Ty::Time, json!({"format": "date-time", "type": "string"})),
        (Ty::MicroTime, json!({"format": "date-time", "type": "string"})),
        (Ty::Duration, json!({"type": "string"})),
        (Ty::RawExtension, json!({"type": "object"})),
        (Ty::FieldsV1, json!({"type": "object"})),
        (Ty::Patch, json!({"type": "object"})),
        (Ty::Json, json!({})),
        (Ty::SchemaOrArray, json!({})),
        (Ty::SchemaOrBool, json!({})),
        (Ty::SchemaOrStrings, json!({})),
    ];
    simple.into_iter().find(|(ty, _)| full_name(*ty).as_deref() == Some(name)).map(|(_, definition)| definition)
}

/// The name of a type that has a definition.
fn full_name(ty: Ty) -> Option<String> {
    Some(match ty {
        Ty::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
        Ty::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
        Ty::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
        Ty::Time => format!("{META}Time"),
        Ty::MicroTime => format!("{META}MicroTime"),
        Ty::Duration => format!("{META}Duration"),
        Ty::FieldsV1 => format!("{META}FieldsV1"),
        Ty::Patch => format!("{META}Patch"),
        Ty::Json => format!("{EXTENSIONS}JSON"),
        Ty::SchemaOrArray => format!("{EXTENSIONS}JSONSchemaPropsOrArray"),
        Ty::SchemaOrBool => format!("{EXTENSIONS}JSONSchemaPropsOrBool"),
        Ty::SchemaOrStrings => format!("{EXTENSIONS}JSONSchemaPropsOrStringArray"),
        Ty::Ref(id) => schema().get(id).full_name(),
        _ => return None,
    })
}

/// The definition of a struct; the names of the definitions that it needs go to `found`.
fn object(ty: &Type, name: &str, dialect: Dialect, texts: &Texts<'_>, found: &mut Vec<String>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in ty.fields() {
        if field.required {
            required.push(Value::from(field.name));
        }
        let mut property = property(field, dialect, found);
        if let Some(text) = texts.of_field(name, field.name) {
            property["description"] = Value::from(described(text, field.ty));
        }
        properties.insert(field.name.to_owned(), property);
    }
    let mut definition = json!({"type": "object"});
    if !properties.is_empty() {
        definition["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        definition["required"] = Value::Array(required);
    }
    if ty.atomic {
        definition["x-kubernetes-map-type"] = Value::from("atomic");
    }
    definition
}

/// A field's text, with the values that it may have.
fn described(text: &str, ty: Ty) -> String {
    let mut text = text.to_owned();
    for (place, value) in values(ty).enumerate() {
        if place == 0 {
            text.push_str("\n\nPossible enum values:");
        }
        text.push_str(&format!("\n - `\"{value}\"`"));
    }
    text
}

/// The values that a type may have, where Kubernetes lists them.
fn values(ty: Ty) -> impl Iterator<Item = &'static str> {
    let named = match ty {
        Ty::Ref(id) => Some(schema().get(id)),
        _ => None,
    };
    named.into_iter().flat_map(Type::values)
}

fn property(field: &Field, dialect: Dialect, found: &mut Vec<String>) -> Value {
    let mut property = value(field.ty, dialect, found);
    if dialect == Dialect::V3 {
        // Other keys beside a reference are not allowed in version 3, so the reference steps down.
        if property.get("$ref").is_some() {
            property = json!({ "allOf": [property] });
        }
        if let Some(default) = default(field) {
            property["default"] = default;
        }
    }
    if let Some(list_type) = field.list_type {
        property["x-kubernetes-list-type"] = Value::from(match list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        });
    }
    if !field.list_map_keys.is_empty() {
        property["x-kubernetes-list-map-keys"] = json!(field.list_map_keys);
    }
    if let Some(key) = field.merge_key {
        property["x-kubernetes-patch-merge-key"] = Value::from(key);
    }
    if !field.patch_strategy().is_empty() {
        property["x-kubernetes-patch-strategy"] = Value::from(field.patch_strategy());
    }
    if field.atomic || field.granular {
        property["x-kubernetes-map-type"] = Value::from(if field.atomic { "atomic" } else { "granular" });
    }
    property
}

fn value(ty: Ty, dialect: Dialect, found: &mut Vec<String>) -> Value {
    let values: Vec<&str> = values(ty).collect();
    if !values.is_empty() {
        return json!({"type": "string", "enum": values});
    }
    let ty = schema().resolve(ty);
    if let Some(name) = full_name(ty) {
        let reference = dialect.reference_schema(&name);
        found.push(name);
        return reference;
    }
    match ty {
        Ty::Bool => json!({"type": "boolean"}),
        Ty::Int32 => json!({"format": "int32", "type": "integer"}),
        Ty::Int64 | Ty::Uint32 => json!({"format": "int64", "type": "integer"}),
        Ty::Float64 => json!({"format": "double", "type": "number"}),
        Ty::Bytes => json!({"format": "byte", "type": "string"}),
        Ty::List(item) => json!({"items": value(*item, dialect, found), "type": "array"}),
        Ty::Map(item) => json!({"additionalProperties": value(*item, dialect, found), "type": "object"}),
        _ => json!({"type": "string"}),
    }
}

/// The default that version 3 states: the type's own, or the zero value of what is always written.
fn default(field: &Field) -> Option<Value> {
    if let Some(default) = field.default {
        return serde_json::from_str(default).ok();
    }
    if field.pointer {
        return None;
    }
    let is_written = !field.omitempty;
    match schema().resolve(field.ty) {
        Ty::Ref(_) => Some(json!({})),
        Ty::String if is_written => Some(Value::from("")),
        Ty::Bool if is_written => Some(Value::from(false)),
        Ty::Int32 | Ty::Int64 | Ty::Uint32 | Ty::Float64 if is_written => Some(Value::from(0)),
        _ => None,
    }
}

/// Which group, version and kind each type is.
fn group_version_kinds() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let gvk = |kind: &Kind, name: &str| json!([{"group": kind.group, "kind": name, "version": kind.version}]);
    for kind in KINDS.iter().chain([&SCALE, &EVICTION, &TOKEN_REQUEST]) {
        found.insert(kind.type_name.to_owned(), gvk(kind, kind.kind));
        if kind.can(Verb::List) {
            found.insert(format!("{}List", kind.type_name), gvk(kind, &kind.list_kind()));
        }
    }
    for name in ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"] {
        found.insert(format!("{META}{name}"), json!([{"group": "", "kind": name, "version": "v1"}]));
    }
    for name in META_KINDS {
        let all = super::group_versions();
        let all = all.iter().map(|(group, version)| json!({"group": group, "kind": name, "version": version}));
        found.insert(format!("{META}{name}"), all.collect());
    }
    found
}
