//! The one table of kinds: a further built-in kind is one further row.
//!
//! Invariants: rows of one group and version stand together, groups stand in discovery's order of priority; `plural`
//! is unique within a group and version, and so is `kind` among rows that can be listed.
//! Kinds of custom resource definitions are rows too, made while the server runs; they carry their schema (`crd`).
//! Absent: the fields of the kinds (see `schema`), the rows of custom kinds.

mod rows;

use std::sync::Arc;

use crate::crd::Custom;

pub(crate) use rows::CRUD;
pub use rows::{DELETE_OPTIONS, EVICTION, KINDS, SCALE, TOKEN_REQUEST};

/// A verb that discovery lists for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Create an object by POST.
    Create,
    /// Delete one object.
    Delete,
    /// Delete all objects that a selector matches.
    DeleteCollection,
    /// Read one object.
    Get,
    /// Read all objects.
    List,
    /// Change an object by a patch.
    Patch,
    /// Replace an object.
    Update,
    /// Follow changes.
    Watch,
}

impl Verb {
    /// The verb as discovery and RBAC rules spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// A part of an object that has its own path below the object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subresource {
    /// Signing approval of a certificate request.
    Approval,
    /// Streams of a running container.
    Attach,
    /// Assignment of a pod to a node.
    Binding,
    /// Containers added to a running pod.
    EphemeralContainers,
    /// Deletion that honours disruption budgets.
    Eviction,
    /// A command in a running container.
    Exec,
    /// The last step of a namespace's deletion.
    Finalize,
    /// Output of a container.
    Log,
    /// Forwarded connections to a pod.
    PortForward,
    /// Requests passed on to the object.
    Proxy,
    /// Resources of a running pod.
    Resize,
    /// The number of replicas.
    Scale,
    /// What was observed of the object.
    Status,
    /// A new token of a service account.
    Token,
}

impl Subresource {
    /// The last path segment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Subresource::Approval => "approval",
            Subresource::Attach => "attach",
            Subresource::Binding => "binding",
            Subresource::EphemeralContainers => "ephemeralcontainers",
            Subresource::Eviction => "eviction",
            Subresource::Exec => "exec",
            Subresource::Finalize => "finalize",
            Subresource::Log => "log",
            Subresource::PortForward => "portforward",
            Subresource::Proxy => "proxy",
            Subresource::Resize => "resize",
            Subresource::Scale => "scale",
            Subresource::Status => "status",
            Subresource::Token => "token",
        }
    }

    /// The verbs that discovery lists for this subresource of `kind`.
    pub fn verbs(self, kind: &Kind) -> &'static [&'static str] {
        match self {
            Subresource::Finalize => &["update"],
            Subresource::Binding | Subresource::Eviction | Subresource::Token => &["create"],
            Subresource::Log => &["get"],
            Subresource::Attach | Subresource::Exec | Subresource::PortForward => &["create", "get"],
            Subresource::Proxy => &["create", "delete", "get", "patch", "update"],
            Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize
            | Subresource::Scale
            | Subresource::Status => {
                debug_assert!(kind.has(self), "{} has no {}", kind.plural, self.as_str());
                &["get", "patch", "update"]
            }
        }
    }

    /// The kind to decode a body as, where it is neither the object itself nor a stream.
    pub fn body_kind(self) -> Option<&'static Kind> {
        match self {
            Subresource::Binding => by_kind("v1", "Binding"),
            Subresource::Eviction => Some(&EVICTION),
            Subresource::Scale => Some(&SCALE),
            Subresource::Token => Some(&TOKEN_REQUEST),
            _ => None,
        }
    }

    /// Group, version and kind of the body, where it is not the object itself.
    pub const fn body(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Subresource::Attach => Some(("", "v1", "PodAttachOptions")),
            Subresource::Binding => Some(("", "v1", "Binding")),
            Subresource::Eviction => Some(("policy", "v1", "Eviction")),
            Subresource::Exec => Some(("", "v1", "PodExecOptions")),
            Subresource::PortForward => Some(("", "v1", "PodPortForwardOptions")),
            Subresource::Scale => Some(("autoscaling", "v1", "Scale")),
            Subresource::Token => Some(("authentication.k8s.io", "v1", "TokenRequest")),
            Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Finalize
            | Subresource::Log
            | Subresource::Proxy
            | Subresource::Resize
            | Subresource::Status => None,
        }
    }
}

