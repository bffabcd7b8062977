//! What new nodes need before they have a certificate: where the authority is told to everyone, and what bootstrap tokens
//! may do.
//!
//! # Invariants
//! - The authority is public: who joins knows its hash from elsewhere, and checks it.
//! - A bootstrap token may ask for a node's certificate and see whether the node is there, and nothing else.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The group that tokens of `everynode token create` carry.
const JOINERS: &str = "system:bootstrappers:everynode:nodes";
/// Where the authority is told, as kubeadm does it.
const CLUSTER_INFO: &str = "cluster-info";
const CLUSTER_INFO_NAMESPACE: &str = "kube-public";

/// The roles and bindings.
pub(super) fn roles() -> Vec<Value> {
    let signing = "system:certificates.k8s.io:certificatesigningrequests";
    let read_nodes = json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]);
    let read_info = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CLUSTER_INFO],
        "verbs": ["get"]}]);
    let mut role = rbac("Role", "everynode:cluster-info");
    role["metadata"]["namespace"] = CLUSTER_INFO_NAMESPACE.into();
    role["rules"] = read_info;
    let mut binding = bound("Role", "everynode:cluster-info", "everynode:cluster-info", "User", "system:anonymous");
    binding["kind"] = "RoleBinding".into();
    binding["metadata"]["namespace"] = CLUSTER_INFO_NAMESPACE.into();
    let mut nodes = rbac("ClusterRole", "everynode:see-whether-a-node-is-there");
    nodes["rules"] = read_nodes;
    let cluster = |name: &str, role: &str, group: &str| bound("ClusterRole", name, role, "Group", group);
    vec![
        role,
        binding,
        nodes,
        cluster("everynode:see-whether-a-node-is-there", "everynode:see-whether-a-node-is-there", JOINERS),
        cluster("everynode:ask-for-a-node-certificate", "system:node-bootstrapper", JOINERS),
        cluster("everynode:approve-new-nodes", &format!("{signing}:nodeclient"), JOINERS),
        cluster("everynode:approve-renewals", &format!("{signing}:selfnodeclient"), crate::auth::NODES),
    ]
}

/// The authority and an address, for everyone.
pub(super) fn cluster_info(authority_pem: &str, address: SocketAddr) -> Value {
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "", "cluster": {
        "server": format!("https://{address}"), "certificate-authority-data": STANDARD.encode(authority_pem)}}],
        "contexts": null, "current-context": "", "preferences": {}, "users": null});
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": CLUSTER_INFO, "namespace": CLUSTER_INFO_NAMESPACE},
        "data": {"kubeconfig": kubeconfig.to_string()}})
}

/// What the stored object has to become; what others added to it stays.
pub(super) fn told(stored: &Value, wanted: &Value) -> Option<Value> {
    let mut changed = stored.clone();
    if !changed["data"].is_object() {
        changed["data"] = json!({});
    }
    changed["data"]["kubeconfig"] = wanted["data"]["kubeconfig"].clone();
    (changed != *stored).then_some(changed)
}

fn rbac(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}})
}

fn bound(role_kind: &str, name: &str, role: &str, kind: &str, subject: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    let mut binding = rbac("ClusterRoleBinding", name);
    binding["roleRef"] = json!({"apiGroup": group, "kind": role_kind, "name": role});
    binding["subjects"] = json!([{"apiGroup": group, "kind": kind, "name": subject}]);
    binding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_authority_or_address_is_told_and_what_others_added_stays() {
        let first = cluster_info("A", "10.0.0.1:1".parse().unwrap());
        assert_eq!(told(&first, &first), None);
        let mut signed = first.clone();
        signed["data"]["jws-kubeconfig-abcdef"] = "x".into();
        let second = cluster_info("B", "10.0.0.1:1".parse().unwrap());
        let changed = told(&signed, &second).unwrap();
        assert_eq!(changed["data"]["kubeconfig"], second["data"]["kubeconfig"]);
        assert_eq!(changed["data"]["jws-kubeconfig-abcdef"], "x");
    }
}
