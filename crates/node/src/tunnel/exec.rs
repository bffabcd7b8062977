//! Commands in containers, and containers looked at: streams in both directions.
//!
//! Request and answer are frames ([`api::frames`]): input and the terminal's size in, output, errors and at last how it
//! ended (a Status) out.
//!
//! # Invariants
//! - The container is looked for before the answer begins: what is wrong then is an error code, later it is a Status.
//! - A client that hangs up lets go of the streams; the command goes on until it notices, as with a kubelet.

use std::sync::Arc;
use std::time::Duration;

use api::frames::{self, Decoder};
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::query::Query;
use super::serve::find_pod;
use super::{Body, plain};
use crate::agent::{Agent, observe};
use crate::runtime::streaming::{Reader, Running, Terminal, Wanted, Writer};
use crate::runtime::{ContainerId, ContainerState, Runtime, RuntimeError};

/// Frames that wait for a slow reader.
const CHUNKS_MAX: usize = 4;
/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// After the command's end, children that it left may hold its output open for ever: when nothing came for this long,
/// nothing more is waited for.
const LATE_OUTPUT_MAX: Duration = Duration::from_millis(100);

/// Which container is meant.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
}

/// Answers POST /exec/….
pub(super) async fn exec<R: Runtime>(
    agent: &Arc<Agent<R>>,
    at: At<'_>,
    query: &Query,
    input: Incoming,
) -> Response<Body> {
    let command = query.all("command");
    if command.is_empty() {
        return plain(400, "you must specify at least 1 command for the container");
    }
    let (_, id) = match find(agent, at).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let (wanted, agent) = (wanted(query), Arc::clone(agent));
    stream(|chunks| async move {
        let status = match agent.runtime.exec(&id, command.clone(), wanted).await {
            Ok(running) => match serve(running, input, &chunks).await {
                Some(ended) => ended.map_or_else(
                    |error| broken("error executing command in container", &error),
                    |code| exited(&command, code),
                ),
                None => return,
            },
            Err(error) => broken("error executing command in container: failed to exec in container", &error),
        };
        let _ = chunks.send(frames::encode(frames::ERROR, status.to_string().as_bytes()).into()).await;
    })
}

/// Answers POST /attach/….
pub(super) async fn attach<R: Runtime>(
    agent: &Arc<Agent<R>>,
    at: At<'_>,
    query: &Query,
    input: Incoming,
) -> Response<Body> {
    let (pod, id) = match find(agent, at).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let all = pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let later = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let known = all.map(|c| (&c.name, c.stdin_once)).chain(later.map(|c| (&c.name, c.stdin_once)));
    let once = known.into_iter().any(|(name, once)| *name == *at.container && once == Some(true));
    let (wanted, agent) = (wanted(query), Arc::clone(agent));
    stream(move |chunks| async move {
        let status = match agent.runtime.attach(&id, wanted, once).await {
            Ok(running) => match serve(running, input, &chunks).await {
                Some(ended) => ended.map_or_else(|error| broken("error attaching to container", &error), |_| success()),
                None => return,
            },
            Err(error) => broken("error attaching to container", &error),
        };
        let _ = chunks.send(frames::encode(frames::ERROR, status.to_string().as_bytes()).into()).await;
    })
}

fn wanted(query: &Query) -> Wanted {
    let tty = query.is("tty");
    Wanted { stdin: query.is("stdin"), stdout: query.is("stdout"), stderr: query.is("stderr") && !tty, tty }
}

/// The pod, and its container that runs; or the kubelet's words.
async fn find<R: Runtime>(agent: &Arc<Agent<R>>, at: At<'_>) -> Result<(Arc<Pod>, ContainerId), Box<Response<Body>>> {
    let Some(pod) = find_pod(agent, at.namespace, at.pod) else {
        return Err(Box::new(plain(404, "pod does not exist")));
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let picture =
        observe(agent.runtime.as_ref(), uid).await.map_err(|error| Box::new(plain(500, error.to_string())))?;
    let running = picture.statuses.iter().find(|c| c.name == at.container && c.state == ContainerState::Running);
    let id = running.map(|container| ContainerId(container.id.0.clone()));
    id.map(|id| (pod, id)).ok_or_else(|| Box::new(plain(500, format!("container not found ({:?})", at.container))))
}

/// An answer whose frames `work` makes.
fn stream<W: Future<Output = ()> + Send + 'static>(work: impl FnOnce(mpsc::Sender<Bytes>) -> W) -> Response<Body> {
    let (chunks, receiver) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    tokio::spawn(work(chunks));
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((Ok(hyper::body::Frame::data(chunk)), receiver))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    let kind = http::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Copies until the program has ended and said all; None when the client hung up before.
async fn serve(running: Running, input: Incoming, chunks: &mpsc::Sender<Bytes>) -> Option<Result<i32, RuntimeError>> {
    let Running { stdin, stdout, stderr, terminal, ended } = running;
    let (tell, has_ended) = watch::channel(false);
    let code = async {
        let Some(ended) = ended else { return Ok(0) };
        let code = ended.await;
        tell.send_replace(true);
        code
    };
    let output = async {
        let (code, (), ()) = tokio::join!(
            code,
            copy_output(stdout, frames::STDOUT, chunks, has_ended.clone()),
            copy_output(stderr, frames::STDERR, chunks, has_ended.clone()),
        );
        code
    };
    let input = async {
        copy_input(input, stdin, terminal.as_deref()).await;
        std::future::pending().await
    };
    tokio::select! {
        code = output => Some(code),
        () = chunks.closed() => None,
        () = input => None,
    }
}

/// Passes on what the program writes, and a little of what comes after its end.
async fn copy_output(
    from: Option<Reader>,
    channel: u8,
    chunks: &mpsc::Sender<Bytes>,
    mut has_ended: watch::Receiver<bool>,
) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        let over = *has_ended.borrow();
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            _ = has_ended.changed(), if !over => continue,
            () = tokio::time::sleep(LATE_OUTPUT_MAX), if over => return,
        };
        // A terminal that everyone has left says EIO.
        let Ok(count @ 1..) = read else { return };
        let Some(bytes) = chunk.get(..count) else { return };
        if chunks.send(frames::encode(channel, bytes).into()).await.is_err() {
            return;
        }
    }
}

