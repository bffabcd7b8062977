//! The process that holds a pod: one for each, started by the agent, independent of it.
//!
//! It makes the pod's namespaces, starts its containers (in forked workers, so that its own memory stays small), reaps
//! them, writes their logs, and keeps what became of them in files. The agent talks to it over a unix socket and may die
//! and come back at any time; another agent reads the files and goes on.
//!
//! # Invariants
//! - One thread, no timers while nothing is to be stopped: an idle pod costs no processor time.
//! - A container's state is in its file before anyone is told.
//!
//! # Absent
//! Pulling images, the pod's network, the OCI configuration: the agent's. Decisions: the shim restarts nothing.

pub(crate) mod cgroup;
mod connection;
mod devices;
mod event_loop;
mod executor;
pub(crate) mod files;
pub(crate) mod log;
mod outcomes;
pub(crate) mod protocol;
mod rootfs;
mod sandbox;
mod streams;
mod supervised;
mod supervisor;
mod user;
mod watcher;
pub(crate) mod worker;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

pub(crate) use supervised::start_ticks;

use files::{PID_NAMESPACE, SHIM_CONFIG, SHIM_PID, SHIM_SOCKET, ShimConfig, read_json, write_atomic};

/// What the shim writes to its standard output when it listens; anything else is an error text.
pub(crate) const READY: &str = "ready\n";

/// Runs a shim: `--dir POD_DIR`. Call it first in `main`, while the process has one thread.
pub fn main(args: &[String]) -> ! {
    let code = match run(args) {
        Ok(()) => 0,
        Err(message) => {
            // The agent reads this; nobody else does.
            let _ = std::io::stdout().write_all(format!("{message}\n").as_bytes());
            1
        }
    };
    std::process::exit(code)
}

fn run(args: &[String]) -> Result<(), String> {
    let dir = match args {
        [flag, dir] if flag == "--dir" => PathBuf::from(dir),
        _ => return Err("usage: shim --dir POD_DIR (the agent starts it)".to_owned()),
    };
    std::env::set_current_dir(&dir).map_err(|error| format!("pod directory {}: {error}", dir.display()))?;
    let config: ShimConfig = read_json(SHIM_CONFIG.as_ref()).map_err(|error| error.to_string())?;
    sandbox::daemonize().map_err(|error| format!("failed to leave the agent: {error}"))?;
    sandbox::enter(&config)?;
    let signals = event_loop::block_child_signals().map_err(|error| format!("signals: {error}"))?;
    let mut pod_processes = None;
    if config.pid == crate::runtime::NamespaceMode::Pod {
        let (pid, life) = sandbox::pause_process().map_err(|error| error.to_string())?;
        std::os::unix::fs::symlink(format!("/proc/{pid}/ns/pid"), PID_NAMESPACE).map_err(|error| error.to_string())?;
        pod_processes = Some(life);
    }
    let _ = std::fs::remove_file(SHIM_SOCKET);
    let listener = UnixListener::bind(SHIM_SOCKET).map_err(|error| format!("{SHIM_SOCKET}: {error}"))?;
    let pid = std::process::id();
    let start = start_ticks(pid.cast_signed()).unwrap_or_default();
    write_atomic(SHIM_PID.as_ref(), format!("{pid} {start}\n").as_bytes()).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout();
    out.write_all(READY.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    let_go_of_streams();
    event_loop::run(config, listener, signals);
    drop(pod_processes);
    Ok(())
}

/// Lets go of the agent's pipe: its end tells the agent that the shim is ready.
fn let_go_of_streams() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for fd in 0..3 {
            let _ = nix::unistd::dup2(null.as_raw_fd(), fd);
        }
    }
}
