//! The kinds of custom resource definitions, as far as the controllers of all kinds must know them.
//!
//! Invariants: a kind is known under one name for as long as the process lives; those that are followed are those that the
//! API server serves.
//!
//! Absent: schemas, objects.

use std::collections::BTreeMap;

use api::crd::{Full, Interner};
use api::kinds::{Kind, find};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::Deserialize;
use std::borrow::Cow;
use tokio_util::sync::CancellationToken;

/// A definition, as far as it is read.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Definition {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Deserialize)]
struct Spec {
    group: String,
    names: Names,
    scope: String,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Deserialize)]
struct Names {
    plural: String,
    kind: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Version {
    name: String,
    #[serde(default)]
    served: bool,
    #[serde(default)]
    storage: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

impl Definition {
    /// Whether objects of it can be asked for.
    fn is_served(&self) -> bool {
        let conditions = self.status.conditions.iter().flatten();
        conditions.into_iter().any(|one| one.r#type == "Established" && one.status == "True")
    }

    /// The version to follow objects in: the one that they are stored as, if it is served.
    fn version(&self) -> Option<&str> {
        let served = || self.spec.versions.iter().filter(|version| version.served);
        served().find(|version| version.storage).or_else(|| served().next()).map(|version| version.name.as_str())
    }
}

impl Resource for Definition {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'static, str> {
        "CustomResourceDefinition".into()
    }

    fn group((): &()) -> Cow<'static, str> {
        "apiextensions.k8s.io".into()
    }

    fn version((): &()) -> Cow<'static, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'static, str> {
        "customresourcedefinitions".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Whether a kind is one of a definition.
pub(crate) fn is_custom(kind: &Kind) -> bool {
    find(kind.group, kind.version, kind.plural).is_none()
}

/// A kind that is followed.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) kind: &'static Kind,
    /// Ends the watch.
    pub(crate) end: CancellationToken,
}

/// The kinds of definitions.
#[derive(Debug, Default)]
pub(crate) struct Customs {
    interner: Interner,
    /// All kinds that ever were, by the names they are told apart by.
    known: BTreeMap<(&'static str, &'static str, &'static str, &'static str, bool), &'static Kind>,
    followed: BTreeMap<String, Followed>,
}

impl Customs {
    /// Takes over what a definition is now; returns what is not to be followed any more, and what is to be followed anew.
    ///
    /// # Errors
    /// When too many kinds came and went.
    pub(crate) fn apply(
        &mut self,
        name: &str,
        definition: Option<&Definition>,
        parent: &CancellationToken,
    ) -> Result<(Option<Followed>, Option<Followed>), Full> {
        let wanted = match definition.filter(|definition| definition.is_served()) {
            Some(definition) => self.kind(definition)?,
            None => None,
        };
        let before = self.followed.get(name).cloned();
        if before.as_ref().map(|followed| followed.kind) == wanted {
            return Ok((None, None));
        }
        if let Some(before) = &before {
            before.end.cancel();
            self.followed.remove(name);
        }
        let after = wanted.map(|kind| Followed { kind, end: parent.child_token() });
        if let Some(after) = &after {
            self.followed.insert(name.to_owned(), after.clone());
        }
        Ok((before, after))
    }

    /// The one row of a kind.
    fn kind(&mut self, definition: &Definition) -> Result<Option<&'static Kind>, Full> {
        let Some(version) = definition.version() else { return Ok(None) };
        let spec = &definition.spec;
        let (group, version) = (self.interner.text(&spec.group)?, self.interner.text(version)?);
        let (plural, name) = (self.interner.text(&spec.names.plural)?, self.interner.text(&spec.names.kind)?);
        let namespaced = spec.scope == "Namespaced";
        if find(group, version, plural).is_some() {
            // A built-in kind is followed already.
            return Ok(None);
        }
        let key = (group, version, plural, name, namespaced);
        if let Some(kind) = self.known.get(&key) {
            return Ok(Some(kind));
        }
        self.interner.account(size_of::<Kind>())?;
        // Kept for good, once for each kind: the interner bounds how many there are.
        let kind: &'static Kind = Box::leak(Box::new(Kind::bare(group, version, plural, name, namespaced)));
        self.known.insert(key, kind);
        Ok(Some(kind))
    }

    /// The names of definitions whose kinds are followed.
    pub(crate) fn names(&self) -> Vec<String> {
        self.followed.keys().cloned().collect()
    }

    /// The kinds that are followed.
    pub(crate) fn kinds(&self) -> Vec<&'static Kind> {
        self.followed.values().map(|followed| followed.kind).collect()
    }

    /// The kind that an owner reference names, in whatever version.
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<&'static Kind> {
        let (group, _) = api::kinds::split_api_version(api_version);
        self.kinds().into_iter().find(|row| row.group == group && row.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(version: &str, established: bool) -> Definition {
        let status = if established { "True" } else { "False" };
        serde_json::from_value(json!({"metadata": {"name": "ks.g.io"}, "spec": {"group": "g.io", "scope": "Namespaced",
            "names": {"plural": "ks", "kind": "K"}, "versions": [
                {"name": "v0", "served": false, "storage": false}, {"name": version, "served": true, "storage": true}]},
            "status": {"conditions": [{"type": "Established", "status": status}]}}))
        .expect("a definition")
    }

    #[test]
    fn kinds_are_followed_while_they_are_served() {
        let (mut customs, parent) = (Customs::default(), CancellationToken::new());
        let mut apply = |definition: Option<&Definition>| customs.apply("ks.g.io", definition, &parent).expect("room");
        assert!(apply(Some(&definition("v1", false))).1.is_none());
        let (_, first) = apply(Some(&definition("v1", true)));
        let first = first.expect("followed");
        assert_eq!((first.kind.version, first.kind.namespaced), ("v1", true));
        assert!(apply(Some(&definition("v1", true))).1.is_none());
        let (gone, second) = apply(Some(&definition("v2", true)));
        assert!(first.end.is_cancelled() && gone.is_some() && second.is_some());
        let (gone, none) = apply(None);
        assert!(gone.is_some() && none.is_none());
        let (_, again) = apply(Some(&definition("v1", true)));
        assert!(again.is_some_and(|again| std::ptr::eq(again.kind, first.kind)));
        assert!(customs.by_kind("g.io/v9", "K").is_some() && customs.by_kind("h.io/v1", "K").is_none());
    }
}
