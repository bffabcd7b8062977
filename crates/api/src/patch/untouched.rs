//! What a patch leaves as it was, which need not be read again: of a pod whose status is patched, all but the status.
//!
//! Invariants: only members that the patch does not name are left out, and only of objects of the table of types, which are
//! stored in normal form.
//! Absent: parts below the members of the object and of its metadata.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::PatchType;
use crate::kinds::Kind;

/// The members by which an object says what it is: they are read in any case.
const IDENTITY: [&str; 2] = ["apiVersion", "kind"];
const METADATA: &str = "metadata";
/// The members of the metadata by which a patch says which object it means.
const WHICH: [&str; 4] = ["name", "namespace", "resourceVersion", "uid"];

/// What a patch names.
pub(super) struct Named {
    /// Members of the object; none where a patch may reach all of them.
    members: Option<BTreeSet<String>>,
    /// Members of the metadata; none where a patch may reach all of them.
    metadata: Option<BTreeSet<String>>,
}

impl Named {
    /// What `patch` names of an object of `kind`.
    pub(super) fn of(kind: &Kind, patch_type: PatchType, patch: &Value) -> Named {
        // The operations of a JSON patch move and copy, and types of custom kinds have rules of their own.
        if patch_type == PatchType::Json || kind.custom.is_some() {
            return Named { members: None, metadata: None };
        }
        Named { members: names(Some(patch)), metadata: names(patch.get(METADATA)) }
    }

    /// Whether nothing is named but the status and what says which object is meant.
    pub(super) fn is_status_alone(&self) -> bool {
        let is_it = |name: &str| name == METADATA || name == "status" || IDENTITY.contains(&name);
        let Some(members) = &self.members else { return false };
        let no_metadata = !members.contains(METADATA);
        let which = self.metadata.as_ref().is_some_and(|names| names.iter().all(|name| WHICH.contains(&name.as_str())));
        members.iter().all(|name| is_it(name)) && (no_metadata || which)
    }

    /// Takes out of an object what the patch does not name.
    pub(super) fn take_others(self, object: &mut Value) -> Untouched {
        let Some(object) = object.as_object_mut() else { return Untouched::default() };
        let metadata = match (&self.metadata, object.get_mut(METADATA).and_then(Value::as_object_mut)) {
            (Some(named), Some(metadata)) => others(metadata, named),
            _ => Map::new(),
        };
        let members = self.members.map(|named| others(object, &named)).unwrap_or_default();
        Untouched { members, metadata }
    }
}

/// The names in a part of a patch; none when it has directives, which speak of others too, or is no object.
fn names(patch: Option<&Value>) -> Option<BTreeSet<String>> {
    let patch = patch?.as_object()?;
    patch.keys().all(|name| !name.starts_with('$')).then(|| patch.keys().cloned().collect())
}

fn others(map: &mut Map<String, Value>, named: &BTreeSet<String>) -> Map<String, Value> {
    let is_other = |name: &str| !named.contains(name) && !IDENTITY.contains(&name);
    let (others, kept) = std::mem::take(map).into_iter().partition(|(name, _)| is_other(name));
    *map = kept;
    others
}

/// What was taken out.
#[derive(Default)]
pub(super) struct Untouched {
    members: Map<String, Value>,
    metadata: Map<String, Value>,
}

impl Untouched {
    /// Puts it into the object as it was read.
    pub(super) fn put_back(self, object: &mut Value) {
        let Some(object) = object.as_object_mut() else { return };
        object.extend(self.members);
        if !self.metadata.is_empty() {
            let metadata = object.entry(METADATA).or_insert_with(|| Value::Object(Map::new()));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.extend(self.metadata);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{FieldValidation, normalize};
    use serde_json::json;

    /// An outcome of which all was read is the same as one of which only what the patch names was.
    #[test]
    fn what_is_left_out_is_as_if_it_had_been_read() {
        let kind = crate::kinds::find("", "v1", "pods").expect("pods");
        let mut pod = json!({
            "metadata": {"name": "p", "labels": {"a": "b"}, "managedFields": [{"manager": "m", "operation": "Update"}]},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1000m"}}}]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}]},
        });
        normalize(kind, &mut pod, FieldValidation::Strict).expect("a pod");
        for patch in [
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
            json!({"metadata": {"uid": "u", "labels": {"a": null, "c": "d"}}, "status": {"startTime": null}}),
            json!({"metadata": {"annotations": {"x": "y"}}}),
            json!({"spec": null}),
            json!({"metadata": null}),
            json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "2000m"}}}]}}),
            json!({"metadata": {"$patch": "replace", "name": "q"}}),
            json!({"$retainKeys": ["metadata"], "metadata": {"name": "p"}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({}),
        ] {
            for patch_type in [PatchType::Strategic, PatchType::Merge] {
                if patch_type == PatchType::Merge && patch.to_string().contains('$') {
                    continue;
                }
                let outcome =
                    super::super::apply(kind, patch_type, &pod, patch.to_string().as_bytes(), FieldValidation::Warn);
                let mut whole = match patch_type {
                    PatchType::Merge => super::super::merge(&pod, &patch).expect("a merge"),
                    _ => super::super::strategic(kind, &pod, &patch).expect("a merge"),
                };
                normalize(kind, &mut whole, FieldValidation::Warn).expect("an object");
                assert_eq!(outcome.expect("an outcome").value, whole, "{patch}");
            }
        }
        let named = Named::of(kind, PatchType::Merge, &json!({"metadata": {"uid": "u"}, "status": {}}));
        let taken = named.take_others(&mut pod);
        assert_eq!(taken.members.keys().collect::<Vec<_>>(), ["spec"]);
        assert_eq!(taken.metadata.keys().collect::<Vec<_>>(), ["labels", "managedFields", "name"]);
    }
}
