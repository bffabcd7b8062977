//! The `everynode` binary: flags, wiring, signals.
//!
//! # Invariants
//! - `shim` is handled before anything else: it runs once a pod and must stay tiny and single-threaded.
//! - A failure is one line on standard error and a non-zero exit code.
//!
//! # Absent
//! Rules of Kubernetes: they are in `api` and `decide`.

mod agent;
mod allocator;
mod builtin;
mod children;
mod client;
mod connect;
mod controller;
mod demo;
mod down;
mod flags;
mod hollow;
mod image;
mod install;
mod join;
mod leftovers;
mod limits;
mod logging;
mod placing;
mod pod_network;
mod preflight;
mod private_file;
mod reasons;
mod registries;
mod runtime_record;
mod serve;
mod signals;
mod small;
mod tail_logs;
mod token;
mod uninstall;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::flags::{Cli, Command};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.nth(1).is_some_and(|w| w == "shim") {
        let words: Vec<String> = words.map(|w| w.to_string_lossy().into_owned()).collect();
        node::shim::main(&words);
    }
    // A closed pipe ends the command quietly, as it does for other command-line tools.
    reset_sigpipe();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Server(args) => serve::run(args),
        Command::Agent(args) => agent::run(*args),
        Command::Hollow(args) => hollow::run(args),
        Command::Controller(args) => controller::run(&args),
        Command::Install(args) => install::run(args),
        Command::Uninstall(args) => uninstall::run(args),
        Command::Token(args) => token::run(args),
        Command::Image(args) => image::run(args.command),
        Command::TailLogs(args) => tail_logs::run(&args),
        Command::Kubectl(verb) => return kubectl(*verb, cli.globals),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {}", one_line(&e));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each said once, and what to do about a full disk wherever it shows.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    let full = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull)
    };
    if error.chain().any(full) { format!("{line}; make room on that disk and try again") } else { line }
}

fn kubectl(verb: cli::Command, globals: cli::GlobalArgs) -> ExitCode {
    match runtime(1) {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(verb, globals));
            // A write to an output that nobody reads must not keep a process that was asked to end.
            runtime.shutdown_background();
            code
        }
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// A tokio runtime; one thread where a process mostly waits, because each thread costs memory.
fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    Ok(builder.enable_all().build()?)
}

/// What this process is known as among its equals.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim(), uuid::Uuid::new_v4())
}

#[allow(unsafe_code)]
fn reset_sigpipe() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    let long_running = std::env::args()
        .nth(1)
        .is_some_and(|w| ["server", "agent", "up", "demo", "controller", "hollow"].contains(&w.as_str()));
    if !long_running {
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_cause_is_said_once_and_a_full_disk_says_what_to_do() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let said = format!("/x: {full}");
        let error = anyhow::Error::new(full).context(said.clone());
        assert_eq!(one_line(&error), format!("{said}; make room on that disk and try again"));
        assert_eq!(one_line(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }
}
