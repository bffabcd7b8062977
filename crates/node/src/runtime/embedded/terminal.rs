//! Terminals of programs: taking one over from the container, sizing it, reading and writing it.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::net::unix::pipe;

use crate::runtime::streaming::{Reader, Terminal, Writer};
use crate::shim::worker::owned;

/// The terminal comes before the program starts, so it is there when the start has been told.
const HANDOVER_MAX: Duration = Duration::from_secs(5);

/// Where a container's terminal is to be handed over; the path goes with it.
pub(super) struct Handover {
    listener: tokio::net::UnixListener,
    path: PathBuf,
}

impl Handover {
    /// Listens at `dir/NAME`; the directory's path may be longer than a socket address.
    pub(super) fn listen(dir: &Path, name: &str) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::open(dir, flags, rustix::fs::Mode::empty())?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)?, path: dir.join(name) })
    }

    /// For the container's side.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The master side.
    pub(super) async fn take(self) -> io::Result<OwnedFd> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the container gave no terminal");
        let (stream, _) = tokio::time::timeout(HANDOVER_MAX, self.listener.accept()).await.map_err(late)??;
        let received = async {
            loop {
                stream.readable().await?;
                match stream.try_io(tokio::io::Interest::READABLE, || receive(stream.as_raw_fd())) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
            }
        };
        tokio::time::timeout(HANDOVER_MAX, received).await.map_err(late)??.ok_or_else(without)
    }
}

fn without() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the container gave no terminal")
}

impl Drop for Handover {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A descriptor that waits on a socket whose other side may have closed.
pub(super) fn receive_from(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    receive(socket.as_raw_fd())
}

fn receive(socket: std::os::fd::RawFd) -> io::Result<Option<OwnedFd>> {
    let mut text = [0; 4096];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut slices = [io::IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket, &mut slices, Some(&mut space), flags)?;
    Ok(message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied().map(owned),
        _ => None,
    }))
}

/// A terminal's master side as streams.
pub(super) struct Master(OwnedFd);

impl Master {
    /// Takes it over.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        Ok(Self(fd))
    }

    /// What it shows. Its end is an error (EIO), which readers take for the end.
    pub(super) fn reader(&self) -> io::Result<Reader> {
        Ok(Box::new(pipe::Receiver::from_owned_fd_unchecked(self.0.try_clone()?)?))
    }

    /// What is typed.
    pub(super) fn writer(&self) -> io::Result<Writer> {
        Ok(Box::new(pipe::Sender::from_owned_fd_unchecked(self.0.try_clone()?)?))
    }
}

impl Terminal for Master {
    fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let size = rustix::termios::Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.0, size)?)
    }
}
