//! Places in the schema of a custom kind, as server-side apply sees them.
//!
//! Invariants: metadata has its own type, at the root and in embedded objects; where a schema keeps what it does not
//! declare, that is taken as it looks.
//! Absent: the table of types.

use serde_json::Value;

use super::spot::{Holds, Items, ListShape, MapShape, Scalar, Shape, Spot, UNTYPED, as_it_looks};
use crate::crd::Schema;
use crate::crd::schema::Type;
use crate::schema::ListType;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A place.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    schema: &'a Schema,
    /// A whole object: the root, or an embedded one.
    is_object: bool,
    /// What is not declared is kept, as the whole definition says.
    keeps_all: bool,
}

impl<'a> Place<'a> {
    pub(super) fn root(schema: &'a Schema, keeps_all: bool) -> Place<'a> {
        Place { schema, is_object: true, keeps_all }
    }

    fn below(self, schema: &'a Schema) -> Spot<'a> {
        Spot::Custom(Place { schema, is_object: schema.embedded, keeps_all: self.keeps_all })
    }

    pub(super) fn shape(self, value: Option<&Value>) -> Shape<'a> {
        let schema = self.schema;
        if schema.int_or_string {
            return Shape::Scalar(Scalar::Any);
        }
        match schema.ty {
            Type::String => Shape::Scalar(Scalar::String),
            Type::Boolean => Shape::Scalar(Scalar::Bool),
            Type::Integer | Type::Number => Shape::Scalar(Scalar::Number),
            Type::Array => {
                let item = schema.items.as_deref().map_or(UNTYPED, |items| self.below(items));
                let items = match schema.list_type {
                    Some(ListType::Set) => Items::Set,
                    Some(ListType::Map) => Items::Named(&schema.list_keys),
                    Some(ListType::Atomic) | None => Items::Atomic,
                };
                Shape::List(ListShape { item, items })
            }
            Type::Object => Shape::Map(MapShape { holds: Holds::Custom(self), atomic: schema.atomic }),
            Type::Any if self.is_object => Shape::Map(MapShape { holds: Holds::Custom(self), atomic: schema.atomic }),
            Type::Any => as_it_looks(value),
        }
    }

    pub(super) fn names(self, name: &str) -> bool {
        self.schema.properties.contains_key(name)
            || (self.is_object && matches!(name, "apiVersion" | "kind" | "metadata"))
    }

    pub(super) fn knows(self, name: &str) -> bool {
        self.names(name) || self.keeps_all || self.schema.preserve || self.schema.additional.is_some()
    }

    pub(super) fn child(self, name: &str) -> Spot<'a> {
        if self.is_object && name == "metadata" {
            return Spot::of_type(OBJECT_META);
        }
        self.schema.field(name).map_or(UNTYPED, |schema| self.below(schema))
    }

    /// The value of a key that an item leaves out.
    pub(super) fn default_of(self, key: &str) -> Option<Value> {
        self.schema.properties.get(key)?.default.clone()
    }
}
