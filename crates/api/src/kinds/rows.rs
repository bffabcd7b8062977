//! The rows of the table of kinds.
//!
//! Invariants: see `kinds`; tests there hold the rows to them.
//! Absent: behaviour.

use super::Kind;
use super::Subresource::{
    Approval, Attach, Binding, EphemeralContainers, Eviction, Exec, Finalize, Log, PortForward, Proxy, Resize, Scale,
    Status, Token,
};
use super::Verb::{self, Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};

/// Every verb.
pub(crate) const CRUD: &[Verb] = &[Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch];
/// Namespaces are deleted one by one: each deletion takes its content along.
const NO_COLLECTION_DELETE: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
/// Looked at, never written.
const READ: &[Verb] = &[Get, List];
/// Questions and commands: answered, never stored.
const POST: &[Verb] = &[Create];

/// A row's starting point: a namespaced kind with every verb and a controller of ours.
pub(super) const BASE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    type_name: "",
    subresources: &[],
    verbs: CRUD,
    served_only: false,
    stored_as: None,
    custom: None,
};

/// `row!(GROUP VERSION PACKAGE, Kind plural singular, field: value...)`
macro_rules! row {
    ($group:literal $version:literal $package:literal, $kind:literal $plural:literal $singular:literal
     $(, $field:ident: $value:expr)*) => {
        Kind {
            group: $group,
            version: $version,
            kind: $kind,
            plural: $plural,
            singular: $singular,
            type_name: concat!($package, ".", $version, ".", $kind),
            $($field: $value,)*
            ..BASE
        }
    };
}

