//! The API server's own Service, where pods look for it, and the range that Services get addresses of.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use serde_json::{Value, json};

use super::ServiceRange;

/// The name of all of them.
pub(crate) const NAME: &str = "kubernetes";

/// The address that others can use for a server that listens on `listen`.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    if !listen.ip().is_unspecified() {
        return listen;
    }
    // Sends nothing: connecting a datagram socket only asks for a route.
    let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    let address = route.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |local| local.ip());
    SocketAddr::new(address, listen.port())
}

/// The objects, for a server that is reached at `address`.
pub(crate) fn objects(address: SocketAddr, range: ServiceRange) -> Vec<Value> {
    let (ip, port, first) = (address.ip(), address.port(), range.first().to_string());
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    vec![
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": NAME},
            "spec": {"cidrs": [range.to_string()]}}),
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": NAME, "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"type": "ClusterIP", "clusterIP": first, "clusterIPs": [first], "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}}),
        json!({"apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": NAME, "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": NAME, "namespace": "default",
                "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": family,
            "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}),
    ]
}

/// What the stored object has to become: a server that moved tells its new address. None when it says so already.
pub(crate) fn moved(stored: &Value, wanted: &Value) -> Option<Value> {
    let mut changed = stored.clone();
    for field in ["subsets", "endpoints", "ports"] {
        if let Some(value) = wanted.get(field) {
            changed[field] = value.clone();
        }
    }
    if let Some(ports) = wanted.pointer("/spec/ports") {
        changed["spec"]["ports"] = ports.clone();
    }
    (changed != *stored).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_moved_says_so() {
        let at = |port| objects(SocketAddr::from(([10, 0, 0, 1], port)), ServiceRange::default());
        for (before, after) in at(1).iter().zip(at(2)) {
            assert_eq!(moved(before, before), None);
            let fixed = before["kind"] == "ServiceCIDR";
            assert_eq!(moved(before, &after), (!fixed).then_some(after));
        }
    }

    #[test]
    fn where_a_server_is_reached() {
        let there = "10.0.0.1:6443".parse().unwrap();
        assert_eq!(reachable(there), there);
        assert!(!reachable("0.0.0.0:6443".parse().unwrap()).ip().is_unspecified());
    }
}
