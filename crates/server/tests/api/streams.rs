//! Exec and ports through a node's tunnel, with clients that speak websocket and SPDY.

use api::frames::{self, Decoder};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, PODS, pod};
use crate::tunnel::{serve_tunnel, upgrade};

type Answer = http_body_util::combinators::BoxBody<Bytes, hyper::Error>;

/// A node whose commands say back what they are told, and end with it; whose port 80 does the same.
async fn node(request: Request<Incoming>) -> Response<Answer> {
    let path = request.uri().path_and_query().unwrap().to_string();
    match path.as_str() {
        "/portForward/default/p?port=80" => Response::new(request.into_body().boxed()),
        "/exec/default/p/c?stdin=true&stdout=true&command=cat" => {
            let (sender, receiver) = tokio::sync::mpsc::channel(4);
            tokio::spawn(echo(request.into_body(), sender));
            let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
                let piece: Vec<u8> = receiver.recv().await?;
                Some((Ok(Frame::data(Bytes::from(piece))), receiver))
            });
            Response::new(BodyExt::boxed(StreamBody::new(pieces)))
        }
        _ => {
            let body = Full::new(Bytes::from("refused")).map_err(|never| match never {});
            Response::builder().status(500).body(body.boxed()).unwrap()
        }
    }
}

async fn echo(mut input: Incoming, output: tokio::sync::mpsc::Sender<Vec<u8>>) {
    let mut decoder = Decoder::default();
    while let Some(Ok(piece)) = input.frame().await {
        decoder.push(&piece.into_data().unwrap());
        while let Some(frame) = decoder.next_frame().unwrap() {
            let (channel, end) = match frame.channel {
                frames::CLOSE => (frames::ERROR, true),
                _ => (frames::STDOUT, false),
            };
            output.send(frames::encode(channel, &frame.bytes)).await.unwrap();
            if end {
                return;
            }
        }
    }
}

const STREAM_PROTOCOL: header::HeaderName = header::HeaderName::from_static("x-stream-protocol-version");

struct World {
    address: std::net::SocketAddr,
    admin: String,
    shutdown: CancellationToken,
}

async fn world() -> (Cluster, World) {
    let mut cluster = Cluster::start().await;
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = "n-1".into();
    cluster.post(PODS, &placed).await;
    let shutdown = CancellationToken::new();
    let (address, kubeconfig, _) = cluster.serve("n-1", shutdown.clone());
    assert_eq!(serve_tunnel(address, &kubeconfig, "n-1", node).await, 101);
    // The server learns of the upgrade after it has answered.
    while cluster.get(&format!("{PODS}/p/portforward")).await.code == 503 {
        tokio::task::yield_now().await;
    }
    let admin = cluster.admin_kubeconfig();
    (cluster, World { address, admin, shutdown })
}

impl World {
    async fn websocket(
        &self,
        path: &str,
        protocol: &'static str,
    ) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (header::SEC_WEBSOCKET_PROTOCOL, protocol),
        ];
        let response = upgrade(self.address, &self.admin, &format!("{PODS}/p/{path}"), &headers).await;
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], protocol);
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        WebSocketStream::from_raw_socket(io, Role::Client, None).await
    }
}

/// All that comes until the farewell, joined by channel.
async fn heard(socket: &mut WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) -> Vec<(u8, String)> {
    let mut all = Vec::new();
    while let Some(Ok(Message::Binary(bytes))) = socket.next().await {
        all.push((bytes[0], String::from_utf8_lossy(&bytes[1..]).into_owned()));
    }
    all
}

#[tokio::test]
async fn a_command_by_websocket() {
    let (_cluster, world) = world().await;
    let path = "exec?command=cat&stdin=true&stdout=true&container=c";
    let mut socket = world.websocket(path, "v5.channel.k8s.io").await;
    socket.send(Message::binary(&b"\0hello"[..])).await.unwrap();
    socket.send(Message::binary(vec![255, 0])).await.unwrap();
    let want = [(1, ""), (1, "hello"), (3, "\0")].map(|(channel, text)| (channel, text.to_owned()));
    assert_eq!(heard(&mut socket).await, want);

    let mut socket = world.websocket(path, "v4.channel.k8s.io").await;
    socket.send(Message::binary(&b"\0hello"[..])).await.unwrap();
    world.shutdown.cancel();
    let all = heard(&mut socket).await;
    let last = all.last().unwrap();
    assert!(last.0 == 3 && last.1.contains("the server stops"), "{all:?}");
}

