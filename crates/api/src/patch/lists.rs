//! Lists under a strategic merge: merged by key or as sets, and put in order.
//!
//! Items of the patch come in the patch's order; items that only the object has stay where they were, next to the items
//! that both have.
//!
//! Invariants: an item of the patch meets at most one item of the object; items that the patch does not name stay.
//! Absent: lists that the patch replaces.

use super::PatchError;
use super::gotext;
use super::strategic::{DIRECTIVE, discard_nulls, merge_map, unknown_directive};
use crate::schema::{Field, Ty, schema};
use serde_json::{Map, Value};

/// Merges the items of `new` into `old`.
pub(super) fn merge(old: Vec<Value>, new: &mut [Value], field: &Field) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    if !are_maps(old.iter().chain(new.iter()))? {
        let mut merged: Vec<Value> = Vec::new();
        for item in old.iter().chain(new.iter()) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return arrange(merged, new, &old, None);
    }
    let Some(key) = field.merge_key else {
        return Err(PatchError::Contradictory(format!("cannot merge lists without merge key for {}", field.name)));
    };
    let item = match schema().resolve(field.ty) {
        Ty::List(item) => *item,
        other => other,
    };
    let (mut merged, new) = carry_out(old, new, key)?;
    // New items have no place in the object's order: they come first, where the patch has them.
    let server_order = marks(merged.iter().filter_map(Value::as_object), key);
    let patch_order = marks(new.iter().map(|item| &**item), key);
    for patch in new {
        let id = key_of(patch, key)?;
        match merged.iter().position(|item| item.get(key) == Some(id)) {
            Some(place) => {
                let Value::Object(old) = merged[place].take() else { continue };
                merged[place] = Value::Object(merge_map(old, patch, item)?);
            }
            None => {
                let mut item = Value::Object(patch.clone());
                discard_nulls(&mut item);
                merged.push(item);
            }
        }
    }
    arrange(merged, &patch_order, &server_order, Some(key))
}

/// Of each item only what it is known by.
fn marks<'a>(items: impl Iterator<Item = &'a Map<String, Value>>, key: &str) -> Vec<Value> {
    let mark = |id: &Value| Value::Object(Map::from_iter([(key.to_owned(), id.clone())]));
    items.filter_map(|item| item.get(key)).map(mark).collect()
}

/// Items of a patch, to be used up.
type PatchItems<'a> = Vec<&'a mut Map<String, Value>>;

/// Carries out the items that are directives: what is left of the object's items, and the patch's other items.
fn carry_out<'a>(
    mut old: Vec<Value>,
    new: &'a mut [Value],
    key: &str,
) -> Result<(Vec<Value>, PatchItems<'a>), PatchError> {
    let mut replaces = false;
    let mut kept = Vec::new();
    for item in new.iter_mut().filter_map(Value::as_object_mut) {
        match item.get(DIRECTIVE).map(Value::as_str) {
            None => kept.push(item),
            Some(Some("delete")) => {
                let id = key_of(item, key)?;
                old.retain(|item| item.get(key) != Some(id));
            }
            Some(Some("replace")) => replaces = true,
            Some(Some("merge")) => {
                let message = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Contradictory(message.to_owned()));
            }
            Some(_) => return Err(unknown_directive(item)),
        }
    }
    if replaces {
        let kept = kept.into_iter().map(|item| Value::Object(item.clone())).collect();
        return Ok((kept, Vec::new()));
    }
    Ok((old, kept))
}

fn key_of<'a>(item: &'a Map<String, Value>, key: &str) -> Result<&'a Value, PatchError> {
    item.get(key).ok_or_else(|| {
        let item = gotext::value(&Value::Object(item.clone()));
        PatchError::Contradictory(format!("map: {item} does not contain declared merge key: {key}"))
    })
}

/// Whether the items are maps; lists that mix maps with others, or hold lists, cannot be merged.
fn are_maps<'a>(items: impl Iterator<Item = &'a Value>) -> Result<bool, PatchError> {
    let mut kinds = items.map(|item| (item.is_object(), item));
    let Some((first, _)) = kinds.next() else { return Ok(false) };
    for (is_map, item) in kinds {
        if item.is_array() {
            return Err(PatchError::NotApplicable("lists of lists are not supported".to_owned()));
        }
        if is_map != first {
            return Err(PatchError::Contradictory("list element types are not identical".to_owned()));
        }
    }
    Ok(first)
}

/// Checks that the items of a patch stand in the order that its `$setElementOrder` tells.
pub(super) fn check_order(new: &[Value], order: &[Value], merge_key: Option<&str>) -> Result<(), PatchError> {
    if new.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut ordered = order.iter();
    for item in new {
        if merge_key.is_some() && item.get(DIRECTIVE).is_some() {
            continue;
        }
        if !ordered.any(|other| is_same(item, other, merge_key)) {
            let (new, order) = (gotext::value(&Value::from(new)), gotext::value(&Value::from(order)));
            return Err(PatchError::Contradictory(format!(
                "The order in patch list:\n{new}\n doesn't match $setElementOrder list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

fn is_same(a: &Value, b: &Value, merge_key: Option<&str>) -> bool {
    match merge_key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn place(order: &[Value], item: &Value, merge_key: Option<&str>) -> Option<usize> {
    order.iter().position(|other| is_same(item, other, merge_key))
}

/// Orders `items`: those in `patch_order` as they stand there, the others between them as they stand in `server_order`.
pub(super) fn arrange(
    items: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    if let Some(key) = merge_key {
        for item in items.iter().chain(patch_order) {
            if let Value::Object(entries) = item {
                key_of(entries, key)?;
            }
        }
    }
    let (mut patched, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(patch_order, item, merge_key).is_some());
    let last = usize::MAX;
    patched.sort_by_key(|item| place(patch_order, item, merge_key).unwrap_or(last));
    others.sort_by_key(|item| place(server_order, item, merge_key).unwrap_or(last));
    let mut arranged = Vec::with_capacity(patched.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in patched {
        let here = place(server_order, &item, merge_key);
        while let Some(other) = others.peek() {
            match (place(server_order, other, merge_key), here) {
                (Some(there), Some(here)) if there < here => arranged.extend(others.next()),
                _ => break,
            }
        }
        arranged.push(item);
    }
    arranged.extend(others);
    Ok(arranged)
}
