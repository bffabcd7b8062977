//! Live streams of pods: exec, attach, port-forward. The client speaks websocket or SPDY, the node's agent frames.
//!
//! # Invariants
//! - The agent has agreed before the client's connection is switched: what is wrong until then is an HTTP answer.
//! - Nothing is queued but a few pieces in each direction: whoever is slow holds the other side up.
//! - When either side goes, the other is told at once.

mod bridge;
mod forward;
mod handshake;
mod into_pod;
mod spdy_exec;
mod spdy_forward;
mod websocket;

use std::sync::Arc;

use api::status::{self, Status};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use store::Store;
use tokio::sync::mpsc;

use crate::app::{App, Ask, Place};
use crate::body::up_to;
use crate::object;
use crate::reply::{self, Body, Reply};
use crate::request::Query;
use crate::tunnel::logs::container;

use handshake::Way;
pub(crate) use into_pod::into_pod;

/// Pieces on their way to a node: the next is read from the client when there is room.
const PIECES_MAX: usize = 4;
/// The part of an agent's error text that is passed on.
const ERROR_BYTES_MAX: usize = 8 * 1024;

/// What is done with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A command is run in it.
    Exec,
    /// Its own program is looked at.
    Attach,
}

/// The streams that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    fn read(query: &Query) -> Result<Wanted, Status> {
        let tty = query.flag("tty");
        let wanted = Wanted {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            // A terminal has no errors of its own.
            stderr: query.flag("stderr") && !tty,
            tty,
        };
        match wanted.stdin || wanted.stdout || wanted.stderr {
            true => Ok(wanted),
            false => Err(status::bad_request("you must specify at least one of stdin, stdout, stderr")),
        }
    }
}

/// Answers `pods/NAME/exec` and `pods/NAME/attach`.
pub(crate) async fn container_streams<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>, what: What) -> Reply {
    let pod = object::decode(&app.entry(place).await?)?;
    let container = container(place, &pod, ask.query.get("container"))?;
    let node = node(place, &pod)?;
    let wanted = Wanted::read(&ask.query)?;
    if what == What::Exec && ask.query.all("command").next().is_none() {
        return Err(status::bad_request("you must specify at least 1 command for the container"));
    }
    let handshake = handshake::read(&ask, handshake::REMOTE_COMMAND)?;
    let (to_node, body) = pipe();
    let request = Request::post(uri(place, &container, &ask.query, wanted, what)).body(body);
    let answer = app.nodes.send(&node, request.map_err(status::internal)?).await?;
    if answer.status() != StatusCode::OK {
        return Ok(refused(answer).await);
    }
    let (response, upgrade, way) = handshake.accept();
    let (from_node, shutdown) = (answer.into_body(), app.shutdown.clone());
    tokio::spawn(async move {
        let Ok(io) = upgrade.await.map(hyper_util::rt::TokioIo::new) else { return };
        match way {
            Way::WebSocket(protocol) => {
                let (listener, speaker) = websocket::open(io, protocol).await;
                bridge::run(listener, speaker, to_node, from_node, shutdown).await;
            }
            Way::Spdy => {
                let opened = spdy_exec::open(io, wanted).await;
                let Some((listener, speaker)) = opened else { return };
                bridge::run(listener, speaker, to_node, from_node, shutdown).await;
            }
        }
    });
    Ok(response)
}

