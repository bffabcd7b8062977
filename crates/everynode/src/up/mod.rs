//! `everynode up`: a control plane and nodes on this machine, watched over until Ctrl-C.
//!
//! # Invariants
//! - Ctrl-C ends our processes and leaves the daemons running; the next `up` takes them over.

pub(crate) mod background;
pub(crate) mod cluster;
pub(crate) mod memory;
pub(crate) mod state;
pub(crate) mod wait;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::cluster::{Cluster, Options};
use self::state::{Layout, Lock};
use crate::flags::UpArgs;
use crate::{logging, preflight, signals, small};

/// How often what watches over the others lets go of code that it does not run now, which is nearly all of it.
const RELEASE_EVERY: Duration = Duration::from_secs(60);

/// Runs `up`; with `--detach` in the background.
pub(crate) fn run(args: &UpArgs) -> Result<()> {
    preflight::containers("up")?;
    if args.listen.ip().is_loopback() {
        bail!(
            "--listen {}: the nodes have networks of their own and can't reach the machine's loopback: use 0.0.0.0:{}",
            args.listen,
            args.listen.port()
        );
    }
    if args.detach {
        return background::start(args);
    }
    crate::runtime(1)?.block_on(foreground(args))
}

async fn foreground(args: &UpArgs) -> Result<()> {
    logging::start();
    let started = Instant::now();
    let layout = Layout::create(&args.data_dir)?;
    let lock = Lock::take(&layout)?;
    let (dir, is_new) = (layout.root.clone(), !layout.record().exists());
    match attended(args, layout, started).await {
        Err(e) if is_new => {
            // Nothing half-done stays: what this start made goes again, and the error is that of the start.
            drop(lock);
            if let Err(left) = crate::down::remove(&dir).await {
                tracing::warn!("{} could not be removed: {left:#}", dir.display());
            }
            Err(e)
        }
        ended => ended,
    }
}

async fn attended(args: &UpArgs, layout: Layout, started: Instant) -> Result<()> {
    let shutdown = signals::shutdown()?;
    let (registries, network) = (args.registries.clone(), args.network.clone().or_builtin());
    let options = Options { listen: args.listen, registries, network };
    let mut cluster = tokio::select! {
        cluster = Cluster::start(layout, options, args.nodes) => cluster?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let names = cluster.nodes();
    tokio::select! {
        ready = wait::nodes_ready(&cluster.client, &names) => if let Err(e) = ready { cluster.stop().await; return Err(e) },
        () = shutdown.cancelled() => { cluster.stop().await; return Ok(()) }
    }
    println!("{} ready after {:.2} s: {}", count(names.len()), started.elapsed().as_secs_f64(), names.join(", "));
    if args.verbose {
        println!("server ready after {:.3} s", cluster.ready_after.as_secs_f64());
        tokio::time::sleep(memory::SETTLE).await;
        memory::print(&cluster.processes());
    }
    println!("\nexport KUBECONFIG={}\n", cluster.layout.admin_kubeconfig().display());
    if background::asked_for() {
        background::leave(&cluster.layout.log("up")?)?;
    } else {
        println!("Ctrl-C ends the control plane and leaves the daemons running; `everynode down` removes everything.");
    }
    let memory = tokio::spawn(small::stay(RELEASE_EVERY));
    cluster.supervise(&shutdown).await;
    memory.abort();
    println!("\nEnding the control plane and the agents. The daemons keep running:");
    println!("`everynode up` takes them over again, `everynode down` removes them.");
    cluster.stop().await;
    Ok(())
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node is".into() } else { format!("{nodes} nodes are") }
}
