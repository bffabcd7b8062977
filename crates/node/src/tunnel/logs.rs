//! What a container wrote, out of its log files (CRI format, older files of a rotation too).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use decide::pod_lifecycle::{SeenContainer, SeenState};
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::sync::mpsc;

use super::query::Query;
use super::serve::find_pod;
use super::{Body, follow, plain};
use crate::agent::{Agent, observe};
use crate::runtime::{ContainerId, Runtime};

/// Chunks that wait for a slow reader.
const CHUNKS_MAX: usize = 4;
/// Bytes of a chunk.
pub(super) const CHUNK: usize = 32 * 1024;
/// Longest line that is read: the runtime cuts at 16 KiB, so a longer one is no line of ours.
const LINE_MAX: u64 = 1024 * 1024;

/// What of a log is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) since: Option<Timestamp>,
    pub(super) timestamps: bool,
    pub(super) stream: Option<&'static str>,
    pub(super) tail: Option<usize>,
    pub(super) limit: Option<u64>,
    pub(super) follow: bool,
}

impl Wanted {
    fn parse(query: &Query) -> Result<Self, String> {
        let since_time =
            query.first("sinceTime").map(str::parse::<Timestamp>).transpose().map_err(|e| e.to_string())?;
        let seconds = query.number::<i64>("sinceSeconds")?.map(SignedDuration::from_secs);
        let since = since_time.or_else(|| seconds.and_then(|s| Timestamp::now().checked_sub(s).ok()));
        Ok(Self {
            since,
            timestamps: query.is("timestamps"),
            stream: match query.first("stream") {
                Some("Stdout") => Some("stdout"),
                Some("Stderr") => Some("stderr"),
                _ => None,
            },
            tail: query.number::<usize>("tailLines")?,
            limit: query.number::<u64>("limitBytes")?,
            follow: query.is("follow"),
        })
    }

    /// Appends what people see of one line (without its end) of the file.
    pub(super) fn show(&self, line: &[u8], out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let (Some(time), Some(stream), Some(tag)) = (parts.next(), parts.next(), parts.next()) else { return };
        let text = parts.next().unwrap_or_default();
        if self.stream.is_some_and(|s| s.as_bytes() != stream) {
            return;
        }
        let at = || std::str::from_utf8(time).ok()?.parse::<Timestamp>().ok();
        if self.since.is_some_and(|since| at().is_some_and(|at| at < since)) {
            return;
        }
        if self.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(text);
        // P marks a part of a line that goes on in the next one.
        if tag != b"P" {
            out.push(b'\n');
        }
    }
}

/// Answers GET /containerLogs/….
pub(super) async fn answer<R: Runtime>(
    agent: &Arc<Agent<R>>,
    namespace: &str,
    name: &str,
    container: &str,
    query: &Query,
) -> Response<Body> {
    let wanted = match Wanted::parse(query) {
        Ok(wanted) => wanted,
        Err(error) => return plain(400, error),
    };
    let Some(pod) = find_pod(agent, namespace, name) else {
        return plain(404, format!("pod \"{name}\" in namespace \"{namespace}\" is not on this node"));
    };
    let (id, path) = match choose(agent, &pod, name, container, query.is("previous")).await {
        Ok(found) => found,
        Err(error) => return plain(400, error),
    };
    let (chunks, receiver) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let mut sink = Sink { chunks, left: wanted.limit };
        if let Some(end) = existing(&path, &wanted, &mut sink).await
            && wanted.follow
        {
            follow::follow(&agent, &ContainerId(id), &path, end, &wanted, &mut sink).await;
        }
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((Ok(hyper::body::Frame::data(chunk)), receiver))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    let text = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, text);
    response
}

/// Which start of the container is meant, and its file.
async fn choose<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    name: &str,
    container: &str,
    previous: bool,
) -> Result<(String, PathBuf), String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let picture = observe(agent.runtime.as_ref(), uid).await.map_err(|e| e.to_string())?;
    let mut list: Vec<(&SeenContainer, &PathBuf)> = picture
        .containers
        .iter()
        .zip(&picture.statuses)
        .filter(|(seen, _)| seen.name == container && seen.state != SeenState::Created)
        .map(|(seen, status)| (seen, &status.log_path))
        .collect();
    list.sort_by_key(|(seen, _)| seen.attempt);
    if previous {
        let newest_ended = list.last().is_some_and(|(seen, _)| seen.state == SeenState::Exited);
        // While it waits for its next start the last run is the previous one.
        if !newest_ended || !waits(status_of(pod, container)) {
            list.pop();
        }
    }
    match list.pop() {
        Some((seen, path)) => Ok((seen.id.clone(), path.clone())),
        None if previous => Err(format!("previous terminated container \"{container}\" in pod \"{name}\" not found")),
        None => Err(why_waiting(status_of(pod, container), name, container)),
    }
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|s| s.name == container)
}

