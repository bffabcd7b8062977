//! Services keep what was allocated for them when an update leaves it out.

use serde_json::{Map, Value, json};

use super::child;

fn kind(spec: &Map<String, Value>) -> &str {
    spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP")
}

fn uses_node_ports(spec: &Map<String, Value>) -> bool {
    kind(spec) == "NodePort"
        || (kind(spec) == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)))
}

fn unset(spec: &Map<String, Value>, key: &str) -> bool {
    match spec.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// Tells which families of addresses a new Service has, and repeats its cluster IP in the list.
/// One family, IPv4, is all there is; a headless Service that selects nothing could have any.
pub(super) fn create(map: &mut Map<String, Value>) {
    settle_families(child(map, "spec"));
}

fn settle_families(spec: &mut Map<String, Value>) {
    if kind(spec) == "ExternalName" {
        return;
    }
    repeat_address(spec);
    let headless = spec.get("clusterIP").is_some_and(|ip| ip == "None");
    let open = headless && spec.get("selector").is_none_or(|selector| selector.as_object().is_none_or(Map::is_empty));
    if unset(spec, "ipFamilyPolicy") {
        let policy = if open { "RequireDualStack" } else { "SingleStack" };
        spec.insert("ipFamilyPolicy".to_owned(), Value::from(policy));
    }
    if unset(spec, "ipFamilies") {
        let families = if open { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
        spec.insert("ipFamilies".to_owned(), families);
    }
}

/// `clusterIP` is the first of `clusterIPs`.
fn repeat_address(spec: &mut Map<String, Value>) {
    if let Some(ip) = spec.get("clusterIP").filter(|ip| ip.as_str().is_some_and(|ip| !ip.is_empty())).cloned()
        && unset(spec, "clusterIPs")
    {
        spec.insert("clusterIPs".to_owned(), json!([ip]));
    }
}

/// Carries cluster IPs and node ports over, and drops what the new type has no use for.
pub(super) fn update(map: &mut Map<String, Value>, before: &Map<String, Value>) {
    let Some(old) = before.get("spec").and_then(Value::as_object) else { return };
    let new = child(map, "spec");
    if new.get("clusterIPs") == old.get("clusterIPs") && new.get("clusterIP") != old.get("clusterIP") {
        new.remove("clusterIPs"); // the single address was changed alone: the list follows
        repeat_address(new);
    }
    match (kind(old) != "ExternalName", kind(new) != "ExternalName") {
        (true, true) => {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if unset(new, key)
                    && let Some(value) = old.get(key)
                {
                    new.insert(key.to_owned(), value.clone());
                }
            }
        }
        (false, true) => settle_families(new),
        (true, false) => drop_unchanged(new, old, &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]),
        _ => {}
    }
    match (uses_node_ports(old), uses_node_ports(new)) {
        (true, true) => carry_node_ports(new, old),
        (true, false) if node_ports(new) == node_ports(old) => {
            for port in new.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(port) = port.as_object_mut() {
                    port.remove("nodePort");
                }
            }
        }
        _ => {}
    }
    if kind(old) == "LoadBalancer" && kind(new) != "LoadBalancer" {
        drop_unchanged(new, old, &["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"]);
    }
    let outside = |spec: &Map<String, Value>| {
        matches!(kind(spec), "LoadBalancer" | "NodePort") || (kind(spec) == "ClusterIP" && !unset(spec, "externalIPs"))
    };
    if outside(old) && !outside(new) {
        drop_unchanged(new, old, &["externalTrafficPolicy"]);
    }
    let balanced = kind(new) == "LoadBalancer";
    if !balanced && let Some(status) = map.get_mut("status") {
        status["loadBalancer"] = json!({});
    }
}

fn drop_unchanged(new: &mut Map<String, Value>, old: &Map<String, Value>, keys: &[&str]) {
    for key in keys {
        if new.get(*key) == old.get(*key) {
            new.remove(*key);
        }
    }
}

fn node_ports(spec: &Map<String, Value>) -> Vec<i64> {
    let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
    ports.filter_map(|port| port.get("nodePort")?.as_i64()).filter(|port| *port != 0).collect()
}

fn carry_node_ports(new: &mut Map<String, Value>, old: &Map<String, Value>) {
    let taken = node_ports(new);
    let known: Vec<(Option<Value>, i64)> = old
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|port| Some((port.get("name").cloned(), port.get("nodePort")?.as_i64()?)))
        .collect();
    for port in new.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = port.get("name").cloned();
        let Some(port) = port.as_object_mut().filter(|port| port.get("nodePort").is_none_or(|n| n == 0)) else {
            continue;
        };
        if let Some((_, number)) = known.iter().find(|(other, number)| *other == name && !taken.contains(number)) {
            port.insert("nodePort".to_owned(), Value::from(*number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_services() {
        fn check(spec: Value, expect: Value) {
            let mut obj = json!({"spec": spec});
            if let Some(map) = obj.as_object_mut() {
                create(map);
            }
            assert_eq!(obj["spec"], expect);
        }
        check(
            json!({"clusterIP": "None", "selector": {"a": "b"}}),
            json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}, "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack"}),
        );
        check(
            json!({"clusterIP": "None"}),
            json!({"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "RequireDualStack"}),
        );
        check(json!({"type": "ExternalName"}), json!({"type": "ExternalName"}));
    }

    #[test]
    fn allocated_values() {
        fn check(old: Value, new: Value, expect: Value) {
            let (old, mut new) = (json!({"spec": old}), json!({"spec": new}));
            if let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) {
                update(new, old);
            }
            assert_eq!(new["spec"], expect);
        }
        check(
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}),
            json!({"type": "ClusterIP"}),
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}),
        );
        check(
            json!({"type": "NodePort", "ports": [{"name": "a", "nodePort": 30000}, {"name": "b", "nodePort": 30001}]}),
            json!({"type": "NodePort", "ports": [{"name": "a"}, {"name": "c"}]}),
            json!({"type": "NodePort", "ports": [{"name": "a", "nodePort": 30000}, {"name": "c"}]}),
        );
        check(
            json!({"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": [{"nodePort": 30000}]}),
            json!({"type": "ClusterIP", "externalTrafficPolicy": "Cluster", "ports": [{"nodePort": 30000}]}),
            json!({"type": "ClusterIP", "ports": [{}]}),
        );
    }
}
