//! Kinds that are served in two forms and stored in one: events of both groups, autoscalers of both versions.
//!
//! Invariants: what `to_stored` makes of an object, `from_stored` makes back, as far as the form can say it; both leave
//! kinds alone that are stored as they are, and values in the normal form of `decode`.
//! Absent: custom resources.

mod autoscaler;
mod event;

use serde_json::{Map, Value};

use crate::decode::{FieldValidation, normalize};
use crate::kinds::{Kind, find};

/// Turns an object of `kind` into the form that it is stored in.
pub fn to_stored(kind: &Kind, obj: &mut Value) {
    let stored = kind.stored();
    if stored.api_version() == kind.api_version() {
        return;
    }
    if let Some(map) = obj.as_object_mut() {
        match kind.plural {
            "events" => event::to_core(map),
            _ => autoscaler::to_v2(map),
        }
    }
    settle(stored, obj);
}

/// Turns a stored object into the form of `kind`.
pub fn from_stored(kind: &Kind, obj: &mut Value) {
    if kind.stored().api_version() == kind.api_version() {
        return;
    }
    if let Some(map) = obj.as_object_mut() {
        match kind.plural {
            "events" => event::from_core(map),
            _ => autoscaler::from_v2(map),
        }
    }
    settle(kind, obj);
}

/// Names the kind, and writes what Go always writes.
fn settle(kind: &Kind, obj: &mut Value) {
    obj["apiVersion"] = kind.api_version().into();
    let Some(kind) = find(kind.group, kind.version, kind.plural) else { return };
    let before = obj.clone();
    if normalize(kind, obj, FieldValidation::Ignore).is_err() {
        *obj = before; // what was stored before this version knew better is shown as it is
    }
}

/// Gives a member another name.
fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    /// Converts there and back, and returns the stored form.
    fn check(api_version: &str, name: &str, mut given: Value) -> Value {
        let kind = kinds::by_kind(api_version, name).expect("a kind");
        given["apiVersion"] = api_version.into();
        given["kind"] = name.into();
        normalize(kind, &mut given, FieldValidation::Strict).expect("a valid object");
        let mut stored = given.clone();
        to_stored(kind, &mut stored);
        assert_eq!(stored["apiVersion"], kind.stored().api_version());
        let mut back = stored.clone();
        from_stored(kind, &mut back);
        assert_eq!(back, given, "stored as {stored}");
        stored
    }

    #[test]
    fn events_of_both_groups() {
        let stored = check(
            "events.k8s.io/v1",
            "Event",
            json!({"metadata": {"name": "x"}, "regarding": {"kind": "Pod", "name": "p"}, "note": "n", "reason": "r",
                "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i",
                "action": "a", "type": "Normal", "deprecatedCount": 2, "deprecatedSource": {"component": "s"},
                "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
        );
        assert_eq!(stored["involvedObject"], json!({"kind": "Pod", "name": "p"}));
        assert_eq!((&stored["message"], &stored["count"]), (&json!("n"), &json!(2)));
        assert_eq!((&stored["reportingComponent"], &stored["source"]), (&json!("c"), &json!({"component": "s"})));
        assert_eq!(stored["firstTimestamp"], Value::Null, "Go writes it always: {stored}");
        assert!(stored.get("note").is_none() && stored.get("regarding").is_none());
    }

    #[test]
    fn autoscalers_of_both_versions() {
        let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
        let stored = check(
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            json!({"metadata": {"name": "x"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3,
                "targetCPUUtilizationPercentage": 60}}),
        );
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 60}}});
        assert_eq!(stored["spec"]["metrics"], json!([cpu]));
        assert!(stored["spec"].get("targetCPUUtilizationPercentage").is_none());
    }

    #[test]
    fn what_the_older_version_can_not_say_is_an_annotation() {
        let kind = kinds::by_kind("autoscaling/v1", "HorizontalPodAutoscaler").expect("a kind");
        let metrics = json!([
            {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "S", "name": "s"}, "metric": {"name": "m"},
                "target": {"type": "Value", "value": "2"}}},
            {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                "target": {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
        ]);
        let behavior = json!({"scaleUp": {"stabilizationWindowSeconds": 3, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}});
        let mut stored = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "x", "annotations": {"a": "b"}},
            "spec": {"scaleTargetRef": {"kind": "D", "name": "d"}, "maxReplicas": 3, "metrics": metrics,
                "behavior": behavior},
            "status": {"desiredReplicas": 2,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 7, "averageValue": "70m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let v2 = kind.stored();
        normalize(v2, &mut stored, FieldValidation::Strict).expect("a valid object");
        let mut older = stored.clone();
        from_stored(kind, &mut older);
        assert_eq!(older["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(older["status"]["currentCPUUtilizationPercentage"], 7);
        let note =
            older["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].as_str().expect("a note");
        assert!(note.contains(r#""metricName":"hits""#) && note.contains(r#""targetAverageValue":"1k""#), "{note}");
        let note =
            older["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/behavior"].as_str().expect("a note");
        assert!(note.contains(r#""StabilizationWindowSeconds":3"#), "{note}");
        to_stored(kind, &mut older);
        assert_eq!(older, stored);
    }
}
