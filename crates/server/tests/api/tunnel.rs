//! A node's agent on a socket: TLS with its certificate, the tunnel, logs read through it.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use http::{Request, Response, header};
use http_body_util::{Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, PODS, pod};

/// The PEM text in a field of a kubeconfig.
fn field(kubeconfig: &str, name: &str) -> Vec<u8> {
    let line = kubeconfig.lines().find_map(|l| l.trim().strip_prefix(name)).unwrap();
    base64::engine::general_purpose::STANDARD.decode(line.trim_start_matches(": ")).unwrap()
}

pub(crate) fn tls(kubeconfig: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = field(kubeconfig, "certificate-authority-data");
    roots.add(rustls_pemfile::certs(&mut &ca[..]).next().unwrap().unwrap()).unwrap();
    let chain = field(kubeconfig, "client-certificate-data");
    let chain = rustls_pemfile::certs(&mut &chain[..]).collect::<Result<_, _>>().unwrap();
    let key = field(kubeconfig, "client-key-data");
    let key = rustls_pemfile::private_key(&mut &key[..]).unwrap().unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap()
}

/// Asks for another protocol, as whom the kubeconfig says.
pub(crate) async fn upgrade(
    address: SocketAddr,
    kubeconfig: &str,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> Response<Incoming> {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls(kubeconfig)));
    let stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get(path).header(header::HOST, "server").header(header::CONNECTION, "Upgrade");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap()
}

/// Opens the tunnel of `node` and answers what comes through it.
pub(crate) async fn serve_tunnel<A, B>(
    address: SocketAddr,
    kubeconfig: &str,
    node: &str,
    answer: impl Fn(Request<Incoming>) -> A + Send + Sync + 'static,
) -> u16
where
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let path = format!("/everynode/v1/nodes/{node}/tunnel");
    let response = upgrade(address, kubeconfig, &path, &[(header::UPGRADE, "everynode-tunnel")]).await;
    let code = response.status().as_u16();
    if code == 101 {
        tokio::spawn(async move {
            let io = hyper::upgrade::on(response).await.unwrap();
            let service = service_fn(|request| {
                let answer = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        });
    }
    code
}

/// Answers with the path and query that was asked for.
async fn repeat(request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
    Response::new(Full::new(request.uri().path_and_query().unwrap().to_string().into()))
}

#[tokio::test]
async fn logs_come_through_the_tunnel_of_the_node() {
    let mut cluster = Cluster::start().await;
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = "n-1".into();
    cluster.post(PODS, &placed).await;
    let log = format!("{PODS}/p/log?tailLines=3");
    let unreachable = cluster.get(&log).await;
    assert_eq!(unreachable.code, 503);
    assert!(unreachable.message().starts_with("node \"n-1\" is not connected"), "{unreachable:?}");
    assert_eq!(unreachable.body["details"]["retryAfterSeconds"], 1, "agents come back in a moment");

    let shutdown = CancellationToken::new();
    let (address, kubeconfig, serving) = cluster.serve("n-1", shutdown.clone());
    assert_eq!(serve_tunnel(address, &kubeconfig, "n-2", repeat).await, 403, "a node opens its own tunnel only");
    assert_eq!(serve_tunnel(address, &kubeconfig, "n-1", repeat).await, 101);
    // The server learns of the upgrade after it has answered.
    let mut answer = cluster.get(&log).await;
    while answer.code == 503 {
        tokio::task::yield_now().await;
        answer = cluster.get(&log).await;
    }
    assert_eq!(answer.body, json!("/containerLogs/default/p/c?tailLines=3"));
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
