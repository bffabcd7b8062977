//! `pod.status` to the API server: only what changed, and nothing of others lost.
//!
//! # Invariants
//! It is a strategic merge with the pod's UID: a condition that someone else owns stays, and a pod of the same name made
//! anew is never touched. A field that goes away is sent as null.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// A status without what a round trip through the API server drops, to be compared.
pub(super) fn canonical(status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(strip);
            map.retain(|_, v| !is_empty(v));
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The patch from `old` to `new` (both canonical); None when nothing changed.
pub(super) fn patch(uid: &str, old: &Value, new: &Value) -> Option<Value> {
    let empty = Map::new();
    let old = old.as_object().unwrap_or(&empty);
    let new = new.as_object().unwrap_or(&empty);
    let mut status = Map::new();
    for (key, value) in new {
        if old.get(key) == Some(value) {
            continue;
        }
        let value = match key.as_str() {
            "conditions" => conditions(value, old.get(key)),
            "podIPs" | "hostIPs" => replaced(value),
            _ => value.clone(),
        };
        status.insert(key.clone(), value);
    }
    for key in old.keys().filter(|k| !new.contains_key(*k)) {
        status.insert(key.clone(), Value::Null);
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

/// Conditions merge by type, so what a condition no longer has must be said, and which is no more.
fn conditions(list: &Value, old: Option<&Value>) -> Value {
    let mut list = list.clone();
    for condition in list.as_array_mut().into_iter().flatten() {
        let Some(map) = condition.as_object_mut() else { continue };
        for key in ["reason", "message", "lastProbeTime", "observedGeneration"] {
            map.entry(key).or_insert(Value::Null);
        }
    }
    let all = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |type_: &Value| all(Some(&list)).iter().any(|one| one["type"] == *type_);
    let gone: Vec<Value> = all(old).iter().map(|one| one["type"].clone()).filter(|type_| !has(type_)).collect();
    let delete = gone.into_iter().map(|type_| json!({"type": type_, "$patch": "delete"}));
    list.as_array_mut().into_iter().for_each(|list| list.extend(delete.clone()));
    list
}

/// Addresses merge by value, so the old ones must be taken away.
fn replaced(list: &Value) -> Value {
    let mut list = list.as_array().cloned().unwrap_or_default();
    list.push(json!({"$patch": "replace"}));
    Value::Array(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_changed_and_what_went() {
        let old = json!({"phase": "Pending", "reason": "X", "podIP": "1.1.1.1", "qosClass": "Burstable"});
        let new = json!({"phase": "Running", "podIP": "1.1.1.1", "qosClass": "Burstable",
            "podIPs": [{"ip": "1.1.1.1"}], "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(patch("u", &new, &new), None);
        assert_eq!(
            patch("u", &old, &new),
            Some(json!({"metadata": {"uid": "u"}, "status": {
                "phase": "Running", "reason": null,
                "podIPs": [{"ip": "1.1.1.1"}, {"$patch": "replace"}],
                "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null,
                    "lastProbeTime": null, "observedGeneration": null}]}}))
        );
    }

    #[test]
    fn a_condition_that_is_no_more_is_deleted() {
        let condition = |type_: &str| json!({"type": type_, "status": "True"});
        let old = json!({"conditions": [condition("Ready"), condition("Other")]});
        let patch = patch("u", &old, &json!({"conditions": [condition("Ready")]})).unwrap();
        assert_eq!(patch["status"]["conditions"][1], json!({"type": "Other", "$patch": "delete"}));
        assert_eq!(patch["status"]["conditions"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let mut value =
            json!({"a": {}, "b": [], "c": null, "d": false, "e": 0, "f": [{"g": ""}], "h": {"i": {"j": {}}}});
        strip(&mut value);
        assert_eq!(value, json!({"d": false, "e": 0, "f": [{}]}));
    }
}
