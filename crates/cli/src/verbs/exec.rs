//! `exec`: a command in a container.

use super::pod;
use crate::client::{Api, Query};
use crate::failure::{Result, message};
use crate::{streams, terminal};

/// Flags of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// POD or TYPE/NAME
    #[arg(value_name = "POD")]
    pod: String,
    /// The command, after --
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// The container
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give it a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Print only what the command prints
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Runs the command; its exit code is ours.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    if args.command.is_empty() {
        return message("you must specify at least one command for the container");
    }
    let found = pod::find(api, &args.pod).await?;
    let phase = found["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return message(format!("cannot exec into a container in a completed pod; current phase is {phase}"));
    }
    let container = pod::container(&found, args.container.as_deref(), args.quiet)?;
    let tty = args.tty && may_have_terminal(args.stdin, args.quiet);
    let mut query = Query::new().with("container", container);
    for word in &args.command {
        query.add("command", word.clone());
    }
    streams::run(api, &pod::path(&found, "exec"), query, args.stdin, tty).await
}

/// A terminal there needs one here; kubectl goes on without.
pub(super) fn may_have_terminal(stdin: bool, quiet: bool) -> bool {
    let may = stdin && terminal::is_there();
    if !may && !quiet {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    may
}
