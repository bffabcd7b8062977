//! The pod of a DaemonSet for one node.
//!
//! Invariants: the pod names exactly its node, by affinity, so that the scheduler looks at one node and binds it there;
//! its name is left to the API server.
//!
//! Absent: which nodes get one.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::classes::CLASS_LABEL;
use super::placement::tolerations;
use crate::claim::controller_reference;
use crate::view::NODE_NAME_FIELD;

/// Label with the hash of the revision that a pod was made from.
pub const HASH_LABEL: &str = "controller-revision-hash";
/// Label with the count of template changes, which Kubernetes used before hashes.
pub const GENERATION_LABEL: &str = "pod-template-generation";
/// Annotation of a DaemonSet with the count of template changes, kept by the API server.
pub const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// The count of template changes that a DaemonSet states, if it states a number.
#[must_use]
pub fn template_generation(set: &DaemonSet) -> Option<i64> {
    set.metadata.annotations.as_ref()?.get(GENERATION_ANNOTATION)?.parse().ok()
}

/// The pod of `set` for `node`, made from the revision with this hash.
#[must_use]
pub fn new_pod(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let template: PodTemplateSpec = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let mut spec = template.spec.unwrap_or_default();
    spec.tolerations = Some(tolerations(&spec));
    let affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let by_name = NodeSelectorRequirement {
        key: NODE_NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), match_expressions: None };
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    // Only what was applied counts: a label of the template would never fit its node.
    labels.remove(CLASS_LABEL);
    if let Some(generation) = template_generation(set) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_string());
    }
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![controller_reference(
                super::API_VERSION,
                super::KIND,
                name,
                set.metadata.uid.as_deref().unwrap_or_default(),
            )]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}