/// One kind: all that routing, discovery and printing need to know of it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Name in `kind:`.
    pub kind: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Name of one, lower case.
    pub singular: &'static str,
    /// Abbreviations that clients accept.
    pub short_names: &'static [&'static str],
    /// Groups of kinds that clients accept, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Key of the type in `schema`.
    pub type_name: &'static str,
    /// Paths below an object.
    pub subresources: &'static [Subresource],
    /// Verbs, in alphabetical order.
    pub verbs: &'static [Verb],
    /// Stored and served for controllers that users bring; none of ours acts on it.
    pub served_only: bool,
    /// Group and version of the form that objects are stored in, where it is another one (see `convert`).
    pub stored_as: Option<(&'static str, &'static str)>,
    /// What a custom resource definition says of the kind; none for built-in ones.
    pub custom: Option<Arc<Custom>>,
}

impl Kind {
    /// A kind of which no more is known than how its objects are asked for.
    pub fn bare(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Kind {
        Kind { group, version, plural, kind, namespaced, ..rows::BASE }
    }

    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether `apiVersion` names this kind's group and version.
    pub fn is_api_version(&self, api_version: &str) -> bool {
        split_api_version(api_version) == (self.group, self.version)
    }

    /// `plural.group`, or the plural alone in the core group: the name in messages.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind that objects of this kind are stored as: itself, or one of another group or version.
    pub fn stored(&self) -> &Kind {
        self.stored_as.and_then(|(group, version)| find(group, version, self.plural)).unwrap_or(self)
    }

    /// Whether stored objects are in the very form in which readers of this kind see them.
    pub fn is_seen_as_stored(&self) -> bool {
        self.stored_as.is_none() && self.custom.is_none()
    }

    /// Whether discovery lists `verb`.
    pub fn can(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether the kind has `subresource`.
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// The subresource with this path segment.
    pub fn subresource(&self, segment: &str) -> Option<Subresource> {
        self.subresources.iter().copied().find(|sub| sub.as_str() == segment)
    }

    /// Whether a deletion is answered with the object rather than with a Status.
    pub fn returns_deleted_object(&self) -> bool {
        const CORE: &[&str] = &[
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ];
        match self.group {
            "" => CORE.contains(&self.plural),
            "storage.k8s.io" => self.plural != "csistoragecapacities",
            group => group == "resource.k8s.io",
        }
    }

    /// Whether bodies may name any group and version: options are known in all of them.
    pub fn accepts_any_group(&self) -> bool {
        std::ptr::eq(self, &DELETE_OPTIONS)
    }

    /// Whether bodies may name `version`; an eviction may still be of the version that clients used before 1.22.
    pub fn accepts_version(&self, version: &str) -> bool {
        version == self.version || (std::ptr::eq(self, &EVICTION) && version == "v1beta1")
    }

    /// The list kind, such as `PodList`.
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
    }
}

/// Splits `apiVersion` into group and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The kind that a path names.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
}

/// The kind that an object's `apiVersion` and `kind` name.
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = split_api_version(api_version);
    KINDS.iter().find(|row| row.kind == kind && row.group == group && row.version == version)
}

/// The kind that a user names, as kubectl takes it: plural, singular, short name or kind, in any case, alone or with
/// `.group` or `.version.group`. Where several groups know a name, the first row wins.
pub fn by_any_name(name: &str) -> Option<&'static Kind> {
    let name = name.to_lowercase();
    if let Some(kind) = KINDS.iter().find(|kind| is_called(kind, &name)) {
        return Some(kind);
    }
    let (resource, rest) = name.split_once('.')?;
    KINDS.iter().find(|kind| is_called(kind, resource) && is_qualified_by(kind, rest))
}

