//! The way to the nodes: each agent opens a connection to us, and we send requests back over it.
//!
//! # Invariants
//! A node has at most one tunnel, the newest: an agent that comes back replaces what its last life left.
//!
//! # Absent
//! Ports on the nodes.

pub(crate) mod logs;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::status::{self, Status};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use store::Store;
use tracing::{debug, info};

use crate::app::{App, Ask};
use crate::limits::{PING_INTERVAL, PING_TIMEOUT, RETRY_SECONDS, TUNNEL_BYTES, TUNNEL_STREAM_BYTES};
use crate::reply::{self, Body, Reply};

/// The protocol's name in the Upgrade header.
const PROTOCOL: &str = "everynode-tunnel";

/// The connected nodes.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    tunnels: Mutex<HashMap<String, (u64, SendRequest<Body>)>>,
    next: AtomicU64,
}

impl Nodes {
    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn join(&self, node: &str, sender: SendRequest<Body>) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), (id, sender));
        id
    }

    fn leave(&self, node: &str, id: u64) {
        let mut tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        if tunnels.get(node).is_some_and(|(newest, _)| *newest == id) {
            tunnels.remove(node);
        }
    }

    fn sender(&self, node: &str) -> Option<SendRequest<Body>> {
        let tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        tunnels.get(node).map(|(_, sender)| sender.clone())
    }

    /// Whether a node is connected.
    pub(crate) fn knows(&self, node: &str) -> bool {
        self.sender(node).is_some()
    }

    /// 503 of a node that is not.
    pub(crate) fn unknown(&self, node: &str) -> Status {
        gone(node, "is not connected")
    }

    /// Sends a request to a node's agent.
    ///
    /// # Errors
    /// 503 when the node is not connected or its connection breaks.
    pub(crate) async fn send(&self, node: &str, request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut sender = self.sender(node).ok_or_else(|| self.unknown(node))?;
        sender.ready().await.map_err(|_| gone(node, "lost its connection"))?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| gone(node, &format!("does not answer ({error})")))?;
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}

fn gone(node: &str, why: &str) -> Status {
    let why = format!("node \"{node}\" {why}; check that its agent runs and can reach this server");
    status::unavailable_for_a_moment(&why, RETRY_SECONDS)
}

/// The node in a tunnel's path.
pub(crate) fn node_of(path: &str) -> Option<&str> {
    let node = path.strip_prefix("/everynode/v1/nodes/")?.strip_suffix("/tunnel")?;
    (!node.is_empty() && !node.contains('/')).then_some(node)
}

/// Answers an agent that opens its tunnel.
///
/// # Errors
/// 400 when the request does not ask for the upgrade.
pub(crate) fn open<S: Store>(app: &Arc<App<S>>, ask: Ask, node: &str) -> Reply {
    let wants =
        ask.headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()));
    let (true, Some(upgrade)) = (wants, ask.upgrade) else {
        return Err(status::bad_request(format!("this path needs HTTP/1.1 with 'Upgrade: {PROTOCOL}'")));
    };
    tokio::spawn(hold(app.clone(), node.to_owned(), upgrade));
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    Ok(response)
}

/// Keeps a tunnel until it breaks or the server stops.
async fn hold<S: Store>(app: Arc<App<S>>, node: String, upgrade: OnUpgrade) {
    let io = match upgrade.await {
        Ok(io) => io,
        Err(error) => return debug!(node, %error, "tunnel not opened"),
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
    builder.initial_stream_window_size(TUNNEL_STREAM_BYTES).initial_connection_window_size(TUNNEL_BYTES);
    let (sender, connection) = match builder.keep_alive_while_idle(true).handshake(io).await {
        Ok(opened) => opened,
        Err(error) => return debug!(node, %error, "tunnel handshake failed"),
    };
    let id = app.nodes.join(&node, sender);
    info!(node, "tunnel open");
    tokio::select! {
        ended = connection => if let Err(error) = ended { debug!(node, %error, "tunnel broke") },
        () = app.shutdown.cancelled() => {}
    }
    app.nodes.leave(&node, id);
    info!(node, "tunnel closed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(node_of("/everynode/v1/nodes/n-1/tunnel"), Some("n-1"));
        for other in ["/everynode/v1/nodes//tunnel", "/everynode/v1/nodes/a/b/tunnel", "/everynode/v1/nodes/a"] {
            assert_eq!(node_of(other), None, "{other}");
        }
    }
}
