//! Requests to whichever member of etcd answers.
//!
//! # Invariants
//! - Every request ends within a bound, also when a member hangs or the network swallows it.
//! - A request that may have happened is never sent again from here, unless sending it twice is the same as once.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::{Duration, Instant, sleep, timeout};
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::OpenError;
use super::address::{Address, TlsFiles};
use super::failure::Failure;
use super::limits::{
    ANSWER_BYTES_MAX, ATTEMPT_MAX, CONNECT_MAX, CONNECT_RETRY_MAX, CONNECTION_WINDOW_BYTES, PAUSE_MAX, PAUSE_MIN,
    PING_INTERVAL, PING_TIMEOUT, REQUEST_MAX, STREAM_WINDOW_BYTES,
};
use super::proto::{WATCH, WatchRequest, WatchResponse};
use crate::{Revision, StoreError};

/// The members and which of them is asked.
#[derive(Debug)]
pub(super) struct Client {
    members: Vec<Channel>,
    current: AtomicUsize,
    /// The newest revision that any answer showed.
    newest: AtomicU64,
}

impl Client {
    /// A client that connects when it is first asked something.
    pub(super) fn new(address: &Address) -> Result<Client, OpenError> {
        let tls = address.tls.as_ref().map(tls).transpose()?;
        let members = address.members.iter().map(|url| channel(url, tls.as_ref())).collect::<Result<_, _>>()?;
        Ok(Client { members, current: AtomicUsize::new(0), newest: AtomicU64::new(0) })
    }

    /// The newest revision that is known without asking.
    pub(super) fn newest(&self) -> Revision {
        Revision(self.newest.load(Ordering::Acquire))
    }

    /// Remembers that there is this revision.
    pub(super) fn saw(&self, revision: Revision) {
        self.newest.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// One attempt on the member whose turn it is; after a failure it is another's.
    pub(super) async fn attempt<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let (index, mut grpc) = self.member();
        let asked = async {
            grpc.ready().await.map_err(|e| Failure::Unsent(e.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
            Ok(answer.map_err(Failure::from)?.into_inner())
        };
        let outcome = timeout(ATTEMPT_MAX, asked).await.unwrap_or_else(|_| Err(Failure::silence()));
        if let Err(Failure::Unsent(_) | Failure::Unknown(_)) = outcome {
            self.turn_from(index);
        }
        outcome
    }

    /// Asks until there is an answer or the time is up. For requests that may be sent twice.
    pub(super) async fn ask<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut tries = Tries::new();
        loop {
            match self.attempt(path, request.clone()).await {
                Err(failure @ (Failure::Unsent(_) | Failure::Unknown(_))) => {
                    if !tries.again(&failure).await {
                        return Err(failure);
                    }
                }
                settled => return settled,
            }
        }
    }

    /// Opens a stream of a watch on the member whose turn it is.
    pub(super) async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchResponse>, Failure> {
        let (index, mut grpc) = self.member();
        // The stream of requests stays open: its end would end the watch.
        let requests = futures::StreamExt::chain(
            futures::stream::once(std::future::ready(request)),
            futures::stream::pending::<WatchRequest>(),
        );
        let mut requests = Request::new(requests);
        // A member that is cut off from its cluster says so, and does not keep the watch in silence.
        requests.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let opened = async {
            grpc.ready().await.map_err(|e| Failure::Unsent(e.to_string()))?;
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            let answer = grpc.streaming(requests, PathAndQuery::from_static(WATCH), codec).await;
            Ok(answer.map_err(Failure::from)?.into_inner())
        };
        let outcome = timeout(ATTEMPT_MAX, opened).await.unwrap_or_else(|_| Err(Failure::silence()));
        if outcome.is_err() {
            self.turn_from(index);
        }
        outcome
    }

    /// Whose turn it is.
    fn member(&self) -> (usize, Grpc<Channel>) {
        let index = self.current.load(Ordering::Relaxed) % self.members.len();
        let grpc = Grpc::new(self.members[index].clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        (index, grpc)
    }

    /// The next one's turn, unless someone else turned already.
    pub(super) fn turn_from(&self, index: usize) {
        let next = (index + 1) % self.members.len();
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Turns away from the member whose turn it is.
    pub(super) fn turn(&self) {
        self.turn_from(self.current.load(Ordering::Relaxed));
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    began: Instant,
    pause: Duration,
    sent: bool,
}

impl Tries {
    pub(super) fn new() -> Tries {
        Tries { began: Instant::now(), pause: PAUSE_MIN, sent: false }
    }

    /// Waits before the next try; false when the time is up.
    pub(super) async fn again(&mut self, failure: &Failure) -> bool {
        self.sent |= matches!(failure, Failure::Unknown(_));
        let bound = if self.sent { REQUEST_MAX } else { CONNECT_RETRY_MAX };
        if self.began.elapsed() + self.pause > bound {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

/// What a caller is told when etcd did not answer.
pub(super) fn no_answer(failure: Failure) -> StoreError {
    match failure {
        Failure::Refused(error) => error,
        Failure::Unsent(why) => StoreError::Unavailable(why),
        other => StoreError::Timeout(other.words()),
    }
}

fn channel(url: &str, tls: Option<&ClientTlsConfig>) -> Result<Channel, OpenError> {
    let unusable = |e: tonic::transport::Error| OpenError::Tls(words(&e));
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(unusable)?
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.clone()).map_err(unusable)?;
    }
    Ok(endpoint.connect_lazy())
}

fn tls(files: &TlsFiles) -> Result<ClientTlsConfig, OpenError> {
    let mut config = ClientTlsConfig::new().timeout(CONNECT_MAX);
    if let Some(ca) = &files.ca {
        config = config.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let (Some(cert), Some(key)) = (&files.cert, &files.key) {
        config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