/// Passes on what the client sends, until it says that no more comes.
async fn copy_input(mut input: Incoming, mut stdin: Option<Writer>, terminal: Option<&dyn Terminal>) {
    let mut decoder = Decoder::default();
    while let Some(Ok(piece)) = input.frame().await {
        let Ok(piece) = piece.into_data() else { continue };
        decoder.push(&piece);
        loop {
            let frame = match decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            match (frame.channel, &mut stdin) {
                (frames::STDIN, Some(writer)) => {
                    let written = writer.write_all(&frame.bytes).await;
                    if written.is_err() {
                        // The program reads no more; the terminal's size may still change.
                        stdin = None;
                    }
                }
                (frames::CLOSE, Some(writer)) if frame.bytes == [frames::STDIN] => {
                    let _ = writer.shutdown().await;
                    stdin = None;
                }
                (frames::RESIZE, _) => resize(terminal, &frame.bytes),
                _ => {}
            }
        }
    }
    if let Some(mut writer) = stdin {
        let _ = writer.shutdown().await;
    }
}

fn resize(terminal: Option<&dyn Terminal>, size: &[u8]) {
    let Some((terminal, (width, height))) = terminal.zip(size_of(size)) else { return };
    // A program that has just ended has no terminal any more.
    let _ = terminal.resize(width, height);
}

fn size_of(text: &[u8]) -> Option<(u16, u16)> {
    let size: Value = serde_json::from_slice(text).ok()?;
    let number = |name: &str| u16::try_from(size[name].as_u64()?).ok();
    Some((number("Width")?, number("Height")?))
}

fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

fn exited(command: &[String], code: i32) -> Value {
    if code == 0 {
        return success();
    }
    json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: error executing command [{}], exit code {code}",
            command.join(" ")),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
}

fn broken(what: &str, error: &RuntimeError) -> Value {
    let text = format!("{what}: {error}");
    json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {text}"), "details": {"causes": [{"message": text}]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        assert_eq!(exited(&[], 0)["status"], "Success");
        let failure = exited(&["sh".to_owned(), "-c".to_owned()], 3);
        assert_eq!(failure["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        let words = "command terminated with non-zero exit code: error executing command [sh -c], exit code 3";
        assert_eq!(failure["message"], words);
        let failure = broken("error attaching to container", &RuntimeError::Failed("no".to_owned()));
        assert_eq!(failure["message"], "Internal error occurred: error attaching to container: no");
    }

    #[test]
    fn sizes() {
        assert_eq!(size_of(br#"{"Width":80,"Height":24}"#), Some((80, 24)));
        for nonsense in
            [&b"80x24"[..], br#"{"Width":-1,"Height":24}"#, br#"{"Width":80}"#, br#"{"Width":70000,"Height":1}"#]
        {
            assert_eq!(size_of(nonsense), None);
        }
    }

    #[tokio::test]
    async fn output_after_the_end_is_passed_on_but_not_waited_for_ever() {
        let (mut inside, outside) = tokio::io::duplex(64);
        let (chunks, mut receiver) = mpsc::channel(8);
        let (tell, has_ended) = watch::channel(false);
        inside.write_all(b"last").await.unwrap();
        tell.send_replace(true);
        // `inside` stays open, as a child that the command left would hold it.
        copy_output(Some(Box::new(outside)), frames::STDOUT, &chunks, has_ended).await;
        assert_eq!(receiver.recv().await.unwrap(), frames::encode(frames::STDOUT, b"last"));
        drop(inside);
    }
}
