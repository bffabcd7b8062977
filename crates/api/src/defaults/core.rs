//! Defaults of the core kinds that hold no pods.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fill::{is_empty, items, object, resource_list, resources, set, set_absent, text};
use super::volume;

/// How long a client sticks to an endpoint when a Service asks for that: three hours.
const CLIENT_AFFINITY_SECONDS: i64 = 10_800;

pub(super) fn service(obj: &mut Value) {
    let Some(spec) = object(obj, "spec") else { return };
    set(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "ClientIP" {
        if spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").is_none() {
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": CLIENT_AFFINITY_SECONDS}});
        }
    } else if text(spec, "sessionAffinity") == "None"
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("sessionAffinityConfig");
    }
    set(spec, "type", "ClusterIP");
    for port in items(spec, "ports") {
        set(port, "protocol", "TCP");
        if port.get("targetPort").is_some_and(|target| target == 0) {
            port["targetPort"] = Value::Null;
        }
        if let Some(number) = port.get("port").cloned() {
            set(port, "targetPort", number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let outside = matches!(kind.as_str(), "LoadBalancer" | "NodePort");
    if outside || (kind == "ClusterIP" && !is_empty(spec, "externalIPs")) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if outside || kind == "ClusterIP" {
        set_absent(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_absent(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(balancer) = obj.pointer_mut("/status/loadBalancer") {
            for ingress in items(balancer, "ingress").filter(|ingress| !text(ingress, "ip").is_empty()) {
                set_absent(ingress, "ipMode", "VIP");
            }
        }
    }
}

/// `stringData` is a way to write `data`, which it overrides; it is never stored.
pub(super) fn secret(obj: &mut Value) {
    set(obj, "type", "Opaque");
    let texts = obj.as_object_mut().and_then(|map| map.remove("stringData"));
    let Some(Value::Object(texts)) = texts.filter(|texts| texts.as_object().is_some_and(|map| !map.is_empty())) else {
        return;
    };
    if let Some(data) = object(obj, "data") {
        for (key, text) in texts {
            data[key] = Value::from(STANDARD.encode(text.as_str().unwrap_or("")));
        }
    }
}

pub(super) fn namespace(obj: &mut Value) {
    let name = obj.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("").to_owned();
    if !name.is_empty()
        && let Some(labels) = obj.get_mut("metadata").and_then(|metadata| object(metadata, "labels"))
    {
        labels["kubernetes.io/metadata.name"] = Value::from(name);
    }
    if let Some(status) = object(obj, "status") {
        set(status, "phase", "Active");
    }
}

pub(super) fn node(obj: &mut Value) {
    if let Some(spec) = obj.get_mut("spec") {
        first_of(spec, "podCIDR", "podCIDRs", None);
    }
    let Some(status) = obj.get_mut("status") else { return };
    resource_list(status, "capacity");
    if let Some(capacity) = status.get("capacity").cloned() {
        set_absent(status, "allocatable", capacity);
    }
    resource_list(status, "allocatable");
}

/// Keeps a field and the list whose first item repeats it (below `inner`, where given) in step;
/// where they differ, the single one counts.
pub(super) fn first_of(obj: &mut Value, single: &str, list: &str, inner: Option<&str>) {
    let one = text(obj, single).to_owned();
    let first = obj.get(list).and_then(|list| list.get(0));
    let first = inner.map_or(first, |inner| first?.get(inner)).and_then(Value::as_str).map(str::to_owned);
    if one.is_empty() {
        if let Some(first) = first {
            set(obj, single, first);
        }
    } else if first.as_ref() != Some(&one) {
        obj[list] = inner.map_or_else(|| json!([one]), |inner| json!([{inner: one}]));
    }
}

pub(super) fn endpoints(obj: &mut Value) {
    for subset in items(obj, "subsets") {
        for port in items(subset, "ports") {
            set(port, "protocol", "TCP");
        }
    }
}

pub(super) fn limit_range(obj: &mut Value) {
    let Some(spec) = obj.get_mut("spec") else { return };
    for item in items(spec, "limits") {
        for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            resource_list(item, list);
        }
        if text(item, "type") == "Container" {
            copy_missing(item, "max", "default");
            copy_missing(item, "default", "defaultRequest");
            copy_missing(item, "min", "defaultRequest");
        }
    }
}

fn copy_missing(item: &mut Value, from: &str, to: &str) {
    let Some(Value::Object(source)) = item.get(from).cloned() else { return };
    if let Some(Value::Object(target)) = object(item, to) {
        for (name, amount) in source {
            target.entry(name).or_insert(amount);
        }
    }
}

pub(super) fn persistent_volume(obj: &mut Value) {
    if let Some(status) = object(obj, "status") {
        set(status, "phase", "Pending");
    }
    if let Some(spec) = object(obj, "spec") {
        set(spec, "persistentVolumeReclaimPolicy", "Retain");
        set_absent(spec, "volumeMode", "Filesystem");
        resource_list(spec, "capacity");
        if let Some(source) = spec.get_mut("hostPath") {
            set_absent(source, "type", "");
        }
        volume::network_disks(spec);
    }
}

pub(super) fn persistent_volume_claim(obj: &mut Value) {
    if let Some(status) = object(obj, "status") {
        set(status, "phase", "Pending");
        resource_list(status, "capacity");
        resources(status, "allocatedResources");
    }
    if let Some(spec) = object(obj, "spec") {
        volume::claim_spec(spec);
    }
}
