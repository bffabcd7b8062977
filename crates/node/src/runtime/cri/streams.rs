//! Exec, attach and port-forward: the runtime gives an address, and there the streams are, by SPDY.
//!
//! # Invariants
//! - One task a connection: it ends when the runtime ends the connection, or when nobody holds a stream of it any more.
//!
//! # Absent
//! Addresses that need TLS: runtimes serve their own machine alone, by a certificate that nobody could check.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use spdy::Event;
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::listening;
use super::pieces::pieces;
use super::proto::container as cri;
use super::proto::sandbox::{PORT_FORWARD, PortForwardRequest};
use crate::runtime::streaming::{Connection, Reader, Running, Terminal, Wanted, Writer};
use crate::runtime::{ContainerId, RuntimeError, SandboxId};

/// Bytes of a program's input that wait for the runtime.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// Sizes of a terminal that wait: only the last one matters.
const SIZES_MAX: usize = 16;
/// How long an address may take to answer: it is on this machine.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// A port that nobody listens on is told within this: the runtime needs a moment to try, and a server that waits for its
/// client to speak first says nothing.
const REFUSED_WITHIN: Duration = Duration::from_millis(100);
/// The same where it is known that nobody listens: long enough for a machine that is busy.
const REFUSED_WITHIN_MAX: Duration = Duration::from_secs(5);
/// What went wrong is told within this after the end of what was carried.
const WHY_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of an error's text.
const ERROR_BYTES_MAX: usize = 64 * 1024;

const COMMANDS: &str = "v4.channel.k8s.io";
const PORTS: &str = "portforward.k8s.io";

type Io = TokioIo<hyper::upgrade::Upgraded>;

fn failed(what: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(format!("the container runtime's stream: {what}"))
}

/// Opens the connection that `url` names.
async fn upgrade(url: &str, protocol: &str) -> Result<Io, RuntimeError> {
    let uri: http::Uri = url.parse().map_err(|_| failed(format!("{url:?} is no address")))?;
    if uri.scheme_str() != Some("http") {
        return Err(failed(format!("{url:?} needs TLS; let the runtime stream by plain HTTP on this machine")));
    }
    let authority = uri.authority().ok_or_else(|| failed(format!("{url:?} names no host")))?;
    let opening = async {
        let io = TcpStream::connect(authority.as_str()).await.map_err(failed)?;
        let _ = io.set_nodelay(true);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
        tokio::spawn(connection.with_upgrades());
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let request = http::Request::post(path)
            .header(http::header::HOST, authority.as_str())
            .header(http::header::CONNECTION, "Upgrade")
            .header(http::header::UPGRADE, "SPDY/3.1")
            .header("x-stream-protocol-version", protocol)
            .body(Empty::<Bytes>::new())
            .map_err(failed)?;
        let response = sender.send_request(request).await.map_err(failed)?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(failed(format!("{url} answers {}", response.status())));
        }
        hyper::upgrade::on(response).await.map(TokioIo::new).map_err(failed)
    };
    tokio::time::timeout(OPEN_MAX, opening).await.map_err(|_| failed(format!("{url} does not answer")))?
}

/// The streams of a command, as far as they are wanted.
struct Command {
    spdy: spdy::Writer<Io>,
    /// Where what comes in goes, by the stream's number.
    outputs: BTreeMap<u32, mpsc::Sender<Bytes>>,
    /// Cancelled when nobody reads them any more.
    abandoned: Vec<CancellationToken>,
    error: u32,
    stdin: Option<(u32, DuplexStream)>,
    sizes: Option<(u32, mpsc::Receiver<(u16, u16)>)>,
}

/// Asks for a command's streams and hands them over.
async fn command(url: &str, wanted: Wanted) -> Result<(Running, oneshot::Receiver<String>), RuntimeError> {
    let (reader, spdy) = spdy::open(upgrade(url, COMMANDS).await?);
    let open = async |name: &str| spdy.open(&[("streamtype", name)]).await.map_err(failed);
    let error = open("error").await?;
    let mut command = Command {
        spdy: spdy.clone(),
        outputs: BTreeMap::new(),
        abandoned: Vec::new(),
        error,
        stdin: None,
        sizes: None,
    };
    let mut running = Running { stdin: None, stdout: None, stderr: None, terminal: None, ended: None };
    if wanted.stdin {
        let (ours, theirs) = tokio::io::duplex(INPUT_BYTES_MAX);
        command.stdin = Some((open("stdin").await?, theirs));
        running.stdin = Some(Box::new(ours) as Writer);
    }
    let mut output = async |name: &str, is: bool| -> Result<Option<Reader>, RuntimeError> {
        if !is {
            return Ok(None);
        }
        let (pieces, reader, gone) = pieces();
        command.outputs.insert(open(name).await?, pieces);
        command.abandoned.push(gone);
        Ok(Some(Box::new(reader) as Reader))
    };
    running.stdout = output("stdout", wanted.stdout).await?;
    running.stderr = output("stderr", wanted.stderr && !wanted.tty).await?;
    if wanted.tty {
        let (sender, receiver) = mpsc::channel(SIZES_MAX);
        command.sizes = Some((open("resize").await?, receiver));
        running.terminal = Some(Box::new(Sizes(sender)));
    }
    let (told, ended) = oneshot::channel();
    tokio::spawn(serve(reader, command, told));
    Ok((running, ended))
}

