//! Server-side printing: what `kubectl get` shows, column by column.
//!
//! Invariants: a row has one cell per column, wide ones included (the client hides them); a kind
//! without printer of its own shows its name and when it was created.
//!
//! Absent: a clock (`now` is given), the Table envelope.

mod cells;
mod core;
mod duration;
mod event;
mod metrics;
mod newer;
mod node;
mod others;
mod pod;
mod service;
mod workload;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Kind;

pub use duration::human_duration;

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its heading; clients print it in capitals.
    pub name: &'static str,
    /// Type of its cells: `string`, `integer`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// 0 when always shown, 1 when shown with `-o wide`.
    pub priority: i32,
}

impl Column {
    const fn text(name: &'static str) -> Self {
        Self { name, kind: "string", format: "", priority: 0 }
    }

    const fn integer(name: &'static str) -> Self {
        Self { kind: "integer", ..Self::text(name) }
    }

    const fn boolean(name: &'static str) -> Self {
        Self { kind: "boolean", ..Self::text(name) }
    }

    const fn wide(name: &'static str) -> Self {
        Self { priority: 1, ..Self::text(name) }
    }

    /// As `metav1.TableColumnDefinition`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format, "description": "",
            "priority": self.priority})
    }
}

const NAME: Column = Column { format: "name", ..Column::text("Name") };
const AGE: Column = Column::text("Age");
const CONTAINERS: Column = Column::wide("Containers");
const IMAGES: Column = Column::wide("Images");
const SELECTOR: Column = Column::wide("Selector");

/// How a kind is printed.
struct Printer {
    columns: &'static [Column],
    row: fn(&Value, Timestamp) -> Vec<Value>,
}

/// Kinds without printer of their own.
const PLAIN: Printer = Printer {
    columns: &[NAME, Column { kind: "date", ..Column::text("Created At") }],
    row: |obj, _| vec![cells::name(obj), cells::created_at(obj)],
};

fn printer(kind: &Kind) -> &'static Printer {
    match kind.group {
        "" => core_printer(kind.kind),
        "apps" | "batch" => workload_printer(kind.kind),
        "events.k8s.io" => &event::EVENT,
        _ => other_printer(kind.kind),
    }
}

fn core_printer(kind: &str) -> &'static Printer {
    match kind {
        "Pod" => &pod::POD,
        "Node" => &node::NODE,
        "Service" => &service::SERVICE,
        "Endpoints" => &service::ENDPOINTS,
        "Event" => &event::EVENT,
        "PodTemplate" => &workload::POD_TEMPLATE,
        "ReplicationController" => &workload::REPLICATION_CONTROLLER,
        "Namespace" => &core::NAMESPACE,
        "Secret" => &core::SECRET,
        "ConfigMap" => &core::CONFIG_MAP,
        "ServiceAccount" => &core::SERVICE_ACCOUNT,
        "PersistentVolume" => &core::PERSISTENT_VOLUME,
        "PersistentVolumeClaim" => &core::PERSISTENT_VOLUME_CLAIM,
        "ResourceQuota" => &core::RESOURCE_QUOTA,
        "ComponentStatus" => &newer::COMPONENT_STATUS,
        _ => &PLAIN,
    }
}

fn workload_printer(kind: &str) -> &'static Printer {
    match kind {
        "DaemonSet" => &workload::DAEMON_SET,
        "ReplicaSet" => &workload::REPLICA_SET,
        "Deployment" => &workload::DEPLOYMENT,
        "StatefulSet" => &workload::STATEFUL_SET,
        "ControllerRevision" => &workload::CONTROLLER_REVISION,
        "Job" => &workload::JOB,
        "CronJob" => &workload::CRON_JOB,
        _ => &PLAIN,
    }
}

