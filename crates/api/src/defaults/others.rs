//! Defaults of the kinds outside of core, apps and batch.

use serde_json::{Value, json};

use super::fill::{is_empty, items, object, set, set_absent, set_number, text};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn priority_class(obj: &mut Value) {
    set_absent(obj, "preemptionPolicy", "PreemptLowerPriority");
}

pub(super) fn role_binding(obj: &mut Value) {
    if let Some(role) = object(obj, "roleRef") {
        set(role, "apiGroup", RBAC);
    }
    for subject in items(obj, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set(subject, "apiGroup", RBAC);
        }
    }
}

pub(super) fn storage_class(obj: &mut Value) {
    set_absent(obj, "reclaimPolicy", "Delete");
    set_absent(obj, "volumeBindingMode", "Immediate");
}

pub(super) fn csi_driver(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    set_absent(spec, "attachRequired", true);
    set_absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    for flag in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        set_absent(spec, flag, false);
    }
    if is_empty(spec, "volumeLifecycleModes") {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
}

pub(super) fn network_policy(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            items(rule, "ports").for_each(|port| set_absent(port, "protocol", "TCP"));
        }
    }
    if is_empty(spec, "policyTypes") {
        let both = !is_empty(spec, "egress");
        spec["policyTypes"] = if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

pub(super) fn ingress_class(obj: &mut Value) {
    if let Some(parameters) = obj.pointer_mut("/spec/parameters") {
        set_absent(parameters, "scope", "Cluster");
    }
}

pub(super) fn endpoint_slice(obj: &mut Value) {
    for port in items(obj, "ports") {
        set_absent(port, "name", "");
        set_absent(port, "protocol", "TCP");
    }
}

/// Webhooks and admission policies.
pub(super) fn admission_registration(obj: &mut Value) {
    let mutating = text(obj, "kind") == "MutatingWebhookConfiguration";
    for webhook in items(obj, "webhooks") {
        set_absent(webhook, "failurePolicy", "Fail");
        set_absent(webhook, "timeoutSeconds", 10);
        match_resources(webhook);
        if mutating {
            set_absent(webhook, "reinvocationPolicy", "Never");
        }
        items(webhook, "rules").for_each(|rule| set_absent(rule, "scope", "*"));
        if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
            set_absent(service, "port", 443);
        }
    }
    let binding = text(obj, "kind").ends_with("Binding");
    let Some(spec) = obj.get_mut("spec") else { return };
    if !binding {
        set_absent(spec, "failurePolicy", "Fail");
    }
    let constraints = if binding { "matchResources" } else { "matchConstraints" };
    if let Some(constraints) = spec.get_mut(constraints) {
        match_resources(constraints);
        for list in ["resourceRules", "excludeResourceRules"] {
            items(constraints, list).for_each(|rule| set_absent(rule, "scope", "*"));
        }
    }
}

fn match_resources(obj: &mut Value) {
    set_absent(obj, "matchPolicy", "Equivalent");
    set_absent(obj, "namespaceSelector", json!({}));
    set_absent(obj, "objectSelector", json!({}));
}

pub(super) fn custom_resource_definition(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    if let Some(names) = spec.get_mut("names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            set(names, "singular", kind.to_lowercase());
            set(names, "listKind", format!("{kind}List"));
        }
    }
    if let Some(conversion) = object(spec, "conversion") {
        set(conversion, "strategy", "None");
        if let Some(service) = conversion.pointer_mut("/webhook/clientConfig/service") {
            set_absent(service, "port", 443);
        }
    }
}

pub(super) fn flow_schema(obj: &mut Value) {
    if let Some(spec) = object(obj, "spec") {
        set_number(spec, "matchingPrecedence", 1000);
    }
}

