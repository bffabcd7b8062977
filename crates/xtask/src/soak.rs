//! The soak: `cargo xtask soak`. Clients write at random, watchers watch, and at the end each watcher's events are held
//! against what the writers were told: every revision of what it selects once, in order, and nothing else. The server's
//! memory is sampled, and must be flat in a run that is long enough to say so.
//!
//! # Invariants
//! - The truth is made of answers to writes alone; only the revisions of deletions, which no answer tells, are taken
//!   from watchers, which must agree on them.
//! - A seed gives each client the same choices again; what comes of them depends on the other clients.

mod check;
mod memory;
mod watchers;
mod writers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::load::{Connection, Process, Target};
use check::Truth;

const JSON: &str = "application/json";
/// Watchers get this long after the last write to see everything; far above what any machine needs.
const CATCH_UP: Duration = Duration::from_secs(120);

/// A kind that is written: its path's head, its plural, and an object of it.
pub(crate) struct Kind {
    base: &'static str,
    plural: &'static str,
    api_version: &'static str,
    kind: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind { base: "/api/v1", plural: "configmaps", api_version: "v1", kind: "ConfigMap" },
    Kind { base: "/api/v1", plural: "secrets", api_version: "v1", kind: "Secret" },
    Kind {
        base: "/apis/coordination.k8s.io/v1",
        plural: "leases",
        api_version: "coordination.k8s.io/v1",
        kind: "Lease",
    },
    Kind { base: "/apis/apps/v1", plural: "daemonsets", api_version: "apps/v1", kind: "DaemonSet" },
];
const NAMESPACES: usize = 4;
/// Names that all writers of a kind and namespace fight for.
const SHARED: usize = 3;

#[derive(Parser)]
#[command(name = "cargo xtask soak", about = "Writers and watchers held against each other", long_about = None)]
struct Args {
    /// How long the writers write
    #[arg(long, value_name = "N", default_value_t = 300)]
    seconds: u64,
    /// Clients that write
    #[arg(long, value_name = "N", default_value_t = 50)]
    writers: usize,
    /// Watches
    #[arg(long, value_name = "N", default_value_t = 200)]
    watches: usize,
    /// Writes a second, of all clients together
    #[arg(long, value_name = "N", default_value_t = 500)]
    rate: u64,
    /// The clients' choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The binary whose server is started [default: the build beside this one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Use the API server of this kubeconfig instead of one that is started here
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where the server that is started keeps its data
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_below: PathBuf,
}

/// Soaks, checks and prints.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let args = Args::parse_from(std::iter::once("soak".to_owned()).chain(words.iter().cloned()));
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(soak(&args))
}

async fn soak(args: &Args) -> Result<()> {
    let (process, target) = match &args.kubeconfig {
        Some(kubeconfig) => (None, Target::read(kubeconfig).await?),
        None => {
            let beside = || std::env::current_exe().unwrap_or_default().with_file_name("everynode");
            let (process, target) =
                Process::start(&args.binary.clone().unwrap_or_else(beside), &args.data_below, false).await?;
            (Some(process), target)
        }
    };
    let start = prepare(&target).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut watching = watchers::start(&target, args.watches, args.seed, &start, stop.clone()).await?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let sampling = process.as_ref().map(|process| tokio::spawn(memory::sample(process.id(), end)));
    let pause = Duration::from_secs_f64(args.writers as f64 / args.rate as f64);
    let mut writing = JoinSet::new();
    for number in 0..args.writers {
        writing.spawn(writers::write(target.clone(), number, args.seed, pause, end));
    }
    let mut truth = Truth::default();
    while let Some(written) = writing.join_next().await {
        truth.add(written??);
    }
    let last = check_lists(&target, &truth).await?;
    let seen = watchers::finish(&mut watching, &stop, &last, CATCH_UP).await?;
    let checked = check::check(&truth, &seen)?;
    println!("{truth}; {checked}");
    match sampling {
        Some(sampling) => sampling.await?.report(args.seconds),
        None => Ok(()),
    }
}

/// The namespaces, and the revision of each kind that everything begins at.
async fn prepare(target: &Target) -> Result<Vec<u64>> {
    let mut connection = Connection::open(target).await?;
    for number in 0..NAMESPACES {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}});
        connection.ask(Method::POST, "/api/v1/namespaces", JSON, body.to_string()).await?.done()?;
    }
    let mut start = Vec::new();
    for kind in &KINDS {
        start.push(revision(&list(&mut connection, kind).await?)?);
    }
    Ok(start)
}

async fn list(connection: &mut Connection, kind: &Kind) -> Result<Value> {
    connection.read(&format!("{}/{}", kind.base, kind.plural), JSON).await?.json()
}

fn revision(object: &Value) -> Result<u64> {
    let text = object["metadata"]["resourceVersion"].as_str().context("no resourceVersion")?;
    Ok(text.parse()?)
}

fn namespace(number: usize) -> String {
    format!("soak-{number}")
}

/// Holds what is there at the end against what the writers did; the revisions of the lists.
async fn check_lists(target: &Target, truth: &Truth) -> Result<Vec<u64>> {
    let mut connection = Connection::open(target).await?;
    let mut last = Vec::new();
    for (number, kind) in KINDS.iter().enumerate() {
        let listed = list(&mut connection, kind).await?;
        last.push(revision(&listed)?);
        let mut there = Vec::new();
        for item in listed["items"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if item["metadata"]["namespace"].as_str().is_some_and(|n| n.starts_with("soak-")) {
                there.push((check::uid(item), revision(item)?));
            }
        }
        there.sort_unstable();
        if there != truth.alive(number) {
            bail!("{}: what is listed is not what was written", kind.plural);
        }
    }
    Ok(last)
}
