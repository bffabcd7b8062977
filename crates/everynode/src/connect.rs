//! Connections to a server: TCP and TLS within a bound.
//!
//! # Invariants
//! Nobody waits for the kernel's own patience, which sends its next SYN a minute after the last one: a network that comes
//! back is used again within seconds.

use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

/// A server that does not take a connection within this, handshake included, is gone: far above what a slow one takes,
/// and short enough that the next one gets the node's heartbeat before the node counts as lost.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Opens connections.
pub(crate) type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// What TLS is put on.
pub(crate) fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

/// Gives up connecting after [`CONNECT_MAX`].
pub(crate) fn bounded(connector: HttpsConnector<HttpConnector>) -> Connector {
    within(CONNECT_MAX, connector)
}

fn within(max: Duration, connector: HttpsConnector<HttpConnector>) -> Connector {
    BoxCloneSyncService::new(connector.map_future(move |connecting| {
        Box::pin(async move {
            match tokio::time::timeout(max, connecting).await {
                Ok(done) => done,
                Err(_) => Err(format!("no connection within {max:?}").into()),
            }
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_rustls::HttpsConnectorBuilder;
    use tower::Service as _;

    /// A listener that never begins its handshake.
    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let roots = rustls::RootCertStore::empty();
        let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http2();
        let mut connector = within(Duration::from_millis(50), https.wrap_connector(tcp()));
        let uri = format!("https://{}", silent.local_addr().unwrap()).parse().unwrap();
        let error = connector.call(uri).await.err().unwrap().to_string();
        assert_eq!(error, "no connection within 50ms");
    }
}
