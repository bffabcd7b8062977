//! Figures of an API server: `cargo xtask bench api`, and of a fleet of hollow nodes: `cargo xtask bench fleet`. The same
//! phases run against ours, which it starts, and with `--kubeconfig` against any other.
//!
//! # Invariants
//! Times are of the client and include its own work, which shares the machine; CPU seconds are of the server alone.

mod fleet;
mod phases;
mod report;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::load::{Process, Target};

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Figures of an API server", long_about = None)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_parser = ["api", "fleet"])]
    what: String,
    /// Measure the API server of this kubeconfig instead of one that is started here
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The server's processes, whose CPU seconds are counted; with --kubeconfig (repeat or separate with commas)
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pids: Vec<u32>,
    /// The binary whose server is started [default: the release build]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the server that is started keeps its data: a directory on the disk in question
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_below: PathBuf,
    /// Objects of each phase
    #[arg(long, value_name = "N", default_value_t = 5000)]
    objects: usize,
    /// Connections that create at once
    #[arg(long, value_name = "N", default_value_t = 50)]
    connections: usize,
    /// Sizes of the fleet, one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000,5000")]
    nodes: Vec<usize>,
    /// Run only phases whose name has this in it
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(words: &[String]) -> Result<()> {
    if cfg!(debug_assertions) {
        // A slow client would measure itself.
        let status = Command::new("cargo")
            .args(["run", "--quiet", "--release", "--package", "xtask", "--", "bench"])
            .args(words)
            .status()
            .context("cargo")?;
        if !status.success() {
            bail!("the bench failed");
        }
        return Ok(());
    }
    let args = Args::parse_from(std::iter::once("bench".to_owned()).chain(words.iter().cloned()));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let binary = args.binary.clone().unwrap_or_else(release_binary);
    if args.what == "fleet" {
        let rows = fleet::all(args, &binary).await?;
        print!("{}", report::fleet_table(&rows));
        return write(args, || report::fleet_json(&rows));
    }
    let (process, target) = match &args.kubeconfig {
        Some(kubeconfig) => (None, Target::read(kubeconfig).await?),
        None => {
            let (process, target) = Process::start(&binary, &args.data_below, false).await?;
            (Some(process), target)
        }
    };
    let pids = process.as_ref().map_or_else(|| args.pids.clone(), |process| vec![process.id()]);
    let figures = phases::all(args, &target, &pids).await?;
    print!("{}", report::table(&figures));
    write(args, || report::json(&figures))
}

fn write(args: &Args, json: impl FnOnce() -> String) -> Result<()> {
    match &args.json {
        Some(path) => std::fs::write(path, json()).with_context(|| path.display().to_string()),
        None => Ok(()),
    }
}

fn release_binary() -> PathBuf {
    // This program is a release build, too, so the other binary is beside it.
    std::env::current_exe().unwrap_or_default().with_file_name("everynode")
}
