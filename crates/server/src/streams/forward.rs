//! One connection through a node into a pod, whatever the client speaks.

use std::sync::Arc;

use api::status::{self, Status};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use store::Store;
use tokio::sync::mpsc;

use super::ERROR_BYTES_MAX;
use crate::app::App;
use crate::body::up_to;
use crate::reply::{self, Body};
use crate::request::Query;

/// Ports of one websocket: two channels each have to fit a byte.
const PORTS_MAX: usize = 64;

/// The pod that is connected to.
pub(super) struct Pod<S> {
    pub(super) app: Arc<App<S>>,
    pub(super) node: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

// Not derived: that would ask it of the store too.
impl<S> Clone for Pod<S> {
    fn clone(&self) -> Self {
        Pod {
            app: Arc::clone(&self.app),
            node: self.node.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }
}

/// The client's side of one connection.
pub(super) trait Side: Send + Sync + 'static {
    /// Bytes from the pod; false when the client has gone.
    fn data(&self, bytes: &[u8]) -> impl Future<Output = bool> + Send;
    /// Returns when the client has given it up.
    fn gone(&self) -> impl Future<Output = ()> + Send;
    /// The end, and why it came early.
    fn end(&self, error: Option<String>) -> impl Future<Output = ()> + Send;
}

/// Copies both ways. The pod is told the client's end when `input` ends, and all ends when the pod closes.
pub(super) async fn run<S: Store>(pod: Pod<S>, port: u16, input: mpsc::Receiver<Bytes>, side: impl Side) {
    let error = match connect(&pod, port, input).await {
        Ok(body) => {
            copy(body, &side).await;
            None
        }
        Err(why) => Some(format!("error forwarding port {port} to pod {}, uid {}: {why}", pod.name, pod.uid)),
    };
    side.end(error).await;
}

pub(super) async fn connect<S: Store>(pod: &Pod<S>, port: u16, input: mpsc::Receiver<Bytes>) -> Result<Body, String> {
    let pieces = futures::stream::unfold(input, |mut input| async move {
        let piece = input.recv().await?;
        Some((piece, input))
    });
    let uri = format!("http://node/portForward/{}/{}?port={port}", pod.namespace, pod.name);
    let request = Request::post(uri).body(reply::streamed(pieces)).map_err(|error| error.to_string())?;
    let answer = pod.app.nodes.send(&pod.node, request).await.map_err(|status| status.message().to_owned())?;
    if answer.status() == StatusCode::OK {
        return Ok(answer.into_body());
    }
    let (text, _) = up_to(answer.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    Err(String::from_utf8_lossy(&text).into_owned())
}

async fn copy(mut body: Body, side: &impl Side) {
    loop {
        let piece = tokio::select! {
            piece = body.frame() => piece,
            () = side.gone() => return,
        };
        let Some(Ok(piece)) = piece else { return };
        let Ok(piece) = piece.into_data() else { continue };
        if !side.data(&piece).await {
            return;
        }
    }
}

/// The ports in a query: `ports=80&ports=443` or `ports=80,443`.
///
/// # Errors
/// 400 without one, or with one that is none.
pub(super) fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let mut ports = Vec::new();
    for word in query.all("ports").flat_map(|value| value.split(',')) {
        match word.parse::<u16>() {
            Ok(port) if port > 0 => ports.push(port),
            _ => return Err(status::bad_request(format!("unable to parse {word:?} as a port"))),
        }
    }
    match ports.len() {
        0 => Err(status::bad_request("query parameter \"ports\" is required")),
        1..=PORTS_MAX => Ok(ports),
        _ => Err(status::bad_request(format!("at most {PORTS_MAX} ports can be forwarded by one connection"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_query() {
        let read = |text| ports(&Query::parse(Some(text))).ok();
        assert_eq!(read("ports=80&ports=443,8080"), Some(vec![80, 443, 8080]));
        for bad in ["", "ports=", "ports=0", "ports=70000", "ports=http"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let many = vec!["80"; PORTS_MAX + 1].join(",");
        assert_eq!(read(&format!("ports={many}")), None);
    }
}
