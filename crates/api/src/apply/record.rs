//! Keeps account of what creates, updates and patches set.
//!
//! Invariants: what has not changed changes no owner; a field that changes belongs to the writer alone; writes that
//! change nothing leave all entries, with their times, as they were.
//! Absent: conflicts: only appliers have them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Writer;
use super::compare::{Comparison, compare};
use super::entries::{Entries, Entry, Fields, Operation};
use super::reset::{UNOWNED, reset};
use super::spot::Spot;
use crate::decode::zero_struct;
use crate::kinds::Kind;
use crate::prepare::TEMPLATE_GENERATION;
use crate::schema::schema;

/// As many managers that update as one object keeps apart; what the oldest wrote goes into one entry, as in Kubernetes.
const UPDATERS_MAX: usize = 10;
/// The manager of that entry.
const OLDEST: &str = "ancient-changes";

/// Sets `metadata.managedFields` of `new`, which a create (`live` is none) or a change of `live` would store. `new` is
/// decoded and has its defaults, but is not prepared or admitted yet: what the server itself adds belongs to nobody.
pub fn record(kind: &Kind, live: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    let sent = new.get_mut("metadata").and_then(Value::as_object_mut).and_then(|map| map.remove("managedFields"));
    let entries = before(live, sent, writer);
    if live.is_some() && entries.is_empty() {
        return;
    }
    if (kind.group, kind.kind) == ("apps", "DaemonSet") && writer.subresource.is_empty() {
        generation_as_converted(new);
    }
    let nothing;
    let old = match live {
        Some(live) => live,
        None => {
            nothing = zero(kind);
            &nothing
        }
    };
    let changes = compare(Spot::root(kind), old, new).without(&reset(kind, writer.subresource));
    let mut entries = updated(entries, changes, kind, writer);
    cap(&mut entries);
    entries.put_into(new);
}

/// An object in which nothing is set, as Go writes it.
pub(super) fn zero(kind: &Kind) -> Value {
    match &kind.custom {
        Some(_) => serde_json::json!({"apiVersion": kind.api_version(), "kind": kind.kind}),
        None => schema().find(kind.type_name).map(zero_struct).unwrap_or_default(),
    }
}

/// Kubernetes converts DaemonSets on the way in, and then they have this annotation.
fn generation_as_converted(new: &mut Value) {
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.entry(TEMPLATE_GENERATION).or_insert_with(|| Value::from("0"));
        }
    }
}

/// The entries to begin with: the client's when it sent some, the stored ones when it knows nothing of them, none when
/// it wants them gone.
fn before(live: Option<&Value>, sent: Option<Value>, writer: &Writer<'_>) -> Entries {
    let stored = || live.map(Entries::stored).unwrap_or_default();
    let Some(sent) = sent else { return stored() };
    if live.is_some_and(|live| live["metadata"]["managedFields"] == sent) {
        return Entries::trusted(sent);
    }
    if !writer.subresource.is_empty() {
        return stored();
    }
    match sent.as_array().map(Vec::as_slice) {
        Some([]) => Entries::default(),
        Some([one]) if one.as_object().is_some_and(serde_json::Map::is_empty) => Entries::default(),
        _ => Entries::sent(sent).filter(|sent| !sent.is_empty()).unwrap_or_else(stored),
    }
}

/// The entries after a change by `writer`.
pub(super) fn updated(entries: Entries, changes: Comparison, kind: &Kind, writer: &Writer<'_>) -> Entries {
    let (written, removed) = changes.written();
    let own = Entry {
        manager: writer.name().to_owned(),
        operation: Operation::Update,
        api_version: kind.api_version(),
        subresource: writer.subresource.to_owned(),
        time: Some(writer.now.to_owned()),
        fields: Fields::default(),
    };
    let mut entries = entries;
    entries.0.retain_mut(|entry| {
        let keeps = entry.is_same(&own) || entry.lose(&written);
        let keeps = entry.lose(&removed) && keeps;
        keeps || entry.is_same(&own)
    });
    let place = entries.find(&own);
    let written = written.difference(&UNOWNED);
    if written.is_empty() {
        entries.0.retain(|entry| !entry.fields.is_empty());
        return entries;
    }
    match place {
        Some(place) => {
            let entry = &mut entries.0[place];
            entry.time = own.time;
            if !entry.fields.have(&written) {
                entry.fields = entry.set().union(written).into();
            }
        }
        None => entries.0.push(Entry { fields: written.into(), ..own }),
    }
    entries
}

