//! Strategic merge: a merge patch whose lists merge by the merge keys of the types, steered by directives.
//!
//! Directives: `$patch` (replace, delete, merge), `$retainKeys`, `$deleteFromPrimitiveList/FIELD`,
//! `$setElementOrder/FIELD`.
//!
//! The patch is used up as a kube-apiserver uses it up: what was merged as an ordered list is gone from it, because
//! messages about the outcome show what is left.
//!
//! Invariants: no directive and no null of the patch is left in the outcome.
//! Absent: merging two patches into one.

use super::lists;
use super::{PatchError, gotext};
use crate::quote::quoted;
use crate::schema::{Field, Ty, schema};
use serde_json::{Map, Value};

pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Merges `patch` into `original`, both of type `ty`.
pub(super) fn merge_map(
    mut original: Map<String, Value>,
    patch: &mut Map<String, Value>,
    ty: Ty,
) -> Result<Map<String, Value>, PatchError> {
    match patch.get(DIRECTIVE).map(Value::as_str) {
        None => {}
        Some(Some("replace")) => {
            patch.remove(DIRECTIVE);
            return Ok(patch.clone());
        }
        Some(Some("delete")) => return Ok(Map::new()),
        Some(_) => return Err(unknown_directive(patch)),
    }
    retain_keys(&mut original, patch)?;
    merge_ordered_lists(&mut original, patch, ty)?;
    for (key, value) in patch {
        match key.strip_prefix(DELETE_FROM_LIST) {
            Some(rest) => {
                let field =
                    rest.strip_prefix('/').ok_or_else(|| malformed("invalid patch format of primitive list"))?;
                delete_from_list(&mut original, field, value, ty)?;
            }
            None => merge_entry(&mut original, key, value, ty)?,
        }
    }
    Ok(original)
}

pub(super) fn malformed(message: &str) -> PatchError {
    PatchError::Malformed(message.to_owned())
}

pub(super) fn unknown_directive(patch: &Map<String, Value>) -> PatchError {
    let name = patch.get(DIRECTIVE).map(gotext::value).unwrap_or_default();
    let patch = gotext::value(&Value::Object(patch.clone()));
    PatchError::Contradictory(format!("unknown patch type: {name} in map: {patch}"))
}

/// The field that `key` names in `ty`.
fn field(ty: Ty, key: &str) -> Result<&'static Field, PatchError> {
    let Some(ty) = schema().struct_of(ty) else {
        let message = "merging an object in json but data type is not struct, instead is: map";
        return Err(PatchError::Contradictory(message.to_owned()));
    };
    ty.field(key).ok_or_else(|| {
        let message = format!("unable to find api field in struct {} for the json field {}", ty.name, quoted(key));
        PatchError::Contradictory(message)
    })
}

fn merge_entry(original: &mut Map<String, Value>, key: &str, patch: &mut Value, ty: Ty) -> Result<(), PatchError> {
    let merged = match (original.get_mut(key).map(Value::take), patch) {
        (_, Value::Null) => None,
        (Some(Value::Object(old)), Value::Object(new)) => {
            let field = field(ty, key)?;
            Some(Value::Object(if field.replace { new.clone() } else { merge_map(old, new, field.ty)? }))
        }
        (Some(Value::Array(old)), Value::Array(new)) => Some(Value::Array(merge_lists(old, new, field(ty, key)?)?)),
        (_, new) => {
            discard_nulls(new);
            drop_directives(new).then(|| new.clone())
        }
    };
    match merged {
        Some(value) => original.insert(key.to_owned(), value),
        None => original.remove(key),
    };
    Ok(())
}

fn merge_lists(old: Vec<Value>, new: &mut [Value], field: &Field) -> Result<Vec<Value>, PatchError> {
    if field.merge { lists::merge(old, new, field) } else { Ok(new.to_vec()) }
}

fn delete_from_list(original: &mut Map<String, Value>, key: &str, gone: &Value, ty: Ty) -> Result<(), PatchError> {
    if gone.is_null() {
        original.remove(key);
        return Ok(());
    }
    if let (Some(Value::Array(list)), Value::Array(gone)) = (original.get_mut(key), gone) {
        field(ty, key)?;
        list.retain(|item| !gone.contains(item));
    }
    Ok(())
}

fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let wrong = || malformed("invalid patch format of retainKeys");
    let Value::Array(keys) = keys else { return Err(wrong()) };
    let is_kept = |key: &str| keys.iter().any(|kept| kept.as_str() == Some(key));
    for (key, value) in patch.iter() {
        let is_directive = key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER);
        if !value.is_null() && !is_directive && !is_kept(key) {
            return Err(wrong());
        }
    }
    original.retain(|key, _| is_kept(key));
    Ok(())
}

/// Merges the lists that the patch orders, and takes them out of the patch.
fn merge_ordered_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    ty: Ty,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let order = list_of(order)?;
        let key = directive.strip_prefix(SET_ORDER).and_then(|rest| rest.strip_prefix('/'));
        let key = key.ok_or_else(|| malformed("invalid patch format of setElementOrder list"))?;
        let old = original.get(key).cloned().map(list_of).transpose()?;
        let new = patch.get(key).cloned().map(list_of).transpose()?;
        let field = field(ty, key)?;
        lists::check_order(new.as_deref().unwrap_or_default(), &order, field.merge_key)?;
        let server_order = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(new)) => new,
                _ => continue,
            },
            (Some(old), Some(mut new)) => merge_lists(old, &mut new, field)?,
        };
        let ordered = lists::arrange(merged, &order, &server_order, field.merge_key)?;
        original.insert(key.to_owned(), Value::Array(ordered));
        patch.remove(key);
    }
    Ok(())
}

fn list_of(value: Value) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(items) => Ok(items),
        other => {
            let found = gotext::go_type(&other);
            Err(PatchError::Contradictory(format!("expected a []interface {{}}, but received a {found}")))
        }
    }
}

/// `value` without parts that are directives; none when it is one itself.
pub(super) fn without_directives(mut value: Value) -> Option<Value> {
    drop_directives(&mut value).then_some(value)
}

/// Drops the parts of `value` that are directives; false, and nothing dropped, when it is one itself.
fn drop_directives(value: &mut Value) -> bool {
    match value {
        Value::Object(entries) if entries.contains_key(DIRECTIVE) => return false,
        Value::Object(entries) => entries.retain(|_, value| drop_directives(value)),
        Value::Array(items) => items.retain_mut(drop_directives),
        _ => {}
    }
    true
}

/// Drops the nulls of a value that was not there before.
pub(super) fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            entries.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}