/// All built-in kinds.
#[rustfmt::skip]
pub static KINDS: &[Kind] = &[
    row!("" "v1" "io.k8s.api.core", "Binding" "bindings" "binding", verbs: POST),
    row!("" "v1" "io.k8s.api.core", "ComponentStatus" "componentstatuses" "componentstatus", short_names: &["cs"], namespaced: false, verbs: READ),
    row!("" "v1" "io.k8s.api.core", "ConfigMap" "configmaps" "configmap", short_names: &["cm"]),
    row!("" "v1" "io.k8s.api.core", "Endpoints" "endpoints" "endpoints", short_names: &["ep"], served_only: true),
    row!("" "v1" "io.k8s.api.core", "Event" "events" "event", short_names: &["ev"]),
    row!("" "v1" "io.k8s.api.core", "LimitRange" "limitranges" "limitrange", short_names: &["limits"]),
    row!("" "v1" "io.k8s.api.core", "Namespace" "namespaces" "namespace", short_names: &["ns"], namespaced: false, subresources: &[Finalize, Status], verbs: NO_COLLECTION_DELETE),
    row!("" "v1" "io.k8s.api.core", "Node" "nodes" "node", short_names: &["no"], namespaced: false, subresources: &[Proxy, Status]),
    row!("" "v1" "io.k8s.api.core", "PersistentVolumeClaim" "persistentvolumeclaims" "persistentvolumeclaim", short_names: &["pvc"], subresources: &[Status], served_only: true),
    row!("" "v1" "io.k8s.api.core", "PersistentVolume" "persistentvolumes" "persistentvolume", short_names: &["pv"], namespaced: false, subresources: &[Status], served_only: true),
    row!("" "v1" "io.k8s.api.core", "Pod" "pods" "pod", short_names: &["po"], categories: &["all"], subresources: &[Attach, Binding, EphemeralContainers, Eviction, Exec, Log, PortForward, Proxy, Resize, Status]),
    row!("" "v1" "io.k8s.api.core", "PodTemplate" "podtemplates" "podtemplate"),
    row!("" "v1" "io.k8s.api.core", "ReplicationController" "replicationcontrollers" "replicationcontroller", short_names: &["rc"], categories: &["all"], subresources: &[Scale, Status], served_only: true),
    row!("" "v1" "io.k8s.api.core", "ResourceQuota" "resourcequotas" "resourcequota", short_names: &["quota"], subresources: &[Status], served_only: true),
    row!("" "v1" "io.k8s.api.core", "Secret" "secrets" "secret"),
    row!("" "v1" "io.k8s.api.core", "ServiceAccount" "serviceaccounts" "serviceaccount", short_names: &["sa"], subresources: &[Token]),
    row!("" "v1" "io.k8s.api.core", "Service" "services" "service", short_names: &["svc"], categories: &["all"], subresources: &[Proxy, Status]),
    row!("apiregistration.k8s.io" "v1" "io.k8s.kube-aggregator.pkg.apis.apiregistration", "APIService" "apiservices" "apiservice", categories: &["api-extensions"], namespaced: false, subresources: &[Status], served_only: true),
    row!("apps" "v1" "io.k8s.api.apps", "ControllerRevision" "controllerrevisions" "controllerrevision"),
    row!("apps" "v1" "io.k8s.api.apps", "DaemonSet" "daemonsets" "daemonset", short_names: &["ds"], categories: &["all"], subresources: &[Status]),
    row!("apps" "v1" "io.k8s.api.apps", "Deployment" "deployments" "deployment", short_names: &["deploy"], categories: &["all"], subresources: &[Scale, Status], served_only: true),
    row!("apps" "v1" "io.k8s.api.apps", "ReplicaSet" "replicasets" "replicaset", short_names: &["rs"], categories: &["all"], subresources: &[Scale, Status]),
    row!("apps" "v1" "io.k8s.api.apps", "StatefulSet" "statefulsets" "statefulset", short_names: &["sts"], categories: &["all"], subresources: &[Scale, Status], served_only: true),
    row!("events.k8s.io" "v1" "io.k8s.api.events", "Event" "events" "event", short_names: &["ev"], stored_as: Some(("", "v1"))),
    row!("authentication.k8s.io" "v1" "io.k8s.api.authentication", "SelfSubjectReview" "selfsubjectreviews" "selfsubjectreview", namespaced: false, verbs: POST),
    row!("authentication.k8s.io" "v1" "io.k8s.api.authentication", "TokenReview" "tokenreviews" "tokenreview", namespaced: false, verbs: POST),
    row!("authorization.k8s.io" "v1" "io.k8s.api.authorization", "LocalSubjectAccessReview" "localsubjectaccessreviews" "localsubjectaccessreview", verbs: POST),
    row!("authorization.k8s.io" "v1" "io.k8s.api.authorization", "SelfSubjectAccessReview" "selfsubjectaccessreviews" "selfsubjectaccessreview", namespaced: false, verbs: POST),
    row!("authorization.k8s.io" "v1" "io.k8s.api.authorization", "SelfSubjectRulesReview" "selfsubjectrulesreviews" "selfsubjectrulesreview", namespaced: false, verbs: POST),
    row!("authorization.k8s.io" "v1" "io.k8s.api.authorization", "SubjectAccessReview" "subjectaccessreviews" "subjectaccessreview", namespaced: false, verbs: POST),
    row!("autoscaling" "v2" "io.k8s.api.autoscaling", "HorizontalPodAutoscaler" "horizontalpodautoscalers" "horizontalpodautoscaler", short_names: &["hpa"], categories: &["all"], subresources: &[Status], served_only: true),
    row!("autoscaling" "v1" "io.k8s.api.autoscaling", "HorizontalPodAutoscaler" "horizontalpodautoscalers" "horizontalpodautoscaler", short_names: &["hpa"], categories: &["all"], subresources: &[Status], served_only: true, stored_as: Some(("autoscaling", "v2"))),
    row!("batch" "v1" "io.k8s.api.batch", "CronJob" "cronjobs" "cronjob", short_names: &["cj"], categories: &["all"], subresources: &[Status], served_only: true),
    row!("batch" "v1" "io.k8s.api.batch", "Job" "jobs" "job", categories: &["all"], subresources: &[Status], served_only: true),
    row!("certificates.k8s.io" "v1" "io.k8s.api.certificates", "CertificateSigningRequest" "certificatesigningrequests" "certificatesigningrequest", short_names: &["csr"], namespaced: false, subresources: &[Approval, Status]),
    row!("networking.k8s.io" "v1" "io.k8s.api.networking", "IPAddress" "ipaddresses" "ipaddress", short_names: &["ip"], namespaced: false, served_only: true),
    row!("networking.k8s.io" "v1" "io.k8s.api.networking", "IngressClass" "ingressclasses" "ingressclass", namespaced: false, served_only: true),
    row!("networking.k8s.io" "v1" "io.k8s.api.networking", "Ingress" "ingresses" "ingress", short_names: &["ing"], subresources: &[Status], served_only: true),
    row!("networking.k8s.io" "v1" "io.k8s.api.networking", "NetworkPolicy" "networkpolicies" "networkpolicy", short_names: &["netpol"], served_only: true),
    row!("networking.k8s.io" "v1" "io.k8s.api.networking", "ServiceCIDR" "servicecidrs" "servicecidr", namespaced: false, subresources: &[Status], served_only: true),
    row!("policy" "v1" "io.k8s.api.policy", "PodDisruptionBudget" "poddisruptionbudgets" "poddisruptionbudget", short_names: &["pdb"], subresources: &[Status]),
    row!("rbac.authorization.k8s.io" "v1" "io.k8s.api.rbac", "ClusterRoleBinding" "clusterrolebindings" "clusterrolebinding", namespaced: false),
    row!("rbac.authorization.k8s.io" "v1" "io.k8s.api.rbac", "ClusterRole" "clusterroles" "clusterrole", namespaced: false),
    row!("rbac.authorization.k8s.io" "v1" "io.k8s.api.rbac", "RoleBinding" "rolebindings" "rolebinding"),
    row!("rbac.authorization.k8s.io" "v1" "io.k8s.api.rbac", "Role" "roles" "role"),
    row!("storage.k8s.io" "v1" "io.k8s.api.storage", "CSIDriver" "csidrivers" "csidriver", namespaced: false, served_only: true),
    row!("storage.k8s.io" "v1" "io.k8s.api.storage", "CSINode" "csinodes" "csinode", namespaced: false, served_only: true),
    row!("storage.k8s.io" "v1" "io.k8s.api.storage", "CSIStorageCapacity" "csistoragecapacities" "csistoragecapacity", served_only: true),
    row!("storage.k8s.io" "v1" "io.k8s.api.storage", "StorageClass" "storageclasses" "storageclass", short_names: &["sc"], namespaced: false, served_only: true),
    row!("storage.k8s.io" "v1" "io.k8s.api.storage", "VolumeAttachment" "volumeattachments" "volumeattachment", namespaced: false, subresources: &[Status], served_only: true),
    row!("storage.k8s.io" "v1" "io.k8s.api.storage", "VolumeAttributesClass" "volumeattributesclasses" "volumeattributesclass", short_names: &["vac"], namespaced: false, served_only: true),
    row!("admissionregistration.k8s.io" "v1" "io.k8s.api.admissionregistration", "MutatingAdmissionPolicy" "mutatingadmissionpolicies" "mutatingadmissionpolicy", categories: &["api-extensions"], namespaced: false, served_only: true),
    row!("admissionregistration.k8s.io" "v1" "io.k8s.api.admissionregistration", "MutatingAdmissionPolicyBinding" "mutatingadmissionpolicybindings" "mutatingadmissionpolicybinding", categories: &["api-extensions"], namespaced: false, served_only: true),
    row!("admissionregistration.k8s.io" "v1" "io.k8s.api.admissionregistration", "ValidatingAdmissionPolicy" "validatingadmissionpolicies" "validatingadmissionpolicy", categories: &["api-extensions"], namespaced: false, subresources: &[Status], served_only: true),
    row!("admissionregistration.k8s.io" "v1" "io.k8s.api.admissionregistration", "ValidatingAdmissionPolicyBinding" "validatingadmissionpolicybindings" "validatingadmissionpolicybinding", categories: &["api-extensions"], namespaced: false, served_only: true),
    row!("admissionregistration.k8s.io" "v1" "io.k8s.api.admissionregistration", "MutatingWebhookConfiguration" "mutatingwebhookconfigurations" "mutatingwebhookconfiguration", categories: &["api-extensions"], namespaced: false, served_only: true),
    row!("admissionregistration.k8s.io" "v1" "io.k8s.api.admissionregistration", "ValidatingWebhookConfiguration" "validatingwebhookconfigurations" "validatingwebhookconfiguration", categories: &["api-extensions"], namespaced: false, served_only: true),
    row!("apiextensions.k8s.io" "v1" "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions", "CustomResourceDefinition" "customresourcedefinitions" "customresourcedefinition", short_names: &["crd", "crds"], categories: &["api-extensions"], namespaced: false, subresources: &[Status]),
    row!("scheduling.k8s.io" "v1" "io.k8s.api.scheduling", "PriorityClass" "priorityclasses" "priorityclass", short_names: &["pc"], namespaced: false),
    row!("coordination.k8s.io" "v1" "io.k8s.api.coordination", "Lease" "leases" "lease"),
    row!("node.k8s.io" "v1" "io.k8s.api.node", "RuntimeClass" "runtimeclasses" "runtimeclass", namespaced: false, served_only: true),
    row!("discovery.k8s.io" "v1" "io.k8s.api.discovery", "EndpointSlice" "endpointslices" "endpointslice", served_only: true),
    row!("flowcontrol.apiserver.k8s.io" "v1" "io.k8s.api.flowcontrol", "FlowSchema" "flowschemas" "flowschema", namespaced: false, subresources: &[Status], served_only: true),
    row!("flowcontrol.apiserver.k8s.io" "v1" "io.k8s.api.flowcontrol", "PriorityLevelConfiguration" "prioritylevelconfigurations" "prioritylevelconfiguration", namespaced: false, subresources: &[Status], served_only: true),
    row!("resource.k8s.io" "v1" "io.k8s.api.resource", "DeviceClass" "deviceclasses" "deviceclass", namespaced: false, served_only: true),
    row!("resource.k8s.io" "v1" "io.k8s.api.resource", "ResourceClaim" "resourceclaims" "resourceclaim", subresources: &[Status], served_only: true),
    row!("resource.k8s.io" "v1" "io.k8s.api.resource", "ResourceClaimTemplate" "resourceclaimtemplates" "resourceclaimtemplate", served_only: true),
    row!("resource.k8s.io" "v1" "io.k8s.api.resource", "ResourceSlice" "resourceslices" "resourceslice", namespaced: false, served_only: true),
];

/// Body of the scale subresource.
pub static SCALE: Kind = row!("autoscaling" "v1" "io.k8s.api.autoscaling", "Scale" "" "scale", verbs: &[]);

/// Body of an eviction.
pub static EVICTION: Kind = row!("policy" "v1" "io.k8s.api.policy", "Eviction" "" "eviction", verbs: &[]);

/// Body of a request for a token.
pub static TOKEN_REQUEST: Kind =
    row!("authentication.k8s.io" "v1" "io.k8s.api.authentication", "TokenRequest" "" "tokenrequest", verbs: &[]);

/// Body of a deletion.
pub static DELETE_OPTIONS: Kind =
    row!("" "v1" "io.k8s.apimachinery.pkg.apis.meta", "DeleteOptions" "" "deleteoptions", verbs: &[]);
