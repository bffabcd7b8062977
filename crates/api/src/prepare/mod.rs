//! What the API sets or keeps when an object is written, whatever its author says: the status of
//! new objects, the generation, what only another request may change.
//!
//! Invariants: runs after decoding and defaulting, before validation; a new object never takes a
//! status from its author; a status write changes nothing but the status and, partly, the metadata.
//!
//! Absent: `uid`, `creationTimestamp` and generated names, which need randomness and a clock.

mod pod;
mod service;

use serde_json::{Map, Value, json};

use crate::crd;
use crate::decode::zero_struct;
use crate::kinds::{Kind, Subresource};
use crate::schema::{Ty, schema};

pub use pod::{ephemeral_containers, resize};

/// The annotation that carries how often a DaemonSet's template has changed.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// How a kind counts the changes of its objects in `metadata.generation`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Nothing,
    Spec,
    SpecAndAnnotations,
    Everything,
}

fn counts(kind: &Kind) -> Counts {
    match (kind.group, kind.kind) {
        ("apps", "Deployment") => Counts::SpecAndAnnotations,
        ("apps", "DaemonSet" | "ReplicaSet" | "StatefulSet")
        | ("", "Pod" | "ReplicationController")
        | ("batch", "Job" | "CronJob")
        | ("policy", "PodDisruptionBudget")
        | ("networking.k8s.io", "NetworkPolicy" | "Ingress" | "IngressClass")
        | ("flowcontrol.apiserver.k8s.io", _)
        | ("apiextensions.k8s.io", _) => Counts::Spec,
        ("admissionregistration.k8s.io", _) | ("discovery.k8s.io", "EndpointSlice") => Counts::Everything,
        _ => Counts::Nothing,
    }
}

/// Prepares a new object.
pub fn create(kind: &Kind, obj: &mut Value) {
    let Some(map) = obj.as_object_mut() else { return };
    let metadata = metadata(map);
    if !kind.namespaced {
        metadata.remove("namespace"); // said of an object that has none, it means nothing
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(key);
    }
    if kind.custom.is_some() {
        return crd::prepare_create(kind, map);
    }
    if counts(kind) != Counts::Nothing {
        metadata.insert("generation".to_owned(), Value::from(1));
    }
    if kind.has(Subresource::Status) && (kind.group, kind.kind) != ("", "Node") {
        map.insert("status".to_owned(), first_status(kind, map));
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::create(map),
        ("", "Service") => service::create(map),
        ("", "Namespace") => namespace_finalizer(map),
        ("apps", "DaemonSet") => {
            let written = template_generation(map).filter(|generation| *generation >= 1);
            set_template_generation(map, written.unwrap_or(1));
        }
        ("", "ServiceAccount") => bare_secret_references(map),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => stored_version(map),
        _ => {}
    }
}

