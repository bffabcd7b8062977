//! Places in the tree of types, as server-side apply sees them: scalars, lists and maps, each owned as one or in parts.
//!
//! Invariants: a field that the types do not know, and what other APIs own, is taken as it looks: objects in parts,
//! lists as one.
//! Absent: values, but for those that tell what an untyped place is.

use serde_json::{Map, Value};

use super::custom;
use super::element::Element;
use crate::kinds::Kind;
use crate::schema::{Body, Field, ListType, Ty, Type, schema};

/// A place in the tree of types.
#[derive(Clone, Copy)]
pub(super) enum Spot<'a> {
    /// In the table of types.
    Typed { ty: Ty, field: Option<&'static Field> },
    /// In the schema of a custom kind.
    Custom(custom::Place<'a>),
}

/// What a place is.
pub(super) enum Shape<'a> {
    Scalar(Scalar),
    List(ListShape<'a>),
    Map(MapShape<'a>),
}

/// What a scalar must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    String,
    Bool,
    Number,
    Any,
}

/// A list.
pub(super) struct ListShape<'a> {
    pub(super) item: Spot<'a>,
    pub(super) items: Items<'a>,
}

/// How the items of a list are owned.
#[derive(Clone, Copy)]
pub(super) enum Items<'a> {
    /// All as one.
    Atomic,
    /// Each scalar by itself.
    Set,
    /// Each object by itself, known by these fields.
    Keyed(&'static [&'static str]),
    /// The same, by what a custom kind says.
    Named(&'a [String]),
}

/// A struct or a map.
pub(super) struct MapShape<'a> {
    pub(super) holds: Holds<'a>,
    pub(super) atomic: bool,
}

/// What a struct or a map holds.
#[derive(Clone, Copy)]
pub(super) enum Holds<'a> {
    /// The fields of a struct.
    Fields(&'static Type),
    /// Values of one type.
    Values(Ty),
    /// What a custom kind says.
    Custom(custom::Place<'a>),
}

/// A place that is taken as it looks.
pub(super) const UNTYPED: Spot<'static> = Spot::Typed { ty: Ty::Json, field: None };

impl<'a> Spot<'a> {
    /// The root of a kind.
    pub(super) fn root(kind: &'a Kind) -> Spot<'a> {
        match &kind.custom {
            Some(custom) => Spot::Custom(custom::Place::root(&custom.schema, custom.preserves_unknown)),
            None => Spot::Typed { ty: schema().find_id(kind.type_name).map_or(Ty::Json, Ty::Ref), field: None },
        }
    }

    fn of(field: &'static Field) -> Spot<'static> {
        Spot::Typed { ty: field.ty, field: Some(field) }
    }

    /// The place of a type of the table.
    pub(super) fn of_type(full_name: &str) -> Spot<'static> {
        Spot::Typed { ty: schema().find_id(full_name).map_or(Ty::Json, Ty::Ref), field: None }
    }

    /// What the place is. A value tells it of untyped places.
    pub(super) fn shape(self, value: Option<&Value>) -> Shape<'a> {
        let (place_ty, place_field) = match self {
            Spot::Typed { ty, field } => (ty, field),
            Spot::Custom(place) => return place.shape(value),
        };
        let (ty, is_atomic_type) = resolved(place_ty);
        let is_atomic = match place_field {
            Some(field) => field.atomic || (is_atomic_type && !field.granular),
            None => is_atomic_type,
        };
        match ty {
            Ty::String | Ty::Bytes | Ty::Duration => Shape::Scalar(Scalar::String),
            Ty::Bool => Shape::Scalar(Scalar::Bool),
            Ty::Int32 | Ty::Int64 | Ty::Uint32 | Ty::Float64 => Shape::Scalar(Scalar::Number),
            Ty::Quantity | Ty::IntOrString | Ty::Time | Ty::MicroTime => Shape::Scalar(Scalar::Any),
            Ty::List(item) => {
                Shape::List(ListShape { item: Spot::Typed { ty: *item, field: None }, items: items(place_field) })
            }
            Ty::Map(element) => Shape::Map(MapShape { holds: Holds::Values(*element), atomic: is_atomic }),
            Ty::Ref(id) => Shape::Map(MapShape { holds: Holds::Fields(schema().get(id)), atomic: is_atomic }),
            Ty::RawExtension
            | Ty::FieldsV1
            | Ty::Patch
            | Ty::Json
            | Ty::SchemaOrArray
            | Ty::SchemaOrBool
            | Ty::SchemaOrStrings => as_it_looks(value),
        }
    }
}

/// The type behind names for other types, and whether one of them is owned as one.
fn resolved(mut ty: Ty) -> (Ty, bool) {
    let mut is_atomic = false;
    while let Ty::Ref(id) = ty {
        let named = schema().get(id);
        is_atomic |= named.atomic;
        match named.body {
            Body::Alias(other) => ty = other,
            Body::Struct(_) => break,
        }
    }
    (ty, is_atomic)
}

pub(super) fn as_it_looks(value: Option<&Value>) -> Shape<'static> {
    match value {
        None | Some(Value::Null | Value::Object(_)) => {
            Shape::Map(MapShape { holds: Holds::Values(Ty::Json), atomic: false })
        }
        Some(Value::Array(_)) => Shape::List(ListShape { item: UNTYPED, items: Items::Atomic }),
        Some(_) => Shape::Scalar(Scalar::Any),
    }
}

