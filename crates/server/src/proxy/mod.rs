//! The `proxy` subresource: requests passed on to a pod, to a pod behind a Service, or to a node's agent.
//!
//! A pod is reached through the tunnel of its node, as by port-forward: the request is written to a connection into the
//! pod, and its answer is passed back. Upgraded connections (websockets) are passed through.
//!
//! # Invariants
//! - The client's credentials never reach the pod.
//! - Nothing is queued but a few pieces in each direction.
//!
//! # Absent
//! Rewriting links in pages; addresses that are no pods; ports of nodes beside the agent's.

mod exchange;
mod insecure;
mod nodes;
mod places;

use std::sync::Arc;

use api::status::{self, Status};
use http::{HeaderValue, Method, Response, StatusCode, header};
use store::Store;

use crate::app::{App, Ask, Place};
use crate::object;
use crate::reply::{self, Reply};

/// What a name such as `https:web:8443` asks for.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    tls: bool,
    name: &'a str,
    /// Number or name; empty for the only one.
    port: &'a str,
}

impl<'a> Target<'a> {
    /// Reads `name`, `name:port`, `scheme:name` with an empty port, or `scheme:name:port`.
    fn read(kind: &str, asked: &'a str) -> Result<Target<'a>, Status> {
        let parts: Vec<&str> = asked.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => ("?", "", ""),
        };
        match scheme {
            "" | "http" | "https" if !name.is_empty() => Ok(Target { tls: scheme == "https", name, port }),
            _ => Err(status::bad_request(format!("invalid {kind} request {asked:?}"))),
        }
    }
}

/// The part of a request's path that is passed on, as it was written.
fn rest_of(path: &str, namespaced: bool) -> &str {
    // `/api/v1/namespaces/NAMESPACE/pods/NAME/proxy` or `/api/v1/nodes/NAME/proxy`
    let segments = if namespaced { 8 } else { 6 };
    path.match_indices('/').nth(segments - 1).map_or("", |(at, _)| &path[at..])
}

/// Answers a request for `NAME/proxy` and what is below it.
pub(crate) async fn proxy<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let rest = rest_of(&ask.path, place.kind.namespaced).to_owned();
    let target = match place.kind.plural {
        "pods" => "pod",
        "services" => "service",
        _ => "node",
    };
    let target = Target::read(target, place.name)?;
    let place = Place { name: target.name, ..place };
    if rest.is_empty() && !ask.headers.contains_key(header::UPGRADE) && matches!(ask.method, Method::GET | Method::HEAD)
    {
        // Relative links of a page work only below a path that ends in a slash.
        let query = ask.uri.query().unwrap_or_default().to_owned();
        let mark = if query.is_empty() { "" } else { "?" };
        return redirect(&format!("{}/{mark}{query}", ask.path));
    }
    match place.kind.plural {
        "nodes" => nodes::proxy(app, ask, place, &target, &rest).await,
        "services" => {
            let (pod, port) = places::behind_service(app, place, &target).await?;
            exchange::pass(app, ask, exchange::To { pod, port, tls: target.tls, rest }).await
        }
        _ => {
            let pod = object::decode(&app.entry(place).await?)?;
            let port = places::port_of_pod(&pod, target.port)?;
            let pod = places::pod(place.namespace, &pod)?;
            exchange::pass(app, ask, exchange::To { pod, port, tls: target.tls, rest }).await
        }
    }
}

fn redirect(to: &str) -> Reply {
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let to = HeaderValue::from_str(to).map_err(status::internal)?;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports() {
        let read =
            |asked| Target::read("pod", asked).map(|t| (t.tls, t.name, t.port)).map_err(|s| s.message().to_owned());
        assert_eq!(read("web"), Ok((false, "web", "")));
        assert_eq!(read("web:80"), Ok((false, "web", "80")));
        assert_eq!(read("https:web:tls"), Ok((true, "web", "tls")));
        assert_eq!(read("http:web:"), Ok((false, "web", "")));
        for bad in ["", ":80", "ftp:web:80", "a:b:c:d"] {
            assert_eq!(read(bad), Err(format!("invalid pod request {bad:?}")));
        }
    }

    #[test]
    fn what_is_passed_on() {
        for (path, namespaced, rest) in [
            ("/api/v1/namespaces/a/pods/b/proxy", true, ""),
            ("/api/v1/namespaces/a/pods/b/proxy/", true, "/"),
            ("/api/v1/namespaces/a/pods/b:80/proxy/x%2Fy//z/", true, "/x%2Fy//z/"),
            ("/api/v1/nodes/n/proxy/healthz", false, "/healthz"),
            ("/api/v1/nodes/n/proxy", false, ""),
        ] {
            assert_eq!(rest_of(path, namespaced), rest, "{path}");
        }
    }
}
