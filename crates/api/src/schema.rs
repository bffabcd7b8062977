//! The table of Kubernetes types: what fields a kind has, and how Go reads, writes and merges them.
//!
//! The facts come from `schema/types.txt`, which `cargo xtask schema` writes from the Go sources. One line each:
//! `P number package`, `S number.Name` a struct, `A number.Name type` a name for another type, `e` its only values, and below a struct
//! ` name type` a field, with `o` omitempty, `z` omitzero, `r` required, `ps`/`pk` patch strategy and merge key,
//! `lt`/`lk` list type and map keys, `mt`/`st` map and struct type, `via` the embedded Go structs, `n` the numbers in
//! protobuf, `d` the default.
//!
//! Invariants: parsed once; every reference resolves; fields stand in the order of the Go struct, embedded ones in place.
//! Absent: validation, defaults that Kubernetes computes.

mod parse;

use std::sync::LazyLock;

/// All types, parsed on first use.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| match parse::parse(include_str!("schema/types.txt")) {
    Ok(schema) => schema,
    // The text is part of the binary and a test parses it.
    Err(error) => unreachable!("the table of types is damaged: {error}"),
});

/// The table of types.
pub fn schema() -> &'static Schema {
    &SCHEMA
}

/// Types by number and by name.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    /// Numbers in the order of (package, name).
    by_name: Vec<TypeId>,
}

/// Number of a type in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u16);

/// What a JSON value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// An unsigned integer of 32 bits.
    Uint32,
    /// A number.
    Float64,
    /// A base64 string.
    Bytes,
    /// An amount such as `500m` or `1Gi`.
    Quantity,
    /// An integer of 32 bits or a string.
    IntOrString,
    /// A time in whole seconds.
    Time,
    /// A time in microseconds.
    MicroTime,
    /// A Go duration such as `1m30s`.
    Duration,
    /// An object whose fields are another API's business.
    RawExtension,
    /// The fields that a manager owns.
    FieldsV1,
    /// A patch body.
    Patch,
    /// Any JSON value.
    Json,
    /// A schema of a custom resource, or a list of schemas.
    SchemaOrArray,
    /// A schema of a custom resource, or a boolean.
    SchemaOrBool,
    /// A schema of a custom resource, or a list of strings.
    SchemaOrStrings,
    /// A list.
    List(&'static Ty),
    /// An object with any keys.
    Map(&'static Ty),
    /// A type of the table.
    Ref(TypeId),
}

/// A type of the table.
#[derive(Debug)]
pub struct Type {
    /// Package as OpenAPI names it, such as `io.k8s.api.apps.v1`.
    pub package: &'static str,
    /// Name within the package.
    pub name: &'static str,
    /// What it is.
    pub body: Body,
    /// Whether server-side apply owns the whole struct as one.
    pub atomic: bool,
    /// The values that a string of this type may have, joined by commas, where Kubernetes lists them.
    values: Option<&'static str>,
}

/// What a type of the table is.
#[derive(Debug)]
pub enum Body {
    /// A struct.
    Struct(Struct),
    /// Another name for a type.
    Alias(Ty),
}

/// Fields of a struct.
#[derive(Debug)]
pub struct Struct {
    /// In the order of the Go struct.
    pub fields: Vec<Field>,
    /// Places in `fields` of those that Go writes even when nobody set them.
    pub always: Vec<u8>,
}

/// How server-side apply takes a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// One owner for the whole.
    Atomic,
    /// Each scalar has its owner.
    Set,
    /// Each item has its owner; items are known by their map keys.
    Map,
}

