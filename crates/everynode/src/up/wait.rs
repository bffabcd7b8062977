//! Waiting for facts that the API tells: the server is ready, nodes are Ready.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::client::client;

/// How often a fact is looked for: short, because a start takes tens of milliseconds.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long nodes may take to become Ready: a slow disk, not a usual start.
const NODES_READY_MAX: Duration = Duration::from_secs(120);

/// A client for the server that wrote this kubeconfig, once it says that it is ready.
pub(crate) async fn ready_client(kubeconfig: &Path) -> Option<Client> {
    let client = client(kubeconfig).await.ok()?;
    let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
    client.request_text(request).await.ok()?;
    Some(client)
}

/// Returns when each of these nodes is Ready.
pub(crate) async fn nodes_ready(client: &Client, names: &[String]) -> Result<()> {
    let (api, end) = (Api::<Node>::all(client.clone()), Instant::now() + NODES_READY_MAX);
    loop {
        let nodes = api.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
        let waits: Vec<&String> = names
            .iter()
            .filter(|n| !nodes.iter().any(|node| node.metadata.name.as_ref() == Some(n) && is_ready(node)))
            .collect();
        if waits.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("not Ready after {NODES_READY_MAX:?}: {waits:?}; the logs of the agents say why");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}
