//! A connection to a port of a pod: the request's body goes in, the answer's body is what comes out.

use std::sync::Arc;

use futures::StreamExt as _;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::query::Query;
use super::serve::find_pod;
use super::{Body, plain};
use crate::agent::{Agent, observe};
use crate::runtime::Runtime;
use crate::runtime::streaming::{Connection, Writer};

/// Answers POST /portForward/NAMESPACE/POD?port=NUMBER, once the port is connected to.
pub(super) async fn answer<R: Runtime>(
    agent: &Arc<Agent<R>>,
    namespace: &str,
    name: &str,
    query: &Query,
    input: Incoming,
) -> Response<Body> {
    let port = match query.number::<u16>("port") {
        Ok(Some(port)) if port > 0 => port,
        _ => return plain(400, "port must be a number from 1 to 65535"),
    };
    let Some(pod) = find_pod(agent, namespace, name) else { return plain(404, "pod does not exist") };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let sandbox = match observe(agent.runtime.as_ref(), uid).await {
        Ok(picture) => picture.sandbox_id(),
        Err(error) => return plain(500, error.to_string()),
    };
    let Some(sandbox) = sandbox else { return plain(500, "pod not running: it has no sandbox") };
    let Connection { reader, writer } = match agent.runtime.connect(&sandbox, port).await {
        Ok(connection) => connection,
        Err(error) => return plain(500, error.to_string()),
    };
    tokio::spawn(copy_input(input, writer));
    // A connection that breaks ends the answer: there is no other way to say it in TCP either.
    let pieces = ReaderStream::new(reader).take_while(|piece| std::future::ready(piece.is_ok()));
    let pieces = pieces.map(|piece| Ok(Frame::data(piece.unwrap_or_default())));
    Response::new(BodyExt::boxed(StreamBody::new(pieces)))
}

async fn copy_input(mut input: Incoming, mut writer: Writer) {
    while let Some(Ok(piece)) = input.frame().await {
        let Ok(piece) = piece.into_data() else { continue };
        if writer.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