fn other_printer(kind: &str) -> &'static Printer {
    match kind {
        "EndpointSlice" => &service::ENDPOINT_SLICE,
        "Ingress" => &service::INGRESS,
        "IngressClass" => &service::INGRESS_CLASS,
        "NetworkPolicy" => &service::NETWORK_POLICY,
        "HorizontalPodAutoscaler" => &metrics::HORIZONTAL_POD_AUTOSCALER,
        "PodDisruptionBudget" => &others::POD_DISRUPTION_BUDGET,
        "RoleBinding" | "ClusterRoleBinding" => &others::ROLE_BINDING,
        "CertificateSigningRequest" => &others::CERTIFICATE_SIGNING_REQUEST,
        "Lease" => &others::LEASE,
        "StorageClass" => &others::STORAGE_CLASS,
        "CSIDriver" => &others::CSI_DRIVER,
        "CSINode" => &others::CSI_NODE,
        "VolumeAttachment" => &others::VOLUME_ATTACHMENT,
        "PriorityClass" => &others::PRIORITY_CLASS,
        "RuntimeClass" => &others::RUNTIME_CLASS,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => &others::WEBHOOKS,
        "FlowSchema" => &others::FLOW_SCHEMA,
        "PriorityLevelConfiguration" => &others::PRIORITY_LEVEL,
        "APIService" => &others::API_SERVICE,
        "ValidatingAdmissionPolicy" => &newer::VALIDATING_POLICY,
        "MutatingAdmissionPolicy" => &newer::MUTATING_POLICY,
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => &newer::POLICY_BINDING,
        "IPAddress" => &newer::IP_ADDRESS,
        "ServiceCIDR" => &newer::SERVICE_CIDR,
        "ResourceClaim" => &newer::RESOURCE_CLAIM,
        "ResourceSlice" => &newer::RESOURCE_SLICE,
        "VolumeAttributesClass" => &newer::VOLUME_ATTRIBUTES_CLASS,
        "DeviceClass" | "ResourceClaimTemplate" => &newer::NAMED,
        _ => &PLAIN,
    }
}

/// The columns of a kind.
#[must_use]
pub fn columns(kind: &Kind) -> &'static [Column] {
    printer(kind).columns
}

/// The columns of any kind as `metav1.TableColumnDefinition`s.
#[must_use]
pub fn definitions(kind: &Kind) -> Vec<Value> {
    match &kind.custom {
        Some(custom) => crate::crd::definitions(custom),
        None => columns(kind).iter().map(Column::to_json).collect(),
    }
}

/// The cells of an object, one per column.
#[must_use]
pub fn row(kind: &Kind, obj: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(custom) = &kind.custom {
        return crate::crd::row(custom, obj, now);
    }
    (printer(kind).row)(obj, now)
}

/// The `conditions` of an object's row, for those that are done (`kubectl` may hide them).
#[must_use]
pub fn row_conditions(kind: &Kind, obj: &Value) -> Option<Value> {
    if (kind.group, kind.kind) != ("", "Pod") {
        return None;
    }
    let (reason, message) = match obj.pointer("/status/phase").and_then(Value::as_str)? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    /// A moment; objects of the tests are created five minutes before.
    pub(super) fn now() -> Timestamp {
        "2026-01-01T00:05:00Z".parse().expect("a timestamp")
    }

    /// The row as text, cells separated by `|`.
    pub(super) fn printed(api_version: &str, kind: &str, mut obj: Value) -> String {
        let kind = kinds::by_kind(api_version, kind).expect("a built-in kind");
        obj["metadata"]["name"] = json!("x");
        obj["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        let cells = row(kind, &obj, now());
        let shown = |cell: Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        cells.into_iter().map(shown).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn every_kind_fills_its_columns() {
        for kind in kinds::KINDS {
            let obj = json!({"metadata": {"name": "x"}, "spec": {}, "status": {}});
            assert_eq!(columns(kind).len(), row(kind, &obj, now()).len(), "{}", kind.kind);
            assert_eq!(row(kind, &json!({}), now()).len(), columns(kind).len(), "{}", kind.kind);
        }
    }

    #[test]
    fn kinds_without_printer() {
        assert_eq!(printed("rbac.authorization.k8s.io/v1", "Role", json!({})), "x|2026-01-01T00:00:00Z");
    }

    #[test]
    fn finished_pods_are_marked() {
        let pod = kinds::by_kind("v1", "Pod").expect("Pod");
        assert_eq!(row_conditions(pod, &json!({"status": {"phase": "Running"}})), None);
        let done = row_conditions(pod, &json!({"status": {"phase": "Failed"}}));
        assert_eq!(done.map(|d| d[0]["reason"].clone()), Some(json!("Failed")));
    }
}
