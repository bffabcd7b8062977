//! The way from the API server to this node: one connection that the node opens, so that it needs no open port.
//!
//! After `101 Switching Protocols` the roles turn: the node is the HTTP/2 server and the API server its client, with the
//! kubelet's paths (`/containerLogs/…`, `/exec/…`, `/pods`, `/healthz`).
//!
//! # Invariants
//! A lost connection is opened again, slower each time; requests on it end with it, containers do not notice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rand::Rng as _;

use crate::agent::Agent;
use crate::runtime::Runtime;

mod exec;
mod follow;
mod forward;
mod logs;
mod query;
mod serve;

/// Name of the protocol in the Upgrade header.
const PROTOCOL: &str = "everynode-tunnel";
/// First wait after a lost connection.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Longest wait: logs of a node work again this long after its server is back.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15);
/// The answer to the upgrade must come within this.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests at once: more than people at `kubectl logs -l` and a browser at `kubectl port-forward` ask for, less than
/// hurts a small node.
const STREAMS_MAX: u32 = 128;
/// How often a silent connection is tested: a server that vanished is noticed within two of these.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Bytes on their way in one answer: bounds memory when many logs are followed.
const WINDOW: u32 = 256 * 1024;

/// What an answer is made of.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// An answer in plain text, as the kubelet gives errors.
fn plain(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole(text));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    response
}

/// Keeps the tunnel open until shutdown; none where the agent has no client for it. An agent that starts knows its pods
/// first: until then the API server says that the node is not connected, and not that a pod is not here.
pub(crate) async fn keep<R: Runtime>(agent: &Arc<Agent<R>>) {
    let Some(client) = &agent.tunnel else { return };
    let node = &agent.options.node_name;
    tokio::select! {
        () = agent.shutdown.cancelled() => return,
        () = agent.pods_known.cancelled() => {}
    }
    let (mut wait, mut logged) = (RETRY_AFTER, false);
    loop {
        let begin = tokio::time::Instant::now();
        let result = tokio::select! {
            () = agent.shutdown.cancelled() => return,
            result = once(agent, client) => result,
        };
        if begin.elapsed() > RETRY_AFTER_MAX {
            (wait, logged) = (RETRY_AFTER, false);
        }
        match result {
            Err(error) if !logged => {
                logged = true;
                tracing::warn!("node {node}: no tunnel to the API server, so no logs and no exec: {error}");
            }
            Err(error) => tracing::debug!("node {node}: tunnel: {error}"),
            Ok(()) => tracing::debug!("node {node}: the tunnel ended"),
        }
        // Nodes that lost one server must not all come back in the same moment.
        let jitter = rand::rng().random_range(0.8..1.2);
        tokio::select! {
            () = agent.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait.mul_f64(jitter)) => wait = (wait * 2).min(RETRY_AFTER_MAX),
        }
    }
}

/// Opens one connection and serves it to its end.
async fn once<R: Runtime>(agent: &Arc<Agent<R>>, client: &kube::Client) -> Result<(), String> {
    let path = format!("/everynode/v1/nodes/{}/tunnel", agent.options.node_name);
    let request = Request::get(path)
        .header(http::header::CONNECTION, "Upgrade")
        .header(http::header::UPGRADE, PROTOCOL)
        .body(kube::client::Body::empty())
        .map_err(|e| e.to_string())?;
    let response = tokio::time::timeout(UPGRADE_TIMEOUT, client.send(request))
        .await
        .map_err(|_| format!("no answer within {UPGRADE_TIMEOUT:?}"))?
        .map_err(|e| e.to_string())?;
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the API server answers {} instead of switching protocols", response.status()));
    }
    let stream = hyper::upgrade::on(response).await.map_err(|e| e.to_string())?;
    tracing::debug!("node {}: the tunnel is open", agent.options.node_name);
    serve_on(agent, stream).await
}

async fn serve_on<R: Runtime, S>(agent: &Arc<Agent<R>>, stream: S) -> Result<(), String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let agent = Arc::clone(agent);
        async move { Ok::<_, Infallible>(serve::answer(agent, request).await) }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW)
        // Streams that nobody reads must not stop the others.
        .initial_connection_window_size(WINDOW * STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .serve_connection(stream, service)
        .await
        .map_err(|e| e.to_string())
}
