//! `everynode demo`: the main job on this machine, from nothing to nothing, with no network.
//!
//! What it shows are the words a user would type, run by this binary as kubectl's stand-in.
//!
//! # Invariants
//! - It works in a directory of its own and on a free port, so it harms no cluster that is there.
//! - However it ends, by success, error or Ctrl-C, what it made is removed (unless --keep).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::flags::DemoArgs;
use crate::pod_network::NetworkArgs;
use crate::registries::RegistryArgs;
use crate::up::cluster::{Cluster, Options};
use crate::up::state::{Layout, Lock};
use crate::up::wait;
use crate::{builtin, preflight, signals};

/// The manifest is the one in examples/, so the demo can't drift from it.
const MANIFEST: &str = include_str!("../../../examples/tail-logs.yaml");
/// Nodes at the start; one more joins.
const NODES: u8 = 3;

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    preflight::containers("demo")?;
    crate::runtime(1)?.block_on(async {
        let dir = std::env::temp_dir().join(format!("everynode-demo-{}", std::process::id()));
        let shown = show(&dir, args.keep).await;
        if args.keep && shown.is_ok() {
            return Ok(());
        }
        if dir.exists() {
            println!("\n# Clean up: containers, networks, data");
            crate::down::remove(&dir).await?;
        }
        shown?;
        println!("Nothing is left.");
        Ok(())
    })
}

async fn show(dir: &Path, keep: bool) -> Result<()> {
    let layout = Layout::create(dir)?;
    let _lock = Lock::take(&layout)?;
    let shutdown = signals::shutdown()?;
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, free_port()?));
    println!("# A control plane and {NODES} nodes on this machine");
    let options = Options { listen, registries: RegistryArgs::default(), network: NetworkArgs::default().or_builtin() };
    let mut cluster = Cluster::start(layout, options, NODES).await?;
    let ended = tokio::select! {
        done = main_job(&mut cluster) => done,
        () = shutdown.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    if ended.is_ok() && keep {
        println!("\nEverything runs on until Ctrl-C. In another terminal:");
        println!("export KUBECONFIG={}", cluster.layout.admin_kubeconfig().display());
        cluster.supervise(&shutdown).await;
        println!("\nThe daemons keep running; `everynode down --data-dir {}` removes everything.", dir.display());
    }
    cluster.stop().await;
    ended
}

async fn main_job(cluster: &mut Cluster) -> Result<()> {
    wait::nodes_ready(&cluster.client, &cluster.nodes()).await?;
    let words = Words { kubeconfig: cluster.layout.admin_kubeconfig() };
    words.say(&["get", "nodes"]).await?;

    let manifest = cluster.layout.root.join("tail-logs.yaml");
    std::fs::write(&manifest, MANIFEST)?;
    let file = manifest.display().to_string();
    println!("\n# A DaemonSet: one pod on every node, each a real container");
    words.say(&["apply", "-f", &file]).await?;
    words.say(&["rollout", "status", "daemonset/tail-logs"]).await?;
    words.say(&["get", "pods", "-o", "wide"]).await?;

    println!("\n# A fourth node joins and gets its pod");
    let node = cluster.add_node().await?;
    wait::nodes_ready(&cluster.client, &[node]).await?;
    pods_on_every_node(cluster, "v1").await?;
    words.say(&["get", "pods", "-o", "wide"]).await?;

    println!("\n# A rolling update, one node at a time (maxUnavailable: 1)");
    std::fs::write(&manifest, MANIFEST.replace(&format!("{}:v1", builtin::IMAGE), &format!("{}:v2", builtin::IMAGE)))?;
    words.say(&["apply", "-f", &file]).await?;
    words.say(&["rollout", "status", "daemonset/tail-logs"]).await?;
    pods_on_every_node(cluster, "v2").await?;
    words.say(&["rollout", "history", "daemonset/tail-logs"]).await?;
    words.say(&["logs", "daemonset/tail-logs", "--tail=1"]).await?;

    println!("\n# Deleted: the pods go from every node");
    words.say(&["delete", "-f", &file]).await
}

/// Waits until each node has its Ready pod of this version.
async fn pods_on_every_node(cluster: &Cluster, tag: &str) -> Result<()> {
    use k8s_openapi::api::core::v1::Pod;
    let api = kube::Api::<Pod>::default_namespaced(cluster.client.clone());
    let image = format!("{}:{tag}", builtin::IMAGE);
    // Far longer than any step takes: only a broken machine reaches it.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(120);
    loop {
        let pods = api.list(&kube::api::ListParams::default()).await?.items;
        let ready = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && runs(pod, &image)).count();
        if ready == cluster.nodes().len() {
            return Ok(());
        }
        if std::time::Instant::now() > end {
            bail!(
                "{ready} of {} pods run {image}: `everynode demo --keep` leaves it to look at",
                cluster.nodes().len()
            );
        }
        tokio::time::sleep(wait::LOOK_EVERY).await;
    }
}

fn runs(pod: &k8s_openapi::api::core::v1::Pod, image: &str) -> bool {
    let right = pod.spec.iter().flat_map(|s| &s.containers).all(|c| c.image.as_deref() == Some(image));
    let ready =
        pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|c| c.type_ == "Ready" && c.status == "True");
    right && ready
}

/// Runs this binary with a user's words.
struct Words {
    kubeconfig: PathBuf,
}

impl Words {
    async fn say(&self, words: &[&str]) -> Result<()> {
        println!("\n$ everynode {}", words.join(" "));
        let exe = std::env::current_exe().context("where is this binary")?;
        let status =
            Command::new(exe).args(words).env("KUBECONFIG", &self.kubeconfig).kill_on_drop(true).status().await?;
        if !status.success() {
            bail!("`everynode {}` failed", words.join(" "));
        }
        Ok(())
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}
