//! Definitions as they are stored, and the kinds that they serve.
//!
//! # Invariants
//! A definition is known by its name, which is that of its plural and group; its bytes are the store's own.

use std::collections::{BTreeMap, BTreeSet};

use api::crd::{self, Interner, Names};
use api::kinds::Kind;
use bytes::Bytes;
use serde_json::{Value, json};
use store::{Entry, Revision};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Definitions and kinds.
#[derive(Default)]
pub(super) struct Registry {
    interner: Interner,
    definitions: BTreeMap<String, Definition>,
    /// Names of definitions whose status is to be looked at.
    unsettled: BTreeSet<String>,
    /// Names of definitions whose objects are being deleted.
    ending: BTreeSet<String>,
}

/// One definition.
struct Definition {
    value: Bytes,
    revision: Revision,
    group: String,
    /// Its status with nothing but the names it was granted.
    granted: Value,
    kinds: Vec<Kind>,
    /// What the kinds were made of.
    spec: Value,
    ends: CancellationToken,
}

impl Registry {
    /// Takes over what a definition is now; none when it is gone.
    pub(super) fn apply(&mut self, name: &str, entry: Option<&Entry>) {
        let before = self.definitions.remove(name);
        let object: Option<Value> = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let after = match (entry, object) {
            (Some(entry), Some(object)) => Some(self.compiled(name, entry, &object, before.as_ref())),
            _ => None,
        };
        let granted = |definition: &Option<Definition>| definition.as_ref().map(|d| d.granted.clone());
        if granted(&before) != granted(&after) {
            // A name that was freed may be one that another definition waits for.
            let group = before.as_ref().or(after.as_ref()).map(|d| d.group.clone()).unwrap_or_default();
            let others = self.definitions.iter().filter(|(_, other)| other.group == group);
            self.unsettled.extend(others.map(|(name, _)| name.clone()));
        }
        match after {
            Some(after) => {
                self.unsettled.insert(name.to_owned());
                self.definitions.insert(name.to_owned(), after);
            }
            None => {
                self.unsettled.remove(name);
                if let Some(before) = before {
                    before.ends.cancel();
                }
            }
        }
    }