fn is_called(kind: &Kind, name: &str) -> bool {
    kind.plural == name
        || kind.singular == name
        || kind.short_names.contains(&name)
        || kind.kind.eq_ignore_ascii_case(name)
}

fn is_qualified_by(kind: &Kind, rest: &str) -> bool {
    if rest == kind.group && !kind.group.is_empty() {
        return true;
    }
    rest.strip_prefix(kind.version).is_some_and(|group| match group.strip_prefix('.') {
        Some(group) => group == kind.group,
        None => group.is_empty() && kind.group.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_unique_and_complete() {
        let mut resources = BTreeSet::new();
        for kind in KINDS {
            assert!(resources.insert((kind.group, kind.version, kind.plural)), "{} twice", kind.plural);
            assert!(kind.verbs.is_sorted(), "{}: discovery lists verbs in order", kind.plural);
            assert!(kind.subresources.is_sorted(), "{}: discovery lists subresources in order", kind.plural);
            assert_eq!(find(kind.group, kind.version, kind.plural), Some(kind));
            assert_eq!(by_kind(&kind.api_version(), kind.kind), Some(kind));
            assert_eq!(
                kind.stored_as.is_some(),
                kind.stored() != kind,
                "{}: stored as a kind that is served",
                kind.plural
            );
            assert!(kind.type_name.ends_with(&format!(".{}.{}", kind.version, kind.kind)), "{}", kind.type_name);
        }
    }

    #[test]
    fn rows_of_a_group_stand_together() {
        let mut seen: Vec<&str> = Vec::new();
        for kind in KINDS {
            if seen.last() != Some(&kind.group) {
                assert!(!seen.contains(&kind.group), "{} is split", kind.group);
                seen.push(kind.group);
            }
        }
        assert_eq!(seen.first(), Some(&""));
    }

    #[test]
    fn names_users_type() {
        for (name, plural, group) in [
            ("ds", "daemonsets", "apps"),
            ("daemonset", "daemonsets", "apps"),
            ("DaemonSets", "daemonsets", "apps"),
            ("DaemonSet.apps", "daemonsets", "apps"),
            ("daemonsets.v1.apps", "daemonsets", "apps"),
            ("po", "pods", ""),
            ("pods.v1.", "pods", ""),
            ("pods.v1", "pods", ""),
            ("events", "events", ""),
            ("events.events.k8s.io", "events", "events.k8s.io"),
            ("ev", "events", ""),
            ("crds", "customresourcedefinitions", "apiextensions.k8s.io"),
            ("endpoints", "endpoints", ""),
            ("clusterrole", "clusterroles", "rbac.authorization.k8s.io"),
        ] {
            let kind = by_any_name(name).unwrap_or_else(|| panic!("{name} is not known"));
            assert_eq!((kind.plural, kind.group), (plural, group), "{name}");
        }
        for name in ["", "pod.apps", "daemonsets.v2.apps", "daemonsets.extensions", "x"] {
            assert_eq!(by_any_name(name), None, "{name}");
        }
    }

    #[test]
    fn names_in_messages() {
        let daemonsets = find("apps", "v1", "daemonsets").expect("a row");
        assert_eq!(daemonsets.api_version(), "apps/v1");
        assert_eq!(daemonsets.group_resource(), "daemonsets.apps");
        assert!(daemonsets.is_api_version("apps/v1") && !daemonsets.is_api_version("v1"));
        assert_eq!(daemonsets.subresource("status"), Some(Subresource::Status));
        assert_eq!(daemonsets.subresource("scale"), None);
        let pods = find("", "v1", "pods").expect("a row");
        assert_eq!((pods.api_version().as_str(), pods.group_resource().as_str()), ("v1", "pods"));
        assert_eq!(pods.list_kind(), "PodList");
    }
}