/// Prepares a changed object; `old` is the stored one.
pub fn update(kind: &Kind, new: &mut Value, old: &Value) {
    let (Some(map), Some(before)) = (new.as_object_mut(), old.as_object()) else { return };
    keep_metadata(map, before);
    if !kind.namespaced {
        metadata(map).remove("namespace");
    }
    if kind.custom.is_some() {
        return crd::prepare_update(kind, map, before);
    }
    if kind.has(Subresource::Status) {
        keep(map, before, "status");
    }
    match (kind.group, kind.kind) {
        ("", "Namespace") => {
            if let Some(finalizers) = old.pointer("/spec/finalizers").cloned() {
                child(map, "spec").insert("finalizers".to_owned(), finalizers);
            }
        }
        ("", "Pod") => pod::keep_priority(map, before),
        ("", "Service") => service::update(map, before),
        ("", "ServiceAccount") => bare_secret_references(map),
        ("apps", "DaemonSet") => {
            let changed = old.pointer("/spec/template") != map.get("spec").and_then(|spec| spec.get("template"));
            let generation = template_generation(before).unwrap_or(1);
            set_template_generation(map, if changed { generation.saturating_add(1) } else { generation });
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => keep(map, before, "spec"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => stored_version(map),
        _ => {}
    }
    if changed(kind, map, before) {
        let generation = before.get("metadata").and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or(0);
        metadata(map).insert("generation".to_owned(), Value::from(generation.saturating_add(1)));
    }
}

/// Prepares a write to the `status` subresource: all but status and metadata stays as stored.
pub fn update_status(kind: &Kind, new: &mut Value, old: &Value) {
    let (Some(map), Some(before)) = (new.as_object_mut(), old.as_object()) else { return };
    if kind.custom.is_some() {
        return crd::prepare_status(map, before);
    }
    map.retain(|key, _| matches!(key.as_str(), "metadata" | "status") || before.contains_key(key));
    for (key, value) in before.iter().filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status")) {
        // Most often it is there already, and a copy costs more than a look.
        if map.get(key) != Some(value) {
            map.insert(key.clone(), value.clone());
        }
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::update_status(map, before),
        ("apps", "Deployment") => keep_in_metadata(map, before, "labels"),
        ("apps", "DaemonSet") => {
            if let Some(generation) = template_generation(before) {
                set_template_generation(map, generation);
            }
        }
        ("flowcontrol.apiserver.k8s.io" | "apiextensions.k8s.io", _) => {
            let resource_version = metadata(map).get("resourceVersion").cloned();
            keep(map, before, "metadata");
            if let Some(version) = resource_version {
                metadata(map).insert("resourceVersion".to_owned(), version);
            }
        }
        _ => {}
    }
    keep_metadata(map, before);
}

/// Prepares a write to a namespace's `finalize` subresource, which alone changes `spec.finalizers`.
pub fn finalize(new: &mut Value, old: &Value) {
    let (Some(map), Some(before)) = (new.as_object_mut(), old.as_object()) else { return };
    keep_metadata(map, before);
    keep(map, before, "status");
}

/// The status of a new object: what Go writes when nothing is set, and where the kind begins.
fn first_status(kind: &Kind, map: &Map<String, Value>) -> Value {
    let mut status = empty_status(kind);
    let begins = match (kind.group, kind.kind) {
        ("", "Pod") => pod::first_status(map),
        ("", "Namespace") => json!({"phase": "Active"}),
        ("", "PersistentVolume" | "PersistentVolumeClaim") => json!({"phase": "Pending"}),
        _ => return status,
    };
    if let (Some(status), Value::Object(begins)) = (status.as_object_mut(), begins) {
        status.extend(begins);
    }
    status
}

fn empty_status(kind: &Kind) -> Value {
    let field = schema().find(kind.type_name).and_then(|ty| ty.field("status"));
    match field.map(|field| schema().resolve(field.ty)) {
        Some(Ty::Ref(id)) => zero_struct(schema().get(id)),
        _ => json!({}),
    }
}

/// Whether what the kind counts differs.
fn changed(kind: &Kind, map: &Map<String, Value>, before: &Map<String, Value>) -> bool {
    let annotations = |map: &Map<String, Value>| map.get("metadata").and_then(|m| m.get("annotations")).cloned();
    match counts(kind) {
        Counts::Nothing => false,
        Counts::Spec => map.get("spec") != before.get("spec"),
        Counts::SpecAndAnnotations => map.get("spec") != before.get("spec") || annotations(map) != annotations(before),
        Counts::Everything => {
            let content = |key: &&String| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind");
            map.keys().chain(before.keys()).filter(content).any(|key| map.get(key) != before.get(key))
        }
    }
}

/// Metadata that an update cannot change but need not repeat.
fn keep_metadata(map: &mut Map<String, Value>, before: &Map<String, Value>) {
    let Some(old) = before.get("metadata").and_then(Value::as_object) else { return };
    let new = metadata(map);
    new.remove("selfLink");
    for key in ["generation", "creationTimestamp"] {
        match old.get(key) {
            Some(value) => new.insert(key.to_owned(), value.clone()),
            None => new.remove(key),
        };
    }
    if let Some(value) = old.get("deletionTimestamp") {
        new.insert("deletionTimestamp".to_owned(), value.clone());
    }
    for key in ["uid", "deletionGracePeriodSeconds"] {
        if let Some(value) = old.get(key)
            && new.get(key).is_none_or(|given| given.is_null() || given == "")
        {
            new.insert(key.to_owned(), value.clone());
        }
    }
}

fn keep(map: &mut Map<String, Value>, before: &Map<String, Value>, key: &str) {
    match before.get(key) {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}

fn keep_in_metadata(map: &mut Map<String, Value>, before: &Map<String, Value>, key: &str) {
    let old = before.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    keep(metadata(map), &old, key);
}

/// A field as a map; whatever else stood there is replaced by an empty one.
fn child<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("the slot was just made an object"),
    }
}

fn metadata(map: &mut Map<String, Value>) -> &mut Map<String, Value> {
    child(map, "metadata")
}

fn template_generation(map: &Map<String, Value>) -> Option<i64> {
    map.get("metadata")?.get("annotations")?.get(TEMPLATE_GENERATION)?.as_str()?.parse().ok()
}

fn set_template_generation(map: &mut Map<String, Value>, generation: i64) {
    let annotations = child(metadata(map), "annotations");
    annotations.insert(TEMPLATE_GENERATION.to_owned(), Value::from(generation.to_string()));
}

/// A namespace is kept until its content is gone: the finalizer says so.
fn namespace_finalizer(map: &mut Map<String, Value>) {
    let spec = child(map, "spec");
    let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
    if let Value::Array(list) = finalizers {
        if !list.iter().any(|name| name == "kubernetes") {
            list.push(Value::from("kubernetes"));
        }
    } else {
        *finalizers = json!(["kubernetes"]);
    }
}

