//! Clients that keep a connection without using it, on streams and with a clock of the test's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::reply;

/// Bytes that a stream holds until someone reads them.
const PIPE_BYTES: usize = 64 * 1024;
/// Above every bound of a connection: a test's clock that reaches it shows that the bound is not kept.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// Answers by path: `/` at once, `/late` after an hour, `/endless` without end, `/body` with its length, `/switch` by
/// handing over.
#[derive(Clone, Default)]
struct Toy {
    asked: Arc<AtomicBool>,
}

impl Handler for Toy {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        self.asked.store(true, Ordering::Release);
        match request.uri().path() {
            "/late" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                reply::text(StatusCode::OK, "late")
            }
            "/endless" => {
                let piece = bytes::Bytes::from(vec![b'x'; 8192]);
                reply::with_type(StatusCode::OK, "text/plain", reply::streamed(futures::stream::repeat(piece)))
            }
            "/body" => match crate::body::bytes(request.into_body()).await {
                Ok(bytes) => reply::text(StatusCode::OK, bytes.len().to_string()),
                Err(status) => reply::failure(&status),
            },
            "/switch" => {
                let mut response = Response::new(reply::full(""));
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("upgrade", http::HeaderValue::from_static("toy"));
                response.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
                let upgrade = request.into_parts().0.extensions.remove::<hyper::upgrade::OnUpgrade>();
                tokio::spawn(async move {
                    let mut io = hyper_util::rt::TokioIo::new(upgrade.unwrap().await.unwrap());
                    let _ = io.write_all(&vec![b'x'; 4 * PIPE_BYTES]).await;
                });
                response
            }
            _ => reply::text(StatusCode::OK, "here"),
        }
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection to a toy, and the task that serves it.
fn connect() -> (DuplexStream, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let pki = crate::pki::prepare(dir.path(), "127.0.0.1:0".parse().unwrap(), &[]).unwrap();
    let (near, far) = duplex(PIPE_BYTES);
    let served = connection::run(far, acceptor(&pki).unwrap(), Toy::default(), CancellationToken::new());
    (near, tokio::spawn(served))
}

/// The same with its handshake done.
async fn connect_tls(protocol: &[u8]) -> (TlsStream<DuplexStream>, JoinHandle<()>) {
    let (stream, served) = connect();
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    (TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap(), served)
}

/// Waits for the server to let a connection go, and says how long that took.
async fn ends(served: JoinHandle<()>) -> Duration {
    let began = tokio::time::Instant::now();
    tokio::time::timeout(FOREVER, served).await.expect("the connection is kept").unwrap();
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_never_finished() {
    let (stream, served) = connect();
    ends(served).await;
    drop(stream);
    let (mut stream, served) = connect();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    ends(served).await;
    let (mut stream, served) = connect();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    ends(served).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_asks_for_anything() {
    for (protocol, sent) in [
        (connection::HTTP1, ""),
        (connection::HTTP1, "GET / HTTP/1.1\r\nhost: x\r\nslow: "),
        (connection::H2, ""),
        (connection::H2, "PRI * HTTP/2.0\r\n"),
        (connection::H2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ] {
        let (mut stream, served) = connect_tls(protocol).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let took = ends(served).await;
        assert!(took <= crate::limits::HEADER_TIMEOUT, "{sent:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_that_trickle() {
    let (mut stream, served) = connect_tls(connection::HTTP1).await;
    let trickle = async {
        stream.write_all(b"GET / HTTP/1.1\r\n").await?;
        loop {
            stream.write_all(b"a: b\r\n").await?;
            stream.flush().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        #[allow(unreachable_code)]
        Ok::<(), std::io::Error>(())
    };
    let (took, _) = tokio::join!(ends(served), trickle);
    assert!(took <= crate::limits::HEADER_TIMEOUT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_nothing_more() {
    let (mut stream, served) = connect_tls(connection::HTTP1).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 512];
    let count = stream.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
    let took = ends(served).await;
    assert!(took > crate::limits::HEADER_TIMEOUT, "idle clients may come back for a while: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_take_as_long_as_it_takes() {
    let (mut stream, served) = connect_tls(connection::HTTP1).await;
    stream.write_all(b"GET /late HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("late"), "{answer}");
    ends(served).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come() {
    let (mut stream, served) = connect_tls(connection::HTTP1).await;
    stream.write_all(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("\"reason\":\"Timeout\""), "{answer}");
    ends(served).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read() {
    let (mut stream, served) = connect_tls(connection::HTTP1).await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let took = ends(served).await;
    assert!(took >= crate::limits::STALL_TIMEOUT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_taken_over_a_connection_may_stand_still() {
    let (mut stream, served) = connect_tls(connection::HTTP1).await;
    let head = b"GET /switch HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: toy\r\n\r\n";
    stream.write_all(head).await.unwrap();
    stream.flush().await.unwrap();
    ends(served).await;
    tokio::time::sleep(2 * crate::limits::STALL_TIMEOUT).await;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    assert!(all.len() > 4 * PIPE_BYTES, "all that was said came: {}", all.len());
}
