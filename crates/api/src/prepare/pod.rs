//! What the API sets and keeps on pods.

use serde_json::{Map, Value, json};

use crate::resources::qos_class;

use super::{child, keep, keep_in_metadata, keep_metadata, metadata};

/// The status of a new pod.
pub(super) fn first_status(map: &Map<String, Value>) -> Value {
    let empty = json!({});
    let spec = map.get("spec").unwrap_or(&empty);
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(spec)});
    let gated = spec.get("schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty());
    if gated {
        status["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
    }
    status
}

/// Folds `matchLabelKeys` and `mismatchLabelKeys` into the selectors they stand beside.
pub(super) fn create(map: &mut Map<String, Value>) {
    let labels = map.get("metadata").and_then(|m| m.get("labels")).cloned().unwrap_or_default();
    let Some(spec) = map.get_mut("spec") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|affinity| affinity.get_mut(kind)) else { continue };
        for term in list(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            label_keys(term, &labels);
        }
        for preferred in list(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = preferred.get_mut("podAffinityTerm") {
                label_keys(term, &labels);
            }
        }
    }
    for constraint in list(spec, "topologySpreadConstraints") {
        label_keys(constraint, &labels);
    }
}

fn list<'a>(obj: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    obj.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn label_keys(term: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if added.is_empty() {
        return;
    }
    if let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut) {
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Value::Array(expressions) = expressions {
            expressions.extend(added);
        }
    }
}

/// What admission has resolved on creation need not be repeated.
pub(super) fn keep_priority(map: &mut Map<String, Value>, before: &Map<String, Value>) {
    let Some(old) = before.get("spec").and_then(Value::as_object) else { return };
    let spec = child(map, "spec");
    for key in ["priority", "preemptionPolicy"] {
        if let Some(value) = old.get(key)
            && spec.get(key).is_none_or(Value::is_null)
        {
            spec.insert(key.to_owned(), value.clone());
        }
    }
}

/// A status write leaves owners and deletion alone, and generations that were observed before.
pub(super) fn update_status(map: &mut Map<String, Value>, before: &Map<String, Value>) {
    metadata(map).remove("deletionTimestamp");
    keep_in_metadata(map, before, "ownerReferences");
    let old = before.get("status");
    let status = child(map, "status");
    for key in ["qosClass", "observedGeneration"] {
        if let Some(value) = old.and_then(|old| old.get(key))
            && status.get(key).is_none_or(|given| given.is_null() || given == "" || given == 0)
        {
            status.insert(key.to_owned(), value.clone());
        }
    }
    let old = old.and_then(|old| old.get("conditions")).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = old.iter().find(|other| other.get("type") == condition.get("type"));
        let observed = same.and_then(|other| other.get("observedGeneration"));
        if let (Some(observed), Some(condition)) = (observed, condition.as_object_mut()) {
            condition.entry("observedGeneration").or_insert_with(|| observed.clone());
        }
    }
}

/// Keeps all but the given parts of the spec as stored, and counts the change.
fn only(new: &mut Value, old: &Value, take: impl FnOnce(&mut Value, &Value)) {
    let (Some(map), Some(before)) = (new.as_object_mut(), old.as_object()) else { return };
    let given = map.get("spec").cloned().unwrap_or_default();
    let version = metadata(map).get("resourceVersion").cloned();
    for key in ["spec", "status", "metadata"] {
        keep(map, before, key);
    }
    if let Some(version) = version {
        metadata(map).insert("resourceVersion".to_owned(), version);
    }
    keep_metadata(map, before);
    if let Some(spec) = map.get_mut("spec") {
        take(spec, &given);
    }
    if map.get("spec") != before.get("spec") {
        let generation = metadata(map).get("generation").and_then(Value::as_i64).unwrap_or(0);
        metadata(map).insert("generation".to_owned(), Value::from(generation.saturating_add(1)));
    }
}

/// Prepares a write to the `ephemeralcontainers` subresource.
pub fn ephemeral_containers(new: &mut Value, old: &Value) {
    only(new, old, |spec, given| {
        if let Some(map) = spec.as_object_mut() {
            match given.get("ephemeralContainers") {
                Some(list) => map.insert("ephemeralContainers".to_owned(), list.clone()),
                None => map.remove("ephemeralContainers"),
            };
        }
    });
}

