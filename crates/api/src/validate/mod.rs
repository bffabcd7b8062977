//! What objects must look like to be accepted, in Kubernetes' words and field paths.
//!
//! Invariants: objects arrive decoded, defaulted and prepared; each broken rule is told once; an
//! empty list means accepted.
//!
//! Absent: what needs other objects (quotas, existing names).

mod at;
pub mod content;
mod core;
mod error;
mod fixed;
mod formats;
mod labels;
mod limits;
mod metadata;
mod node;
mod others;
mod path;
mod pod;
mod service;
mod warnings;
mod workload;

use serde_json::Value;

use crate::crd;
use crate::kinds::Kind;
use crate::rollout_policy;

use at::Errors;

pub use error::{ErrorType, FieldError, aggregate};
pub(crate) use formats::is_known as is_known_format;
pub use path::Path;
pub use warnings::warnings;

/// The rules that a new object breaks.
#[must_use]
pub fn create(kind: &Kind, obj: &Value) -> Vec<FieldError> {
    if let Some(custom) = &kind.custom {
        let errors = crd::validate_create(kind, custom, obj);
        return distinct(if errors.is_empty() { own_kinds(kind, obj, None) } else { errors });
    }
    let mut errors = Errors::new();
    if !is_plain_event(kind) {
        metadata::object(kind, obj, &mut errors);
    }
    object(kind, obj, &mut errors);
    match (kind.group, kind.kind) {
        ("apiextensions.k8s.io", _) => errors.extend(crd::validate_definition(obj, None)),
        ("", "Pod") => pod::create(obj, &mut errors),
        ("apps", "ControllerRevision") => workload::controller_revision_data(obj, &mut errors),
        ("events.k8s.io", "Event") => core::new_event(obj, &mut errors),
        _ => {}
    }
    distinct(errors)
}

/// The rules that a changed object breaks; `old` is the stored one.
#[must_use]
pub fn update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    if let Some(custom) = &kind.custom {
        let errors = crd::validate_update(kind, custom, new, old);
        return distinct(if errors.is_empty() { own_kinds(kind, new, Some(old)) } else { errors });
    }
    let mut errors = Errors::new();
    if !is_plain_event(kind) {
        metadata::object(kind, new, &mut errors);
    }
    metadata::update(new, old, &mut errors);
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::update(new, old, &mut errors),
        ("", "Node") => node::update(new, old, &mut errors),
        ("", "ConfigMap" | "Secret") => core::update_data(kind.kind, new, old, &mut errors),
        ("", "Service") => service::update(new, old, &mut errors),
        ("", "PersistentVolumeClaim") => core::update_claim(new, old, &mut errors),
        ("events.k8s.io", "Event") => core::update_event(new, old, &mut errors),
        ("apps", _) | ("batch", "Job") => workload::update(kind.kind, new, old, &mut errors),
        ("scheduling.k8s.io", "PriorityClass") => others::update_priority_class(new, old, &mut errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            others::update_role_binding(new, old, &mut errors);
        }
        ("storage.k8s.io", "StorageClass") => others::update_storage_class(new, old, &mut errors),
        ("apiextensions.k8s.io", _) => errors.extend(crd::validate_definition(new, Some(old))),
        (group, kind) => fixed::update(group, kind, new, old, &mut errors),
    }
    object(kind, new, &mut errors);
    distinct(errors)
}

/// The rules that a write to the `status` subresource breaks.
#[must_use]
pub fn update_status(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    if let Some(custom) = &kind.custom {
        return distinct(crd::validate_status(kind, custom, new, old));
    }
    let mut errors = Errors::new();
    metadata::update(new, old, &mut errors);
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::update_status(new, old, &mut errors),
        ("", "Node") => node::update(new, old, &mut errors),
        ("", "Namespace") => core::namespace_status(new, &mut errors),
        ("apps", _) => workload::update_status(kind.kind, new, old, &mut errors),
        _ => {}
    }
    distinct(errors)
}

/// The rules that a write to a namespace's `finalize` subresource breaks.
#[must_use]
pub fn finalize(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    metadata::update(new, old, &mut errors);
    core::namespace_finalizers(new, &mut errors);
    distinct(errors)
}

/// The rules that a write to a pod's `ephemeralcontainers` subresource breaks.
#[must_use]
pub fn ephemeral_containers(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    metadata::update(new, old, &mut errors);
    pod::update_ephemeral_containers(new, old, &mut errors);
    distinct(errors)
}

/// The rules that a write to a pod's `resize` subresource breaks.
#[must_use]
pub fn resize(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    metadata::update(new, old, &mut errors);
    pod::resize(new, old, &mut errors);
    distinct(errors)
}