#[tokio::test]
async fn what_is_wrong_is_said_before_the_switch() {
    let (_cluster, world) = world().await;
    let spdy = [(header::UPGRADE, "SPDY/3.1"), (STREAM_PROTOCOL, "v4.channel.k8s.io")];
    let exec = "exec?command=cat&stdin=true&stdout=true";
    for (path, headers, want) in [
        ("exec?command=ls&stdout=true", &spdy[..], (500, "refused")),
        ("exec?command=cat", &spdy[..], (400, "you must specify at least one of stdin, stdout, stderr")),
        ("exec?stdout=true", &spdy[..], (400, "you must specify at least 1 command for the container")),
        (exec, &spdy[..1], (400, "unable to negotiate protocol")),
        (exec, &[], (400, "Upgrade request required")),
    ] {
        let response = upgrade(world.address, &world.admin, &format!("{PODS}/p/{path}"), headers).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        assert!(code == want.0 && text.contains(want.1), "{path}: {code} {text}");
    }
}

#[tokio::test]
async fn ports_by_websocket() {
    let (_cluster, world) = world().await;
    let mut socket = world.websocket("portforward?ports=80,81", "v5.channel.k8s.io").await;
    socket.send(Message::binary(&b"\0there and back"[..])).await.unwrap();
    socket.send(Message::binary(vec![255, 0])).await.unwrap();
    let all = heard(&mut socket).await;
    let of =
        |channel: u8| all.iter().filter(|(of, _)| *of == channel).map(|(_, text)| text.as_str()).collect::<String>();
    assert_eq!((of(0).as_str(), of(1).as_str(), of(2).as_str()), ("P\0there and back", "P\0", "Q\0"));
    assert!(of(3).starts_with("Q\0error forwarding port 81 to pod p, uid "), "{}", of(3));
}

/// A frame that opens a stream: SPDY/3 as its draft has it, packed without the dictionary.
fn syn_stream(packer: &mut flate2::Compress, stream: u8, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        block.extend(text.as_bytes());
    }
    let mut packed = Vec::with_capacity(256);
    packer.compress_vec(&block, &mut packed, flate2::FlushCompress::Sync).unwrap();
    let length = u8::try_from(packed.len() + 10).unwrap();
    [&[0x80, 3, 0, 1, 0, 0, 0, length, 0, 0, 0, stream, 0, 0, 0, 0, 0, 0][..], &packed].concat()
}

#[tokio::test]
async fn ports_by_spdy() {
    let (_cluster, world) = world().await;
    let headers = [(header::UPGRADE, "SPDY/3.1"), (STREAM_PROTOCOL, "portforward.k8s.io")];
    let response = upgrade(world.address, &world.admin, &format!("{PODS}/p/portforward"), &headers).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()[header::UPGRADE], "SPDY/3.1");
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut packer = flate2::Compress::new(flate2::Compression::fast(), true);
    for (stream, of) in [(1, "error"), (3, "data")] {
        let opened = syn_stream(&mut packer, stream, &[("streamtype", of), ("port", "80"), ("requestid", "0")]);
        io.write_all(&opened).await.unwrap();
    }
    io.write_all(&[0, 0, 0, 3, 1, 0, 0, 2, b'h', b'i']).await.unwrap();
    let mut data = Vec::new();
    let mut ended = 0;
    while ended < 2 {
        let mut head = [0; 8];
        io.read_exact(&mut head).await.unwrap();
        let mut content = vec![0; usize::from(head[7])];
        io.read_exact(&mut content).await.unwrap();
        if head[0] == 0 {
            data.extend(content.into_iter().filter(|_| head[3] == 3));
            ended += head[4];
        }
    }
    assert_eq!(data, b"hi");
}
