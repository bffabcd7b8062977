//! Lists that a strategic merge patch merges item by item.

use api::schema::{Ty, schema};
use serde_json::{Map, Value, json};

use super::{Below, Three, object, retained};

/// Adds the differences of two lists to the patch of the object that holds them.
pub(super) fn merged(below: &Below<'_>, three: Three<'_>, patch: &mut Map<String, Value>) {
    match below.field.and_then(|field| field.merge_key) {
        Some(key) => of_objects(below, key, three, patch),
        None => of_scalars(below.name, three, patch),
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn of_objects(below: &Below<'_>, key: &str, three: Three<'_>, patch: &mut Map<String, Value>) {
    let (wanted, stand, before) = (items(Some(three.modified)), items(Some(three.current)), items(three.original));
    let item_type = match below.ty {
        Some(Ty::List(item)) => Some(schema().resolve(*item)),
        _ => None,
    };
    // A key may stand more than once (a port for TCP and for UDP): the first is compared with the first, and so on.
    let find = |list: &'_ [Value], item: &Value, nth: usize| {
        list.iter().enumerate().filter(|(_, other)| other[key] == item[key]).nth(nth).map(|(place, _)| place)
    };
    let nth =
        |list: &[Value], place: usize| list[..place].iter().filter(|other| other[key] == list[place][key]).count();
    let mut changes = Vec::new();
    for (at, item) in wanted.iter().enumerate() {
        let nth = nth(wanted, at);
        let Some(place) = find(stand, item, nth) else {
            changes.push(item.clone());
            continue;
        };
        let original = find(before, item, nth).map(|place| &before[place]);
        let Some(mut change) = object(item_type, Three { original, modified: item, current: &stand[place] }) else {
            continue;
        };
        change.insert(key.to_owned(), item[key].clone());
        if let (true, Some(fields)) = (below.field.is_some_and(|field| field.retain_keys), item.as_object()) {
            change.insert("$retainKeys".into(), retained(fields));
        }
        changes.push(Value::Object(change));
    }
    let gone = before.iter().filter(|item| find(wanted, item, 0).is_none());
    changes.extend(gone.map(|item| json!({"$patch": "delete", key: item[key]})));
    let keys = |list: &[Value]| list.iter().map(|item| item[key].clone()).collect::<Vec<_>>();
    if changes.is_empty() && in_order(&keys(wanted), &keys(stand)) {
        return;
    }
    let order: Vec<Value> = wanted.iter().map(|item| json!({key: item[key]})).collect();
    patch.insert(format!("$setElementOrder/{}", below.name), order.into());
    if !changes.is_empty() {
        patch.insert(below.name.to_owned(), changes.into());
    }
}

fn of_scalars(name: &str, three: Three<'_>, patch: &mut Map<String, Value>) {
    let (wanted, stand, before) = (items(Some(three.modified)), items(Some(three.current)), items(three.original));
    let added: Vec<Value> = wanted.iter().filter(|item| !stand.contains(item)).cloned().collect();
    let gone: Vec<Value> = before.iter().filter(|item| !wanted.contains(item)).cloned().collect();
    if added.is_empty() && gone.is_empty() && in_order(wanted, stand) {
        return;
    }
    patch.insert(format!("$setElementOrder/{name}"), wanted.to_vec().into());
    if !gone.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
    }
    if !added.is_empty() {
        patch.insert(name.to_owned(), added.into());
    }
}

/// Whether what is wanted stands in its order, with others in between or not.
fn in_order(wanted: &[Value], stand: &[Value]) -> bool {
    let firsts = wanted.iter().enumerate().filter(|(at, item)| !wanted[..*at].contains(item));
    let places = firsts.map(|(_, item)| stand.iter().position(|other| other == item));
    places.collect::<Vec<_>>().is_sorted()
}