/// A field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Type of the value.
    pub ty: Ty,
    /// Whether Go holds it by pointer, so that a zero is kept.
    pub pointer: bool,
    /// Whether Go leaves out an empty value.
    pub omitempty: bool,
    /// Whether Go leaves out a zero struct.
    pub omitzero: bool,
    /// Whether OpenAPI lists it as required.
    pub required: bool,
    /// Whether a strategic merge patch merges a list's items instead of replacing the list.
    pub merge: bool,
    /// Whether a strategic merge patch replaces a map instead of merging it.
    pub replace: bool,
    /// Whether a strategic merge patch drops keys that the patch does not retain.
    pub retain_keys: bool,
    /// The field that tells items of a merged list apart; none for lists of scalars.
    pub merge_key: Option<&'static str>,
    /// How server-side apply takes the list.
    pub list_type: Option<ListType>,
    /// The fields that tell items apart under server-side apply.
    pub list_map_keys: Vec<&'static str>,
    /// Whether server-side apply owns the map or struct as one.
    pub atomic: bool,
    /// Whether server-side apply owns the map or struct field by field, although its type is atomic.
    pub granular: bool,
    /// Go names of the embedded structs on the way to the field, joined by dots; empty for a field of its own.
    pub via: &'static str,
    /// Number in protobuf, after those of the embedded structs on the way, joined by dots; empty when protobuf has none.
    pub wire: &'static str,
    /// Default as JSON, where the Go type states one.
    pub default: Option<&'static str>,
}

impl Field {
    /// `patchStrategy` as the Go tag and OpenAPI write it; empty when there is none.
    pub fn patch_strategy(&self) -> &'static str {
        match (self.merge, self.retain_keys) {
            (true, true) => "merge,retainKeys",
            (true, false) => "merge",
            (false, true) => "retainKeys",
            (false, false) if self.replace => "replace",
            (false, false) => "",
        }
    }
}

impl Type {
    /// Full name, such as `io.k8s.api.apps.v1.DaemonSet`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.package, self.name)
    }

    /// The fields, empty for an alias.
    pub fn fields(&self) -> &[Field] {
        match &self.body {
            Body::Struct(body) => &body.fields,
            Body::Alias(_) => &[],
        }
    }

    /// The field with this JSON name, in this very case.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The values that a string of this type may have, in order; none where any is allowed.
    pub fn values(&self) -> impl Iterator<Item = &'static str> {
        self.values.into_iter().flat_map(|values| values.split(','))
    }

    /// The name as Go's messages write it, such as `v1.DaemonSet`.
    pub fn go_name(&self) -> String {
        format!("{}.{}", self.package.rsplit('.').next().unwrap_or_default(), self.name)
    }
}

impl Schema {
    /// The type with this full name.
    pub fn find(&self, full_name: &str) -> Option<&Type> {
        self.find_id(full_name).map(|id| self.get(id))
    }

    /// The number of the type with this full name.
    pub fn find_id(&self, full_name: &str) -> Option<TypeId> {
        let name = full_name.rsplit_once('.')?;
        let place = self.by_name.binary_search_by(|&id| {
            let ty = self.get(id);
            (ty.package, ty.name).cmp(&name)
        });
        place.ok().map(|place| self.by_name[place])
    }

