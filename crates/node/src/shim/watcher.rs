//! A client that reads along what a container writes, and the way of the container's input to it.
//!
//! # Invariants
//! - A watcher never holds the container up: one that is slower than its pipe is let go of, and its reader sees the end.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::log::Stream;
use super::supervisor::ConnectionId;

/// Clients attached to one container: more than people there are.
pub(super) const WATCHERS_MAX: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) connection: ConnectionId,
    /// Where standard output and error go.
    pub(super) outputs: [Option<OwnedFd>; 2],
}

impl Watcher {
    /// Takes the writing ends of two pipes.
    ///
    /// # Errors
    /// They are no descriptors that can be told not to block.
    pub(super) fn new(connection: ConnectionId, stdout: OwnedFd, stderr: OwnedFd) -> nix::Result<Self> {
        for fd in [&stdout, &stderr] {
            fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { connection, outputs: [Some(stdout), Some(stderr)] })
    }

    /// Passes on; false when it is to be let go of.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        match &self.outputs[stream as usize] {
            // A part of a chunk can't be taken back, so the reader would miss the rest without knowing.
            Some(fd) => nix::unistd::write(fd, bytes).is_ok_and(|count| count == bytes.len()),
            None => true,
        }
    }
}

/// Sends a copy of the descriptor over a unix socket, with one byte.
///
/// # Errors
/// What the kernel says.
pub(super) fn send_fd(socket: &OwnedFd, fd: &OwnedFd) -> nix::Result<()> {
    let fds = [fd.as_raw_fd()];
    let controls = [ControlMessage::ScmRights(&fds)];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[std::io::IoSlice::new(b"f")], &controls, flags, None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_let_go_of() {
        let (_reader, stdout) = nix::unistd::pipe().unwrap();
        let (other, stderr) = nix::unistd::pipe().unwrap();
        let mut watcher = Watcher::new(1, stdout, stderr).unwrap();
        assert!(watcher.take(Stream::Stderr, b"x"));
        assert!((0..1000).any(|_| !watcher.take(Stream::Stdout, &[b'x'; 4096])));
        drop(other);
        assert!(!watcher.take(Stream::Stderr, b"x"), "a reader that went away");
    }
}
