//! A client that can change nothing.
//!
//! Invariants: only requests that read reach the API server; any other is answered here, with a refusal.
//!
//! Absent: rights. A user who may only read is refused by the API server besides.

use http::{Method, Request, Response, StatusCode, header};
use kube::Client;
use kube::client::Body;
use serde_json::json;

/// Subresources that a GET does something with.
const ACTING: [&str; 4] = ["exec", "attach", "portforward", "proxy"];

/// A client that sends what reads to the API server of `client`, and refuses the rest.
pub(crate) fn read_only(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            if reads(request.method(), request.uri().path(), request.headers().contains_key(header::UPGRADE)) {
                client.send(request).await
            } else {
                Ok(refusal(request.method(), request.uri().path()))
            }
        }
    });
    Client::new(service, namespace)
}

fn reads(method: &Method, path: &str, upgrades: bool) -> bool {
    let acts = path.split('/').any(|part| ACTING.contains(&part));
    (*method == Method::GET || *method == Method::HEAD) && !upgrades && !acts
}

fn refusal(method: &Method, path: &str) -> Response<Body> {
    let message = format!("a shadow changes nothing: {method} {path} was not sent");
    let code = StatusCode::METHOD_NOT_ALLOWED;
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "MethodNotAllowed",
        "code": code.as_u16(), "message": message});
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = code;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::testing::{hub, lines};
    use crate::wire::{self, Deletion, Patch};

    #[tokio::test]
    async fn every_write_is_refused_and_none_is_sent() {
        let (hub, requests) = hub(|_, _| (200, json!({"metadata": {"uid": "u"}})));
        let client = read_only(hub.client.clone());
        let (pods, key, body) = (wire::pods(), Key::new("x", "p"), json!({}));
        let refused = |error: kube::Error| {
            assert!(error.to_string().contains("a shadow changes nothing"), "{error}");
        };
        refused(wire::create(&client, pods, "x", &body).await.unwrap_err());
        refused(wire::post(&client, pods, &key, "binding", &body).await.unwrap_err());
        refused(wire::replace(&client, pods, &key, "status", &body).await.unwrap_err());
        refused(wire::patch(&client, pods, &key, "", Patch::Merge, &body).await.unwrap_err());
        refused(wire::delete(&client, pods, &key, &Deletion::default()).await.unwrap_err());
        refused(wire::delete_all(&client, pods, "x").await.unwrap_err());
        assert_eq!(lines(&requests), [""; 0]);
        assert!(wire::look(&client, pods, &key).await.unwrap().is_some());
        assert_eq!(lines(&requests), ["GET /api/v1/namespaces/x/pods/p"]);
    }

    #[test]
    fn a_get_that_acts_is_no_read() {
        let cases = [
            ("/api/v1/pods", false, true),
            ("/api/v1/namespaces/x/pods/p/log", false, true),
            ("/api/v1/namespaces/x/pods/p/exec", false, false),
            ("/api/v1/nodes/n/proxy/run", false, false),
            ("/api/v1/pods", true, false),
        ];
        for (path, upgrades, want) in cases {
            assert_eq!(reads(&Method::GET, path, upgrades), want, "{path}");
        }
        assert!(!reads(&Method::POST, "/api/v1/pods", false));
    }
}