    /// The type with this number.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[usize::from(id.0)]
    }

    /// All types, in the order of the table.
    pub fn types(&self) -> impl Iterator<Item = &Type> {
        self.types.iter()
    }

    /// `ty` with names for other types replaced by what they stand for.
    pub fn resolve(&self, mut ty: Ty) -> Ty {
        while let Ty::Ref(id) = ty {
            match self.get(id).body {
                Body::Alias(other) => ty = other,
                Body::Struct(_) => break,
            }
        }
        ty
    }

    /// The struct that `ty` is, if it is one.
    pub fn struct_of(&self, ty: Ty) -> Option<&Type> {
        match self.resolve(ty) {
            Ty::Ref(id) => Some(self.get(id)),
            _ => None,
        }
    }

    /// `ty` as Go's messages write it.
    pub fn go_type(&self, ty: Ty) -> String {
        match ty {
            Ty::String => "string".to_owned(),
            Ty::Bool => "bool".to_owned(),
            Ty::Int32 => "int32".to_owned(),
            Ty::Int64 => "int64".to_owned(),
            Ty::Uint32 => "uint32".to_owned(),
            Ty::Float64 => "float64".to_owned(),
            Ty::Bytes => "[]uint8".to_owned(),
            Ty::Quantity => "resource.Quantity".to_owned(),
            Ty::IntOrString => "intstr.IntOrString".to_owned(),
            Ty::Time => "v1.Time".to_owned(),
            Ty::MicroTime => "v1.MicroTime".to_owned(),
            Ty::Duration => "v1.Duration".to_owned(),
            Ty::RawExtension => "runtime.RawExtension".to_owned(),
            Ty::FieldsV1 => "v1.FieldsV1".to_owned(),
            Ty::Patch => "v1.Patch".to_owned(),
            Ty::Json => "v1.JSON".to_owned(),
            Ty::SchemaOrArray => "v1.JSONSchemaPropsOrArray".to_owned(),
            Ty::SchemaOrBool => "v1.JSONSchemaPropsOrBool".to_owned(),
            Ty::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray".to_owned(),
            Ty::List(item) => format!("[]{}", self.go_type(*item)),
            Ty::Map(item) => format!("map[string]{}", self.go_type(*item)),
            Ty::Ref(id) => self.get(id).go_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{KINDS, Subresource, Verb};

    #[test]
    fn every_kind_has_its_types() {
        for kind in KINDS {
            let ty = schema().find(kind.type_name).unwrap_or_else(|| panic!("{} is missing", kind.type_name));
            assert_eq!(ty.full_name(), kind.type_name);
            assert!(ty.field("kind").is_some() && ty.field("apiVersion").is_some(), "{}", kind.type_name);
            assert!(ty.field("status").is_some() || !kind.has(Subresource::Status), "{}", kind.type_name);
            if kind.can(Verb::List) {
                let list = schema().find(&format!("{}List", kind.type_name)).expect("a list type");
                assert!(matches!(list.field("items").map(|field| field.ty), Some(Ty::List(Ty::Ref(_)))));
            }
        }
        for name in ["io.k8s.api.autoscaling.v1.Scale", "io.k8s.api.policy.v1.Eviction"] {
            assert!(schema().find(name).is_some(), "{name}");
        }
        assert!(schema().find("io.k8s.api.apps.v1.NoSuchType").is_none());
        assert!(schema().find("nodots").is_none());
    }

    #[test]
    fn fields_carry_tags_and_markers() {
        let container = schema().find("io.k8s.api.core.v1.Container").expect("a type");
        let ports = container.field("ports").expect("a field");
        assert_eq!((ports.merge, ports.merge_key), (true, Some("containerPort")));
        assert_eq!(ports.list_type, Some(ListType::Map));
        assert_eq!(ports.list_map_keys, ["containerPort", "protocol"]);
        assert!(ports.omitempty && !ports.required && !ports.pointer);
        assert!(container.field("name").expect("a field").required);
        assert!(container.field("Name").is_none(), "names are case-sensitive");
        let volumes = schema().find("io.k8s.api.core.v1.PodSpec").and_then(|ty| ty.field("volumes")).expect("a field");
        assert_eq!(volumes.patch_strategy(), "merge,retainKeys");
        let volume = schema().find("io.k8s.api.core.v1.Volume").expect("a type");
        let empty_dir = volume.field("emptyDir").expect("an embedded field");
        assert_eq!((empty_dir.via, empty_dir.pointer), ("VolumeSource", true));
        let protocol = schema().find("io.k8s.api.core.v1.ContainerPort").and_then(|ty| ty.field("protocol"));
        assert_eq!(protocol.and_then(|field| field.default), Some("\"TCP\""));
    }

    #[test]
    fn go_names() {
        let pod = schema().find("io.k8s.api.core.v1.PodSpec").expect("a type");
        for (field, go) in [
            ("containers", "[]v1.Container"),
            ("nodeSelector", "map[string]string"),
            ("restartPolicy", "v1.RestartPolicy"),
            ("overhead", "v1.ResourceList"),
            ("affinity", "v1.Affinity"),
            ("hostNetwork", "bool"),
        ] {
            assert_eq!(schema().go_type(pod.field(field).expect("a field").ty), go, "{field}");
        }
        let overhead = pod.field("overhead").expect("a field").ty;
        assert_eq!(schema().resolve(overhead), Ty::Map(&Ty::Quantity));
    }

    #[test]
    fn go_writes_these_even_when_unset() {
        let written = |name: &str| -> Vec<&str> {
            let ty = schema().find(name).expect("a type");
            let Body::Struct(body) = &ty.body else { panic!("{name} is not a struct") };
            body.always.iter().map(|&place| body.fields[usize::from(place)].name).collect()
        };
        assert_eq!(written("io.k8s.api.apps.v1.DaemonSet"), ["metadata", "spec", "status"]);
        assert_eq!(written("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"), [""; 0]);
        assert_eq!(written("io.k8s.api.core.v1.Container"), ["name", "resources"]);
    }
}