/// The rules that a pod's binding to a node breaks.
#[must_use]
pub fn binding(binding: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    pod::binding(binding, &mut errors);
    errors
}

/// Whether an update may leave `metadata.resourceVersion` out and overwrite whatever is stored.
#[must_use]
pub fn allows_unconditional_update(kind: &Kind) -> bool {
    !matches!(
        (kind.group, kind.kind),
        ("coordination.k8s.io" | "admissionregistration.k8s.io" | "node.k8s.io" | "policy", _)
            | ("storage.k8s.io", "CSIDriver" | "CSINode" | "VolumeAttachment")
            | ("apiextensions.k8s.io" | "apiregistration.k8s.io", _)
    )
}

/// The rules that the metadata of a new object of any kind breaks.
pub(crate) fn new_metadata(kind: &Kind, obj: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    metadata::object(kind, obj, &mut errors);
    errors
}

/// The rules that the metadata of a changed object of any kind breaks.
pub(crate) fn changed_metadata(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    metadata::update(new, old, &mut errors);
    errors
}

/// The rules that the metadata of an object within another breaks.
pub(crate) fn embedded_metadata(path: &Path, metadata: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    metadata::embedded(&at::At::new(Some(metadata), path.clone()), &mut errors);
    errors
}

/// The rules of our own custom kinds that a schema cannot say.
fn own_kinds(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match (kind.group, kind.plural) {
        (rollout_policy::GROUP, rollout_policy::PLURAL) => rollout_policy::admit(new, old),
        _ => Vec::new(),
    }
}

/// Core events are taken with any metadata, as they always were.
fn is_plain_event(kind: &Kind) -> bool {
    (kind.group, kind.kind) == ("", "Event")
}

/// The rules of a kind beyond its metadata.
fn object(kind: &Kind, obj: &Value, errors: &mut Errors) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::object(obj, errors),
        ("", "PodTemplate") => pod::template(&at::At::root(obj, "template"), errors),
        ("", "ReplicationController") => workload::replication_controller(obj, errors),
        ("", "Node") => node::object(obj, errors),
        ("", "LimitRange") => limits::limit_range(obj, errors),
        ("", "Namespace") => core::namespace(obj, errors),
        ("", "Secret") => core::secret(obj, errors),
        ("", "ConfigMap") => core::config_map(obj, errors),
        ("", "Service") => service::object(obj, errors),
        ("", "PersistentVolumeClaim") => core::claim(obj, errors),
        ("", "Event") => core::event(obj, "involvedObject", "reportingComponent", errors),
        ("events.k8s.io", "Event") => core::event(obj, "regarding", "reportingController", errors),
        ("apps", "DaemonSet") => workload::daemon_set(obj, errors),
        ("apps", "ReplicaSet") => workload::replica_set(obj, errors),
        ("apps", "Deployment") => workload::deployment(obj, errors),
        ("apps", "StatefulSet") => workload::stateful_set(obj, errors),
        ("apps", "ControllerRevision") => workload::controller_revision(obj, errors),
        ("batch", "Job") => workload::job(obj, errors),
        ("coordination.k8s.io", "Lease") => others::lease(obj, errors),
        ("scheduling.k8s.io", "PriorityClass") => others::priority_class(obj, errors),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => others::role(kind.namespaced, obj, errors),
        ("rbac.authorization.k8s.io", _) => others::role_binding(kind.namespaced, obj, errors),
        ("policy", "PodDisruptionBudget") => others::pod_disruption_budget(obj, errors),
        ("storage.k8s.io", "StorageClass") => others::storage_class(obj, errors),
        ("networking.k8s.io", "IPAddress") => fixed::ip_address(obj, errors),
        ("networking.k8s.io", "ServiceCIDR") => fixed::service_cidr(obj, errors),
        _ => {}
    }
}

fn distinct(errors: Errors) -> Vec<FieldError> {
    let mut out: Vec<FieldError> = Vec::with_capacity(errors.len());
    for error in errors {
        if !out.contains(&error) {
            out.push(error);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn kind(api_version: &str, name: &str) -> &'static Kind {
        kinds::by_kind(api_version, name).expect("a built-in kind")
    }

    pub(super) fn create_errors(api_version: &str, name: &str, obj: Value) -> Vec<String> {
        create(kind(api_version, name), &obj).iter().map(ToString::to_string).collect()
    }

    pub(super) fn update_errors(api_version: &str, name: &str, new: Value, old: Value) -> Vec<String> {
        update(kind(api_version, name), &new, &old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unconditional_updates() {
        assert!(allows_unconditional_update(kind("v1", "Pod")));
        assert!(!allows_unconditional_update(kind("coordination.k8s.io/v1", "Lease")));
    }
}
