//! Which objects a list or watch shows: label and field selectors over stored bytes, without parsing whole objects.
//!
//! # Invariants
//! A selector on names alone reads no value; one on labels reads only the metadata.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use api::kinds::Kind;
use api::selector::{Fields, Labels};
use api::status::{self, Status};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::object;
use crate::request::Query;

/// Fields that every kind can be selected by.
const METADATA_FIELDS: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// The field that binds a pod to its node.
const NODE_NAME: &str = "spec.nodeName";

/// Further fields a kind can be selected by, as kube-apiserver has them.
fn fields_of(kind: &Kind) -> &'static [&'static str] {
    match (kind.group, kind.plural) {
        ("", "pods") => &[
            NODE_NAME,
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", "certificatesigningrequests") => &["spec.signerName"],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        _ => &[],
    }
}

/// The selectors of one request.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    labels: Labels,
    fields: Fields,
    /// Whether a field beyond the names is selected on.
    reads_fields: bool,
}

impl Selection {
    /// The selectors in the query.
    ///
    /// # Errors
    /// 400 when one can't be read or names a field that the kind can't be selected by.
    pub(crate) fn parse(kind: &Kind, query: &Query) -> Result<Selection, Status> {
        let text = query.get("labelSelector").unwrap_or_default();
        let labels = Labels::parse(text).map_err(|e| status::bad_request(e.to_string()))?;
        let text = query.get("fieldSelector").unwrap_or_default();
        let fields = Fields::parse(text).map_err(|e| status::bad_request(e.to_string()))?;
        let own = kind.custom.iter().flat_map(|custom| &custom.selectable).map(String::as_str);
        let known: Vec<&str> = METADATA_FIELDS.iter().chain(fields_of(kind)).copied().chain(own).collect();
        // Kinds with a conversion of field names of their own are refused in other words.
        fields
            .only(&known, kind.group.is_empty() || !kind.is_seen_as_stored())
            .map_err(|e| status::bad_request(e.to_string()))?;
        Ok(Selection::of(labels, fields))
    }

    fn of(labels: Labels, fields: Fields) -> Selection {
        let reads_fields = fields.requirements().iter().any(|r| !METADATA_FIELDS.contains(&r.field.as_str()));
        Selection { labels, fields, reads_fields }
    }

    /// Whether nothing is left out.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that is asked for.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// The one namespace that is asked for.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.fields.exact("metadata.namespace")
    }

    /// The one node whose pods are asked for.
    pub(crate) fn node(&self) -> Option<&str> {
        self.fields.exact(NODE_NAME).filter(|node| !node.is_empty())
    }

    /// What is left to look at in pods that are known to be on this node.
    pub(crate) fn on_node(self, node: &str) -> Selection {
        Selection::of(self.labels, self.fields.given(NODE_NAME, node))
    }

    /// Whether the object with this key and these stored bytes is shown.
    pub(crate) fn shows(&self, kind: &Kind, key: &[u8], value: &[u8]) -> bool {
        if !self.fields.is_empty() {
            let (namespace, name) = object::names_of_key(kind, key);
            let shown = self.fields.matches_with(|field| match field {
                "metadata.name" => Cow::Borrowed(name),
                "metadata.namespace" => Cow::Borrowed(namespace),
                _ if self.reads_fields => Cow::Owned(field_value(kind, field, value)),
                _ => Cow::Borrowed(""),
            });
            if !shown {
                return false;
            }
        }
        self.labels.is_empty() || self.labels.matches(&labels_of(value))
    }
}

/// The labels in stored bytes; reads no further than the metadata.
pub(crate) fn labels_of(value: &[u8]) -> BTreeMap<String, String> {
    #[derive(Deserialize, Default)]
    struct Metadata {
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }
    first::<Metadata>(object::metadata_text(value)).unwrap_or_default().labels
}

/// The node that a stored pod is bound to; empty for none.
pub(crate) fn node_name(value: &[u8]) -> String {
    probe(value, &["spec", "nodeName"])
}

/// Whether the stored object is marked for deletion; reads no further than the metadata.
pub(crate) fn is_deleting(value: &[u8]) -> bool {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        deletion_timestamp: Option<IgnoredAny>,
    }
    first::<Metadata>(object::metadata_text(value)).unwrap_or_default().deletion_timestamp.is_some()
}