fn waits(status: Option<&ContainerStatus>) -> bool {
    status.and_then(|s| s.state.as_ref()).is_some_and(|s| s.waiting.is_some())
}

fn why_waiting(status: Option<&ContainerStatus>, name: &str, container: &str) -> String {
    let waiting = status.and_then(|s| s.state.as_ref()).and_then(|s| s.waiting.as_ref());
    let why = match waiting.and_then(|w| w.reason.as_deref()) {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => "ContainerCreating",
    };
    format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}")
}

/// Where an answer goes.
pub(super) struct Sink {
    chunks: mpsc::Sender<Bytes>,
    left: Option<u64>,
}

impl Sink {
    fn cut(&mut self, bytes: &mut Vec<u8>) -> bool {
        let Some(left) = &mut self.left else { return true };
        let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        bytes.truncate(take);
        *left -= u64::try_from(take).unwrap_or(0);
        *left > 0
    }

    /// False when nobody wants more.
    pub(super) async fn put(&mut self, mut bytes: Vec<u8>) -> bool {
        let more = self.cut(&mut bytes);
        (bytes.is_empty() || self.chunks.send(bytes.into()).await.is_ok()) && more
    }

    fn put_blocking(&mut self, mut bytes: Vec<u8>) -> bool {
        let more = self.cut(&mut bytes);
        (bytes.is_empty() || self.chunks.blocking_send(bytes.into()).is_ok()) && more
    }

    /// Returns when the reader went away.
    pub(super) async fn closed(&self) {
        self.chunks.closed().await;
    }
}

/// The older files of a rotation, the oldest first, then the newest.
fn files(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return vec![path.to_owned()] };
    let prefix = format!("{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut list: Vec<PathBuf> = entries
        .filter(|e| {
            let name = e.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && !name.ends_with(".tmp")
        })
        .map(|e| e.path())
        .collect();
    // Names carry the time of the rotation; a file that is being compressed may be there twice.
    list.sort();
    list.dedup_by(|b, a| b.with_extension("") == **a && b.extension().is_some_and(|e| e == "gz"));
    list.push(path.to_owned());
    list
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let file = std::fs::File::open(path)?;
    let packed = path.extension().is_some_and(|e| e == "gz");
    Ok(if packed { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) })
}

/// Sends what is in the files now; the length of the newest up to which it was read, unless nobody wants more.
async fn existing(path: &Path, wanted: &Wanted, sink: &mut Sink) -> Option<u64> {
    let (path, wanted) = (path.to_owned(), wanted.clone());
    let mut own = Sink { chunks: sink.chunks.clone(), left: sink.left };
    let work = move || {
        let end = send_files(&path, &wanted, &mut own);
        (end, own.left)
    };
    let (end, left) = tokio::task::spawn_blocking(work).await.ok()?;
    sink.left = left;
    end
}

fn send_files(path: &Path, wanted: &Wanted, sink: &mut Sink) -> Option<u64> {
    if sink.left == Some(0) {
        return None;
    }
    let files = files(path);
    let (mut skip_files, mut skip_lines) = (0, 0);
    if let Some(tail) = wanted.tail {
        (skip_files, skip_lines) = tail_start(&files, tail);
    }
    let mut end = 0;
    for file in files.iter().skip(skip_files) {
        let Ok(source) = open(file) else { continue };
        end = 0;
        let mut source = BufReader::with_capacity(CHUNK, source);
        let (mut line, mut out) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            let length = source.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).unwrap_or(0);
            // A line without an end is still being written.
            if line.pop() != Some(b'\n') {
                break;
            }
            end += u64::try_from(length).unwrap_or(0);
            if skip_lines > 0 {
                skip_lines -= 1;
                continue;
            }
            wanted.show(&line, &mut out);
            if out.len() >= CHUNK && !sink.put_blocking(std::mem::take(&mut out)) {
                return None;
            }
        }
        if !sink.put_blocking(out) {
            return None;
        }
    }
    Some(end)
}

/// The file and the line in it with which the last `tail` lines begin.
fn tail_start(files: &[PathBuf], tail: usize) -> (usize, usize) {
    let mut wanted = tail;
    for (index, file) in files.iter().enumerate().rev() {
        let lines = count_lines(file);
        if lines >= wanted {
            return (index, lines - wanted);
        }
        wanted -= lines;
    }
    (0, 0)
}

fn count_lines(path: &Path) -> usize {
    let Ok(mut source) = open(path) else { return 0 };
    let mut buffer = vec![0; CHUNK];
    let mut lines = 0;
    while let Ok(length) = source.read(&mut buffer) {
        if length == 0 {
            break;
        }
        lines += buffer.iter().take(length).filter(|b| **b == b'\n').count();
    }
    lines
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
