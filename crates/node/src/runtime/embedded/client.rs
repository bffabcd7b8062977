//! The agent's side of a shim: starting it, asking it, running commands by it.
//!
//! # Invariants
//! - One connection a request: an answer can't be mistaken for another's.
//! - Sockets are reached through the directory's descriptor: a pod's path may be longer than a socket address.

use std::io::{self, IoSlice, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;

use crate::runtime::RuntimeError;
use crate::shim::READY;
use crate::shim::files::SHIM_SOCKET;
use crate::shim::protocol::{FailureKind, REPLY_BYTES_MAX, Reply, Request};

/// A shim says why it can't be in one line.
const START_TEXT_BYTES_MAX: u64 = 4096;

/// How to start a shim.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
}

/// Starts the shim of the pod whose directory is prepared; returns when it listens.
pub(crate) async fn start_shim(program: Program, dir: PathBuf) -> Result<(), RuntimeError> {
    let started = tokio::task::spawn_blocking(move || {
        let mut child = Command::new(&program.path)
            .args(&program.args)
            .arg("--dir")
            .arg(&dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("failed to start {}: {error}", program.path.display()))?;
        let mut text = String::new();
        if let Some(out) = child.stdout.take() {
            // The shim closes it when it is ready, or dies.
            let _ = out.take(START_TEXT_BYTES_MAX).read_to_string(&mut text);
        }
        let _ = child.wait();
        if text == READY { Ok(()) } else { Err(format!("the pod's shim did not start: {}", text.trim())) }
    });
    started.await.map_err(|error| RuntimeError::Failed(error.to_string()))?.map_err(RuntimeError::Failed)
}

/// An open connection to a shim.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects and sends a request, with file descriptors.
    ///
    /// # Errors
    /// The shim has died, or never was.
    pub(crate) fn open(dir: &Path, request: &Request, fds: &[RawFd]) -> io::Result<Self> {
        let dir = rustix::fs::open(
            dir,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let stream = StdStream::connect(format!("/proc/self/fd/{}/{SHIM_SOCKET}", dir.as_raw_fd()))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let controls = [ControlMessage::ScmRights(fds)];
        let controls = if fds.is_empty() { &[][..] } else { &controls };
        let mut sent =
            sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&line)], controls, MsgFlags::MSG_NOSIGNAL, None)?;
        while sent < line.len() {
            sent +=
                sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&line[sent..])], &[], MsgFlags::MSG_NOSIGNAL, None)?;
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream: BufReader::with_capacity(512, UnixStream::from_std(stream)?) })
    }

    /// The next reply; None when the shim has died. Not cancel safe: a reply may be lost.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let mut line = Vec::new();
        let limit = REPLY_BYTES_MAX as u64;
        let read = (&mut self.stream).take(limit).read_until(b'\n', &mut line).await.ok()?;
        if read == 0 { None } else { serde_json::from_slice(&line).ok() }
    }
}

/// Asks and waits for the answer.
pub(crate) async fn ask(dir: &Path, request: &Request) -> Result<(), RuntimeError> {
    let mut connection = Connection::open(dir, request, &[]).map_err(|error| dead(&error))?;
    match connection.reply().await {
        Some(Reply::Failed { kind, message }) => Err(failure(kind, message)),
        Some(_) => Ok(()),
        None => Err(RuntimeError::Failed("the pod's shim has died".to_owned())),
    }
}

fn dead(error: &io::Error) -> RuntimeError {
    RuntimeError::Failed(format!("the pod's shim does not answer: {error}"))
}

fn failure(kind: FailureKind, message: String) -> RuntimeError {
    match kind {
        FailureKind::NotFound => RuntimeError::NotFound(message),
        FailureKind::Invalid => RuntimeError::Invalid(message),
        FailureKind::Failed => RuntimeError::Failed(message),
    }
}

/// A command that runs in a container. Dropping it kills the command.
#[derive(Debug)]
pub(crate) struct Running {
    connection: Connection,
}

impl Running {
    /// Starts it with these standard streams (none with a terminal).
    pub(crate) async fn start(dir: &Path, request: &Request, streams: Vec<OwnedFd>) -> Result<Self, RuntimeError> {
        let fds: Vec<RawFd> = streams.iter().map(|fd| fd.as_raw_fd()).collect();
        let mut connection = Connection::open(dir, request, &fds).map_err(|error| dead(&error))?;
        drop(streams);
        match connection.reply().await {
            Some(Reply::Started) => Ok(Self { connection }),
            Some(Reply::Failed { kind, message }) => Err(failure(kind, message)),
            _ => Err(RuntimeError::Failed("the pod's shim has died".to_owned())),
        }
    }

    /// Its exit code.
    pub(crate) async fn wait(&mut self) -> Result<i32, RuntimeError> {
        match self.connection.reply().await {
            Some(Reply::Exited { code }) => Ok(code),
            Some(Reply::Failed { kind, message }) => Err(failure(kind, message)),
            _ => Err(RuntimeError::Failed("the pod's shim has died".to_owned())),
        }
    }
}

/// Runs `work`, but no longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(RuntimeError::Timeout(limit)))
}
