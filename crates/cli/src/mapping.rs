//! From the names that users and files give a kind to its path on the server.
//!
//! Built-in kinds come from the table of `api`; for any other the server is asked.

use serde_json::Value;

use crate::client::{Api, Query, escaped};
use crate::failure::{Failure, Result, message};

/// One kind as the server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Key of the type in the schema; None for kinds that are not built in.
    pub(crate) type_name: Option<&'static str>,
}

impl Mapping {
    /// The collection's path in `namespace`, or across all.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace {
            Some(namespace) if self.namespaced => format!("{root}/namespaces/{}/{}", escaped(namespace), self.plural),
            _ => format!("{root}/{}", self.plural),
        }
    }

    /// The object's path.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), escaped(name))
    }

    /// `daemonset.apps`, as messages name the kind.
    pub(crate) fn word(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }

    /// `daemonsets.apps`, as the server's messages name it.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl From<&'static api::kinds::Kind> for Mapping {
    fn from(kind: &'static api::kinds::Kind) -> Self {
        Self {
            group: kind.group.into(),
            version: kind.version.into(),
            kind: kind.kind.into(),
            plural: kind.plural.into(),
            namespaced: kind.namespaced,
            type_name: Some(kind.type_name),
        }
    }
}

/// The kind that a user names: plural, singular, short name, with or without a group.
pub(crate) async fn by_name(api: &Api, name: &str) -> Result<Mapping> {
    if let Some(kind) = api::kinds::by_any_name(name) {
        return Ok(kind.into());
    }
    let wanted = name.to_lowercase();
    for (group_version, row) in foreign_resources(api).await? {
        if is_called(&row, &group_version, &wanted) {
            return from_discovery(&group_version, &row);
        }
    }
    message(format!("the server doesn't have a resource type {name:?}"))
}

/// The kind of an object that was read from `source`.
pub(crate) async fn of_object(api: &Api, object: &Value, source: &str) -> Result<Mapping> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    if kind.is_empty() {
        return message(format!(
            "error validating {source:?}: error validating data: kind not set; if you choose to ignore these errors, turn validation off with --validate=false"
        ));
    }
    if api_version.is_empty() {
        return message(format!(
            "error validating {source:?}: error validating data: apiVersion not set; if you choose to ignore these errors, turn validation off with --validate=false"
        ));
    }
    if let Some(kind) = api::kinds::by_kind(&api_version, &kind) {
        return Ok(kind.into());
    }
    if let Ok(rows) = resources(api, &api_version).await
        && let Some(row) = rows.iter().find(|row| row["kind"] == kind.as_str() && is_whole(row))
    {
        return from_discovery(&api_version, row);
    }
    let name = text(&object["metadata"]["name"]);
    let namespace = text(&object["metadata"]["namespace"]);
    message(format!(
        "resource mapping not found for name: {name:?} namespace: {namespace:?} from {source:?}: no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first"
    ))
}

/// Every resource of a group and version, as discovery lists them.
pub(crate) async fn resources(api: &Api, group_version: &str) -> Result<Vec<Value>> {
    let path =
        if group_version.contains('/') { format!("/apis/{group_version}") } else { format!("/api/{group_version}") };
    let mut list = api.get(&path, &Query::new()).await?;
    Ok(list["resources"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// Resources of groups that have no built-in kinds.
async fn foreign_resources(api: &Api) -> Result<Vec<(String, Value)>> {
    let groups = match api.get("/apis", &Query::new()).await {
        Ok(groups) => groups,
        Err(e @ Failure::Connection(_)) => return Err(e),
        Err(_) => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for group in groups["groups"].as_array().into_iter().flatten() {
        let name = group["name"].as_str().unwrap_or_default();
        if api::kinds::KINDS.iter().any(|kind| kind.group == name) {
            continue;
        }
        let Some(preferred) = group["preferredVersion"]["groupVersion"].as_str() else { continue };
        let rows = resources(api, preferred).await.unwrap_or_default();
        found.extend(rows.into_iter().filter(is_whole).map(|row| (preferred.to_owned(), row)));
    }
    Ok(found)
}

/// Whether it is a resource, not a part of one.
fn is_whole(row: &Value) -> bool {
    row["name"].as_str().is_some_and(|name| !name.contains('/'))
}

fn is_called(row: &Value, group_version: &str, wanted: &str) -> bool {
    let group = group_version.split_once('/').map_or("", |(group, _)| group);
    let bare = match wanted.split_once('.') {
        Some((bare, rest)) if rest == group => bare,
        Some(_) => return false,
        None => wanted,
    };
    let is = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(bare));
    is(&row["name"])
        || is(&row["singularName"])
        || is(&row["kind"])
        || row["shortNames"].as_array().into_iter().flatten().any(is)
}

fn from_discovery(group_version: &str, row: &Value) -> Result<Mapping> {
    let (group, version) = api::kinds::split_api_version(group_version);
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Ok(Mapping {
        group: group.into(),
        version: version.into(),
        kind: text("kind"),
        plural: text("name"),
        namespaced: row["namespaced"].as_bool().unwrap_or_default(),
        type_name: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn knows_paths_and_words() {
        let ds = Mapping::from(api::kinds::by_any_name("ds").unwrap());
        assert_eq!(ds.object("logging", "fluentd"), "/apis/apps/v1/namespaces/logging/daemonsets/fluentd");
        assert_eq!(ds.collection(None), "/apis/apps/v1/daemonsets");
        assert_eq!((ds.word().as_str(), ds.resource().as_str()), ("daemonset.apps", "daemonsets.apps"));
        let node = Mapping::from(api::kinds::by_any_name("nodes").unwrap());
        assert_eq!(node.object("default", "n-0"), "/api/v1/nodes/n-0");
        assert_eq!((node.word().as_str(), node.resource().as_str()), ("node", "nodes"));
    }

    #[test]
    fn finds_what_discovery_lists() {
        let row = json!({"name": "widgets", "singularName": "widget", "kind": "Widget", "shortNames": ["wd"], "namespaced": true});
        for name in ["widgets", "widget", "wd", "widgets.example.com", "wd.example.com"] {
            assert!(is_called(&row, "example.com/v1", name), "{name}");
        }
        for name in ["widgetz", "widgets.example.org", "widgets.v1.example.com"] {
            assert!(!is_called(&row, "example.com/v1", name), "{name}");
        }
        let mapping = from_discovery("example.com/v1", &row).unwrap();
        assert_eq!(mapping.collection(Some("a")), "/apis/example.com/v1/namespaces/a/widgets");
    }
}