    fn compiled(&mut self, name: &str, entry: &Entry, object: &Value, before: Option<&Definition>) -> Definition {
        let (group, _) = crd::group_resource(object);
        let granted = json!({"status": {"acceptedNames": object["status"]["acceptedNames"]}});
        // All that kinds are made of; other changes of the status leave them as they are.
        let is_on = |condition: &str| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
        };
        let spec = json!([
            object["metadata"]["generation"],
            object["metadata"]["uid"],
            granted,
            is_on("NamesAccepted") || is_on("Established"),
            crd::is_terminating(object)
        ]);
        let (kinds, ends) = match before.filter(|before| before.spec == spec) {
            Some(before) => (before.kinds.clone(), before.ends.clone()),
            None => {
                if let Some(before) = before {
                    before.ends.cancel();
                }
                let kinds = crd::served(object, &mut self.interner).unwrap_or_else(|error| {
                    warn!(definition = name, %error, "a custom kind is not served");
                    Vec::new()
                });
                (kinds, CancellationToken::new())
            }
        };
        let group = group.to_owned();
        Definition { value: entry.value.clone(), revision: entry.mod_revision, group, granted, kinds, spec, ends }
    }

    /// Keeps only the definitions that are named.
    pub(super) fn retain(&mut self, names: &BTreeSet<String>) {
        let gone: Vec<String> = self.definitions.keys().filter(|name| !names.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.apply(name, None));
    }

    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Kind> {
        let definition = self.definitions.get(&format!("{plural}.{group}"))?;
        definition.kinds.iter().find(|kind| kind.version == version)
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.definitions.values().flat_map(|definition| &definition.kinds)
    }

    /// The kinds of one definition.
    pub(super) fn kinds_of(&self, name: &str) -> Vec<Kind> {
        self.definitions.get(name).map(|definition| definition.kinds.clone()).unwrap_or_default()
    }

    pub(super) fn definition(&self, group: &str, plural: &str) -> Option<Bytes> {
        self.definitions.get(&format!("{plural}.{group}")).map(|definition| definition.value.clone())
    }

    /// What ends when a kind is not any more what it is: at once, when it is not already.
    pub(super) fn ends(&self, kind: &Kind) -> CancellationToken {
        let definition = self.definitions.get(&format!("{}.{}", kind.plural, kind.group));
        match definition.filter(|definition| definition.kinds.contains(kind)) {
            Some(definition) => definition.ends.clone(),
            None => {
                let ended = CancellationToken::new();
                ended.cancel();
                ended
            }
        }
    }

    /// What the kinds of a definition were made of, as text.
    pub(super) fn stamp(&self, group: &str, plural: &str) -> String {
        let definition = self.definitions.get(&format!("{plural}.{group}"));
        definition.map(|definition| definition.spec.to_string()).unwrap_or_default()
    }

    /// The next definition to look at: its name, bytes and revision, and the names that others of its group have.
    pub(super) fn next_unsettled(&mut self) -> Option<(String, Bytes, Revision, Names)> {
        let name = self.unsettled.pop_first()?;
        let definition = self.definitions.get(&name)?;
        let mut taken = Names::default();
        for (other, granted) in &self.definitions {
            if *other != name && granted.group == definition.group {
                taken.take(&granted.granted);
            }
        }
        Some((name.clone(), definition.value.clone(), definition.revision, taken))
    }

    /// Has a definition looked at again.
    pub(super) fn unsettle(&mut self, name: &str) {
        self.unsettled.insert(name.to_owned());
    }

    /// Whether definitions are left to look at.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Notes that the objects of a definition are being deleted; false when they were already.
    pub(super) fn begin_end(&mut self, name: &str) -> bool {
        self.ending.insert(name.to_owned())
    }

    /// Notes that they are no more.
    pub(super) fn finish_end(&mut self, name: &str) {
        self.ending.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, generation: u64, accepted: bool) -> Entry {
        let status = if accepted { "True" } else { "False" };
        let value = json!({"metadata": {"name": name, "generation": generation}, "spec": {"group": "g.io",
            "names": {"plural": "ks", "kind": "K"}, "versions": [{"name": "v1", "served": true, "storage": true}]},
            "status": {"acceptedNames": {"plural": "ks", "kind": "K"},
                "conditions": [{"type": "NamesAccepted", "status": status}]}});
        Entry {
            key: format!("{}{name}", crate::custom::PREFIX).into_bytes().into(),
            value: value.to_string().into_bytes().into(),
            mod_revision: Revision(1),
            create_revision: Revision(1),
        }
    }

    #[test]
    fn kinds_come_and_go_with_their_definitions() {
        let mut registry = Registry::default();
        registry.apply("ks.g.io", Some(&entry("ks.g.io", 1, false)));
        assert!(registry.find("g.io", "v1", "ks").is_none());
        registry.apply("ks.g.io", Some(&entry("ks.g.io", 1, true)));
        let first = registry.find("g.io", "v1", "ks").cloned().expect("a kind");
        let ends = registry.ends(&first);
        assert!(!ends.is_cancelled());
        // A change of nothing but the status leaves the compiled kind in place.
        registry.apply("ks.g.io", Some(&entry("ks.g.io", 1, true)));
        assert_eq!(registry.find("g.io", "v1", "ks"), Some(&first));
        let stamp = registry.stamp("g.io", "ks");
        registry.apply("ks.g.io", Some(&entry("ks.g.io", 2, true)));
        assert_ne!(registry.find("g.io", "v1", "ks"), Some(&first));
        assert!(registry.stamp("g.io", "ks") != stamp);
        assert!(ends.is_cancelled() && registry.ends(&first).is_cancelled());
        registry.retain(&BTreeSet::new());
        assert!(registry.find("g.io", "v1", "ks").is_none());
    }
}
