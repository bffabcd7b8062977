//! SIGINT and SIGTERM ask a command to end; a second one ends it at once. For an agent, SIGPWR, or a SIGTERM while systemd
//! stops the machine, says that the machine goes down.

use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a command that a second signal ended, as shells count SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// systemd answers within milliseconds; a machine that swaps takes longer.
const SYSTEMD_MAX: Duration = Duration::from_secs(3);

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

/// What a signal asks of an agent.
pub(crate) struct Ends {
    /// To end, and leave what runs.
    pub(crate) agent: CancellationToken,
    /// To end the pods first, for the machine goes down.
    pub(crate) machine: CancellationToken,
}

/// The signals of an agent; a second one ends it at once.
pub(crate) fn ends() -> anyhow::Result<Ends> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // SIGPWR has no name there.
    let mut power = signal(SignalKind::from_raw(libc::SIGPWR))?;
    let ends = Ends { agent: CancellationToken::new(), machine: CancellationToken::new() };
    let (agent, machine) = (ends.agent.clone(), ends.machine.clone());
    tokio::spawn(async move {
        let goes_down = tokio::select! {
            _ = int.recv() => false,
            _ = term.recv() => machine_goes_down().await,
            _ = power.recv() => true,
        };
        if goes_down {
            machine.cancel()
        } else {
            agent.cancel()
        }
        tokio::select! { _ = int.recv() => (), _ = term.recv() => () }
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(ends)
}

/// Whether systemd stops the machine. A machine without it says so by SIGPWR.
async fn machine_goes_down() -> bool {
    let ask = || {
        let command =
            Command::new("systemctl").arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).output();
        command.is_ok_and(|output| output.stdout.trim_ascii() == b"stopping")
    };
    let asked = tokio::time::timeout(SYSTEMD_MAX, tokio::task::spawn_blocking(ask)).await;
    matches!(asked, Ok(Ok(true)))
}