/// Merges what the oldest updaters wrote, version by version, until there are few enough.
fn cap(entries: &mut Entries) {
    let mut updaters: Vec<Entry> = Vec::new();
    let is_updater = |entry: &Entry| entry.operation == Operation::Update;
    if entries.0.iter().filter(|entry| is_updater(entry)).count() <= UPDATERS_MAX {
        return;
    }
    let (mut kept, rest): (Vec<Entry>, Vec<Entry>) = entries.0.drain(..).partition(|entry| !is_updater(entry));
    updaters.extend(rest);
    updaters.sort_by(|a, b| (&a.time, &a.manager, &a.subresource).cmp(&(&b.time, &b.manager, &b.subresource)));
    let mut over = updaters.len() - UPDATERS_MAX;
    let mut oldest: BTreeMap<String, (Entry, usize)> = BTreeMap::new();
    for entry in updaters {
        if over == 0 {
            kept.push(entry);
            continue;
        }
        match oldest.get_mut(&entry.api_version) {
            None => {
                oldest.insert(entry.api_version.clone(), (entry, 1));
            }
            Some((bucket, count)) => {
                bucket.fields = bucket.set().union(entry.set()).into();
                bucket.time = entry.time;
                *count += 1;
                over -= 1;
            }
        }
    }
    for (mut bucket, count) in oldest.into_values() {
        if count > 1 {
            bucket.manager = OLDEST.to_owned();
            bucket.subresource = String::new();
        }
        match kept.iter_mut().find(|entry| entry.is_same(&bucket)) {
            Some(there) => there.fields = there.set().union(bucket.set()).into(),
            None => kept.push(bucket),
        }
    }
    entries.0 = kept;
}

/// Gives `new` back the times of `old` when they are all that differs: an object that does not change keeps its
/// resourceVersion.
pub fn keep_times(new: &mut Value, old: &Value) {
    let list = |object: &Value| object["metadata"]["managedFields"].as_array().map_or(0, Vec::len);
    if list(new) == 0 || list(new) != list(old) {
        return;
    }
    let (is, was) = (&new["metadata"]["managedFields"], &old["metadata"]["managedFields"]);
    if is == was {
        return;
    }
    let pairs = || is.as_array().into_iter().flatten().zip(was.as_array().into_iter().flatten());
    if pairs().all(|(a, b)| is_equal_but(a, b, &["time"])) && is_equal_but(new, old, &["metadata", "managedFields"]) {
        new["metadata"]["managedFields"] = was.clone();
    }
}

/// Whether two objects differ in nothing but the member at `path`, whose value does not count.
fn is_equal_but(a: &Value, b: &Value, path: &[&str]) -> bool {
    let (Some((first, rest)), Value::Object(a), Value::Object(b)) = (path.split_first(), a, b) else {
        return path.is_empty() || a == b;
    };
    let others = |map: &serde_json::Map<String, Value>| map.len() - usize::from(map.contains_key(*first));
    others(a) == others(b)
        && a.iter().all(|(key, value)| key == first || b.get(key) == Some(value))
        && (rest.is_empty() || is_equal_but(&a[*first], &b[*first], rest))
}

/// The entries of an object that nobody kept account of, as if `writer` had made it.
pub(super) fn all(kind: &Kind, object: &Value, writer: &Writer<'_>) -> Entries {
    let changes = compare(Spot::root(kind), &zero(kind), object).without(&reset(kind, writer.subresource));
    updated(Entries::default(), changes, kind, writer)
}
