//! Where messages go: one line each to standard error, `EVERYNODE_LOG` says which (info by default).

use tracing_subscriber::EnvFilter;

/// Names the variable that chooses what is logged (`debug`, `node=debug,info`, …).
const VARIABLE: &str = "EVERYNODE_LOG";

/// The client of the API logs each failed connection and each broken watch of its own; who made the call says it once, with
/// the key.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=off,hyper=error";

/// Starts logging for a long-running command. Times are left out where the terminal's reader sees them anyway.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}