struct Sizes(mpsc::Sender<(u16, u16)>);

impl Terminal for Sizes {
    fn resize(&self, width: u16, height: u16) -> std::io::Result<()> {
        self.0.try_send((width, height)).map_err(std::io::Error::other)
    }
}

/// Carries a command's streams until it ends or nobody listens. `told` gets what the runtime says at the end.
async fn serve(mut reader: spdy::Reader<Io>, command: Command, mut told: oneshot::Sender<String>) {
    let Command { spdy, mut outputs, abandoned, error, stdin, sizes } = command;
    let input = async {
        if let Some((stream, from)) = stdin {
            copy_input(from, &spdy, stream).await;
        }
        std::future::pending().await
    };
    let resizing = async {
        if let Some((stream, mut sizes)) = sizes {
            while let Some((width, height)) = sizes.recv().await {
                let size = serde_json::json!({"Width": width, "Height": height}).to_string();
                if spdy.data(stream, size.as_bytes(), false).await.is_err() {
                    break;
                }
            }
        }
        std::future::pending().await
    };
    let output = async {
        let mut text = Vec::new();
        while let Some(event) = reader.next().await {
            match event {
                Event::Data { stream, bytes, fin } if stream == error => {
                    text.extend(bytes.into_iter().take(ERROR_BYTES_MAX - text.len()));
                    // The end of this stream is the end of the command, and all it wrote came before.
                    if fin || !text.is_empty() {
                        break;
                    }
                }
                Event::Data { stream, bytes, fin } => {
                    if let Some(pieces) = outputs.get(&stream) {
                        // Whoever has let go of one stream may still read the other.
                        let _ = pieces.send(bytes).await;
                    }
                    if fin {
                        outputs.remove(&stream);
                    }
                }
                Event::GoAway => break,
                Event::Reset(stream) => drop(outputs.remove(&stream)),
                Event::Open { .. } => {}
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    let abandoned = async {
        for gone in &abandoned {
            gone.cancelled().await;
        }
        // Whoever has read all may still wait for the end.
        told.closed().await;
    };
    let text = tokio::select! {
        text = output => Some(text),
        () = abandoned => None,
        () = input => None,
        () = resizing => None,
    };
    if let Some(text) = text {
        drop(told.send(text));
    }
    spdy.end(0).await;
}

async fn copy_input(mut from: DuplexStream, spdy: &spdy::Writer<Io>, stream: u32) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await.unwrap_or_default();
        let piece = chunk.get(..count).unwrap_or_default();
        if spdy.data(stream, piece, count == 0).await.is_err() || count == 0 {
            return;
        }
    }
}

/// The exit code that a Status means.
fn exit_code(status: &str) -> Result<i32, RuntimeError> {
    if status.is_empty() {
        return Err(failed("it broke off before the command's end was told"));
    }
    let status: Value = serde_json::from_str(status).map_err(|_| RuntimeError::Failed(status.to_owned()))?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse().ok()) {
        Some(code) => Ok(code),
        None => Err(RuntimeError::Failed(status["message"].as_str().unwrap_or("the command failed").to_owned())),
    }
}

impl Shared {
    pub(super) async fn start_command(
        &self,
        id: &ContainerId,
        line: Vec<String>,
        wanted: Wanted,
    ) -> Result<Running, RuntimeError> {
        let question = cri::ExecRequest {
            id: id.0.clone(),
            command: line,
            tty: wanted.tty,
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr && !wanted.tty,
        };
        let answer: cri::Url = self.client.ask(cri::EXEC, question).await?;
        let (running, ended) = command(&answer.url, wanted).await?;
        let ended = Box::pin(async move { exit_code(&ended.await.unwrap_or_default()) });
        Ok(Running { ended: Some(ended), ..running })
    }

