//! `attach`: the streams of a container's own program, from now on.

use super::exec::may_have_terminal;
use super::pod;
use crate::client::{Api, Query};
use crate::failure::{Result, message};
use crate::streams;

/// Flags of `attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// POD or TYPE/NAME
    #[arg(value_name = "POD")]
    pod: String,
    /// The container
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// The container has a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Print only what the container prints
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Shows them until the container ends.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let found = pod::find(api, &args.pod).await?;
    let phase = found["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return message(format!("cannot attach a container in a completed pod; current phase is {phase}"));
    }
    let name = pod::container(&found, args.container.as_deref(), args.quiet)?;
    let containers = found["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let container = containers.iter().find(|container| container["name"] == name);
    let has = |field: &str| container.is_some_and(|container| container[field] == true);
    let (mut stdin, mut tty) = (args.stdin, args.tty);
    if stdin && !has("stdin") {
        stdin = false;
    }
    if tty && !has("tty") {
        tty = false;
        if !args.quiet {
            eprintln!("error: Unable to use a TTY - container {name} did not allocate one");
        }
    }
    tty = tty && may_have_terminal(stdin, args.quiet);
    if !args.quiet && stdin && tty {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    streams::run(api, &pod::path(&found, "attach"), Query::new().with("container", name), stdin, tty).await
}