/// A list without a list type goes by its patch strategy, as Kubernetes takes it.
fn items(field: Option<&'static Field>) -> Items<'static> {
    let Some(field) = field else { return Items::Atomic };
    match field.list_type {
        Some(ListType::Atomic) => Items::Atomic,
        Some(ListType::Set) => Items::Set,
        Some(ListType::Map) => Items::Keyed(&field.list_map_keys),
        None if !field.merge => Items::Atomic,
        None if field.merge_key.is_none() => Items::Set,
        None => Items::Keyed(field.merge_key.as_slice()),
    }
}

impl Shape<'_> {
    /// Whether two looks of an untyped place are alike.
    pub(super) fn is_like(&self, other: &Shape<'_>) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl<'a> MapShape<'a> {
    /// Whether it is a struct with such a field.
    pub(super) fn names(&self, name: &str) -> bool {
        match self.holds {
            Holds::Fields(ty) => ty.field(name).is_some(),
            Holds::Values(_) => false,
            Holds::Custom(place) => place.names(name),
        }
    }

    /// Whether such a key may stand in it.
    pub(super) fn knows(&self, name: &str) -> bool {
        match self.holds {
            Holds::Fields(ty) => ty.field(name).is_some(),
            Holds::Values(_) => true,
            Holds::Custom(place) => place.knows(name),
        }
    }

    /// The place below.
    pub(super) fn child(&self, name: &str) -> Spot<'a> {
        match self.holds {
            Holds::Fields(ty) => ty.field(name).map_or(UNTYPED, Spot::of),
            Holds::Values(ty) => Spot::Typed { ty, field: None },
            Holds::Custom(place) => place.child(name),
        }
    }
}

impl ListShape<'_> {
    /// The step to an item.
    ///
    /// # Errors
    /// Why the item has no name in the list.
    pub(super) fn element(&self, item: &Value) -> Result<Element, String> {
        match self.items {
            Items::Atomic => Err("invalid indexing of non-associative list".to_owned()),
            Items::Set => match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
                scalar => Ok(Element::value(scalar)),
            },
            Items::Keyed(keys) => self.keyed(keys.iter().copied(), item),
            Items::Named(keys) => self.keyed(keys.iter().map(String::as_str), item),
        }
    }

    fn keyed<'k>(&self, keys: impl Iterator<Item = &'k str> + Clone, item: &Value) -> Result<Element, String> {
        let item = match item {
            Value::Object(item) => item,
            Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let mut found = Map::new();
        for key in keys.clone() {
            if let Some(value) = item.get(key).cloned().or_else(|| self.default(key)) {
                found.insert(key.to_owned(), value);
            }
        }
        if found.is_empty() {
            let keys: Vec<String> = keys.map(|key| format!("{key:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                keys.join(" ")
            ));
        }
        Ok(Element::key(found))
    }

    /// The value of a key that is left out: the stated default, or the zero of what Go always writes.
    fn default(&self, key: &str) -> Option<Value> {
        let ty = match self.item {
            Spot::Typed { ty, .. } => ty,
            Spot::Custom(place) => return place.default_of(key),
        };
        let field = schema().struct_of(ty)?.field(key)?;
        if let Some(default) = field.default {
            return serde_json::from_str(default).ok();
        }
        if field.omitempty || field.pointer {
            return None;
        }
        match schema().resolve(field.ty) {
            Ty::String => Some(Value::from("")),
            Ty::Bool => Some(Value::from(false)),
            Ty::Int32 | Ty::Int64 => Some(Value::from(0)),
            _ => None,
        }
    }
}
