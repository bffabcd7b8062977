//! `everynode hollow`: many nodes in one process, for trying and measuring fleets.
//!
//! Each node is the real agent above a runtime that starts no containers.
//!
//! # Invariants
//! - Nodes share connections, so that what is measured is the API server and not this machine's sockets.
//!
//! # Absent
//! The Node objects are left when it ends: their leases run out, and the API server sees nodes that were lost.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use node::agent::{Clients, Options};
use node::runtime::hollow::{Hollow, HollowOptions};
use tokio::task::JoinSet;

use crate::flags::HollowArgs;
use crate::{client, logging, signals};

/// Nodes on one connection: each holds two watches open, and a server allows some hundred streams.
const NODES_A_CONNECTION: u32 = 100;
/// Threads: agents wait most of the time, and a fleet of them keeps more than one core busy when all act at once.
const THREADS: usize = 2;
/// The first node's address; the others follow. A network that no machine here has.
const FIRST_NODE: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);
/// The first pod's address of each node; no two nodes of this network are told apart by it.
const FIRST_POD: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);

/// Runs until a signal.
pub(crate) fn run(args: HollowArgs) -> Result<()> {
    logging::start();
    if !args.kubeconfig.is_file() {
        bail!("{} is not there: give a kubeconfig with --kubeconfig", args.kubeconfig.display());
    }
    crate::runtime(THREADS)?.block_on(serve(&args))
}

async fn serve(args: &HollowArgs) -> Result<()> {
    let shutdown = signals::shutdown()?;
    let labels = crate::agent::labels(&args.node_labels)?;
    let url = crate::agent::server_url(&args.kubeconfig)?;
    let dir = Directory::open(args.data_dir.as_deref())?;
    let tunnel = match args.tunnels {
        true => Some(client::client(&args.kubeconfig).await?),
        false => None,
    };
    let mut agents = JoinSet::new();
    let mut api = None;
    for number in 0..args.nodes {
        let api = match &api {
            Some(api) if number % NODES_A_CONNECTION != 0 => api,
            _ => api.insert(
                client::multiplexed(&args.kubeconfig).await.with_context(|| args.kubeconfig.display().to_string())?,
            ),
        };
        let clients = Clients { api: api.clone(), tunnel: tunnel.clone() };
        let options = options(args, &labels, dir.path(), &url, number);
        let runtime = Arc::new(Hollow::new(hollow_options(args)));
        agents.spawn(node::agent::run(options, clients, runtime, shutdown.clone()));
    }
    tracing::info!(nodes = args.nodes, server = url, "hollow nodes run");
    while let Some(ended) = agents.join_next().await {
        ended??;
    }
    Ok(())
}

fn hollow_options(args: &HollowArgs) -> HollowOptions {
    let (from, to) = args.start_time;
    HollowOptions {
        start_delay: Duration::from_millis(from),
        start_spread: Duration::from_millis(to - from),
        failure_rate: args.failure_rate,
        first_ip: FIRST_POD,
        ..HollowOptions::default()
    }
}

fn options(args: &HollowArgs, labels: &BTreeMap<String, String>, dir: &Path, url: &str, number: u32) -> Options {
    let number = args.first + number;
    let name = format!("{}{number}", args.name_prefix);
    let mut options = Options::new(&name, dir.to_owned(), dir.join("run"), url);
    options.pod_log_dir = dir.join("log");
    options.labels = labels.clone();
    if args.zones > 0 {
        options.labels.insert("topology.kubernetes.io/zone".to_owned(), format!("zone-{}", number % args.zones));
    }
    options.node_ip = Some(IpAddr::V4(Ipv4Addr::from(u32::from(FIRST_NODE).wrapping_add(number))));
    options.volumes = false;
    options.keep_pods = false;
    options
}

/// Where agents keep what they know; a temporary one goes with the process.
enum Directory {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Directory {
    fn open(given: Option<&Path>) -> Result<Self> {
        match given {
            Some(path) => {
                std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
                Ok(Self::Given(path.to_owned()))
            }
            None => {
                let dir = tempfile::Builder::new().prefix("everynode-hollow-").tempdir();
                Ok(Self::Temporary(dir.context("make a temporary directory; say --data-dir")?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::flags::{Cli, Command};

    #[test]
    fn nodes_have_names_zones_and_addresses_of_their_own() {
        let words =
            ["everynode", "hollow", "--kubeconfig", "k", "--first", "5", "--zones", "3", "--node-labels", "a=b"];
        let Command::Hollow(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        let labels = crate::agent::labels(&args.node_labels).unwrap();
        let made = [0, 1].map(|n| options(&args, &labels, Path::new("/d"), "https://s:1", n));
        let zone = |o: &Options| o.labels["topology.kubernetes.io/zone"].clone();
        assert_eq!(made.each_ref().map(|o| o.node_name.as_str()), ["hollow-5", "hollow-6"]);
        assert_eq!(made.each_ref().map(zone), ["zone-2", "zone-0"]);
        assert!(made.iter().all(|o| o.labels["a"] == "b" && !o.volumes && !o.keep_pods));
        assert_eq!(made[1].node_ip, Some("10.128.0.7".parse().unwrap()));
    }
}
