//! `pod.status` to the API server: only what changed, and nothing of others lost.
//!
//! # Invariants
//! It is a strategic merge with the pod's UID: a condition that someone else owns stays, and a pod of the same name made
//! anew is never touched. A field that goes away is sent as null.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// A status without what a round trip through the API server drops, to be compared.
pub(super) fn canonical(status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    strip(&mut value);
    value
}

/// Whether one of two statuses may be what became of the other on a round trip through the API server.
pub(super) fn is_same(a: Option<&PodStatus>, b: Option<&PodStatus>) -> bool {
    let canonical = |status: Option<&PodStatus>| status.map(canonical).unwrap_or_default();
    a == b || canonical(a) == canonical(b)
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

/// By which a status is known again without being kept.
pub(super) fn fingerprint(canonical: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    canonical.hash(&mut hasher);
    hasher.finish()
}

/// The patch from `old` to `new` (both canonical); None when nothing changed.
pub(super) fn patch(uid: &str, old: &Value, new: Value) -> Option<Value> {
    let empty = Map::new();
    let old = old.as_object().unwrap_or(&empty);
    let Value::Object(new) = new else { return None };
    let mut status: Map<String, Value> =
        old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in new {
        let before = old.get(&key);
        if before == Some(&value) {
            continue;
        }
        let value = match key.as_str() {
            "conditions" => conditions(value, before),
            "podIPs" | "hostIPs" => replaced(value),
            _ => value,
        };
        status.insert(key, value);
    }
    if status.is_empty() {
        return None;
    }
    let mut body = Map::new();
    body.insert("metadata".into(), json!({"uid": uid}));
    body.insert("status".into(), Value::Object(status));
    Some(Value::Object(body))
}

/// Conditions merge by type, so what a condition no longer has must be said, and which is no more.
fn conditions(list: Value, old: Option<&Value>) -> Value {
    let Value::Array(mut list) = list else { return list };
    for condition in list.iter_mut().filter_map(Value::as_object_mut) {
        for key in ["reason", "message", "lastProbeTime", "observedGeneration"] {
            condition.entry(key).or_insert(Value::Null);
        }
    }
    let old = old.and_then(Value::as_array).into_iter().flatten().map(|one| &one["type"]);
    let gone: Vec<Value> = old
        .filter(|type_| !list.iter().any(|one| one["type"] == **type_))
        .map(|type_| json!({"type": type_, "$patch": "delete"}))
        .collect();
    list.extend(gone);
    Value::Array(list)
}

/// Addresses merge by value, so the old ones must be taken away.
fn replaced(list: Value) -> Value {
    let Value::Array(mut list) = list else { return list };
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
        assert_eq!(patch("u", &new, new.clone()), None);
        assert_eq!(
            patch("u", &old, new),
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
        let patch = patch("u", &old, json!({"conditions": [condition("Ready")]})).unwrap();
        assert_eq!(patch["status"]["conditions"][1], json!({"type": "Other", "$patch": "delete"}));
        assert_eq!(patch["status"]["conditions"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_a_round_trip_drops_makes_no_other_status() {
        let status = |value: Value| serde_json::from_value::<PodStatus>(value).unwrap();
        let own = PodStatus {
            host_ips: Some(Vec::new()),
            message: Some(String::new()),
            ..status(json!({"phase": "Running"}))
        };
        let back = status(json!({"phase": "Running"}));
        assert!(own != back && is_same(Some(&own), Some(&back)) && is_same(Some(&back), Some(&back)));
        assert!(!is_same(Some(&own), Some(&status(json!({"phase": "Failed"})))) && !is_same(Some(&own), None));
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let mut value =
            json!({"a": {}, "b": [], "c": null, "d": false, "e": 0, "f": [{"g": ""}], "h": {"i": {"j": {}}}});
        strip(&mut value);
        assert_eq!(value, json!({"d": false, "e": 0, "f": [{}]}));
    }
}
