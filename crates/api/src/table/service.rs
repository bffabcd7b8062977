//! Services and what belongs to the network.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cells::{self, NONE, SHOWN_MAX, UNKNOWN, UNSET, cell, first_few, list, number, text, text_or};
use super::{AGE, Column, NAME, Printer, SELECTOR};

pub(super) const SERVICE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Type"),
        Column::text("Cluster-IP"),
        Column::text("External-IP"),
        Column::text("Port(s)"),
        AGE,
        SELECTOR,
    ],
    row: |service, now| {
        let internal = list(service, "/spec/clusterIPs").first().and_then(Value::as_str);
        vec![
            cells::name(service),
            cell(service, "/spec/type"),
            internal.unwrap_or(NONE).into(),
            external_ip(service).into(),
            ports(service).into(),
            cells::age(service, now),
            cells::labels(service, "/spec/selector"),
        ]
    },
};

fn texts(obj: &Value, path: &str) -> Vec<String> {
    list(obj, path).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn balanced(obj: &Value) -> Vec<String> {
    let address = |ingress: &Value| match text(ingress, "/ip") {
        "" => text(ingress, "/hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let addresses: BTreeSet<String> = list(obj, "/status/loadBalancer/ingress").iter().map(address).collect();
    addresses.into_iter().filter(|address| !address.is_empty()).collect()
}

fn external_ip(service: &Value) -> String {
    let own = texts(service, "/spec/externalIPs");
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" if own.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => own.join(","),
        "LoadBalancer" => {
            let all = [balanced(service), own].concat();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let one = |port: &Value| {
        let (number_, protocol) = (number(port, "/port"), text(port, "/protocol"));
        match number(port, "/nodePort") {
            0 => format!("{number_}/{protocol}"),
            node => format!("{number_}:{node}/{protocol}"),
        }
    };
    let ports: Vec<String> = list(service, "/spec/ports").iter().map(one).collect();
    if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }
}

pub(super) const ENDPOINTS: Printer = Printer {
    columns: &[NAME, Column::text("Endpoints"), AGE],
    row: |endpoints, now| {
        let mut all = Vec::new();
        for subset in list(endpoints, "/subsets") {
            let addresses = || list(subset, "/addresses").iter().map(|address| text(address, "/ip"));
            let ports = list(subset, "/ports");
            if ports.is_empty() {
                all.extend(addresses().map(str::to_owned));
            }
            for port in ports {
                let number = number(port, "/port");
                let joined =
                    |ip: &str| if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") };
                all.extend(addresses().map(joined));
            }
        }
        let shown = if list(endpoints, "/subsets").is_empty() { NONE.to_owned() } else { first_few(&all) };
        vec![cells::name(endpoints), shown.into(), cells::age(endpoints, now)]
    },
};

pub(super) const ENDPOINT_SLICE: Printer = Printer {
    columns: &[NAME, Column::text("AddressType"), Column::text("Ports"), Column::text("Endpoints"), AGE],
    row: |slice, now| {
        let port = |port: &Value| {
            let named = port.get("name").and_then(Value::as_str).unwrap_or("*").to_owned();
            port.get("port").and_then(Value::as_i64).map_or(named, |number| number.to_string())
        };
        let ports: Vec<String> = list(slice, "/ports").iter().map(port).collect();
        let endpoints: Vec<String> =
            list(slice, "/endpoints").iter().flat_map(|endpoint| texts(endpoint, "/addresses")).collect();
        let shown = |entries: &[String]| {
            let text = first_few(entries);
            if text.is_empty() { UNSET.to_owned() } else { text }
        };
        vec![
            cells::name(slice),
            cell(slice, "/addressType"),
            shown(&ports).into(),
            shown(&endpoints).into(),
            cells::age(slice, now),
        ]
    },
};

pub(super) const INGRESS: Printer = Printer {
    columns: &[NAME, Column::text("Class"), Column::text("Hosts"), Column::text("Address"), Column::text("Ports"), AGE],
    row: |ingress, now| {
        let secure = !list(ingress, "/spec/tls").is_empty();
        vec![
            cells::name(ingress),
            text_or(ingress, "/spec/ingressClassName", NONE),
            hosts(ingress).into(),
            balanced(ingress).join(",").into(),
            if secure { "80, 443" } else { "80" }.into(),
            cells::age(ingress, now),
        ]
    },
};

fn hosts(ingress: &Value) -> String {
    let rules = list(ingress, "/spec/rules");
    let all: Vec<&str> = rules.iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty()).collect();
    let shown: Vec<&str> = all.iter().take(SHOWN_MAX).copied().collect();
    match shown.len() {
        0 => "*".to_owned(),
        SHOWN_MAX if rules.len() > SHOWN_MAX => format!("{} + {} more...", shown.join(","), rules.len() - SHOWN_MAX),
        _ => shown.join(","),
    }
}

pub(super) const INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, Column::text("Controller"), Column::text("Parameters"), AGE],
    row: |class, now| {
        let parameters = match class.pointer("/spec/parameters") {
            Some(of) if of.is_object() => {
                format!("{}/{}", crate::status::qualified(text(of, "/apiGroup"), text(of, "/kind")), text(of, "/name"))
            }
            _ => NONE.to_owned(),
        };
        let default = text(class, "/metadata/annotations/ingressclass.kubernetes.io~1is-default-class") == "true";
        let name = format!("{}{}", text(class, "/metadata/name"), if default { " (default)" } else { "" });
        vec![name.into(), cell(class, "/spec/controller"), parameters.into(), cells::age(class, now)]
    },
};

