//! `everynode agent`: one node of the embedded runtime.
//!
//! # Invariants
//! - The network namespace is entered before any thread starts, so that all of the agent lives in it; only image pulls
//!   stay in the machine's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use node::agent::Clients;
use node::images::{PullNetwork, Puller, RegistryConfig, Store};
use node::local::LocalImages;
use node::runtime::cri::{self, Cri, Endpoint};
use node::runtime::embedded::{self, Embedded};

use crate::flags::AgentArgs;
use crate::join::Member;
use crate::pod_network::NetworkArgs;
use crate::up::state::Layout;
use crate::{client, join, logging, preflight, runtime_record, signals, small};

/// Pods of a node that was given no range.
pub(crate) const POD_CIDR: &str = "10.42.0.0/24";
/// How often an agent lets go of code that it does not run now: as often as the node is heard of, so that it holds little from
/// one heartbeat to the next.
const RELEASE_EVERY: Duration = Duration::from_secs(10);

/// The runtime of this machine.
pub(crate) type Machine = Embedded<LocalImages, node::network::Network>;

/// Runs until a signal. Containers run on, unless it says that the machine goes down.
pub(crate) fn run(args: AgentArgs) -> Result<()> {
    logging::start();
    preflight::containers("agent")?;
    if let Some(missing) = args.kubeconfig.as_ref().filter(|path| !path.is_file()) {
        bail!("{} is not there: give the agent a kubeconfig with --kubeconfig", missing.display());
    }
    let pull_network = PullNetwork::current().context("the machine's network namespace")?;
    if let Some(netns) = &args.netns {
        node::network::enter(netns).with_context(|| format!("enter the network namespace {}", netns.display()))?;
    }
    crate::runtime(1)?.block_on(serve(args, pull_network))
}

async fn serve(args: AgentArgs, pull_network: PullNetwork) -> Result<()> {
    let ends = signals::ends()?;
    let shutdown = ends.agent;
    let layout = Layout::create(&args.data.data_dir)?;
    let name = node_name(args.node_name.as_deref())?;
    let way = way(&args, &layout, &name).await?;
    let registries = args.registries.config()?;
    let credentials = registries.credentials.clone();
    let cidr = args.pod_cidr.as_deref().unwrap_or(POD_CIDR);
    let own = embedded::Options::new(Path::new("").into(), &layout.instance(), &name, &layout.root);
    let mut options = node::agent::Options::new(&name, layout.root.clone(), own.run_dir.clone(), &way.url);
    options.labels = labels(&args.node_labels)?;
    options.pod_cidrs = args.pod_cidr.iter().flat_map(|cidrs| cidrs.split(',')).map(str::to_owned).collect();
    options.node_ip = args.node_ip;
    options.registry_credentials = credentials;
    options.power_off = ends.machine;
    options.pod_manifest_path = args.pod_manifest_path.as_ref().map(std::path::absolute).transpose()?;
    args.limits.apply(&mut options)?;
    let memory = tokio::spawn(small::stay(RELEASE_EVERY));
    if let Some(member) = way.member {
        tokio::spawn(member.stay(shutdown.clone()));
    }
    // One that is damaged is told of by the check.
    let before = runtime_record::read(&layout, &name).ok().flatten();
    let socket = runtime_socket(&args.container_runtime_endpoint, &own.run_dir, before.as_deref())?;
    runtime_record::check(&layout, &name, socket.as_deref()).await?;
    match socket {
        Some(socket) => {
            let opened = Cri::open(cri::Options::new(socket.clone(), &layout.instance(), &name)).await;
            let runtime = match before {
                Some(_) => opened.with_context(|| runtime_record::advice(&layout, &name, &socket))?,
                None => opened?,
            };
            runtime_record::write(&layout, &name, &socket)?;
            node::agent::run(options, way.clients, Arc::new(runtime), shutdown).await?;
        }
        None => {
            let runtime = open_runtime(&layout, &name, (&args.network, cidr), registries, pull_network).await?;
            node::agent::run(options, way.clients, Arc::new(runtime), shutdown).await?;
        }
    }
    memory.abort();
    Ok(())
}

/// The socket of the node's runtime; None is the runtime of this binary. Pods that the latter runs would be made a second
/// time by another one. A runtime that the node has been on is not gone because its socket is not there yet.
fn runtime_socket(endpoint: &Endpoint, run_dir: &Path, before: Option<&Path>) -> Result<Option<PathBuf>> {
    let before = before.filter(|_| *endpoint == Endpoint::Auto).map(Path::to_path_buf);
    let Some(socket) = endpoint.socket().or(before) else { return Ok(None) };
    let pods = std::fs::read_dir(run_dir.join("pods")).map(|pods| pods.count()).unwrap_or_default();
    if pods == 0 {
        return Ok(Some(socket));
    }
    if *endpoint == Endpoint::Auto {
        tracing::info!("{pods} pods run on the embedded runtime; {} is not used while they do", socket.display());
        return Ok(None);
    }
    bail!(
        "{pods} pods of this node run on the embedded runtime, and {} would make them a second time: end them first (taint \
         the node NoExecute while its agent runs with --container-runtime-endpoint embedded), or reboot the machine",
        socket.display()
    )
}

