//! What agent and shim say to each other: JSON objects, one a line, over the unix socket in the pod's directory.
//!
//! # Invariants
//! - A message of the agent fits in [`REQUEST_BYTES_MAX`], one of the shim in [`REPLY_BYTES_MAX`].
//! - What is large (the OCI configuration, environment, mounts) goes by files: [`super::files`].
//! - File descriptors travel with the request's first byte: an exec's standard input, output and error; for an attach
//!   where output and error shall go too, and a socket that takes the container's input.
//!
//! # Absent
//! Container states: the shim writes them to files that the agent reads, so that they outlive both.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An exec's command line is the largest request; the kernel's own bound for one argument is 128 KiB.
pub(crate) const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Replies carry at most one error text.
pub(crate) const REPLY_BYTES_MAX: usize = 16 * 1024;

/// From the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Sends [`Reply::Changed`] on this connection from now on. The connection's end tells that the shim has died.
    Subscribe,
    /// Takes up the container whose files lie in `containers/ID`; it does not run yet.
    Create {
        /// Its id.
        id: String,
    },
    /// Starts it; answered when the program runs or why it can't.
    Start {
        /// Its id.
        id: String,
    },
    /// Stop signal, after the grace SIGKILL to all; answered when it has ended.
    Stop {
        /// Its id.
        id: String,
        /// Milliseconds until SIGKILL.
        grace_ms: u64,
    },
    /// Runs a program in a running container with the file descriptors that come along. Answered by
    /// [`Reply::Started`], then [`Reply::Exited`]; closing the connection kills it unless `outlives`.
    Exec {
        /// The container.
        id: String,
        /// What to run.
        process: ExecProcess,
    },
    /// Copies what a running container writes from now on to the first two descriptors that come along, until the
    /// connection closes or the reader is too slow. Its input (a terminal: its master side) comes through the third, a
    /// socket. Answered by [`Reply::Started`].
    Attach {
        /// The container.
        id: String,
        /// The input goes with whoever is attached: the shim does not hold it open any more.
        give_input: bool,
    },
    /// Forgets an ended container (kills one that runs). Its files are the agent's to delete.
    Remove {
        /// Its id.
        id: String,
    },
    /// Writes the pod's state files anew from its memory: one is damaged.
    Save,
    /// Kills all containers, and ends.
    Shutdown,
}

/// A program to run beside a container's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExecProcess {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// With a terminal: the socket that takes its master side. No file descriptors come along then.
    pub(crate) console: Option<PathBuf>,
    /// Goes on when nobody waits for it any more; it sees its streams end.
    #[serde(default)]
    pub(crate) outlives: bool,
}

/// From the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// As asked.
    Done,
    /// Not as asked.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// For people.
        message: String,
    },
    /// The exec runs.
    Started,
    /// The exec ended.
    Exited {
        /// 128 + signal where a signal ended it.
        code: i32,
    },
    /// A container changed state: read its record.
    Changed {
        /// Its id.
        id: String,
    },
}

/// See `runtime::RuntimeError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// No such container.
    NotFound,
    /// Useless to try again without a change.
    Invalid,
    /// May work later.
    Failed,
}

impl Reply {
    pub(crate) fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        let mut end = message.len().min(REPLY_BYTES_MAX / 8);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        Self::Failed { kind, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_fits_a_reply_however_long_its_text() {
        let reply = Reply::failed(FailureKind::Failed, "\u{0001}ä".repeat(REPLY_BYTES_MAX));
        assert!(serde_json::to_vec(&reply).unwrap().len() < REPLY_BYTES_MAX);
    }

    #[test]
    fn unknown_requests_are_refused() {
        assert!(serde_json::from_str::<Request>(r#"{"reboot":{}}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#""subscribe""#).is_ok());
    }
}