/// Notes the version that objects are stored as among those that some may be stored as.
fn stored_version(map: &mut Map<String, Value>) {
    let versions = map.get("spec").and_then(|spec| spec.get("versions")).and_then(Value::as_array);
    let storage = versions.into_iter().flatten().find(|version| version["storage"] == true);
    let Some(name) = storage.map(|version| version["name"].clone()) else { return };
    let status = child(map, "status");
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    match stored {
        Value::Array(names) if names.contains(&name) => {}
        Value::Array(names) => names.push(name),
        other => *other = json!([name]),
    }
}

/// Secrets of a service account are named, nothing else.
fn bare_secret_references(map: &mut Map<String, Value>) {
    for secret in map.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(name) = secret.get("name").cloned() {
            *secret = json!({"name": name});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn kind(api_version: &str, name: &str) -> &'static Kind {
        kinds::by_kind(api_version, name).expect("a built-in kind")
    }

    #[test]
    fn new_objects() {
        fn check(api_version: &str, name: &str, mut given: Value, expect: Value) {
            create(kind(api_version, name), &mut given);
            assert_eq!(given, expect);
        }
        check(
            "apps/v1",
            "DaemonSet",
            json!({"metadata": {"name": "a", "deletionTimestamp": "x", "generation": 7}, "status": {"numberReady": 9}}),
            json!({"metadata": {"name": "a", "generation": 1, "annotations": {TEMPLATE_GENERATION: "1"}},
                "status": {"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0,
                    "numberReady": 0}}),
        );
        check(
            "v1",
            "Namespace",
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["b.c/d"]}, "status": {"phase": "Terminating"}}),
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["b.c/d", "kubernetes"]},
                "status": {"phase": "Active"}}),
        );
        check(
            "v1",
            "Node",
            json!({"metadata": {"name": "a"}, "status": {"phase": "x"}}),
            json!({"metadata": {"name": "a"}, "status": {"phase": "x"}}),
        );
        let placed = json!({"metadata": {"name": "a", "namespace": "n"}});
        check("rbac.authorization.k8s.io/v1", "ClusterRole", placed, json!({"metadata": {"name": "a"}}));
        check("v1", "ConfigMap", json!({"metadata": {}, "data": {}}), json!({"metadata": {}, "data": {}}));
    }

    fn daemon_set(template: &str, revision_limit: i64, generation: i64, template_generation: i64) -> Value {
        json!({"metadata": {"uid": "u", "creationTimestamp": "t", "generation": generation,
                "annotations": {TEMPLATE_GENERATION: template_generation.to_string()}},
            "spec": {"template": template, "revisionHistoryLimit": revision_limit}, "status": {"numberReady": 3}})
    }

    #[test]
    fn changed_daemon_sets() {
        fn check(mut new: Value, expect: Value) {
            update(kind("apps/v1", "DaemonSet"), &mut new, &daemon_set("a", 10, 3, 2));
            assert_eq!(new, expect);
        }
        let mut given = daemon_set("b", 10, 9, 9);
        given["metadata"] = json!({});
        given["status"] = json!({"numberReady": 0});
        check(given, daemon_set("b", 10, 4, 3));
        check(daemon_set("a", 5, 1, 1), daemon_set("a", 5, 4, 2));
        check(daemon_set("a", 10, 1, 1), daemon_set("a", 10, 3, 2));
    }

    #[test]
    fn deletion_is_kept() {
        let old = json!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": 30, "uid": "u"}});
        let mut new = json!({"metadata": {"uid": ""}, "data": {"a": "b"}});
        update(kind("v1", "ConfigMap"), &mut new, &old);
        assert_eq!(new["metadata"], old["metadata"]);
        assert_eq!(new["data"], json!({"a": "b"}));
    }

    #[test]
    fn deployments_count_annotations() {
        let old = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}});
        let mut new = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"replicas": 1}});
        update(kind("apps/v1", "Deployment"), &mut new, &old);
        assert_eq!(new["metadata"]["generation"], 2);
    }

    #[test]
    fn status_writes() {
        let mut new = daemon_set("b", 1, 9, 9);
        new["status"] = json!({"numberReady": 4});
        new["odd"] = json!(1);
        update_status(kind("apps/v1", "DaemonSet"), &mut new, &daemon_set("a", 10, 3, 2));
        let mut expect = daemon_set("a", 10, 3, 2);
        expect["status"] = json!({"numberReady": 4});
        assert_eq!(new, expect);
    }

    #[test]
    fn finalizers_of_namespaces() {
        let old = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let mut new = json!({"metadata": {}, "spec": {}});
        update(kind("v1", "Namespace"), &mut new, &old);
        assert_eq!(new["spec"], json!({"finalizers": ["kubernetes"]}));
        let mut new = json!({"metadata": {}, "spec": {"finalizers": []}, "status": {"phase": "odd"}});
        finalize(&mut new, &old);
        assert_eq!(new["spec"], json!({"finalizers": []}));
        assert_eq!(new["status"], json!({"phase": "Active"}));
    }
}
