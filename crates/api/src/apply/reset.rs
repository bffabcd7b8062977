//! Fields that a write to a part of an object cannot change, and those that nobody owns.
//!
//! Invariants: what is reset is never recorded as written by that request.
//! Absent: resetting; see `prepare`.

use std::sync::LazyLock;

use super::set::Set;
use crate::kinds::{Kind, Subresource};

/// What names and stamps an object belongs to no manager.
pub(super) static UNOWNED: LazyLock<Set> = LazyLock::new(|| {
    Set::of(&[
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});

/// The fields that a write to `subresource` (empty for the object itself) leaves alone.
pub(super) fn reset(kind: &Kind, subresource: &str) -> Set {
    if kind.custom.is_some() {
        return Set::of(match subresource {
            "status" => &["metadata", "spec"],
            "" if kind.has(Subresource::Status) => &["status"],
            _ => &[],
        });
    }
    Set::of(match (kind.group, kind.kind, subresource) {
        ("certificates.k8s.io", "CertificateSigningRequest", "") => &["spec", "status"],
        ("certificates.k8s.io", "CertificateSigningRequest", "status") => &["spec", "status.conditions"],
        ("certificates.k8s.io", "CertificateSigningRequest", "approval") => &["spec", "status.certificate"],
        ("", "Pod", "status") => &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"],
        ("apps", "Deployment", "status") => &["spec", "metadata.labels"],
        (
            "flowcontrol.apiserver.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "admissionregistration.k8s.io"
            | "resource.k8s.io",
            _,
            "status",
        )
        | ("storage.k8s.io", "VolumeAttachment", "status")
        | ("networking.k8s.io", "ServiceCIDR", "status") => &["spec", "metadata"],
        (_, _, "status") => &["spec"],
        (_, _, "" | "finalize") if kind.has(Subresource::Status) => &["status"],
        _ => &[],
    })
}
