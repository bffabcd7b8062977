//! What an object gets where its author said nothing, so that it reads the same as from Kubernetes.
//!
//! Invariants: idempotent; touches only fields that are absent (or hold the empty value that means
//! the same), and writes quantities of resources in their canonical form.
//!
//! Absent: what admission and the registry set (see `admission`, `prepare`).

mod core;
mod fill;
mod others;
mod pod;
mod volume;
mod workload;

use serde_json::Value;

use crate::kinds::Kind;

/// Fills in the defaults of an object of a kind.
pub fn apply(kind: &Kind, obj: &mut Value) {
    if let Some(custom) = &kind.custom {
        return crate::crd::fill_defaults(custom, obj);
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::pod(obj),
        ("", "PodTemplate") => pod::template(obj.get_mut("template")),
        ("", "ReplicationController") => workload::replication_controller(obj),
        ("", "Service") => core::service(obj),
        ("", "Secret") => core::secret(obj),
        ("", "Namespace") => core::namespace(obj),
        ("", "Node") => core::node(obj),
        ("", "Endpoints") => core::endpoints(obj),
        ("", "LimitRange") => core::limit_range(obj),
        ("", "PersistentVolume") => core::persistent_volume(obj),
        ("", "PersistentVolumeClaim") => core::persistent_volume_claim(obj),
        ("apps", "DaemonSet") => workload::daemon_set(obj),
        ("apps", "ReplicaSet") => workload::replica_set(obj),
        ("apps", "Deployment") => workload::deployment(obj),
        ("apps", "StatefulSet") => workload::stateful_set(obj),
        ("batch", "Job") => workload::job(obj),
        ("batch", "CronJob") => workload::cron_job(obj),
        ("autoscaling", "HorizontalPodAutoscaler") if kind.version == "v1" => others::older_autoscaler(obj),
        ("autoscaling", "HorizontalPodAutoscaler") => others::horizontal_pod_autoscaler(obj),
        ("scheduling.k8s.io", "PriorityClass") => others::priority_class(obj),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => others::role_binding(obj),
        ("resource.k8s.io", "ResourceClaim") => others::device_requests(obj.get_mut("spec")),
        ("resource.k8s.io", "ResourceClaimTemplate") => others::device_requests(obj.pointer_mut("/spec/spec")),
        ("storage.k8s.io", "StorageClass") => others::storage_class(obj),
        ("storage.k8s.io", "CSIDriver") => others::csi_driver(obj),
        ("networking.k8s.io", "NetworkPolicy") => others::network_policy(obj),
        ("networking.k8s.io", "IngressClass") => others::ingress_class(obj),
        ("discovery.k8s.io", "EndpointSlice") => others::endpoint_slice(obj),
        ("admissionregistration.k8s.io", _) => others::admission_registration(obj),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => others::custom_resource_definition(obj),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => others::flow_schema(obj),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => others::priority_level(obj),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    /// Applies the defaults of a kind twice; the second time must change nothing.
    fn defaulted(api_version: &str, kind: &str, mut obj: Value) -> Value {
        let kind = kinds::by_kind(api_version, kind).expect("a built-in kind");
        apply(kind, &mut obj);
        let once = obj.clone();
        apply(kind, &mut obj);
        assert_eq!(once, obj, "defaults are not idempotent");
        obj
    }

    #[test]
    fn kinds_outside_of_workloads() {
        fn check(api_version: &str, kind: &str, given: Value, expect: Value) {
            assert_eq!(defaulted(api_version, kind, given), expect);
        }
        check("v1", "Secret", json!({}), json!({"type": "Opaque"}));
        check(
            "v1",
            "Secret",
            json!({"data": {"a": "eA==", "b": "eQ=="}, "stringData": {"a": "z"}}),
            json!({"type": "Opaque", "data": {"a": "eg==", "b": "eQ=="}}),
        );
        check(
            "v1",
            "Node",
            json!({"spec": {"podCIDR": "10.0.0.0/24"}}),
            json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}}),
        );
        check(
            "v1",
            "Namespace",
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                "status": {"phase": "Active"}}),
        );
        check(
            "v1",
            "Node",
            json!({"status": {"capacity": {"cpu": 4, "memory": "1024Ki"}}}),
            json!({"status": {"capacity": {"cpu": "4", "memory": "1Mi"}, "allocatable": {"cpu": "4", "memory": "1Mi"}}}),
        );
        check(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            json!({"value": 1}),
            json!({"value": 1, "preemptionPolicy": "PreemptLowerPriority"}),
        );
        check(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"},
                    {"kind": "ServiceAccount", "name": "s"}]}),
        );
        check(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 1}]}]}}),
            json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 1, "protocol": "TCP"}]}],
                "policyTypes": ["Ingress", "Egress"]}}),
        );
        check(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"ports": [{"port": 1}]}),
            json!({"ports": [{"port": 1, "name": "", "protocol": "TCP"}]}),
        );
    }

    #[test]
    fn services() {
        fn check(spec: Value, expect: Value) {
            assert_eq!(defaulted("v1", "Service", json!({"spec": spec}))["spec"], expect);
        }
        check(
            json!({"ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}]}),
            json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 53, "protocol": "UDP", "targetPort": "dns"}],
                "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}),
        );
        check(
            json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}),
            json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}),
        );
        check(
            json!({"type": "ExternalName", "externalName": "a.b"}),
            json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}),
        );
    }
}