/// Answers `pods/NAME/portforward`.
pub(crate) async fn port_forward<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let pod = object::decode(&app.entry(place).await?)?;
    let node = node(place, &pod)?;
    if !app.nodes.knows(&node) {
        return Err(app.nodes.unknown(&node));
    }
    let handshake = handshake::read(&ask, handshake::PORT_FORWARD)?;
    let ports = match handshake.way() {
        Way::WebSocket(handshake::TUNNEL) | Way::Spdy => Vec::new(),
        Way::WebSocket(_) => forward::ports(&ask.query)?,
    };
    let (response, upgrade, way) = handshake.accept();
    let namespace = place.namespace.unwrap_or_default().to_owned();
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let pod = forward::Pod { app: Arc::clone(app), node, namespace, name: place.name.to_owned(), uid };
    tokio::spawn(async move {
        let shutdown = pod.app.shutdown.clone();
        let Ok(io) = upgrade.await.map(hyper_util::rt::TokioIo::new) else { return };
        let forwarding = async {
            match way {
                Way::WebSocket(handshake::TUNNEL) => spdy_forward::run(websocket::tunnel(io).await, pod).await,
                Way::WebSocket(protocol) => websocket::forward(io, ports, pod, protocol == handshake::V5).await,
                Way::Spdy => spdy_forward::run(io, pod).await,
            }
        };
        tokio::select! {
            () = forwarding => {}
            () = shutdown.cancelled() => {}
        }
    });
    Ok(response)
}

fn node(place: Place<'_>, pod: &serde_json::Value) -> Result<String, Status> {
    let node = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty());
    let unbound = || status::bad_request(format!("pod {} does not have a host assigned", place.name));
    node.map(str::to_owned).ok_or_else(unbound)
}

/// A request's body that is written while the request runs.
fn pipe() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    (sender, reply::streamed(pieces))
}

fn uri(place: Place<'_>, container: &str, query: &Query, wanted: Wanted, what: What) -> String {
    let verb = match what {
        What::Exec => "exec",
        What::Attach => "attach",
    };
    let flags = [("stdin", wanted.stdin), ("stdout", wanted.stdout), ("stderr", wanted.stderr), ("tty", wanted.tty)];
    let flags = flags.into_iter().filter(|(_, is)| *is).map(|(name, _)| format!("{name}=true"));
    let command = query.all("command").map(|word| format!("command={}", utf8_percent_encode(word, NON_ALPHANUMERIC)));
    let parameters: Vec<String> = flags.chain(command.take_while(|_| what == What::Exec)).collect();
    let namespace = place.namespace.unwrap_or_default();
    format!("http://node/{verb}/{namespace}/{}/{container}?{}", place.name, parameters.join("&"))
}

/// What the agent said, as it said it: clients know a kubelet's words.
async fn refused(answer: Response<Body>) -> Response<Body> {
    let code = answer.status();
    let (bytes, _) = up_to(answer.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    reply::text(code, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_the_node() {
        let kind = api::kinds::find("", "v1", "pods").unwrap();
        let place = Place { kind, namespace: Some("a"), name: "b" };
        let query = Query::parse(Some(
            "command=sh&command=-c&command=a+%26&container=x&stdin=true&stdout=1&stderr=true&tty=true",
        ));
        let wanted = Wanted::read(&query).unwrap();
        let got = uri(place, "x", &query, wanted, What::Exec);
        assert_eq!(
            got,
            "http://node/exec/a/b/x?stdin=true&stdout=true&tty=true&command=sh&command=%2Dc&command=a%20%26"
        );
        let got = uri(place, "x", &query, wanted, What::Attach);
        assert_eq!(got, "http://node/attach/a/b/x?stdin=true&stdout=true&tty=true");
        assert!(Wanted::read(&Query::parse(Some("command=sh"))).is_err());
        assert!(Wanted::read(&Query::parse(Some("stderr=true&tty=true"))).is_err());
    }

    #[test]
    fn a_pod_without_a_node_has_no_streams() {
        let kind = api::kinds::find("", "v1", "pods").unwrap();
        let place = Place { kind, namespace: Some("a"), name: "b" };
        assert_eq!(node(place, &serde_json::json!({"spec": {"nodeName": "n"}})).unwrap(), "n");
        let refused = node(place, &serde_json::json!({"spec": {}})).unwrap_err();
        assert_eq!(refused.message(), "pod b does not have a host assigned");
    }
}
