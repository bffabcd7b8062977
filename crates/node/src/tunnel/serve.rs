//! The node's answers, by path.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::query::{Query, decode};
use super::{Body, exec, forward, logs, plain, whole};
use crate::agent::Agent;
use crate::measure;
use crate::runtime::Runtime;

/// Answers one request.
pub(super) async fn answer<R: Runtime>(agent: Arc<Agent<R>>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["healthz"]) => plain(200, "ok"),
        (&Method::GET, ["pods"]) => pods(&agent),
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            logs::answer(&agent, namespace, pod, container, &query).await
        }
        (&Method::POST, ["exec", namespace, pod, container]) => {
            let at = exec::At { namespace, pod, container };
            exec::exec(&agent, at, &query, request.into_body()).await
        }
        (&Method::POST, ["attach", namespace, pod, container]) => {
            let at = exec::At { namespace, pod, container };
            exec::attach(&agent, at, &query, request.into_body()).await
        }
        (&Method::POST, ["portForward", namespace, pod]) => {
            forward::answer(&agent, namespace, pod, &query, request.into_body()).await
        }
        (&Method::GET, ["metrics" | "stats", ..]) => match measure::answer(&agent, &parts).await {
            Some((kind, text)) => typed(kind, text),
            None => plain(404, format!("{path}: this node has no such page")),
        },
        (_, _) => plain(404, format!("{path}: this node has no such path")),
    }
}

/// Finds a pod of this node.
pub(super) fn find_pod<R>(agent: &Agent<R>, namespace: &str, name: &str) -> Option<Arc<Pod>> {
    let mut all = agent.pods();
    all.retain(|p| p.metadata.namespace.as_deref() == Some(namespace) && p.metadata.name.as_deref() == Some(name));
    // A pod that ends and its successor may be here together; the newer one is meant.
    all.into_iter().max_by_key(|p| p.metadata.creation_timestamp.clone())
}

fn typed(kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(whole(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn pods<R>(agent: &Agent<R>) -> Response<Body> {
    let items: Vec<Arc<Pod>> = agent.pods();
    let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
    typed("application/json", list.to_string())
}
