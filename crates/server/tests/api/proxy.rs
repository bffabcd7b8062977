//! Requests passed on to pods, Services and nodes.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, PODS, pod};
use crate::tunnel::{serve_tunnel, upgrade};

type Answer = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

/// A node with one pod, whose port 8080 says what it was asked, and echoes after a switch.
async fn node(request: Request<Incoming>) -> Response<Answer> {
    let path = request.uri().path_and_query().unwrap().to_string();
    if path != "/portForward/default/p?port=8080" {
        let text = format!("{} {path}", request.method());
        return Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed());
    }
    let (near, far) = tokio::io::duplex(1024);
    tokio::spawn(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service_fn(web)).with_upgrades(),
    );
    let (reader, mut writer) = tokio::io::split(near);
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(piece)) = body.frame().await {
            writer.write_all(&piece.into_data().unwrap()).await.unwrap();
        }
    });
    let pieces = futures::StreamExt::map(ReaderStream::new(reader), |piece| piece.map(Frame::data));
    Response::new(BodyExt::boxed(StreamBody::new(pieces)))
}

async fn web(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.headers().contains_key(header::UPGRADE) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 5];
            io.read_exact(&mut word).await.unwrap();
            io.write_all(&word).await.unwrap();
        });
        let switch =
            Response::builder().status(101).header(header::UPGRADE, "echo").header(header::CONNECTION, "Upgrade");
        return Ok(switch.body(Full::default()).unwrap());
    }
    let said = ["authorization", "host", "x-forwarded-uri", "impersonate-user", "x-own"]
        .map(|name| request.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned());
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    let body = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let text = format!("{method} {uri} {} {body}", said.join(" "));
    let answer = Response::builder().status(if method == "DELETE" { 410 } else { 200 }).header("x-answer", "yes");
    Ok(answer.body(Full::new(text.into())).unwrap())
}

async fn world() -> (Cluster, std::net::SocketAddr) {
    let mut cluster = Cluster::start().await;
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = "n-1".into();
    placed["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
    cluster.post(PODS, &placed).await;
    cluster.post("/api/v1/nodes", &json!({"metadata": {"name": "n-1"}})).await;
    let none = cluster.get(&format!("{PODS}/p/proxy/")).await;
    assert_eq!((none.code, none.message()), (400, "address not allowed"));
    let status = json!({"status": {"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}]}});
    assert_eq!(cluster.patch(&format!("{PODS}/p/status"), "merge", &status).await.code, 200);
    let (address, kubeconfig, _) = cluster.serve("n-1", CancellationToken::new());
    assert_eq!(serve_tunnel(address, &kubeconfig, "n-1", node).await, 101);
    // The server learns of the upgrade after it has answered.
    while cluster.get(&format!("{PODS}/p/portforward")).await.code == 503 {
        tokio::task::yield_now().await;
    }
    (cluster, address)
}

#[tokio::test]
async fn pods_and_services_are_asked() {
    let (cluster, _) = world().await;
    let base = format!("{PODS}/p:8080/proxy");
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{base}/a%2Fb/?x=%20y"))
        .header("host", "server")
        .header("x-own", "1")
        .header("authorization", "Bearer secret")
        .body(Body::from(b"hello".to_vec()))
        .unwrap();
    let answer = cluster.response(request).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["x-answer"].to_str().unwrap()), (200, "yes"));
    let said = String::from_utf8(answer.into_body().collect_bytes().await.unwrap().to_vec()).unwrap();
    assert_eq!(said, format!("POST /a%2Fb/?x=%20y - 10.0.0.9:8080 {base}/a%2Fb/ - 1 hello"));
    let gone = cluster.ask(Method::DELETE, &format!("{PODS}/http:p:/proxy/x"), "", "", "").await;
    assert!(gone.code == 410 && gone.body.as_str().unwrap().starts_with("DELETE /x "), "{gone:?}");
    let moved = cluster.response(Request::get(format!("{base}?q=1")).body(Body::from(vec![])).unwrap()).await;
    assert_eq!(
        (moved.status().as_u16(), moved.headers()[header::LOCATION].to_str().unwrap()),
        (301, format!("{base}/?q=1").as_str())
    );

    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80}]}});
    cluster.post(services, &service).await;
    let unknown = cluster.get(&format!("{services}/s:81/proxy/")).await;
    assert_eq!((unknown.code, unknown.message()), (503, "no service port 81 found for service \"s\""));
    let again = Request::get(format!("{services}/s:81/proxy/")).body(Body::from(vec![])).unwrap();
    let refused = cluster.response(again).await;
    assert!(refused.headers().get(header::RETRY_AFTER).is_none(), "kubectl would ask ten times");
    let endpoints = |ip: &str| {
        json!({"metadata": {"name": "s"}, "subsets": [{"ports": [{"name": "web", "port": 8080}],
            "addresses": [{"ip": ip, "targetRef": {"kind": "Pod", "name": "p", "namespace": "default"}}]}]})
    };
    let uri = "/api/v1/namespaces/default/endpoints";
    cluster.post(uri, &endpoints("10.0.0.8")).await;
    let made_up = cluster.get(&format!("{services}/s:web/proxy/")).await;
    assert_eq!((made_up.code, made_up.message()), (503, "no endpoints available for service \"s\""));
    cluster.put(&format!("{uri}/s"), &endpoints("10.0.0.9")).await;
    for port in ["web", "80"] {
        let answer = cluster.get(&format!("{services}/http:s:{port}/proxy/there")).await;
        assert!(answer.code == 200 && answer.body.as_str().unwrap().starts_with("GET /there "), "{answer:?}");
    }
}

#[tokio::test]
async fn switched_connections_are_passed_through() {
    let (cluster, address) = world().await;
    let admin = cluster.admin_kubeconfig();
    let path = format!("{PODS}/p/proxy/socket");
    let response = upgrade(address, &admin, &path, &[(header::UPGRADE, "echo")]).await;
    assert_eq!((response.status().as_u16(), response.headers()[header::UPGRADE].to_str().unwrap()), (101, "echo"));
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    io.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
}

#[tokio::test]
async fn agents_of_nodes_are_asked() {
    let (cluster, _) = world().await;
    let nodes = "/api/v1/nodes";
    for name in ["n-1", "n-1:10250"] {
        let answer = cluster.get(&format!("{nodes}/{name}/proxy/healthz?a=b")).await;
        assert_eq!((answer.code, answer.body.as_str()), (200, Some("GET /healthz?a=b")));
    }
    assert_eq!(cluster.get(&format!("{nodes}/n-2/proxy/healthz")).await.code, 404);
    assert_eq!(cluster.get(&format!("{nodes}/n-1:80/proxy/")).await.code, 503);
    assert_eq!(cluster.post(&format!("{nodes}/n-1/proxy/exec/default/p/c"), &json!({})).await.code, 405);
}
