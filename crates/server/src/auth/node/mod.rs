//! What the agent of a node may do: the rules by kind and verb, and whether an object has to do with the node.

mod relations;

use super::Attributes;
pub(crate) use relations::check;

/// Whether the agent of `node` may do something.
pub(crate) fn may(node: &str, attributes: &Attributes<'_>) -> bool {
    match attributes {
        Attributes::Path { path, .. } => {
            path.strip_prefix("/everynode/v1/nodes/").and_then(|p| p.strip_suffix("/tunnel")) == Some(node)
        }
        Attributes::Resource { asked, namespace } => {
            let own = asked.name == node;
            let reads = matches!(asked.verb, "get" | "list" | "watch");
            let writes = matches!(asked.verb, "update" | "patch");
            match (asked.group, asked.resource) {
                ("", "nodes") => reads || (asked.verb == "create" && asked.subresource.is_empty()) || (own && writes),
                ("", "pods") => match asked.subresource {
                    // Mirror pods are created by their node; an agent ends what it ran.
                    "" => reads || matches!(asked.verb, "create" | "delete"),
                    "status" => writes || asked.verb == "get",
                    "eviction" => asked.verb == "create",
                    _ => false,
                },
                ("" | "events.k8s.io", "events") => writes || asked.verb == "create",
                ("", "serviceaccounts") if asked.subresource == "token" => asked.verb == "create",
                ("", "configmaps" | "secrets" | "services" | "serviceaccounts")
                | ("", "persistentvolumeclaims" | "persistentvolumes")
                | ("node.k8s.io", "runtimeclasses")
                | ("storage.k8s.io", "csidrivers" | "volumeattachments") => reads && asked.subresource.is_empty(),
                ("coordination.k8s.io", "leases") => *namespace == "kube-node-lease" && (own || asked.verb == "create"),
                // Its own certificate anew; whose it may be is looked at when it is approved.
                ("certificates.k8s.io", "certificatesigningrequests") if asked.subresource.is_empty() => {
                    reads || asked.verb == "create"
                }
                ("authentication.k8s.io", "tokenreviews")
                | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
                    asked.verb == "create"
                }
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Query, Target, target};

    #[test]
    fn rules() {
        for (method, uri, want) in [
            ("PATCH", "/api/v1/nodes/n-1/status", true),
            ("PATCH", "/api/v1/nodes/n-2/status", false),
            ("DELETE", "/api/v1/nodes/n-1", false),
            ("GET", "/api/v1/pods?watch=1", true),
            ("PATCH", "/api/v1/namespaces/a/pods/b/status", true),
            ("PATCH", "/api/v1/namespaces/a/pods/b", false),
            ("GET", "/api/v1/namespaces/a/secrets/b", true),
            ("PUT", "/api/v1/namespaces/a/secrets/b", false),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n-1", true),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n-2", false),
            ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", true),
            ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/a/approval", false),
            ("DELETE", "/apis/certificates.k8s.io/v1/certificatesigningrequests/a", false),
            ("GET", "/everynode/v1/nodes/n-1/tunnel", true),
            ("GET", "/everynode/v1/nodes/n-2/tunnel", false),
        ] {
            let uri: http::Uri = uri.parse().unwrap();
            let query = Query::parse(uri.query());
            let allowed = match target(&method.parse().unwrap(), uri.path(), &query) {
                Target::Resource(path) => may("n-1", &Attributes::of(&path, &query)),
                Target::Other => may("n-1", &Attributes::Path { path: uri.path(), verb: "get" }),
            };
            assert_eq!(allowed, want, "{method} {uri}");
        }
    }
}