    pub(super) async fn attach_to(&self, id: &ContainerId, wanted: Wanted) -> Result<Running, RuntimeError> {
        let question = cri::AttachRequest {
            id: id.0.clone(),
            stdin: wanted.stdin,
            tty: wanted.tty,
            stdout: wanted.stdout,
            stderr: wanted.stderr && !wanted.tty,
        };
        let answer: cri::Url = self.client.ask(cri::ATTACH, question).await?;
        let (running, _) = command(&answer.url, wanted).await?;
        Ok(running)
    }

    pub(super) async fn connect_to(&self, id: &SandboxId, port: u16) -> Result<Connection, RuntimeError> {
        let question = PortForwardRequest { id: id.0.clone(), ports: vec![port.into()] };
        let answer: cri::Url = self.client.ask(PORT_FORWARD, question).await?;
        let (reader, spdy) = spdy::open(upgrade(&answer.url, PORTS).await?);
        let number = port.to_string();
        let open = async |name: &str| {
            let headers = [("streamtype", name), ("port", number.as_str()), ("requestid", "0")];
            spdy.open(&headers).await.map_err(failed)
        };
        let error = open("error").await?;
        spdy.data(error, &[], true).await.map_err(failed)?;
        let data = open("data").await?;
        let (pieces, output, _) = pieces();
        let (ours, input) = tokio::io::duplex(INPUT_BYTES_MAX);
        let (refused, mut refusal) = oneshot::channel();
        tokio::spawn(forward(reader, Forward { spdy, error, data, pieces, input }, refused));
        let refused_within = match self.inside(&id.0).pid.and_then(|pid| listening::listens(pid, port)) {
            Some(true) => Duration::ZERO,
            Some(false) => REFUSED_WITHIN_MAX,
            None => REFUSED_WITHIN,
        };
        tokio::select! {
            Ok(text) = &mut refusal => {
                let why = if text.contains("refused") { "connection refused".to_owned() } else { text };
                let text = format!("failed to connect to localhost:{port} inside the pod: {why}");
                return Err(RuntimeError::Failed(text));
            }
            () = tokio::time::sleep(refused_within) => {}
        }
        Ok(Connection { reader: Box::new(output), writer: Box::new(ours) })
    }
}

struct Forward {
    spdy: spdy::Writer<Io>,
    error: u32,
    data: u32,
    pieces: mpsc::Sender<Bytes>,
    input: DuplexStream,
}

/// Carries one connection. `refused` gets what went wrong.
async fn forward(mut reader: spdy::Reader<Io>, forward: Forward, refused: oneshot::Sender<String>) {
    let Forward { spdy, error, data, pieces, input } = forward;
    let sending = async {
        copy_input(input, &spdy, data).await;
        std::future::pending().await
    };
    let receiving = async {
        // The runtime may end what it carries before it says why: whoever ends well ends both.
        let (mut carrying, mut may_fail) = (true, true);
        while carrying || may_fail {
            let patience = if carrying { Duration::MAX } else { WHY_WITHIN };
            let Ok(Some(event)) = tokio::time::timeout(patience, reader.next()).await else { return };
            match event {
                Event::Data { stream, bytes, .. } if stream == error && !bytes.is_empty() => {
                    let _ = refused.send(String::from_utf8_lossy(&bytes).into_owned());
                    return;
                }
                Event::Data { stream, bytes, fin } if stream == data => {
                    let unheard = !bytes.is_empty() && pieces.send(bytes).await.is_err();
                    if unheard {
                        return;
                    }
                    carrying &= !fin;
                }
                Event::Data { stream, fin: true, .. } if stream == error => may_fail = false,
                Event::Reset(stream) if stream == data => carrying = false,
                Event::Reset(stream) if stream == error => may_fail = false,
                Event::GoAway => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = receiving => {}
        () = pieces.closed() => {}
        () = sending => {}
    }
    spdy.end(0).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_commands() {
        let text = |status: &str| exit_code(status).map_err(|error| error.to_string());
        assert_eq!(text(r#"{"metadata":{},"status":"Success"}"#), Ok(0));
        let exited = r#"{"status":"Failure","reason":"NonZeroExitCode","message":"m",
            "details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        assert_eq!(text(exited), Ok(3));
        assert_eq!(text(r#"{"status":"Failure","message":"no such container"}"#), Err("no such container".to_owned()));
        assert!(text("").unwrap_err().contains("broke off"));
    }

    #[tokio::test]
    async fn addresses_that_can_not_be_used_say_why() {
        for (url, want) in
            [("https://127.0.0.1:1/exec/x", "needs TLS"), ("::", "no address"), ("http://127.0.0.1:1/x", "refused")]
        {
            let text = upgrade(url, COMMANDS).await.map(|_| ()).unwrap_err().to_string();
            assert!(text.contains(want), "{url}: {text}");
        }
    }
}
