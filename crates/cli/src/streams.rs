//! A program elsewhere on this process' own streams: what `exec` and `attach` have in common.

use std::io::Read as _;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Api, Query, Socket};
use crate::failure::{Failure, Result};
use crate::terminal::{self, Ends, Raw};

/// Says when a channel has ended; servers before Kubernetes 1.30 speak only [`V4`].
pub(crate) const V5: &str = "v5.channel.k8s.io";
/// The protocol before.
pub(crate) const V4: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Followed by the channel that has ended.
pub(crate) const CLOSE: u8 = 255;

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// Chunks of input on their way.
const CHUNKS_MAX: usize = 2;
/// Shows a proxy between that the connection is in use.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Runs until the program's streams end.
///
/// # Errors
/// With the program's own exit code when it is not 0.
pub(crate) async fn run(api: &Api, path: &str, query: Query, stdin: bool, tty: bool) -> Result<()> {
    let flag = |set: bool| set.then_some("true");
    let query = query
        .with_some("stdin", flag(stdin))
        .with("stdout", "true")
        .with_some("stderr", flag(!tty))
        .with_some("tty", flag(tty));
    let (socket, protocol) = api.websocket(path, &query, &[V5, V4]).await?;
    let mut ends = Ends::take()?;
    let raw = tty.then(Raw::enter).transpose()?;
    let (sink, stream) = socket.split();
    let ended = tokio::select! {
        ended = down(stream, Output::Own) => ended,
        failure = up(sink, stdin.then(read_stdin), tty, protocol == V5) => Err(failure),
        code = ends.next() => Err(Failure::Coded(Box::new(Failure::Silent), code)),
    };
    drop(raw);
    ended
}

/// Runs a program with pipes of ours: `input` until its sender goes, its output into `output`. What it complains of goes to
/// standard error.
///
/// # Errors
/// With the program's own exit code when it is not 0; when the server can't tell the program that its input has ended.
pub(crate) async fn piped(
    api: &Api,
    path: &str,
    query: Query,
    input: Option<mpsc::Receiver<Vec<u8>>>,
    output: mpsc::Sender<Vec<u8>>,
) -> Result<()> {
    let stdin = input.is_some().then_some("true");
    let query = query.with_some("stdin", stdin).with("stdout", "true").with("stderr", "true");
    let (socket, protocol) = api.websocket(path, &query, &[V5, V4]).await?;
    if input.is_some() && protocol != V5 {
        return Err("this server can't tell a program that its input has ended: copy with kubectl".into());
    }
    let (sink, stream) = socket.split();
    tokio::select! {
        ended = down(stream, Output::Channel(output)) => ended,
        failure = up(sink, input, false, true) => Err(failure),
    }
}

/// Where a program's output goes.
enum Output {
    /// This process' own.
    Own,
    /// Somebody who reads it.
    Channel(mpsc::Sender<Vec<u8>>),
}

/// What is typed and how large the terminal is. Returns only when the connection is gone.
async fn up(
    mut sink: SplitSink<Socket, Message>,
    mut input: Option<mpsc::Receiver<Vec<u8>>>,
    tty: bool,
    closes: bool,
) -> Failure {
    let gone = |_| Failure::Message("lost connection to the pod".to_owned());
    let work = async {
        let mut sizes = tty.then(terminal::changes).transpose()?;
        if tty {
            sink.send(size()).await.map_err(gone)?;
        }
        let mut quiet = tokio::time::interval(PING_EVERY);
        loop {
            let message = tokio::select! {
                bytes = next(&mut input) => match bytes {
                    Some(bytes) => message(STDIN, &bytes),
                    None => {
                        input = None;
                        if !closes {
                            continue;
                        }
                        message(CLOSE, &[STDIN])
                    }
                },
                () = changed(&mut sizes) => size(),
                _ = quiet.tick() => Message::Ping(bytes::Bytes::new()),
            };
            sink.send(message).await.map_err(gone)?;
        }
    };
    let ended: Result<std::convert::Infallible> = work.await;
    match ended {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    Message::binary([&[channel], bytes].concat())
}

fn size() -> Message {
    let (width, height) = terminal::size().unwrap_or_default();
    message(RESIZE, json!({"Width": width, "Height": height}).to_string().as_bytes())
}

async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

async fn changed(sizes: &mut Option<tokio::signal::unix::Signal>) {
    match sizes {
        Some(sizes) => {
            sizes.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Standard input by a thread that nobody waits for: a read of a terminal can't be broken off.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut chunk) {
            if sender.blocking_send(chunk[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What the program writes, and at last how it ended.
async fn down(mut stream: SplitStream<Socket>, output: Output) -> Result<()> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let mut ended = None;
    while let Some(Ok(message)) = stream.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => break,
            _ => continue,
        };
        let Some((channel, bytes)) = bytes.split_first() else { continue };
        match *channel {
            STDOUT => match &output {
                Output::Own => {
                    stdout.write_all(bytes).await?;
                    stdout.flush().await?;
                }
                // Who reads it has failed, and says why itself.
                Output::Channel(to) if to.send(bytes.to_vec()).await.is_err() => return Ok(()),
                Output::Channel(_) => {}
            },
            STDERR => {
                stderr.write_all(bytes).await?;
                stderr.flush().await?;
            }
            ERROR if !bytes.is_empty() => ended = Some(end(bytes)),
            _ => {}
        }
    }
    ended.unwrap_or_else(|| Err("lost connection to the pod".into()))
}

/// What the Status at the end says.
fn end(status: &[u8]) -> Result<()> {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    if status["status"] == "Success" {
        return Ok(());
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code = causes.filter(|cause| cause["reason"] == "ExitCode").find_map(|cause| cause["message"].as_str());
    if let Some(code) = code.and_then(|code| code.parse::<u8>().ok()).filter(|_| status["reason"] == "NonZeroExitCode")
    {
        let text = format!("command terminated with exit code {code}");
        return Err(Failure::Coded(Box::new(Failure::Bare(text)), code));
    }
    let text = status["message"].as_str().unwrap_or("the program ended in a way that the server did not tell");
    Err(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let of = |status: &Value| end(status.to_string().as_bytes());
        assert!(of(&json!({"status": "Success"})).is_ok());
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
        let failure = of(&failed).unwrap_err();
        assert_eq!((failure.code(), failure.text().as_str()), (7, "command terminated with exit code 7"));
        let broken = of(&json!({"status": "Failure", "reason": "InternalError", "message": "no"})).unwrap_err();
        assert_eq!((broken.code(), broken.text().as_str()), (1, "error: no"));
        assert!(end(b"nonsense").is_err());
    }
}