fn first<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    serde_json::Deserializer::from_slice(text).into_iter::<T>().next()?.ok()
}

/// A field's value as selectors see it: empty when absent.
fn field_value(kind: &Kind, field: &str, value: &[u8]) -> String {
    match (kind.plural, field) {
        _ if kind.custom.is_some() => probe(value, &field.split('.').collect::<Vec<_>>()),
        // A pod that does not say so has no host network; a node that does not say so takes pods.
        ("pods", "spec.hostNetwork") | ("nodes", "spec.unschedulable") => {
            let found = probe(value, &field.split('.').collect::<Vec<_>>());
            if found.is_empty() { "false".to_owned() } else { found }
        }
        ("events", "source") => {
            let found = probe(value, &["source", "component"]);
            if found.is_empty() { probe(value, &["reportingComponent"]) } else { found }
        }
        ("events", "reportingController") => probe(value, &["reportingComponent"]),
        ("events", field) if field.starts_with("regarding.") => {
            probe(value, &["involvedObject", field.trim_start_matches("regarding.")])
        }
        ("pods", "status.podIPs") => probe(value, &["status", "podIP"]),
        ("replicasets" | "replicationcontrollers", "status.replicas") | ("jobs", "status.successful") => {
            let path = if kind.plural == "jobs" { ["status", "succeeded"] } else { ["status", "replicas"] };
            let found = probe(value, &path);
            if found.is_empty() { "0".to_owned() } else { found }
        }
        _ => probe(value, &field.split('.').collect::<Vec<_>>()),
    }
}

/// The scalar at a path in a JSON text, skipping all else; empty when there is none.
fn probe(text: &[u8], path: &[&str]) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Probe { path }.deserialize(&mut deserializer).unwrap_or_default()
}

struct Probe<'p> {
    path: &'p [&'p str],
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut found = String::new();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match self.path {
                [first, rest @ ..] if *first == key => found = map.next_value_seed(Probe { path: rest })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(String::new())
    }
    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(if self.path.is_empty() { text.to_owned() } else { String::new() })
    }
    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> &'static Kind {
        api::kinds::find("", "v1", "pods").unwrap()
    }

    #[test]
    fn pods_by_label_and_field() {
        let value = object::encode(&json!({
            "metadata": {"name": "b", "namespace": "a", "labels": {"app": "x"}, "annotations": {"spec": "no"}},
            "spec": {"containers": [{"name": "spec"}], "nodeName": "n-1"}, "status": {"phase": "Running"},
        }))
        .unwrap();
        let key = object::key(pods(), Some("a"), "b");
        for (query, want) in [
            ("", true),
            ("labelSelector=app%3Dx", true),
            ("labelSelector=app%3Dy", false),
            ("labelSelector=app+in+(x,y),!tier", true),
            ("fieldSelector=spec.nodeName%3Dn-1", true),
            ("fieldSelector=spec.nodeName%3D", false),
            ("fieldSelector=spec.nodeName!%3Dn-1", false),
            ("fieldSelector=spec.hostNetwork%3Dfalse,status.phase%3DRunning", true),
            ("fieldSelector=metadata.name%3Db,metadata.namespace%3Da", true),
            ("fieldSelector=metadata.name%3Dc", false),
        ] {
            let selection = Selection::parse(pods(), &Query::parse(Some(query))).unwrap();
            assert_eq!(selection.shows(pods(), key.as_bytes(), &value), want, "{query}");
        }
    }

    #[test]
    fn fields_that_can_not_be_selected() {
        let query = Query::parse(Some("fieldSelector=spec.containers%3Dx"));
        assert_eq!(Selection::parse(pods(), &query).unwrap_err().code, 400);
    }

    #[test]
    fn deletion_is_seen_in_the_metadata_alone() {
        let value = object::encode(&json!({"metadata": {"name": "b"}, "spec": {"deletionTimestamp": "x"}})).unwrap();
        assert!(!is_deleting(&value));
        let value = object::encode(&json!({"metadata": {"name": "b", "deletionTimestamp": "x"}})).unwrap();
        assert!(is_deleting(&value));
    }
}
