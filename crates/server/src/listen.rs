//! The TLS listener: connections to requests.
//!
//! # Invariants
//! - A connection costs a bounded amount until its client has shown a request: handshake and headers have deadlines.
//! - One address can't take all connections.
//! - After shutdown begins, no connection is taken, open ones finish their requests within a grace.

mod activity;
mod connection;
mod stalling;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::error::ServerError;
use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, PING_INTERVAL, PROBE_INTERVAL, PROBES_MAX, SHUTDOWN_GRACE,
};
use crate::pki::ServingPki;
use crate::reply::Body;
use crate::seats::Seats;

/// Pause after the system refused a connection, for example because all file descriptors are in use.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Answers requests; cheap to clone.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: Request<Body>) -> impl Future<Output = http::Response<Body>> + Send;
}

/// Takes the address.
///
/// # Errors
/// When it is in use or not ours.
pub(crate) async fn bind(addr: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(addr).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ServerError::AddressInUse { addr },
        _ => ServerError::Listen { addr, source },
    })
}

/// TLS with our certificate; client certificates are optional but must be ours.
///
/// # Errors
/// When the pki does not fit together.
pub(crate) fn acceptor(pki: &ServingPki) -> Result<TlsAcceptor, ServerError> {
    let fail = |e: &dyn std::fmt::Display| ServerError::Tls(e.to_string());
    let certificates = certificates(&pki.serving.certificate_pem)?;
    let key: PrivateKeyDer<'static> = rustls_pemfile::private_key(&mut pki.serving.key_pem.as_bytes())
        .map_err(|e| fail(&e))?
        .ok_or_else(|| fail(&"serving.key holds no key"))?;
    let mut roots = RootCertStore::empty();
    for certificate in self::certificates(&pki.authority_pem)? {
        roots.add(certificate).map_err(|e| fail(&e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| fail(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fail(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .map_err(|e| fail(&e))?;
    config.alpn_protocols = vec![connection::H2.to_vec(), connection::HTTP1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    rustls_pemfile::certs(&mut pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| ServerError::Tls(e.to_string()))
}

/// Serves until `shutdown`, then lets open requests finish.
pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handler: impl Handler,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let seats: Arc<Seats<IpAddr>> = Seats::new(CONNECTIONS_PER_ADDRESS_MAX);
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = room.clone().acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let Some(seat) = seats.take(from.ip()) else {
            debug!(%from, "too many connections of one address");
            continue;
        };
        set_options(&stream);
        let (acceptor, handler, shutdown) = (acceptor.clone(), handler.clone(), shutdown.clone());
        connections.spawn(async move {
            connection::run(stream, acceptor, handler, shutdown).await;
            drop((permit, seat));
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, connections.wait()).await.is_err() {
        debug!(open = connections.len(), "connections left open at the end");
    }
}

/// Small writes leave at once, and a peer that is gone is noticed without a word of ours to it.
fn set_options(stream: &TcpStream) {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| Ok(setsockopt(stream, sockopt::KeepAlive, &true)?))
        .and_then(|()| Ok(setsockopt(stream, sockopt::TcpKeepIdle, &seconds(PING_INTERVAL))?))
        .and_then(|()| Ok(setsockopt(stream, sockopt::TcpKeepInterval, &seconds(PROBE_INTERVAL))?))
        .and_then(|()| Ok(setsockopt(stream, sockopt::TcpKeepCount, &PROBES_MAX)?));
    if let Err(error) = set {
        debug!(%error, "socket options");
    }
}
