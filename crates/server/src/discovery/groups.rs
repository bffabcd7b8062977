//! Discovery as it always was: a document a group, a document a version.

use std::cmp::Ordering;

use api::kinds::{KINDS, Kind, Subresource};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::Ask;

/// Groups besides the core one, in order of priority, each with its versions.
pub(super) fn groups(customs: &[Kind]) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut customs: Vec<&Kind> = customs.iter().collect();
    customs.sort_by(|a, b| a.group.cmp(b.group).then_with(|| by_age(a.version, b.version)));
    for kind in KINDS.iter().filter(|k| !k.group.is_empty()).chain(customs) {
        match found.iter_mut().find(|(group, _)| *group == kind.group) {
            Some((_, versions)) if versions.contains(&kind.version) => {}
            Some((_, versions)) => versions.push(kind.version),
            None => found.push((kind.group, vec![kind.version])),
        }
    }
    found
}

/// Order of versions: finished ones before beta and alpha, later ones before earlier ones, names that are no versions last.
fn by_age(a: &str, b: &str) -> Ordering {
    match (Age::parse(a), Age::parse(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor number of a version such as `v2beta1`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Age(u8, u32, u32);

impl Age {
    fn parse(version: &str) -> Option<Age> {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (major, rest) = rest.split_at(digits);
        let major = major.parse().ok()?;
        if rest.is_empty() {
            return Some(Age(2, major, 0));
        }
        let (stability, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => (1, minor),
            (_, Some(minor)) => (0, minor),
            _ => return None,
        };
        Some(Age(stability, major, minor.parse().ok()?))
    }
}

/// `/api`
pub(super) fn core_versions(ask: &Ask) -> Value {
    let host = ask.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    })
}

/// `/apis`
pub(super) fn all(customs: &[Kind]) -> Value {
    let groups: Vec<Value> = groups(customs).iter().map(|(group, versions)| describe(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`
pub(super) fn one(customs: &[Kind], group: &str) -> Option<Value> {
    let (group, versions) = groups(customs).into_iter().find(|(name, _)| *name == group)?;
    let mut value = describe(group, &versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

fn describe(group: &str, versions: &[&str]) -> Value {
    let version = |v: &&str| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    json!({
        "name": group,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

/// The kinds of a group and version, by plural.
pub(super) fn kinds_of<'a>(customs: &'a [Kind], group: &str, version: &str) -> Vec<&'a Kind> {
    let mut kinds: Vec<&Kind> =
        KINDS.iter().chain(customs).filter(|k| k.group == group && k.version == version).collect();
    kinds.sort_by_key(|k| k.plural);
    kinds
}

/// `/api/v1` and `/apis/GROUP/VERSION`; members stand in the order of Kubernetes' answers.
#[derive(Serialize)]
pub(super) struct ResourceList {
    kind: &'static str,
    #[serde(rename = "apiVersion", skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    #[serde(rename = "groupVersion")]
    group_version: String,
    resources: Vec<Resource>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Resource {
    name: String,
    singular_name: &'static str,
    namespaced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    kind: &'static str,
    verbs: Vec<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'static [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_version_hash: Option<String>,
}

/// The kinds of a group and version; None when there are none.
pub(super) fn resources(customs: &[Kind], group: &str, version: &str) -> Option<ResourceList> {
    let kinds = kinds_of(customs, group, version);
    let first = kinds.first()?;
    Some(ResourceList {
        kind: "APIResourceList",
        api_version: (!group.is_empty()).then_some("v1"),
        group_version: first.api_version(),
        resources: kinds.iter().flat_map(|kind| of_kind(kind)).collect(),
    })
}

fn of_kind(kind: &Kind) -> Vec<Resource> {
    let mut all = vec![Resource {
        name: kind.plural.to_owned(),
        singular_name: kind.singular,
        namespaced: kind.namespaced,
        kind: kind.kind,
        verbs: verbs(kind),
        short_names: kind.short_names,
        categories: kind.categories,
        // What is never stored has no stored version.
        storage_version_hash: (kind.verbs.len() > 1).then(|| storage_version_hash(kind)),
        ..Resource::default()
    }];
    for sub in subresources(kind) {
        let foreign = sub.body().filter(|(group, version, _)| (*group, *version) != (kind.group, kind.version));
        all.push(Resource {
            name: format!("{}/{}", kind.plural, sub.as_str()),
            namespaced: kind.namespaced,
            group: foreign.map(|(group, _, _)| group),
            version: foreign.map(|(_, version, _)| version),
            kind: sub.body().map_or(kind.kind, |(_, _, body)| body),
            verbs: sub.verbs(kind).to_vec(),
            ..Resource::default()
        });
    }
    all
}

/// The verbs of a kind, those of custom kinds in the order in which Kubernetes lists them.
pub(super) fn verbs(kind: &Kind) -> Vec<&'static str> {
    match &kind.custom {
        None => kind.verbs.iter().map(|v| v.as_str()).collect(),
        Some(custom) if custom.is_terminating => vec!["delete", "deletecollection", "get", "list", "watch"],
        Some(_) => vec!["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
    }
}

/// The subresources of a kind, those of custom kinds in the order in which Kubernetes lists them.
pub(super) fn subresources(kind: &Kind) -> Vec<Subresource> {
    let mut all = kind.subresources.to_vec();
    if kind.custom.is_some() {
        all.reverse();
    }
    all
}

/// Eight bytes that change when objects would be stored as another version.
fn storage_version_hash(kind: &Kind) -> String {
    let version = kind.custom.as_ref().map_or(kind.version, |custom| custom.storage_version.as_str());
    let name = format!("{}/{version}/{}", kind.group, kind.kind);
    STANDARD.encode(&Sha256::digest(name.as_bytes())[..8])
}

/// `/`
pub(super) fn paths(customs: &[Kind]) -> Value {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis"].map(String::from).into();
    for (group, versions) in groups(customs) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(String::from),
    );
    json!({"paths": paths})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_versions_come_first() {
        let mut versions =
            ["foo10", "v1", "v11beta2", "v10", "v3beta1", "v2", "v12alpha1", "foo1", "v11alpha2", "v10beta3"];
        versions.sort_by(|a, b| by_age(a, b));
        let want = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        assert_eq!(versions, want);
    }
}
