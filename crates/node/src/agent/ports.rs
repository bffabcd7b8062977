//! Which ports of the node lead to a pod (hostPort, hostIP).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerPort, Pod};

use crate::runtime::{PortMapping, Protocol};

/// Ports of the pod's containers and sidecars. With the node's network a port is the node's own: nothing leads anywhere.
pub(super) fn ports(pod: &Pod) -> Vec<PortMapping> {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.host_network != Some(true)) else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let all = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let mut ports: Vec<PortMapping> = all.filter_map(port).collect();
    ports.sort();
    ports.dedup();
    ports
}

/// None where the port has none of the node, or says what the API server lets nobody say.
fn port(port: &ContainerPort) -> Option<PortMapping> {
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port > 0);
    let host_ip = port.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()).filter(|ip| !ip.is_unspecified());
    Some(PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
        host_port: number(port.host_port?)?,
        container_port: number(port.container_port)?,
        host_ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, expect: &str) {
        let pod = Pod { spec: Some(serde_json::from_str(spec).unwrap()), ..Default::default() };
        let shown = |p: &PortMapping| {
            let ip = p.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
            format!("{ip}:{}->{} {:?}", p.host_port, p.container_port, p.protocol)
        };
        assert_eq!(ports(&pod).iter().map(shown).collect::<Vec<_>>().join(", "), expect, "{spec}");
    }

    #[test]
    fn ports_of_containers_and_sidecars() {
        let port = r#"{"containerPort":53,"hostPort":5353,"protocol":"UDP","hostIP":"127.0.0.1"}"#;
        check(&format!(r#"{{"containers":[{{"name":"c","ports":[{port}]}}]}}"#), "127.0.0.1:5353->53 Udp");
        check(
            r#"{"containers":[{"name":"c","ports":[{"containerPort":1},{"containerPort":2,"hostPort":3,"hostIP":"0.0.0.0"}]}],
                "initContainers":[{"name":"i","ports":[{"containerPort":4,"hostPort":4}]},
                {"name":"s","restartPolicy":"Always","ports":[{"containerPort":5,"hostPort":6,"protocol":"SCTP"}]}]}"#,
            "*:3->2 Tcp, *:6->5 Sctp",
        );
        check(r#"{"hostNetwork":true,"containers":[{"name":"c","ports":[{"containerPort":1,"hostPort":1}]}]}"#, "");
        check(r#"{"containers":[{"name":"c","ports":[{"containerPort":1,"hostPort":70000}]}]}"#, "");
    }
}
