//! One connection of the agent: lines in, with file descriptors at their begin; lines out.
//!
//! # Invariants
//! - Nothing blocks: an agent that does not read what it subscribed to loses its connection, and lists again.
//! - At most [`REQUEST_BYTES_MAX`] bytes and [`FDS_MAX`] descriptors wait here.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::protocol::{REQUEST_BYTES_MAX, Reply, Request};
use super::worker::owned;

/// Standard input, output and error.
pub(crate) const FDS_MAX: usize = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// It wants to hear of changes.
    pub(crate) subscribed: bool,
}

/// What one reading gave.
#[derive(Debug)]
pub(crate) enum Received {
    /// Whole requests, the descriptors with the last; possibly none yet.
    Requests(Vec<Request>),
    /// The other side has closed, or does not keep to the protocol.
    Closed,
}

impl Connection {
    /// Takes over an accepted stream.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), fds: Vec::new(), subscribed: false })
    }

    /// For poll.
    pub(crate) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Reads once.
    pub(crate) fn receive(&mut self) -> Received {
        let mut chunk = [0; 4096];
        let mut space = nix::cmsg_space!([RawFd; FDS_MAX]);
        let mut slices = [IoSliceMut::new(&mut chunk)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let got = match recvmsg::<()>(self.stream.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => {
                if let Ok(controls) = message.cmsgs() {
                    for control in controls {
                        if let ControlMessageOwned::ScmRights(fds) = control {
                            self.fds.extend(fds.into_iter().map(owned));
                        }
                    }
                }
                message.bytes
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return Received::Requests(Vec::new()),
            Err(_) => return Received::Closed,
        };
        if got == 0 || self.received.len() + got > REQUEST_BYTES_MAX || self.fds.len() > FDS_MAX {
            return Received::Closed;
        }
        self.received.extend_from_slice(&chunk[..got]);
        self.requests()
    }

    fn requests(&mut self) -> Received {
        let mut requests = Vec::new();
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push(request),
                Err(_) => return Received::Closed,
            }
        }
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Received::Requests(requests)
    }

    /// The descriptors that came with the request at hand.
    pub(crate) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    /// Sends; false when the connection is no longer of use.
    pub(crate) fn send(&mut self, reply: &Reply) -> bool {
        let Ok(mut line) = serde_json::to_vec(reply) else { return false };
        line.push(b'\n');
        // SAFETY: the buffer is valid for its length, the descriptor is our own.
        let sent = unsafe {
            libc::send(
                self.stream.as_raw_fd(),
                line.as_ptr().cast(),
                line.len(),
                libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).is_ok_and(|sent| sent == line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn requests_are_cut_at_lines() {
        let (mut agent, shim) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(shim).unwrap();
        agent.write_all(b"\"subscribe\"\n{\"start\":{\"id\":\"a\"}}\n\"shut").unwrap();
        let Received::Requests(requests) = connection.receive() else { panic!("closed") };
        assert!(matches!(&requests[..], [Request::Subscribe, Request::Start { id }] if id == "a"));
        assert!(matches!(connection.receive(), Received::Requests(none) if none.is_empty()));
        agent.write_all(b"down\"\n").unwrap();
        assert!(matches!(connection.receive(), Received::Requests(one) if matches!(one[..], [Request::Shutdown])));
        drop(agent);
        assert!(matches!(connection.receive(), Received::Closed));
    }

    #[test]
    fn nonsense_and_too_much_close_the_connection() {
        let (mut agent, shim) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(shim).unwrap();
        agent.write_all(b"nonsense\n").unwrap();
        assert!(matches!(connection.receive(), Received::Closed));
        let (mut agent, shim) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(shim).unwrap();
        let writer = std::thread::spawn(move || {
            let _ = agent.write_all(&vec![b'x'; REQUEST_BYTES_MAX + 1]);
        });
        while !matches!(connection.receive(), Received::Closed) {}
        drop(connection);
        writer.join().unwrap();
    }

    #[test]
    fn a_reader_that_does_not_read_is_given_up() {
        let (_agent, shim) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(shim).unwrap();
        let reply = Reply::Changed { id: "a".repeat(64) };
        assert!((0..1_000_000).any(|_| !connection.send(&reply)));
    }
}
