//! `up --detach`: the same `up` in a process of its own, whose first words still reach the terminal.
//!
//! The child writes to a pipe until all nodes are Ready, ends its words with [`READY`] and turns its output to its log file.
//! The parent copies the pipe and succeeds only if that mark came; else it fails with the child's own error.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::flags::UpArgs;

/// Tells the child that it is one.
const VARIABLE: &str = "EVERYNODE_UP_IN_BACKGROUND";

/// The last byte of a child that is ready: the control character "end of transmission", which no text of ours holds.
const READY: u8 = 4;

/// True in the process that runs in the background.
pub(crate) fn asked_for() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Starts the child and returns when it is ready.
pub(crate) fn start(args: &UpArgs) -> Result<()> {
    let mut command = Command::new(std::env::current_exe().context("where is this binary")?);
    command.arg("up").arg("--data-dir").arg(&args.data_dir);
    command.args(["--nodes", &args.nodes.to_string(), "--listen", &args.listen.to_string()]);
    command.args(args.registries.words());
    command.args(args.network.words());
    if args.verbose {
        command.arg("--verbose");
    }
    command.env(VARIABLE, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().context("start in the background")?;
    let (mut out, mut err) = (child.stdout.take().context("no pipe")?, child.stderr.take().context("no pipe")?);
    let (mut buffer, mut ready) = ([0; 4096], false);
    while !ready {
        let read = out.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        ready = buffer[read - 1] == READY;
        std::io::stdout().write_all(&buffer[..read - usize::from(ready)])?;
    }
    if ready {
        return Ok(());
    }
    let mut words = String::new();
    err.read_to_string(&mut words)?;
    child.wait()?;
    bail!("{}", words.trim().rsplit("error: ").next().unwrap_or_default())
}

/// Turns this process's output to its log; the parent then returns.
pub(crate) fn leave(log: &Path) -> Result<()> {
    let file = crate::children::open_log(log)?;
    std::io::stdout().write_all(&[READY])?;
    std::io::stdout().flush()?;
    nix::unistd::dup2(file.as_raw_fd(), 1)?;
    nix::unistd::dup2(file.as_raw_fd(), 2)?;
    Ok(())
}
