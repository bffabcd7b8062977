//! Services.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::at::{At, Errors};
use super::content::{dns1123_label, dns1123_subdomain, label_key, port_name, port_number};
use super::metadata::labels;
use super::{FieldError, Path};

/// Longest time that a client sticks to an endpoint: a day.
const AFFINITY_SECONDS_MAX: i64 = 86_400;
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// A port by number or by name.
pub(super) fn port_number_or_name(port: &At<'_>, errors: &mut Errors) {
    match port.value() {
        Value::String(_) => port.content(port_name, errors),
        _ => errors.extend(port_number(port.number()).into_iter().map(|d| port.invalid_value(port.number(), d))),
    }
}

fn headless(spec: &At<'_>) -> bool {
    spec.child("clusterIPs").items().next().is_some_and(|ip| ip.text() == "None")
        || spec.child("clusterIP").text() == "None"
}

pub(super) fn object(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    let (kind, ports) = (spec.child("type"), spec.child("ports"));
    if ports.is_empty() && !headless(&spec) && kind.text() != "ExternalName" {
        errors.push(ports.required(""));
    }
    by_type(&spec, errors);
    let several = ports.len() > 1;
    let mut names = BTreeSet::new();
    for port in ports.items() {
        one_port(&port, several, &mut names, errors);
    }
    labels(&spec.child("selector"), errors);
    affinity(&spec, errors);
    spec.child("externalIPs").items().for_each(|ip| ip.ip(errors));
    if !headless(&spec) {
        spec.child("clusterIPs").items().for_each(|ip| ip.ip(errors));
    }
    families(&spec, errors);
    kind.one_of(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], errors);
    repeated_ports(&ports, kind.text(), errors);
    traffic(&spec, errors);
}

/// IPv4 is the only family here; a headless Service that selects nothing may name any.
fn families(spec: &At<'_>, errors: &mut Errors) {
    let (policy, list) = (spec.child("ipFamilyPolicy"), spec.child("ipFamilies"));
    if spec.child("type").text() == "ExternalName" {
        return;
    }
    policy.optional_one_of(&["PreferDualStack", "RequireDualStack", "SingleStack"], errors);
    list.items().for_each(|family| family.one_of(&["IPv4", "IPv6"], errors));
    if policy.text() == "SingleStack" && list.len() > 1 {
        let detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        errors.push(policy.invalid(detail));
    }
    if headless(spec) {
        if spec.child("selector").is_empty() {
            return;
        }
    } else {
        let addresses = spec.child("clusterIPs");
        for address in addresses.items().filter(|address| address.text().contains(':')) {
            let all = addresses.value().clone();
            errors.push(FieldError::invalid(&address.path, all, "IPv6 is not configured on this cluster"));
        }
    }
    if policy.text() == "RequireDualStack" {
        errors.push(policy.invalid("this cluster is not configured for dual-stack services"));
    }
    for family in list.items().filter(|family| family.text() == "IPv6") {
        errors.push(family.invalid("not configured on this cluster"));
    }
}

fn by_type(spec: &At<'_>, errors: &mut Errors) {
    let kind = spec.child("type").text();
    let addresses = spec.child("clusterIPs");
    match kind {
        "LoadBalancer" | "NodePort" if headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(&addresses.path.index(0), "None", detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].map(|key| spec.child(key)) {
                if !field.is_empty() {
                    errors.push(field.forbidden("may not be set for ExternalName services"));
                }
            }
            let name = spec.child("externalName");
            let bare = name.text().strip_suffix('.').unwrap_or(name.text());
            if bare.is_empty() {
                errors.push(name.required(""));
            } else {
                errors.extend(dns1123_subdomain(bare).into_iter().map(|detail| name.invalid_value(bare, detail)));
            }
        }
        _ => {}
    }
    let allocate = spec.child("allocateLoadBalancerNodePorts");
    if allocate.is_set() && kind != "LoadBalancer" {
        errors.push(allocate.forbidden("may only be used when `type` is 'LoadBalancer'"));
    }
    let class = spec.child("loadBalancerClass");
    if class.is_set() {
        if kind == "LoadBalancer" {
            class.content(label_key, errors);
        } else {
            errors.push(class.forbidden("may only be used when `type` is 'LoadBalancer'"));
        }
    }
    let sources = spec.child("loadBalancerSourceRanges");
    if !sources.is_empty() {
        let path = spec.path.child("LoadBalancerSourceRanges");
        if kind != "LoadBalancer" {
            errors.push(FieldError::forbidden(&path, "may only be used when `type` is 'LoadBalancer'"));
        }
        for (i, source) in sources.items().enumerate() {
            At::new(Some(source.value()), path.index(i)).cidr(errors);
        }
    }
}

