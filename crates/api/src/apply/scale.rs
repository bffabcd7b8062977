//! Managers of an object as managers of its scale, and back.
//!
//! Invariants: whoever manages the replicas of one manages those of the other; nothing else changes hands.
//! Absent: reading and writing the scale.

use serde_json::Value;

use super::entries::{Entries, Entry};
use super::set::Set;
use crate::kinds::{Kind, SCALE};

/// The field of the scale, and of all built-in kinds that have one.
const REPLICAS: &str = "spec.replicas";

/// The field of a kind.
fn replicas_of(kind: &Kind) -> &str {
    kind.custom.as_ref().and_then(|custom| custom.scale.as_ref()).map_or(REPLICAS, |scale| scale.replicas_path())
}

/// Puts those managers of `parent` who manage its replicas into its `scale`.
pub fn to_scale(kind: &Kind, parent: &Value, scale: &mut Value) {
    let (replicas, own) = (Set::of(&[REPLICAS]), Set::of(&[replicas_of(kind)]));
    let mut entries = Entries::stored(parent);
    entries.0.retain_mut(|entry| {
        let has = entry.fields.have(&own);
        entry.fields = replicas.clone().into();
        entry.api_version = SCALE.api_version();
        has
    });
    entries.put_into(scale);
}

/// Puts what `scale` says of who manages the replicas into `parent`.
pub fn from_scale(kind: &Kind, scale: &Value, parent: &mut Value) {
    let (in_scale, replicas) = (Set::of(&[REPLICAS]), Set::of(&[replicas_of(kind)]));
    let mut left = Entries::stored(scale).0;
    left.retain(|entry| entry.fields.have(&in_scale));
    let is_one =
        |a: &Entry, b: &Entry| (&a.manager, a.operation, &a.subresource) == (&b.manager, b.operation, &b.subresource);
    let mut entries = Entries::stored(parent);
    entries.0.retain_mut(|entry| match left.iter().position(|there| is_one(there, entry)) {
        Some(place) if entry.fields.have(&replicas) => {
            entry.time = left.swap_remove(place).time;
            true
        }
        _ => entry.lose(&replicas),
    });
    for entry in left {
        entries.0.push(Entry { api_version: kind.api_version(), fields: replicas.clone().into(), ..entry });
    }
    entries.put_into(parent);
}