/// Prepares a write to the `resize` subresource: resources and resize policies of the containers.
pub fn resize(new: &mut Value, old: &Value) {
    only(new, old, |spec, given| {
        for key in ["containers", "initContainers"] {
            let given = given.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            for (container, wanted) in list(spec, key).zip(given) {
                let (Some(map), true) = (container.as_object_mut(), wanted.get("name").is_some()) else { continue };
                for field in ["resources", "resizePolicy"] {
                    if let Some(value) = wanted.get(field) {
                        map.insert(field.to_owned(), value.clone());
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use crate::prepare;

    fn pod_kind() -> &'static kinds::Kind {
        kinds::by_kind("v1", "Pod").expect("Pod")
    }

    #[test]
    fn new_pods() {
        let mut pod = json!({"metadata": {"labels": {"hash": "x"}}, "status": {"phase": "Running"},
            "spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}], "schedulingGates": [{"name": "g"}],
            "topologySpreadConstraints": [{"matchLabelKeys": ["hash", "none"], "labelSelector": {}}]}});
        prepare::create(pod_kind(), &mut pod);
        assert_eq!(pod["metadata"]["generation"], 1);
        assert_eq!(pod["status"]["phase"], "Pending");
        assert_eq!(pod["status"]["qosClass"], "Burstable");
        assert_eq!(pod["status"]["conditions"][0]["reason"], "SchedulingGated");
        let expect = json!({"matchExpressions": [{"key": "hash", "operator": "In", "values": ["x"]}]});
        assert_eq!(pod["spec"]["topologySpreadConstraints"][0]["labelSelector"], expect);
    }

    #[test]
    fn status_writes() {
        let old = json!({"metadata": {"ownerReferences": [1], "deletionTimestamp": "t"}, "spec": {"a": 1},
            "status": {"qosClass": "BestEffort", "conditions": [{"type": "Ready", "observedGeneration": 2}]}});
        let mut new = json!({"metadata": {"ownerReferences": []}, "spec": {"a": 2},
            "status": {"phase": "Running", "conditions": [{"type": "Ready"}]}});
        prepare::update_status(pod_kind(), &mut new, &old);
        let expect = json!({"metadata": {"ownerReferences": [1], "deletionTimestamp": "t"}, "spec": {"a": 1},
            "status": {"phase": "Running", "qosClass": "BestEffort",
                "conditions": [{"type": "Ready", "observedGeneration": 2}]}});
        assert_eq!(new, expect);
    }

    #[test]
    fn updates_keep_priority_and_count() {
        let old = json!({"metadata": {"generation": 1}, "spec": {"priority": 5, "a": 1}, "status": {"phase": "x"}});
        let mut new = json!({"metadata": {}, "spec": {"a": 2}, "status": {}});
        prepare::update(pod_kind(), &mut new, &old);
        let expect = json!({"metadata": {"generation": 2}, "spec": {"priority": 5, "a": 2}, "status": {"phase": "x"}});
        assert_eq!(new, expect);
    }

    #[test]
    fn partial_writes() {
        let old = json!({"metadata": {"generation": 1, "resourceVersion": "5"}, "status": {},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}]}});
        let mut new = json!({"metadata": {"labels": {"a": "b"}, "resourceVersion": "4"}, "spec": {"containers":
            [{"name": "c", "image": "j", "resources": {"limits": {"cpu": "1"}}}],
            "ephemeralContainers": [{"name": "d"}]}});
        let mut debugged = new.clone();
        resize(&mut new, &old);
        let container = json!({"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}});
        assert_eq!(new["spec"], json!({"containers": [container]}));
        assert_eq!(new["metadata"], json!({"generation": 2, "resourceVersion": "4"}));
        ephemeral_containers(&mut debugged, &old);
        assert_eq!(debugged["spec"]["ephemeralContainers"], json!([{"name": "d"}]));
        assert_eq!(debugged["spec"]["containers"], old["spec"]["containers"]);
    }
}
