//! A connection into a pod, as a stream of bytes.

use std::sync::Arc;

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::PIECES_MAX;
use super::forward::{Pod, connect};
use crate::app::App;

/// Bytes that wait in one direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// Connects to a port of a pod, through its node.
///
/// # Errors
/// Why there is no connection.
pub(crate) async fn into_pod<S: Store>(
    app: &Arc<App<S>>,
    node: &str,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<DuplexStream, String> {
    let pod = Pod {
        app: Arc::clone(app),
        node: node.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: String::new(),
    };
    let (to_pod, input) = mpsc::channel(PIECES_MAX);
    let mut from_pod = connect(&pod, port, input).await?;
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let (mut reader, mut writer) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
        // The end of what is written ends the request to the node, and with that the connection's input.
        while matches!(reader.read_buf(&mut buffer).await, Ok(length) if length > 0) {
            if to_pod.send(buffer.split().freeze()).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(piece)) = from_pod.frame().await {
            let Ok(piece) = piece.into_data() else { continue };
            if writer.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    Ok(near)
}
