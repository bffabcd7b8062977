//! What `apply` sends: the difference between what was applied before, what is wanted, and what stands.
//!
//! # Invariants
//! - Fields that the user never wrote are left alone; fields that the user no longer writes are removed.
//! - When nothing differs the patch is `{}`, and applying a patch makes the next one `{}`.
//!
//! # Absent
//! Applying patches; servers do that.

mod lists;

use api::schema::{Field, Ty, schema};
use serde_json::{Map, Value};

/// Fields with the patch strategy `replace`: they are sent whole each time, as kubectl sends them.
const REPLACED: [(&str, &str); 1] = [("io.k8s.api.policy.v1.PodDisruptionBudgetSpec", "selector")];

/// The three versions of one value; one that is not there is None.
#[derive(Debug, Clone, Copy)]
struct Three<'a> {
    /// As it was last applied.
    original: Option<&'a Value>,
    /// As it is wanted.
    modified: &'a Value,
    /// As it stands.
    current: &'a Value,
}

/// A strategic merge patch for a built-in type, or a JSON merge patch where `type_name` is None.
pub(crate) fn three_way(type_name: Option<&str>, original: Option<&Value>, modified: &Value, current: &Value) -> Value {
    let ty = type_name.and_then(|name| schema().find_id(name)).map(Ty::Ref);
    let three = Three { original, modified, current };
    Value::Object(object(ty, three).unwrap_or_default())
}

/// The differences of two objects; None when there are none.
fn object(ty: Option<Ty>, three: Three<'_>) -> Option<Map<String, Value>> {
    let empty = Map::new();
    let fields = |value: Option<&'_ Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let modified = three.modified.as_object().unwrap_or(&empty);
    let current = three.current.as_object().unwrap_or(&empty);
    let original = fields(three.original);
    let mut patch = Map::new();
    for (name, wanted) in modified {
        if is_replaced(ty, name) {
            patch.insert(name.clone(), wanted.clone());
            continue;
        }
        let field = field_of(ty, name);
        let below = Below { ty: type_of(ty, field, name), field, name };
        match current.get(name) {
            None => {
                patch.insert(name.clone(), wanted.clone());
            }
            Some(stands) => {
                let three = Three { original: original.get(name), modified: wanted, current: stands };
                value(&below, three, &mut patch);
            }
        }
    }
    for name in original.keys().filter(|name| !modified.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(patch)
}

/// A field below an object: its type and how patches treat it.
struct Below<'a> {
    ty: Option<Ty>,
    field: Option<&'a Field>,
    name: &'a str,
}

fn value(below: &Below<'_>, three: Three<'_>, patch: &mut Map<String, Value>) {
    match (three.modified, three.current) {
        (Value::Object(wanted), Value::Object(_)) => {
            let Some(mut inner) = object(below.ty, three) else { return };
            if below.field.is_some_and(|field| field.retain_keys) {
                inner.insert("$retainKeys".into(), retained(wanted));
            }
            patch.insert(below.name.to_owned(), Value::Object(inner));
        }
        (Value::Array(_), Value::Array(_)) if below.field.is_some_and(|field| field.merge) => {
            lists::merged(below, three, patch);
        }
        (wanted, stands) if wanted == stands => {}
        (wanted, _) => {
            patch.insert(below.name.to_owned(), wanted.clone());
        }
    }
}

/// The keys that a patch with `$retainKeys` leaves.
fn retained(wanted: &Map<String, Value>) -> Value {
    wanted.keys().map(|key| Value::from(key.as_str())).collect()
}

fn is_replaced(ty: Option<Ty>, name: &str) -> bool {
    let Some(Ty::Ref(id)) = ty.map(|ty| schema().resolve(ty)) else { return false };
    REPLACED.iter().any(|(of, field)| *field == name && schema().get(id).full_name() == *of)
}

fn field_of(ty: Option<Ty>, name: &str) -> Option<&'static Field> {
    match schema().resolve(ty?) {
        Ty::Ref(id) => schema().get(id).field(name),
        _ => None,
    }
}

fn type_of(ty: Option<Ty>, field: Option<&Field>, _name: &str) -> Option<Ty> {
    match (field, ty.map(|ty| schema().resolve(ty))) {
        (Some(field), _) => Some(schema().resolve(field.ty)),
        (None, Some(Ty::Map(item))) => Some(schema().resolve(*item)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
