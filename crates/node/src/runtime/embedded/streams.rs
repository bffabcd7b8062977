//! Streams of people: commands with input or a terminal, containers looked at, ports of pods.
//!
//! # Invariants
//! - Bytes go between the container and this process by pipes and terminals; the shim only makes the connection.
//! - What nobody reads any more ends by its own means: a pipe breaks, a terminal hangs up.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rand::RngCore as _;
use tokio::net::unix::pipe;

use super::Inner;
use super::client::{self, within};
use super::parts::{Images, PodNetwork};
use super::terminal::{Handover, Master, receive_from};
use crate::network::netns;
use crate::runtime::streaming::{Connection, Ended, Reader, Running, Wanted, Writer};
use crate::runtime::{ContainerId, RuntimeError, SandboxId};
use crate::shim::files::{CONTAINER, CONTAINERS, ContainerFile, NETNS, read_json};
use crate::shim::protocol::{ExecProcess, Request};

/// The program runs some 30 ms after it was asked for; a machine that swaps takes longer.
const START_MAX: Duration = Duration::from_secs(60);
/// The pod is on this machine: its kernel answers at once, or drops what comes on purpose.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What a client that is attached may be behind before the shim lets go of it.
const WATCHER_BYTES: i32 = 1024 * 1024;

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(format!("failed to make the program's streams: {error}"))
}

/// A pipe to the program, or nothing: the program's end, our end.
fn input(wanted: bool) -> io::Result<(OwnedFd, Option<Writer>)> {
    if !wanted {
        return Ok((File::open("/dev/null")?.into(), None));
    }
    let (inside, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((inside, Some(Box::new(pipe::Sender::from_owned_fd(ours)?))))
}

/// A pipe from the program, or nothing: the program's end, our end.
fn output(wanted: bool) -> io::Result<(OwnedFd, Option<Reader>)> {
    if !wanted {
        return Ok((File::options().write(true).open("/dev/null")?.into(), None));
    }
    let (ours, inside) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((inside, Some(Box::new(pipe::Receiver::from_owned_fd(ours)?))))
}

impl<I: Images, N: PodNetwork> Inner<I, N> {
    /// Starts a command whose streams the caller gets.
    pub(crate) async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        wanted: Wanted,
    ) -> Result<Running, RuntimeError> {
        if wanted.tty {
            return self.exec_in_terminal(id, command, wanted).await;
        }
        let (sandbox, _) = self.container(id)?;
        let (stdin_inside, stdin) = input(wanted.stdin).map_err(failed)?;
        let (stdout_inside, stdout) = output(wanted.stdout).map_err(failed)?;
        let (stderr_inside, stderr) = output(wanted.stderr).map_err(failed)?;
        let request =
            Request::Exec { id: id.0.clone(), process: ExecProcess { command, console: None, outlives: true } };
        let start = client::Running::start(&sandbox.dir, &request, vec![stdin_inside, stdout_inside, stderr_inside]);
        let running = within(START_MAX, start).await?;
        Ok(Running { stdin, stdout, stderr, terminal: None, ended: Some(ended(running)) })
    }

    async fn exec_in_terminal(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        wanted: Wanted,
    ) -> Result<Running, RuntimeError> {
        let (sandbox, _) = self.container(id)?;
        let name = format!("exec-{:016x}.sock", rand::rng().next_u64());
        let handover = Handover::listen(&sandbox.dir.join(CONTAINERS).join(&id.0), &name).map_err(failed)?;
        let console = Some(handover.path().to_owned());
        let request = Request::Exec { id: id.0.clone(), process: ExecProcess { command, console, outlives: true } };
        let running = within(START_MAX, client::Running::start(&sandbox.dir, &request, Vec::new())).await?;
        let master = Master::new(handover.take().await.map_err(failed)?).map_err(failed)?;
        Ok(Running {
            stdin: wanted.stdin.then(|| master.writer()).transpose().map_err(failed)?,
            stdout: Some(master.reader().map_err(failed)?),
            stderr: None,
            terminal: Some(Box::new(master)),
            ended: Some(ended(running)),
        })
    }

    /// Looks at what a running container does from now on.
    pub(crate) async fn attach(
        &self,
        id: &ContainerId,
        wanted: Wanted,
        give_input: bool,
    ) -> Result<Running, RuntimeError> {
        let (sandbox, _) = self.container(id)?;
        let file: ContainerFile = read_json(&sandbox.dir.join(CONTAINERS).join(&id.0).join(CONTAINER))
            .map_err(|error| failed(error.to_string()))?;
        let (stdout_inside, stdout) = output(wanted.stdout).map_err(failed)?;
        let (stderr_inside, stderr) = output(wanted.stderr && !file.tty).map_err(failed)?;
        for inside in [&stdout_inside, &stderr_inside] {
            // /dev/null has no size; a smaller pipe than asked for only means less patience.
            let _ = fcntl(inside.as_raw_fd(), FcntlArg::F_SETPIPE_SZ(WATCHER_BYTES));
        }
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let request = Request::Attach { id: id.0.clone(), give_input: give_input && wanted.stdin };
        let fds = vec![stdout_inside, stderr_inside, theirs.into()];
        let connection = within(START_MAX, client::Running::start(&sandbox.dir, &request, fds)).await?;
        let input = receive_from(&ours).map_err(failed)?;
        let (mut stdin, mut terminal): (Option<Writer>, _) = (None, None);
        match input {
            Some(fd) if file.tty => {
                let master = Master::new(fd).map_err(failed)?;
                stdin = wanted.stdin.then(|| master.writer()).transpose().map_err(failed)?;
                terminal = Some(Box::new(master) as Box<_>);
            }
            Some(fd) if wanted.stdin => {
                stdin = Some(Box::new(pipe::Sender::from_owned_fd(fd).map_err(failed)?));
            }
            _ => {}
        }
        let (stdout, stderr) = (stdout.map(|reader| held(reader, connection)), stderr);
        Ok(Running { stdin, stdout, stderr, terminal, ended: None })
    }

    /// Connects to a port on the pod's own loopback.
    pub(crate) async fn connect(&self, id: &SandboxId, port: u16) -> Result<Connection, RuntimeError> {
        let sandbox = self.sandbox(id)?;
        let netns = sandbox.dir.join(NETNS);
        let connecting = tokio::task::spawn_blocking(move || {
            // A pod with the node's network has no namespace of its own.
            if netns.exists() { netns::run_inside(&netns, move || dial(port)) } else { dial(port) }
        });
        let stream = connecting.await.map_err(io::Error::other).and_then(|dialed| dialed).and_then(|stream| {
            stream.set_nonblocking(true)?;
            tokio::net::TcpStream::from_std(stream)
        });
        let stream = stream.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                _ => error.to_string(),
            };
            RuntimeError::Failed(format!("failed to connect to localhost:{port} inside the pod: {why}"))
        })?;
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer) })
    }
}

/// IPv4, then IPv6; the error is IPv4's.
fn dial(port: u16) -> io::Result<std::net::TcpStream> {
    let to = |ip: std::net::IpAddr| std::net::TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT_MAX);
    to(Ipv4Addr::LOCALHOST.into()).or_else(|error| to(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))
}

fn ended(mut running: client::Running) -> Ended {
    Box::pin(async move { running.wait().await })
}

/// The reader, which keeps the connection that the shim knows it by.
fn held(reader: Reader, connection: client::Running) -> Reader {
    Box::new(Held { reader, _connection: connection })
}

struct Held {
    reader: Reader,
    _connection: client::Running,
}

impl tokio::io::AsyncRead for Held {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}
