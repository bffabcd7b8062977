//! Waiting: one poll over the agent's connections, the containers' outputs, the workers and the children's signals.
//!
//! # Invariants
//! - It waits without a time limit unless something is to be killed later.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::connection::{Connection, Received};
use super::files::{SHIM_SOCKET, ShimConfig};
use super::protocol::{Reply, Request};
use crate::memory;

use super::supervisor::{ConnectionId, Shim, Source};

/// The agent needs one for each request at hand; more is another's mistake.
const CONNECTIONS_MAX: usize = 256;

/// From now on SIGCHLD is read from what this returns. Must come before the first child.
///
/// # Errors
/// What the kernel says.
pub(crate) fn block_child_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        // The pod ends by the agent's word: a signal to all (a terminal's, a session's end) is not meant for it.
        // SAFETY: ignoring involves no handler.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) }?;
    }
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

#[derive(Debug)]
enum Token {
    Listener,
    Signal,
    Connection(ConnectionId),
    Source(Source),
}

/// Serves until a shutdown.
pub(crate) fn run(config: ShimConfig, listener: UnixListener, signals: SignalFd) {
    let mut shim = Shim::new(config);
    let mut connections: BTreeMap<ConnectionId, Connection> = BTreeMap::new();
    let mut next: ConnectionId = 0;
    let _ = listener.set_nonblocking(true);
    let mut worked = true;
    loop {
        send_all(&mut shim, &mut connections);
        if std::mem::replace(&mut worked, shim.is_working()) && !worked {
            memory::release();
        }
        if shim.is_over(Instant::now()) {
            send_all(&mut shim, &mut connections);
            let _ = std::fs::remove_file(SHIM_SOCKET);
            return;
        }
        for token in wait(&shim, &connections, &listener, &signals) {
            match token {
                Token::Listener => {
                    if let Ok((stream, _)) = listener.accept()
                        && connections.len() < CONNECTIONS_MAX
                        && let Ok(connection) = Connection::new(stream)
                    {
                        connections.insert(next, connection);
                        next += 1;
                    }
                }
                Token::Signal => {
                    while let Ok(Some(_)) = signals.read_signal() {}
                    reap(&mut shim);
                }
                Token::Connection(id) => serve(&mut shim, &mut connections, id),
                Token::Source(Source::Worker(pid)) => shim.worker_ready(pid),
                Token::Source(Source::Output(id, stream)) => shim.output_ready(&id, stream),
            }
        }
        shim.tick(Instant::now());
    }
}

fn wait(
    shim: &Shim,
    connections: &BTreeMap<ConnectionId, Connection>,
    listener: &UnixListener,
    signals: &SignalFd,
) -> Vec<Token> {
    let mut tokens = vec![Token::Listener, Token::Signal];
    let mut fds = vec![watch(listener.as_raw_fd()), watch(signals.as_raw_fd())];
    for (id, connection) in connections {
        tokens.push(Token::Connection(*id));
        fds.push(watch(connection.fd()));
    }
    for (source, fd) in shim.sources() {
        tokens.push(Token::Source(source));
        fds.push(watch(fd.as_raw_fd()));
    }
    let timeout_ms = match shim.deadline() {
        None => -1,
        // Rounded up, so that what is due is due when poll returns.
        Some(at) => {
            i32::try_from((at.saturating_duration_since(Instant::now()) + Duration::from_millis(1)).as_millis())
                .unwrap_or(i32::MAX)
        }
    };
    // SAFETY: the array is valid for the number of entries that is passed.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    if ready < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
        // Only want of memory can be the cause; give others the time to free some.
        std::thread::sleep(Duration::from_millis(100));
    }
    if ready <= 0 {
        return Vec::new();
    }
    let is_ready = |fd: &libc::pollfd| fd.revents != 0;
    tokens.into_iter().zip(&fds).filter(|(_, fd)| is_ready(fd)).map(|(token, _)| token).collect()
}

fn watch(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

fn serve(shim: &mut Shim, connections: &mut BTreeMap<ConnectionId, Connection>, id: ConnectionId) {
    let Some(connection) = connections.get_mut(&id) else { return };
    match connection.receive() {
        Received::Requests(requests) => {
            for request in requests {
                connection.subscribed |= matches!(request, Request::Subscribe);
                let fds = connection.take_fds();
                shim.request(id, request, fds);
            }
        }
        Received::Closed => {
            connections.remove(&id);
            shim.disconnected(id);
        }
    }
}

fn send_all(shim: &mut Shim, connections: &mut BTreeMap<ConnectionId, Connection>) {
    for (to, reply) in std::mem::take(&mut shim.outbox) {
        match (to, &reply) {
            (Some(id), _) => send(shim, connections, id, &reply),
            (None, Reply::Changed { .. }) => {
                let subscribed = |(id, connection): (&ConnectionId, &Connection)| connection.subscribed.then_some(*id);
                for id in connections.iter().filter_map(subscribed).collect::<Vec<_>>() {
                    send(shim, connections, id, &reply);
                }
            }
            // Nobody waits for this answer any more.
            (None, _) => {}
        }
    }
}

fn send(shim: &mut Shim, connections: &mut BTreeMap<ConnectionId, Connection>, id: ConnectionId, reply: &Reply) {
    if let Some(connection) = connections.get_mut(&id)
        && !connection.send(reply)
    {
        connections.remove(&id);
        shim.disconnected(id);
    }
}

fn reap(shim: &mut Shim) {
    loop {
        let mut status = 0;
        // SAFETY: the status is valid for the call. (nix knows no real-time signals and would lose such an end.)
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        if libc::WIFEXITED(status) {
            shim.reaped(pid, libc::WEXITSTATUS(status));
        } else if libc::WIFSIGNALED(status) {
            shim.reaped(pid, 128 + libc::WTERMSIG(status));
        }
    }
}
