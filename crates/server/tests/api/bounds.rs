//! What is too large, too deep, too many or no request at all: each gets an answer, and the server goes on.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, CONFIG_MAPS, Cluster, PODS, config_map};
use crate::tunnel::tls;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Levels that would take any stack that a recursive reader has.
const LEVELS: usize = 200_000;

/// A server on a socket.
struct Served {
    address: SocketAddr,
    admin: String,
    _cluster: Cluster,
}

impl Served {
    async fn start() -> Served {
        let mut cluster = Cluster::start().await;
        let (address, _, _) = cluster.serve("n-1", CancellationToken::new());
        Served { address, admin: cluster.admin_kubeconfig(), _cluster: cluster }
    }

    /// Sends bytes as they are over TLS, and reads all that comes.
    async fn raw(&self, sent: &[u8]) -> String {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls(&self.admin)));
        let mut stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), socket).await.unwrap();
        let mut answer = Vec::new();
        // The server may close before it has read everything.
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let write = async { writer.write_all(sent).await.is_ok() && writer.flush().await.is_ok() };
        let (_, _) = tokio::join!(write, reader.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The code and the Status of an answer to raw bytes.
    async fn status(&self, sent: &[u8]) -> (String, Value) {
        let answer = self.raw(sent).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let code = head.split(' ').nth(1).unwrap().to_owned();
        (code, serde_json::from_str(body).unwrap_or_default())
    }
}

fn request(first: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("{first} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn bodies_and_headers_that_are_too_large() {
    let served = Served::start().await;
    let create = format!("POST {CONFIG_MAPS}");
    let large = "x".repeat(3 * 1024 * 1024 + 1);
    let declared = format!("content-type: application/json\r\ncontent-length: {}\r\n", large.len());
    let (code, status) = served.status(&request(&create, &declared, &large)).await;
    assert_eq!((code.as_str(), &status["reason"]), ("413", &json!("RequestEntityTooLarge")), "{status}");
    assert_eq!(status["message"], "Request entity too large: limit is 3145728");
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
    let chunks = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let (code, status) = served.status(&request(&create, chunked, &chunks)).await;
    assert_eq!((code.as_str(), &status["reason"]), ("413", &json!("RequestEntityTooLarge")), "{status}");
    let huge = "content-type: application/json\r\ncontent-length: 18446744073709551615\r\n";
    let (code, _) = served.status(&request(&create, huge, "{}")).await;
    assert!(code.starts_with('4'), "{code}");

    let long = format!("x-long: {}\r\n", "y".repeat(100 * 1024));
    let (code, _) = served.status(&request("GET /readyz", &long, "")).await;
    assert_eq!(code, "431");
    let many: String = (0..1000).map(|n| format!("x-{n}: y\r\n")).collect();
    let (code, _) = served.status(&request("GET /readyz", &many, "")).await;
    assert_eq!(code, "431");
    let path = format!("GET /{}", "z".repeat(300 * 1024));
    let (code, _) = served.status(&request(&path, "", "")).await;
    assert!(code == "414" || code == "431", "{code}");
    assert!(served.raw(&request("GET /readyz", "", "")).await.ends_with("ok"));
}

#[tokio::test]
async fn what_is_no_request() {
    let served = Served::start().await;
    let (code, status) = served.status(&request("BREW /api/v1/pods", "", "")).await;
    assert_eq!((code.as_str(), &status["kind"]), ("405", &json!("Status")), "{status}");
    for (first, reason, want) in [
        ("GET /api/v1/pods?limit=x", "BadRequest", "400"),
        ("GET /api/v1/pods?watch=1&timeoutSeconds=x", "BadRequest", "400"),
        ("GET /api/v1/pods?labelSelector=a%3D%3D%3Db", "BadRequest", "400"),
        ("GET /api/v1/pods?fieldSelector=nonsense", "BadRequest", "400"),
        ("GET /api/v1/pods?continue=nonsense", "BadRequest", "400"),
        ("GET /api/v1/pods?resourceVersion=-1", "BadRequest", "400"),
        ("GET /api/v1/nothing", "NotFound", "404"),
        ("GET /%ff%fe", "NotFound", "404"),
    ] {
        let (code, status) = served.status(&request(first, "", "")).await;
        assert_eq!((code.as_str(), &status["reason"]), (want, &json!(reason)), "{first}: {status}");
    }
    // No HTTP, no TLS: the connection goes, and the next one is served.
    assert!(served.raw(b"\0\0\0\0 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(served.raw(&request("GET /readyz", "", "")).await.ends_with("ok"));
}

async fn create(cluster: &Cluster, media: &str, body: &str) -> Answer {
    cluster.ask(Method::POST, CONFIG_MAPS, JSON, media, body).await
}

#[tokio::test]
async fn bodies_that_are_too_deep_or_grow() {
    let cluster = Cluster::start().await;
    let head = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":"#;
    let deep = format!("{head}{}{}}}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let deep_unknown = format!("{head}{{}},\"unknown\":{}{}}}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    let laughs: String = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        let before = n - 1;
        text + &format!("a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}]\n")
    });
    // Messages within messages, without an end.
    let nested = format!("k8s\0{}", "\n\u{7f}".repeat(LEVELS));
    for (media, body) in [
        (JSON, deep.as_str()),
        (JSON, &deep[..LEVELS]),
        (JSON, &deep_unknown),
        (YAML, &deep),
        (YAML, &laughs),
        (YAML, &"- ".repeat(LEVELS)),
        (PROTOBUF, &nested),
        (JSON, "nonsense"),
        (JSON, ""),
        (YAML, "\t{"),
        (PROTOBUF, "nonsense"),
    ] {
        let answer = create(&cluster, media, body).await;
        let shown: String = body.chars().take(40).collect();
        assert_eq!((answer.code, &answer.body["kind"]), (400, &json!("Status")), "{media} {shown}: {answer:?}");
    }
    assert_eq!(cluster.post(CONFIG_MAPS, &config_map("x", "1")).await.code, 201);
    let copies: Vec<Value> =
        (0..100).map(|n| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/c{n}")})).collect();
    let answer = cluster.patch(&format!("{CONFIG_MAPS}/x"), "json", &json!(copies)).await;
    assert_eq!((answer.code, &answer.body["reason"]), (422, &json!("Invalid")), "{answer:?}");
    let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
    let answer = cluster.patch(&format!("{CONFIG_MAPS}/x"), "json", &json!(many)).await;
    assert_eq!((answer.code, &answer.body["reason"]), (413, &json!("RequestEntityTooLarge")), "{answer:?}");
}

#[tokio::test]
async fn an_object_that_is_too_large_to_keep() {
    let cluster = Cluster::start().await;
    let mut large = config_map("x", "1");
    large["binaryData"] = json!({});
    large["metadata"]["annotations"] = json!({});
    let mut pod = crate::support::pod("large");
    pod["spec"]["containers"] =
        (0..400).map(|n| json!({"name": format!("c{n}"), "image": "i", "args": ["x".repeat(4096)]})).collect();
    let answer = cluster.post(PODS, &pod).await;
    assert_eq!((answer.code, &answer.body["reason"]), (413, &json!("RequestEntityTooLarge")), "{answer:?}");
    assert_eq!(cluster.get(&format!("{PODS}/large")).await.code, 404);
    large["data"] = json!({"a": "x".repeat(1024 * 1024 + 1)});
    assert_eq!(cluster.post(CONFIG_MAPS, &large).await.code, 422, "a ConfigMap has a bound of its own");
}