pub(super) const NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, Column::text("Pod-Selector"), AGE],
    row: |policy, now| vec![cells::name(policy), pod_selector(policy), cells::age(policy, now)],
};

/// An empty selector selects every pod.
fn pod_selector(policy: &Value) -> Value {
    match policy.pointer("/spec/podSelector") {
        None | Some(Value::Null) => NONE.into(),
        Some(_) => cells::selector(policy, "/spec/podSelector"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::{Value, json};

    #[test]
    fn rows() {
        fn check(api_version: &str, kind: &str, obj: Value, expect: &str) {
            assert_eq!(printed(api_version, kind, obj), expect);
        }
        check(
            "v1",
            "Service",
            json!({"spec": {"type": "ClusterIP", "clusterIPs": ["None"], "ports": [{"port": 24231, "protocol": "TCP"}],
                "selector": {"app": "x"}}}),
            "x|ClusterIP|None|<none>|24231/TCP|5m|app=x",
        );
        check(
            "v1",
            "Service",
            json!({"spec": {"type": "LoadBalancer", "externalIPs": ["1.1.1.1"],
                "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}]},
                "status": {"loadBalancer": {"ingress": [{"hostname": "h"}]}}}),
            "x|LoadBalancer|<none>|h,1.1.1.1|80:30000/TCP|5m|<none>",
        );
        check(
            "v1",
            "Service",
            json!({"spec": {"type": "LoadBalancer"}}),
            "x|LoadBalancer|<none>|<pending>|<none>|5m|<none>",
        );
        let addresses: Vec<Value> = (1..=4).map(|i| json!({"ip": format!("10.0.0.{i}")})).collect();
        check(
            "v1",
            "Endpoints",
            json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}),
            "x|10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...|5m",
        );
        check(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
            "x|IPv4|80|10.0.0.1|5m",
        );
        check("discovery.k8s.io/v1", "EndpointSlice", json!({"addressType": "IPv4"}), "x|IPv4|<unset>|<unset>|5m");
        check(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"rules": [{"host": "a"}, {"host": "b"}], "tls": [{}]}}),
            "x|<none>|a,b||80, 443|5m",
        );
        check("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": {"podSelector": {}}}), "x|<none>|5m");
    }
}
