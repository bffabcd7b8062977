//! Standard streams of containers: pipes, terminals, and reading them without ever waiting.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::files::CONTAINERS;
use super::log::compress_rotated;
use super::worker::owned;

/// One reading; the shim's stack holds it.
const CHUNK_BYTES: usize = 16 * 1024;
/// What an ended container's pipe can hold is 64 KiB, a terminal's less; more would be a writer that escaped the kill.
const LAST_CHUNKS_MAX: usize = 64;
/// A worker's reports are a few lines.
const REPORT_BYTES_MAX: usize = 64 * 1024;

/// The streams of one container.
#[derive(Debug)]
pub(crate) struct Streams {
    /// The container's ends: standard input, output, error.
    pub(crate) inside: [OwnedFd; 3],
    /// Our ends of output and error.
    pub(crate) outputs: [Option<OwnedFd>; 2],
    /// Our end of input, if it is to stay open.
    pub(crate) stdin: Option<OwnedFd>,
}

/// Makes pipes; standard input is /dev/null unless it is to stay open.
pub(crate) fn for_container(with_stdin: bool) -> io::Result<Streams> {
    let (stdin, stdin_ours) = if with_stdin {
        let (inside, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        (inside, Some(ours))
    } else {
        (std::fs::File::open("/dev/null")?.into(), None)
    };
    let (stdout_ours, stdout) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (stderr_ours, stderr) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    for fd in [&stdout_ours, &stderr_ours] {
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(Streams { inside: [stdin, stdout, stderr], outputs: [Some(stdout_ours), Some(stderr_ours)], stdin: stdin_ours })
}

/// Listens at `containers/ID/console.sock` for the terminal that libcontainer makes inside.
pub(crate) fn listen_for_terminal(id: &str) -> io::Result<UnixListener> {
    let path = PathBuf::from(CONTAINERS).join(id).join("console.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The terminal's master side; it is there once the container has been made.
pub(crate) fn take_terminal(listener: &UnixListener) -> Option<OwnedFd> {
    let (stream, _) = listener.accept().ok()?;
    let mut name = [0; 64];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut name)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
    let fd = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied().map(owned),
        _ => None,
    })?;
    fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
    Some(fd)
}

/// Hands what is there to `take`; false when the stream has ended. Once, or as long as there is something.
pub(crate) fn read_output(fd: BorrowedFd<'_>, all: bool, take: &mut dyn FnMut(&[u8])) -> bool {
    let mut chunk = [0; CHUNK_BYTES];
    for _ in 0..if all { LAST_CHUNKS_MAX } else { 1 } {
        match nix::unistd::read(fd.as_raw_fd(), &mut chunk) {
            Ok(0) => return false,
            Ok(count) => take(&chunk[..count]),
            Err(Errno::EAGAIN | Errno::EINTR) => return true,
            // A terminal whose last user has gone says EIO.
            Err(_) => return false,
        }
    }
    true
}

/// Appends what is there; true when the writer has ended.
pub(crate) fn read_available(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> bool {
    let mut ended = false;
    let mut open = true;
    while open && buffer.len() < REPORT_BYTES_MAX {
        let before = buffer.len();
        open = read_output(fd, false, &mut |bytes| buffer.extend_from_slice(bytes));
        ended = !open;
        if buffer.len() == before {
            break;
        }
    }
    ended
}

/// Compresses a container's rotated logs aside: it takes longer than the pod's other containers can wait.
pub(crate) fn compress_in_child(log: &Path) {
    // SAFETY: the shim has one thread, so the child may do all that the parent may.
    if let Ok(nix::unistd::ForkResult::Child) = unsafe { nix::unistd::fork() } {
        // SAFETY: only lowers the child's own priority.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
        let _ = compress_rotated(log);
        // SAFETY: ends the child at once; destructors are the shim's business.
        unsafe { libc::_exit(0) }
    }
}