/// How the agent speaks to its server.
struct Way {
    clients: Clients,
    url: String,
    /// A node that joined by itself has a certificate to renew.
    member: Option<Member>,
}

async fn way(args: &AgentArgs, layout: &Layout, name: &str) -> Result<Way> {
    if let Some(kubeconfig) = &args.kubeconfig {
        let clients = Clients {
            api: client::multiplexed(kubeconfig).await.with_context(|| kubeconfig.display().to_string())?,
            tunnel: Some(client::client(kubeconfig).await?),
        };
        return Ok(Way { clients, url: server_url(kubeconfig)?, member: None });
    }
    let member = join::enter(&layout.root, name, &args.servers, args.token.as_ref()).await?;
    Ok(Way { clients: member.clients(), url: member.server_url(), member: Some(member) })
}

/// The node's name: as given, or that of the machine.
pub(crate) fn node_name(given: Option<&str>) -> Result<String> {
    match given {
        Some(name) => Ok(name.to_owned()),
        None => {
            Ok(nix::unistd::gethostname().context("the host name; say --node-name")?.to_string_lossy().to_lowercase())
        }
    }
}

/// The embedded runtime of one node of this machine.
pub(crate) async fn open_runtime(
    layout: &Layout,
    node: &str,
    (network, pod_cidr): (&NetworkArgs, &str),
    registries: RegistryConfig,
    pull_network: PullNetwork,
) -> Result<Machine> {
    let images = layout.images();
    let store = tokio::task::spawn_blocking(move || Store::open(&images)).await??;
    let puller = Puller::new(store.clone(), registries, pull_network);
    let exe = std::env::current_exe().context("where is this binary")?;
    let options = embedded::Options::new(exe, &layout.instance(), node, &layout.root);
    let network = network.open(pod_cidr, &options.run_dir, &options.data_dir)?;
    Ok(Embedded::open(options, LocalImages::new(store, puller), network).await?)
}

/// Labels as flags give them.
pub(crate) fn labels(words: &[String]) -> Result<BTreeMap<String, String>> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => bail!("--node-labels {word}: write key=value"),
        })
        .collect()
}

/// The server's address as the kubeconfig has it: what pods are told.
pub(crate) fn server_url(kubeconfig: &Path) -> Result<String> {
    let file = kube::config::Kubeconfig::read_from(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
    let server = file.clusters.into_iter().find_map(|c| c.cluster?.server);
    server.with_context(|| format!("{} names no server", kubeconfig.display()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use node::runtime::cri::Endpoint;

    use super::{labels, runtime_socket};

    #[test]
    fn pods_of_one_runtime_are_not_made_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Socket("/run/containerd/containerd.sock".into());
        let socket = |endpoint| runtime_socket(endpoint, dir.path(), None);
        assert_eq!(socket(&endpoint).unwrap().as_deref(), Some(Path::new("/run/containerd/containerd.sock")));
        assert_eq!(socket(&Endpoint::Embedded).unwrap(), None);
        std::fs::create_dir_all(dir.path().join("pods/a")).unwrap();
        let text = socket(&endpoint).unwrap_err().to_string();
        assert!(text.starts_with("1 pods of this node run on the embedded runtime"), "{text}");
        assert_eq!(socket(&Endpoint::Auto).unwrap(), None);
    }

    #[test]
    fn a_node_stays_on_the_runtime_that_it_is_on_while_that_starts() {
        let (dir, before) = (tempfile::tempdir().unwrap(), Path::new("/run/x.sock"));
        let socket = |endpoint: &Endpoint| runtime_socket(endpoint, dir.path(), Some(before)).unwrap();
        // What is at the usual place on this machine comes first.
        assert_eq!(socket(&Endpoint::Auto), Endpoint::Auto.socket().or(Some(before.into())));
        assert_eq!(socket(&Endpoint::Embedded), None, "who says so is told of pods that run there");
    }

    #[test]
    fn labels_are_key_value_pairs() {
        let words = ["zone=a".to_owned(), "ssd=".to_owned()];
        assert_eq!(labels(&words).unwrap(), [("ssd".into(), String::new()), ("zone".into(), "a".into())].into());
        assert!(labels(&["zone".to_owned()]).unwrap_err().to_string().contains("key=value"));
    }
}
