//! SPDY clients of port-forward: for each connection they open two streams, one for errors and one for bytes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use spdy::{Event, Writer};
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::PIECES_MAX;
use super::forward::{self, Pod, Side};

/// Connections at once through one client: a browser opens a handful, a load test some hundred.
const CONNECTIONS_MAX: usize = 512;

/// A connection's streams, as far as they are there.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<u32>,
    port: u16,
}

/// A connection that is being served.
struct Open {
    input: Option<mpsc::Sender<Bytes>>,
    /// The client has given it up.
    given_up: CancellationToken,
}

/// Serves until the client goes.
pub(super) async fn run<S, T>(io: T, pod: Pod<S>)
where
    S: Store,
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, writer) = spdy::open(io);
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    let mut open: HashMap<u32, Open> = HashMap::new();
    let mut tasks: JoinSet<u32> = JoinSet::new();
    while let Some(event) = reader.next().await {
        while let Some(ended) = tasks.try_join_next() {
            open.remove(&ended.unwrap_or_default());
        }
        match event {
            Event::Open { stream, headers, .. } => {
                let header = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
                let port = header("port").parse::<u16>().ok().filter(|port| *port > 0);
                let (Some(port), true) = (port, open.len() + pairs.len() < CONNECTIONS_MAX) else {
                    if writer.reset(stream).await.is_err() {
                        return;
                    }
                    continue;
                };
                if writer.accept(stream).await.is_err() {
                    return;
                }
                let request = header("requestid").to_owned();
                let pair = pairs.entry(request.clone()).or_default();
                pair.port = port;
                match header("streamtype") {
                    "error" => pair.error = Some(stream),
                    "data" => pair.data = Some(stream),
                    _ => {}
                }
                if let Pair { error: Some(error), data: Some(data), port } = *pair {
                    pairs.remove(&request);
                    let (input, receiver) = mpsc::channel(PIECES_MAX);
                    let given_up = CancellationToken::new();
                    let side = Streams { writer: writer.clone(), error, data, given_up: given_up.clone() };
                    let forwarding = forward::run(pod.clone(), port, receiver, side);
                    open.insert(data, Open { input: Some(input), given_up: given_up.clone() });
                    tasks.spawn(async move {
                        forwarding.await;
                        data
                    });
                }
            }
            Event::Data { stream, bytes, fin } => {
                let Some(connection) = open.get_mut(&stream) else { continue };
                if let Some(input) = connection.input.as_ref().filter(|_| !bytes.is_empty()) {
                    // A pod that has closed takes no more; the client learns of it by the other direction.
                    let _ = input.send(bytes).await;
                }
                if fin {
                    connection.input = None;
                }
            }
            Event::Reset(stream) => {
                if let Some(connection) = open.remove(&stream) {
                    connection.given_up.cancel();
                }
            }
            Event::GoAway => return,
        }
    }
}

/// The client's two streams.
struct Streams<S> {
    writer: Writer<S>,
    error: u32,
    data: u32,
    given_up: CancellationToken,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Side for Streams<S> {
    async fn data(&self, bytes: &[u8]) -> bool {
        !self.given_up.is_cancelled() && self.writer.data(self.data, bytes, false).await.is_ok()
    }

    async fn gone(&self) {
        self.given_up.cancelled().await;
    }

    async fn end(&self, error: Option<String>) {
        if self.given_up.is_cancelled() {
            return;
        }
        let text = error.as_deref().unwrap_or_default();
        let _ = self.writer.data(self.error, text.as_bytes(), true).await;
        let _ = self.writer.data(self.data, &[], true).await;
    }
}