pub(super) fn priority_level(obj: &mut Value) {
    let Some(spec) = obj.get_mut("spec") else { return };
    if let Some(exempt) = spec.get_mut("exempt") {
        set_absent(exempt, "nominalConcurrencyShares", 0);
        set_absent(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = spec.get_mut("limited") {
        set_absent(limited, "nominalConcurrencyShares", 30);
        set_absent(limited, "lendablePercent", 0);
        if let Some(queuing) = limited.pointer_mut("/limitResponse/queuing") {
            set_number(queuing, "handSize", 8);
            set_number(queuing, "queues", 64);
            set_number(queuing, "queueLengthLimit", 50);
        }
    }
}

/// Requests of a claim for devices: one device each.
pub(super) fn device_requests(spec: Option<&mut Value>) {
    fn one(request: &mut Value) {
        set(request, "allocationMode", "ExactCount");
        if text(request, "allocationMode") == "ExactCount" {
            set_number(request, "count", 1);
        }
    }
    let Some(devices) = spec.and_then(|spec| spec.get_mut("devices")) else { return };
    for request in items(devices, "requests") {
        if let Some(exactly) = request.get_mut("exactly") {
            one(exactly);
        }
        items(request, "firstAvailable").for_each(one);
    }
}

/// Version 1: the rest is filled in where it becomes version 2 (see `convert`).
pub(super) fn older_autoscaler(obj: &mut Value) {
    if let Some(spec) = object(obj, "spec") {
        set_absent(spec, "minReplicas", 1);
    }
}

pub(super) fn horizontal_pod_autoscaler(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    set_absent(spec, "minReplicas", 1);
    if is_empty(spec, "metrics") {
        spec["metrics"] = json!([{"type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    if let Some(behavior) = spec.get_mut("behavior") {
        if let Some(up) = object(behavior, "scaleUp") {
            set_absent(up, "stabilizationWindowSeconds", 0);
            set_absent(up, "selectPolicy", "Max");
            let policies = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15}]);
            set_absent(up, "policies", policies);
        }
        if let Some(down) = object(behavior, "scaleDown") {
            set_absent(down, "selectPolicy", "Max");
            set_absent(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_and_policies() {
        fn check(mut given: Value, pointer: &str, expect: Value) {
            admission_registration(&mut given);
            assert_eq!(given.pointer(pointer), Some(&expect), "{given}");
        }
        let hook = |kind: &str| json!({"kind": kind, "webhooks": [{"rules": [{}], "clientConfig": {"service": {}}}]});
        check(hook("MutatingWebhookConfiguration"), "/webhooks/0/reinvocationPolicy", json!("Never"));
        check(hook("ValidatingWebhookConfiguration"), "/webhooks/0/timeoutSeconds", json!(10));
        check(hook("ValidatingWebhookConfiguration"), "/webhooks/0/rules/0/scope", json!("*"));
        check(hook("ValidatingWebhookConfiguration"), "/webhooks/0/clientConfig/service/port", json!(443));
        let policy = json!({"kind": "ValidatingAdmissionPolicy", "spec": {"matchConstraints": {}}});
        check(policy.clone(), "/spec/failurePolicy", json!("Fail"));
        check(policy, "/spec/matchConstraints/objectSelector", json!({}));
    }

    #[test]
    fn devices() {
        let mut spec =
            json!({"devices": {"requests": [{"exactly": {}}, {"firstAvailable": [{"allocationMode": "All"}, {}]}]}});
        device_requests(Some(&mut spec));
        let one = json!({"allocationMode": "ExactCount", "count": 1});
        let expect = json!([{"exactly": one}, {"firstAvailable": [{"allocationMode": "All"}, one]}]);
        assert_eq!(spec["devices"]["requests"], expect);
    }

    #[test]
    fn definitions_and_levels() {
        let mut obj = json!({"spec": {"names": {"kind": "Widget"}}});
        custom_resource_definition(&mut obj);
        assert_eq!(obj["spec"]["names"], json!({"kind": "Widget", "singular": "widget", "listKind": "WidgetList"}));
        assert_eq!(obj["spec"]["conversion"], json!({"strategy": "None"}));
        let mut obj = json!({"spec": {"limited": {"limitResponse": {"queuing": {"queues": 0}}}}});
        priority_level(&mut obj);
        let queuing = json!({"handSize": 8, "queues": 64, "queueLengthLimit": 50});
        assert_eq!(obj["spec"]["limited"]["limitResponse"]["queuing"], queuing);
    }
}
