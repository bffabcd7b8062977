//! SIGINT and SIGTERM ask a command to end; a second one ends it at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a command that a second signal ended, as shells count SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// A token that the first signal cancels.
pub(crate) fn shutdown() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let first = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = int.recv() => (), _ = term.recv() => () }
        first.cancel();
        tokio::select! { _ = int.recv() => (), _ = term.recv() => () }
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(token)
}
