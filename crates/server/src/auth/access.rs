//! Whether a user may do something: masters may all, nodes what a node needs, everyone else what roles allow.
//!
//! # Invariants
//! What nobody allows is denied.

use api::rbac::Asked;

use super::rbac::Rbac;
use super::{MASTERS, User, node};
use crate::request::{Query, ResourcePath, Verb};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attributes<'a> {
    /// Objects.
    Resource {
        /// What, and the verb.
        asked: Asked<'a>,
        /// Empty for the whole cluster.
        namespace: &'a str,
    },
    /// Any other path, with the method in lower case.
    Path {
        /// The path.
        path: &'a str,
        /// The method as a verb.
        verb: &'a str,
    },
}

impl<'a> Attributes<'a> {
    /// What a request to a resource asks for. A collection narrowed to one name by a field selector is about that name,
    /// and a namespace is inside of itself.
    pub(crate) fn of(path: &'a ResourcePath, query: &'a Query) -> Attributes<'a> {
        let collection = matches!(path.verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
        let selected = || query.get("fieldSelector")?.strip_prefix("metadata.name=").map(|n| n.trim_start_matches('='));
        let name = match path.name.as_deref() {
            Some(name) => name,
            None if collection => selected().filter(|n| !n.contains([',', '='])).unwrap_or_default(),
            None => "",
        };
        let namespace = match path.namespace.as_deref() {
            Some(namespace) => namespace,
            None if path.group.is_empty() && path.resource == "namespaces" => path.name.as_deref().unwrap_or_default(),
            None => "",
        };
        let asked = Asked {
            verb: path.verb.as_str(),
            group: &path.group,
            resource: &path.resource,
            subresource: path.subresource.as_deref().unwrap_or_default(),
            name,
        };
        Attributes::Resource { asked, namespace }
    }
}

/// The answer of an authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Yes, with what is known of why.
    Allow(String),
    /// No, with what is known of why.
    Deny(String),
}

impl Decision {
    /// Whether it is a yes.
    pub(crate) fn allows(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
}

/// Paths for everyone, whatever roles say: who checks a server's health has no credentials.
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz"];

/// All that decides.
#[derive(Default)]
pub(crate) struct Access {
    /// Roles and bindings.
    pub(crate) rbac: Rbac,
}

impl Access {
    /// Decides.
    pub(crate) fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision::Allow(String::new());
        }
        if let Attributes::Path { path, .. } = attributes
            && PUBLIC.contains(path)
        {
            return Decision::Allow(String::new());
        }
        if user.node().is_some_and(|node| node::may(node, attributes)) {
            return Decision::Allow(String::new());
        }
        self.rbac.decide(user, attributes)
    }

    /// Whether a user may do something to objects of the RBAC or another group, in short.
    pub(crate) fn may(&self, user: &User, asked: Asked<'_>, namespace: &str) -> bool {
        self.decide(user, &Attributes::Resource { asked, namespace }).allows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Target, target};

    #[test]
    fn what_requests_ask_for() {
        for (method, uri, want) in [
            ("GET", "/api/v1/namespaces/a", ("namespaces", "a", "a")),
            ("GET", "/api/v1/namespaces/a/pods", ("pods", "a", "")),
            ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx", ("pods", "a", "x")),
            ("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name%3D%3Dx", ("pods", "", "x")),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx,spec.nodeName%3Dn", ("pods", "", "")),
            ("POST", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx", ("pods", "a", "")),
        ] {
            let uri: http::Uri = uri.parse().unwrap();
            let query = Query::parse(uri.query());
            let Target::Resource(path) = target(&method.parse().unwrap(), uri.path(), &query) else { panic!("{uri}") };
            let Attributes::Resource { asked, namespace } = Attributes::of(&path, &query) else { panic!("{uri}") };
            assert_eq!((asked.resource, namespace, asked.name), want, "{uri}");
        }
    }

    #[test]
    fn without_roles_only_masters_may() {
        let access = Access::default();
        let path = |path| Attributes::Path { path, verb: "get" };
        let known = User::known("alice".into(), String::new(), vec![]);
        assert!(access.decide(&User::master("admin"), &path("/metrics")).allows());
        assert!(!access.decide(&known, &path("/metrics")).allows());
        assert!(access.decide(&User::anonymous(), &path("/readyz")).allows());
        assert!(!access.decide(&User::anonymous(), &path("/readyz/ping")).allows());
    }
}
