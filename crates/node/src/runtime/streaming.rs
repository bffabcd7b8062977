//! Streams of running programs: a command in a container, a container's own program, a connection into a pod.

use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use super::RuntimeError;

/// Bytes out of a program. Its end is the stream's end.
pub type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// Bytes to a program. Dropping it tells the program that no more come.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// How a command ended; see [`Running::ended`].
pub type Ended = Pin<Box<dyn Future<Output = Result<i32, RuntimeError>> + Send>>;

/// What of a program's streams is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors; a terminal has none of its own.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// A terminal's size, which its user may change.
pub trait Terminal: Send + Sync {
    /// Sets the size, in characters.
    ///
    /// # Errors
    /// The terminal is gone.
    fn resize(&self, width: u16, height: u16) -> std::io::Result<()>;
}

/// A program whose streams somebody holds. Dropping it lets go of the streams, and the program goes on until it
/// notices: as with a kubelet, a client that hangs up kills nothing.
pub struct Running {
    /// Its input, if that was wanted.
    pub stdin: Option<Writer>,
    /// Its output, or what its terminal shows.
    pub stdout: Option<Reader>,
    /// Its errors.
    pub stderr: Option<Reader>,
    /// Its terminal, if it has one.
    pub terminal: Option<Box<dyn Terminal>>,
    /// Its exit code. None: only its streams tell that it has ended.
    pub ended: Option<Ended>,
}

/// A connection to a port of a pod.
pub struct Connection {
    /// From the pod.
    pub reader: Reader,
    /// To the pod; dropping it closes that direction.
    pub writer: Writer,
}
