//! Websocket clients: a message's first byte names the channel.

use api::frames;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use store::Store;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};

use super::PIECES_MAX;
use super::bridge::{Listen, Said, Tell};
use super::forward::{self, Pod, Side};
use super::handshake::V5;

/// Longest message: clients send what they read at a time, some 32 KiB.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a tunnelled protocol on their way.
const TUNNEL_BYTES_MAX: usize = 64 * 1024;

async fn accept<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX);
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// Content of the next message; None when the client has gone.
async fn message<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut SplitStream<WebSocketStream<S>>) -> Option<Bytes> {
    loop {
        match stream.next().await?.ok()? {
            Message::Binary(bytes) => return Some(bytes),
            Message::Text(text) => return Some(text.into()),
            Message::Close(_) => return None,
            // Pings are answered by the library, with the next reading.
            _ => {}
        }
    }
}

fn farewell() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// The client's speaking side.
pub(super) struct Listener<S> {
    stream: SplitStream<WebSocketStream<S>>,
    /// It says when a channel has ended.
    closes: bool,
}

/// The client's listening side.
pub(super) struct Speaker<S>(SplitSink<WebSocketStream<S>, Message>);

/// Takes a connection over for a remote command.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin + Send>(io: S, protocol: &str) -> (Listener<S>, Speaker<S>) {
    let (mut sink, stream) = accept(io).await.split();
    // Clients take the first message for a sign that the streams are there.
    let _ = sink.send(Message::binary(vec![frames::STDOUT])).await;
    (Listener { stream, closes: protocol == V5 }, Speaker(sink))
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Listen for Listener<S> {
    async fn next(&mut self) -> Option<Said> {
        loop {
            let mut bytes = message(&mut self.stream).await?;
            if bytes.is_empty() {
                continue;
            }
            let rest = bytes.split_off(1);
            match (bytes.first(), rest.first()) {
                (Some(&frames::CLOSE), Some(channel)) if self.closes => return Some(Said::Close(*channel)),
                (Some(&frames::CLOSE), _) | (None, _) => {}
                (Some(channel), _) => return Some(Said::Data(*channel, rest)),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Tell for Speaker<S> {
    async fn data(&mut self, channel: u8, mut bytes: Vec<u8>) -> bool {
        bytes.insert(0, channel);
        self.0.send(Message::binary(bytes)).await.is_ok()
    }

    async fn ping(&mut self) -> bool {
        self.0.send(Message::Ping(Bytes::new())).await.is_ok()
    }

    async fn end(&mut self) {
        let _ = self.0.send(farewell()).await;
    }
}

/// The connection as a stream of bytes, for a protocol that is tunnelled through it.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(TUNNEL_BYTES_MAX);
    let (mut sink, mut stream) = accept(io).await.split();
    let (mut from, mut to) = tokio::io::split(theirs);
    tokio::spawn(async move {
        let up = async {
            while let Some(bytes) = message(&mut stream).await {
                if to.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            let _ = to.shutdown().await;
        };
        let down = async {
            let mut chunk = vec![0; TUNNEL_BYTES_MAX / 2];
            while let Ok(count @ 1..) = from.read(&mut chunk).await {
                let Some(bytes) = chunk.get(..count) else { break };
                if sink.send(Message::binary(bytes.to_vec())).await.is_err() {
                    return;
                }
            }
            let _ = sink.send(farewell()).await;
        };
        // The client closes when it has read the farewell; one that does not is given up with the bytes' other end.
        tokio::join!(up, down);
    });
    ours
}

/// Ports of a pod to a client that names them all at the begin: two channels each, for bytes and for errors.
pub(super) async fn forward<S, T>(io: T, ports: Vec<u16>, pod: Pod<S>, closes: bool)
where
    S: Store,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, mut stream) = accept(io).await.split();
    let sink = std::sync::Arc::new(tokio::sync::Mutex::new(sink));
    let mut inputs = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        // `forward::ports` has bounded their number.
        let channel = u8::try_from(2 * index).unwrap_or(u8::MAX - 1);
        let side = Channels { sink: sink.clone(), channel };
        for channel in [channel, channel + 1] {
            let [low, high] = port.to_le_bytes();
            let _ = sink.lock().await.send(Message::binary(vec![channel, low, high])).await;
        }
        let (input, receiver) = mpsc::channel(PIECES_MAX);
        inputs.push(Some(input));
        tasks.spawn(forward::run(pod.clone(), port, receiver, side));
    }
    let reading = async {
        while let Some(mut bytes) = message(&mut stream).await {
            if bytes.is_empty() {
                continue;
            }
            let rest = bytes.split_off(1);
            let channel = match (bytes.first(), rest.first()) {
                (Some(&frames::CLOSE), Some(channel)) if closes => {
                    if let Some(input) = inputs.get_mut(usize::from(*channel) / 2) {
                        *input = None;
                    }
                    continue;
                }
                (channel, _) => usize::from(channel.copied().unwrap_or_default()),
            };
            if let Some(Some(input)) = inputs.get(channel / 2).filter(|_| channel % 2 == 0) {
                let _ = input.send(rest).await;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = async { while tasks.join_next().await.is_some() {} } => {
            let _ = sink.lock().await.send(farewell()).await;
        }
    }
}

/// The two channels of one port.
struct Channels<S> {
    sink: std::sync::Arc<tokio::sync::Mutex<SplitSink<WebSocketStream<S>, Message>>>,
    channel: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Side for Channels<S> {
    async fn data(&self, bytes: &[u8]) -> bool {
        let message = [&[self.channel], bytes].concat();
        self.sink.lock().await.send(Message::binary(message)).await.is_ok()
    }

    async fn gone(&self) {
        // All go together.
        std::future::pending().await
    }

    async fn end(&self, error: Option<String>) {
        if let Some(error) = error {
            let message = [&[self.channel + 1], error.as_bytes()].concat();
            let _ = self.sink.lock().await.send(Message::binary(message)).await;
        }
    }
}
