//! What a request asks for: the path's kind, namespace, name and subresource, the verb, the query.
//!
//! # Invariants
//! Authorization and handlers read the same parse, so they can't disagree on what is asked.

use http::Method;
use percent_encoding::percent_decode_str;

/// The parsed query string.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses what follows the question mark.
    pub(crate) fn parse(query: Option<&str>) -> Query {
        Query(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first value of `name`; empty values count as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `name` is set to a true value; given without one, it is.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

/// A verb as authorization names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// As it stands in messages and rules.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// A path below a group and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) verb: Verb,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// What follows the subresource (proxy paths).
    pub(crate) rest: Vec<String>,
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Objects.
    Resource(ResourcePath),
    /// Anything else: discovery, health, metrics, or nothing.
    Other,
}

/// Reads a path and method.
pub(crate) fn target(method: &Method, path: &str, query: &Query) -> Target {
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Target::Other,
    };
    let (namespace, rest) = match rest {
        // `namespaces/NAME/status` is a namespace's own; any other third part is a resource inside it.
        ["namespaces", _, "status" | "finalize", ..] if rest.len() == 3 && group.is_empty() => (None, rest),
        ["namespaces", namespace, resource, ..] if !resource.is_empty() => (Some((*namespace).to_owned()), &rest[2..]),
        _ => (None, rest),
    };
    let (resource, name, subresource, rest) = match rest {
        [resource] => (*resource, None, None, Vec::new()),
        [resource, name] => (*resource, Some(*name), None, Vec::new()),
        [resource, name, subresource, rest @ ..] => {
            (*resource, Some(*name), Some(*subresource), rest.iter().map(|s| (*s).to_owned()).collect())
        }
        [] => return Target::Other,
    };
    let Some(mut verb) = verb(method, name.is_some(), query) else { return Target::Other };
    if verb == Verb::Get && matches!(subresource, Some("exec" | "attach" | "portforward")) {
        // A websocket can only be asked for by GET; the right to read pods must not be the right to run commands in them.
        verb = Verb::Create;
    }
    Target::Resource(ResourcePath {
        verb,
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        namespace,
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
        rest,
    })
}

fn verb(method: &Method, named: bool, query: &Query) -> Option<Verb> {
    Some(match (method.as_str(), named) {
        ("GET" | "HEAD", true) => Verb::Get,
        ("GET" | "HEAD", false) if query.flag("watch") => Verb::Watch,
        ("GET" | "HEAD", false) => Verb::List,
        ("POST", _) => Verb::Create,
        ("PUT", _) => Verb::Update,
        ("PATCH", _) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, want: &str) {
        let uri: http::Uri = uri.parse().unwrap();
        let query = Query::parse(uri.query());
        let got = match target(&method.parse().unwrap(), uri.path(), &query) {
            Target::Other => "other".to_owned(),
            Target::Resource(r) => format!(
                "{} {}/{} {} ns={} name={} sub={}",
                r.verb.as_str(),
                r.group,
                r.version,
                r.resource,
                r.namespace.as_deref().unwrap_or("-"),
                r.name.as_deref().unwrap_or("-"),
                r.subresource.as_deref().unwrap_or("-")
            ),
        };
        assert_eq!(got, want, "{method} {uri}");
    }

    #[test]
    fn paths() {
        for (method, uri, want) in [
            ("GET", "/api/v1/pods", "list /v1 pods ns=- name=- sub=-"),
            ("GET", "/api/v1/pods?watch=1", "watch /v1 pods ns=- name=- sub=-"),
            ("GET", "/api/v1/pods?watch=false", "list /v1 pods ns=- name=- sub=-"),
            ("GET", "/api/v1/namespaces/a/pods/b/log", "get /v1 pods ns=a name=b sub=log"),
            ("GET", "/api/v1/namespaces/a", "get /v1 namespaces ns=- name=a sub=-"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update /v1 namespaces ns=- name=a sub=finalize"),
            ("PATCH", "/api/v1/nodes/n/status", "patch /v1 nodes ns=- name=n sub=status"),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/daemonsets",
                "deletecollection apps/v1 daemonsets ns=a name=- sub=-",
            ),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "get rbac.authorization.k8s.io/v1 clusterroles ns=- name=system:node sub=-",
            ),
            ("GET", "/api/v1/namespaces/a/pods/b/exec?command=x", "create /v1 pods ns=a name=b sub=exec"),
            ("GET", "/apis/apps/v1", "other"),
            ("GET", "/api", "other"),
            ("GET", "/healthz", "other"),
        ] {
            check(method, uri, want);
        }
    }
}