fn one_port<'a>(port: &At<'a>, several: bool, names: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let name = port.child("name");
    if name.text().is_empty() {
        if several {
            errors.push(name.required(""));
        }
    } else {
        name.content(dns1123_label, errors);
        if !names.insert(name.text()) {
            errors.push(name.duplicate());
        }
    }
    let number = port.child("port");
    errors.extend(port_number(number.number()).into_iter().map(|d| number.invalid_value(number.number(), d)));
    port.child("protocol").one_of(&PROTOCOLS, errors);
    port_number_or_name(&port.child("targetPort"), errors);
    let protocol = port.child("appProtocol");
    if protocol.is_set() {
        protocol.content(label_key, errors);
    }
}

fn affinity(spec: &At<'_>, errors: &mut Errors) {
    let (affinity, config) = (spec.child("sessionAffinity"), spec.child("sessionAffinityConfig"));
    affinity.one_of(&["ClientIP", "None"], errors);
    match affinity.text() {
        "ClientIP" => {
            let client = config.child("clientIP");
            let timeout = client.child("timeoutSeconds");
            let missing = [&config, &client, &timeout].into_iter().find(|at| !at.is_set());
            if let Some(missing) = missing {
                errors.push(missing.required("when session affinity type is ClientIP"));
            } else if !(1..=AFFINITY_SECONDS_MAX).contains(&timeout.number()) {
                let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                errors.push(timeout.invalid(detail));
            }
        }
        "None" if config.is_set() => {
            errors.push(config.forbidden("must not be set when session affinity is None"));
        }
        _ => {}
    }
}

fn repeated_ports(ports: &At<'_>, kind: &str, errors: &mut Errors) {
    let (mut node_ports, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for port in ports.items() {
        let (protocol, node_port) = (port.child("protocol").text(), port.child("nodePort"));
        if node_port.number() != 0 {
            if kind == "ClusterIP" {
                errors.push(node_port.forbidden("may not be used when `type` is 'ClusterIP'"));
            }
            if !node_ports.insert((protocol, node_port.number())) {
                errors.push(node_port.duplicate());
            }
        }
        let number = port.child("port").number();
        if !numbers.insert((protocol, number)) {
            let shown = json!({"Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number, "TargetPort": 0,
                "NodePort": 0});
            errors.push(FieldError::duplicate(&port.path, shown));
        }
    }
}

fn traffic(spec: &At<'_>, errors: &mut Errors) {
    let kind = spec.child("type").text();
    let outside = matches!(kind, "LoadBalancer" | "NodePort");
    let outside = outside || (kind == "ClusterIP" && !spec.child("externalIPs").is_empty());
    let external = spec.child("externalTrafficPolicy");
    if outside {
        external.one_of(&["Cluster", "Local"], errors);
    } else if !external.text().is_empty() {
        errors.push(external.invalid("may only be set for externally-accessible services"));
    }
    let internal = spec.child("internalTrafficPolicy");
    internal.optional_one_of(&["Cluster", "Local"], errors);
    if !internal.is_set() && (outside || kind == "ClusterIP") {
        errors.push(internal.required(""));
    }
    let health = spec.child("healthCheckNodePort");
    if health.number() != 0 && !(kind == "LoadBalancer" && external.text() == "Local") {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(health.invalid(detail));
    }
    let distribution = spec.child("trafficDistribution");
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    distribution.optional_one_of(&known, errors);
}

/// A Service keeps its cluster IP while it has one.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (spec, before) = (At::root(new, "spec"), At::root(old, "spec"));
    let kept = spec.child("type").text() != "ExternalName" && before.child("type").text() != "ExternalName";
    let address = before.child("clusterIP");
    if kept && !address.text().is_empty() && !spec.child("clusterIP").same(&address) {
        let path = Path::root("spec").child("clusterIPs").index(0);
        let value = json!([spec.child("clusterIP").text()]);
        errors.push(FieldError::invalid(&path, value, "may not change once set"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create_errors, update_errors};
    use super::*;
    use crate::{defaults, kinds};

    fn service(spec: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
        defaults::apply(kinds::by_kind("v1", "Service").expect("Service"), &mut obj);
        obj
    }

    #[test]
    fn created() {
        fn check(spec: Value, expect: &[&str]) {
            assert_eq!(create_errors("v1", "Service", service(spec)), expect);
        }
        check(json!({"ports": [{"port": 80}]}), &[]);
        check(json!({}), &["spec.ports: Required value"]);
        check(json!({"clusterIP": "None", "clusterIPs": ["None"]}), &[]);
        check(json!({"ports": [{"port": 80}, {"port": 81, "name": "a"}]}), &["spec.ports[0].name: Required value"]);
        check(
            json!({"ports": [{"port": 0}]}),
            &[
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        );
        check(
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        );
        check(json!({"type": "ExternalName"}), &["spec.externalName: Required value"]);
        check(
            json!({"type": "Odd", "ports": [{"port": 80}]}),
            &["spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \
               \"LoadBalancer\", \"NodePort\""],
        );
    }

    #[test]
    fn cluster_ip_is_kept() {
        let at = |ip: &str| service(json!({"ports": [{"port": 80}], "clusterIP": ip, "clusterIPs": [ip]}));
        let errors = update_errors("v1", "Service", at("10.0.0.2"), at("10.0.0.1"));
        assert_eq!(errors, ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]);
    }
}
