//! The user's terminal: raw while a program elsewhere has it, and as it was whatever ends that.
//!
//! # Invariants
//! - What [`Raw`] changed is changed back when it goes, by an error or a panic too. Signals that would end the process
//!   meanwhile are [`Ends`]'s.

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether standard input is a terminal.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// Its width and height in characters.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// Every key goes to the program, none to the terminal's own editing.
pub(crate) struct Raw(Termios);

impl Raw {
    /// # Errors
    /// Standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Self> {
        let saved = tcgetattr(io::stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(saved))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Signals that ask the process to end.
pub(crate) struct Ends(Vec<(u8, Signal)>);

impl Ends {
    /// From now on they don't end it by themselves.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn take() -> io::Result<Self> {
        let kinds = [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::pipe(),
            SignalKind::terminate(),
        ];
        let take = |kind: SignalKind| Ok((u8::try_from(kind.as_raw_value()).unwrap_or(0), signal(kind)?));
        kinds.into_iter().map(take).collect::<io::Result<_>>().map(Self)
    }

    /// The exit code that tells of the signal which came.
    pub(crate) async fn next(&mut self) -> u8 {
        let waits = self.0.iter_mut().map(|(number, signal)| {
            Box::pin(async {
                signal.recv().await;
                128 + *number
            })
        });
        futures::future::select_all(waits).await.0
    }
}

/// Tells when the size has changed.
///
/// # Errors
/// What the system says.
pub(crate) fn changes() -> io::Result<Signal> {
    signal(SignalKind::window_change())
}
