//! One connection: its handshake, its requests, and when it has lived long enough.
//!
//! # Invariants
//! - A client that has not asked for anything within a deadline is gone, whatever it sent of a handshake, a preface or
//!   headers; so is one that asks for nothing more, and one that does not read its answers.
//! - Which HTTP is spoken was agreed on in the TLS handshake: nothing is guessed from what the client sends.

use std::convert::Infallible;
use std::pin::{Pin, pin};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Handler;
use super::activity::{Activity, Answer, State};
use super::stalling::{HandedOver, Stalling};
use crate::auth::{Peer, Proof};
use crate::limits::{
    CLOSE_GRACE, HEADER_BYTES_MAX, HEADER_TIMEOUT, IDLE_TIMEOUT, PING_INTERVAL, PING_TIMEOUT, STREAMS_MAX,
};
use crate::pki::common_name_and_organizations;

/// HTTP/2 as TLS names it.
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1 as TLS names it.
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// Serves what comes on `stream` until either side has enough.
pub(super) async fn run<T>(stream: T, acceptor: TlsAcceptor, handler: impl Handler, shutdown: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let began = Instant::now();
    let handed_over = HandedOver::default();
    let stream = Stalling::new(stream, handed_over.clone());
    let tls = match timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return debug!(%error, "tls handshake failed"),
        Err(_) => return debug!("tls handshake took too long"),
    };
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(H2);
    let peer = peer(&tls);
    let activity = Activity::new();
    let service = service_fn({
        let activity = activity.clone();
        move |request: Request<Incoming>| {
            let open = activity.begin();
            let (handler, peer, handed_over) = (handler.clone(), peer.clone(), handed_over.clone());
            // hyper keeps the room of this future until the answer's last byte, and a watch may last for hours: what it takes to
            // find the answer is on the heap by itself, and goes as soon as there is one.
            Box::pin(async move {
                let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                request.extensions_mut().insert(peer);
                let response: Response<_> = handler.handle(request).await;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    handed_over.set();
                }
                Ok::<_, Infallible>(response.map(|body| Answer { body, _open: open }))
            })
        }
    });
    let io = TokioIo::new(tls);
    let ended = if is_h2 {
        watch_over(h2().serve_connection(io, service), began, &activity, &shutdown).await
    } else {
        watch_over(h1().serve_connection(io, service).with_upgrades(), began, &activity, &shutdown).await
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

fn peer<T>(tls: &TlsStream<T>) -> Peer {
    Peer(tls.get_ref().1.peer_certificates().and_then(|chain| {
        let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
        let until = certificate.validity().not_after.timestamp();
        common_name_and_organizations(&certificate).map(|subject| Proof { subject, until })
    }))
}

fn h1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The timeout counts from the end of the request before, so it bounds how long a connection may be idle, too.
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT).max_header_size(HEADER_BYTES_MAX);
    builder.max_buf_size(HEADER_BYTES_MAX);
    builder
}

fn h2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// A connection of hyper's, of either version.
trait Closing: Future<Output = Result<(), hyper::Error>> {
    /// Takes no more requests and ends after the open ones.
    fn close(self: Pin<&mut Self>);
}

impl<I, S> Closing for http1::UpgradeableConnection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Answer>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Closing for http2::Connection<I, S, TokioExecutor>
where
    S: hyper::service::HttpService<Incoming, ResBody = Answer>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    TokioExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, Answer>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection until it ends, is no longer used, or the server shuts down and its requests are answered.
async fn watch_over(
    connection: impl Closing,
    began: Instant,
    activity: &Activity,
    shutdown: &CancellationToken,
) -> Result<(), hyper::Error> {
    let mut connection = pin!(connection);
    let mut closing = false;
    let mut look = began + HEADER_TIMEOUT;
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = shutdown.cancelled(), if !closing => {
                connection.as_mut().close();
                closing = true;
            }
            () = sleep_until(look) => {
                let now = Instant::now();
                look = match activity.state() {
                    State::Silent => return Ok(()),
                    State::IdleSince(_) if closing => return Ok(()),
                    State::Busy => now + IDLE_TIMEOUT,
                    State::IdleSince(since) if since + IDLE_TIMEOUT > now => since + IDLE_TIMEOUT,
                    State::IdleSince(_) => {
                        connection.as_mut().close();
                        closing = true;
                        now + CLOSE_GRACE
                    }
                };
            }
        }
    }
}
