//! A control plane and N nodes on this machine: starting them, watching over them, ending them.
//!
//! # Invariants
//! - Ending the cluster ends our processes only; the daemons' containers run on until `down` removes them.
//! - Starting over what an earlier `up` left takes it over.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use node::machine::Machine;
use tokio_util::sync::CancellationToken;

use super::state::{Layout, Record};
use super::wait;
use crate::children::Process;
use crate::pod_network::NetworkArgs;
use crate::private_file;
use crate::registries::RegistryArgs;

/// How long the server may take until /readyz: recovery of a large store on a slow disk, not a usual start.
const SERVER_READY_MAX: Duration = Duration::from_secs(60);
/// How often ended children are looked for.
const SUPERVISE_EVERY: Duration = Duration::from_millis(200);

/// How a cluster is made.
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) registries: RegistryArgs,
    pub(crate) network: NetworkArgs,
}

/// The running processes and what they need.
pub(crate) struct Cluster {
    pub(crate) layout: Layout,
    pub(crate) record: Record,
    pub(crate) client: kube::Client,
    /// From the start of the server to /readyz.
    pub(crate) ready_after: Duration,
    options: Options,
    machine: Machine,
    gateway: IpAddr,
    server: Process,
    agents: Vec<Process>,
}

impl Cluster {
    /// Starts the server and as many nodes as are asked for, or as there were.
    pub(crate) async fn start(layout: Layout, options: Options, nodes: u8) -> Result<Self> {
        let before = Record::read(&layout)?;
        if let Some(before) = before.as_ref().filter(|b| b.nodes > nodes) {
            bail!("{} nodes exist: use --nodes {} or more, or `everynode down` first", before.nodes, before.nodes);
        }
        let record = Record { nodes };
        record.write(&layout)?;
        let machine = Machine::open(&layout.instance(), None).await?;
        let gateway = IpAddr::V4(machine.ensure_bridge().await?);
        let started = Instant::now();
        let (server, client) = start_server(&layout, &options, gateway).await?;
        let ready_after = started.elapsed();
        crate::builtin::add(&layout.images())?;
        let mut cluster =
            Self { layout, record, client, ready_after, options, machine, gateway, server, agents: Vec::new() };
        for index in 1..=nodes {
            cluster.start_node(index).await?;
        }
        Ok(cluster)
    }

    /// One more node.
    pub(crate) async fn add_node(&mut self) -> Result<String> {
        self.record.nodes += 1;
        self.record.write(&self.layout)?;
        self.start_node(self.record.nodes).await
    }

    /// Names and process ids of all that runs.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        std::iter::once(&self.server).chain(&self.agents).filter_map(|p| Some((p.name.clone(), p.pid()?))).collect()
    }

    /// Names of the nodes.
    pub(crate) fn nodes(&self) -> Vec<String> {
        (1..=self.record.nodes).map(node_name).collect()
    }

    /// Starts again what ends, until told to stop.
    pub(crate) async fn supervise(&mut self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            for process in std::iter::once(&mut self.server).chain(&mut self.agents) {
                if process.ended() {
                    tracing::warn!("{} ended ({}); starting it again", process.name, process.last_words());
                }
                if let Err(e) = process.restart_if_due() {
                    tracing::error!("{e:#}");
                }
            }
            tokio::select! { () = tokio::time::sleep(SUPERVISE_EVERY) => (), () = shutdown.cancelled() => () }
        }
    }

    /// Ends our processes; containers run on.
    pub(crate) async fn stop(&mut self) {
        futures::future::join_all(self.agents.iter_mut().map(Process::stop)).await;
        self.server.stop().await;
    }

    async fn start_node(&mut self, index: u8) -> Result<String> {
        let name = node_name(index);
        let net = self.machine.ensure_node(&name, index).await?;
        let dir = self.layout.node(&name);
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let kubeconfig = dir.join("kubeconfig");
        let url = format!("https://{}", SocketAddr::new(self.gateway, self.options.listen.port()));
        private_file::write(&kubeconfig, &server::pki::node_kubeconfig(&self.layout.root, &name, &url)?)?;
        let mut args: Vec<String> = ["agent", "--node-name", &name].map(String::from).to_vec();
        for (flag, value) in [
            ("--data-dir", self.layout.root.display().to_string()),
            ("--kubeconfig", kubeconfig.display().to_string()),
            ("--netns", net.netns_path.display().to_string()),
            ("--node-ip", net.address.to_string()),
            ("--pod-cidr", net.pod_cidr.to_string()),
        ] {
            args.extend([flag.to_owned(), value]);
        }
        args.extend(self.options.registries.words());
        args.extend(self.options.network.words());
        args.extend(crate::limits::none());
        self.agents.push(Process::start(&name, args, self.layout.log(&name)?)?);
        Ok(name)
    }
}

async fn start_server(layout: &Layout, options: &Options, gateway: IpAddr) -> Result<(Process, kube::Client)> {
    let args = [
        "server",
        "--data-dir",
        &layout.root.display().to_string(),
        "--listen",
        &options.listen.to_string(),
        "--tls-san",
        &gateway.to_string(),
    ];
    // The kubeconfig of an earlier run could name another port.
    let _ = std::fs::remove_file(layout.admin_kubeconfig());
    let mut server = Process::start("server", args.map(String::from).to_vec(), layout.log("server")?)?;
    let end = Instant::now() + SERVER_READY_MAX;
    loop {
        if server.ended() {
            bail!("{}", server.last_words());
        }
        if let Some(client) = wait::ready_client(&layout.admin_kubeconfig()).await {
            return Ok((server, client));
        }
        if Instant::now() > end {
            server.stop().await;
            bail!("the server is not ready after {SERVER_READY_MAX:?}: see {}", layout.log("server")?.display());
        }
        tokio::time::sleep(wait::LOOK_EVERY).await;
    }
}

/// The name of the machine's node number `index`, from 1.
pub(crate) fn node_name(index: u8) -> String {
    format!("node-{index}")
}
