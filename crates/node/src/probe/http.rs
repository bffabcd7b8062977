//! httpGet: 200 to 399 is well.
//!
//! # Invariants
//! A certificate is not checked: the probe asks whether the container answers, not who it is. A redirect is an answer and is
//! not followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tcp::{address, words};
use super::{Outcome, port};

/// Bytes of an answer that are read: it only has to be drained a little.
const BODY_MAX: usize = 10 * 1024;

/// Asks once.
pub(crate) async fn get(action: &HTTPGetAction, container: &Container, pod_ip: &str, timeout: Duration) -> Outcome {
    let Some(port) = port(&action.port, container) else {
        return Outcome::Error(format!("couldn't find port: {:?}", action.port));
    };
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    let secure = action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https"));
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let at = address(host, port);
    let url = format!("{}://{at}{path}", if secure { "https" } else { "http" });
    match tokio::time::timeout(timeout, ask(action, host, port, secure, &path)).await {
        Ok(Ok(code)) if (200..400).contains(&code) => Outcome::Success,
        Ok(Ok(code)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
        Ok(Err(cause)) => Outcome::Failure(format!("Get \"{url}\": {cause}")),
        Err(_) => Outcome::Failure(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn ask(action: &HTTPGetAction, host: &str, port: u16, secure: bool, path: &str) -> Result<u16, String> {
    let at = address(host, port);
    let bare = host.trim_matches(['[', ']']);
    let stream =
        TcpStream::connect((bare, port)).await.map_err(|e| format!("dial tcp {at}: connect: {}", words(&e)))?;
    let request = request(action, &at, path)?;
    if !secure {
        return talk(stream, request).await;
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|e| e.to_string())?;
    let tls = tokio_rustls::TlsConnector::from(tls_config()?).connect(name, stream).await.map_err(|e| e.to_string())?;
    talk(tls, request).await
}

fn request(action: &HTTPGetAction, at: &str, path: &str) -> Result<http::Request<Empty<Bytes>>, String> {
    let mut builder = http::Request::get(path);
    let headers = action.http_headers.as_deref().unwrap_or_default();
    let has = |name: &str| headers.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    let minor = api::KUBERNETES_VERSION.trim_start_matches('v').rsplit_once('.').map_or("1", |(minor, _)| minor);
    for (name, value) in [("Host", at), ("Accept", "*/*"), ("User-Agent", &format!("kube-probe/{minor}"))] {
        if !has(name) {
            builder = builder.header(name, value);
        }
    }
    for header in headers {
        builder = builder.header(&header.name, &header.value);
    }
    builder.body(Empty::new()).map_err(|e| e.to_string())
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::Request<Empty<Bytes>>,
) -> Result<u16, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let code = response.status().as_u16();
        // What does not fit is of no interest.
        drop(Limited::new(response.into_body(), BODY_MAX).collect().await);
        Ok(code)
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        result = &mut connection => match result {
            // The answer may have come with the end of the connection.
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

fn tls_config() -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth()))
}

/// Takes any certificate; see the module.
#[derive(Debug)]
struct Anyone;

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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn check(answer: &'static str, expect: Outcome) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head[..length].to_vec()).unwrap()
        });
        let action = HTTPGetAction {
            port: IntOrString::Int(port.into()),
            path: Some("healthz?a=b".into()),
            ..Default::default()
        };
        let outcome = get(&action, &Container::default(), "127.0.0.1", Duration::from_secs(5)).await;
        assert_eq!(outcome, expect);
        let head = server.await.unwrap();
        assert!(head.starts_with("GET /healthz?a=b HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("user-agent: kube-probe/1.36\r\n"), "{head}");
    }

    #[tokio::test]
    async fn codes() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Outcome::Success).await;
        check("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", Outcome::Success).await;
        let failed = Outcome::Failure("HTTP probe failed with statuscode: 503".to_owned());
        check("HTTP/1.1 503 No\r\nConnection: close\r\n\r\nno", failed).await;
    }
}
