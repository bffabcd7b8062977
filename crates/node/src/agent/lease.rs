//! The node's heartbeat: a Lease in kube-node-lease.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams, Request};
use rand::Rng as _;
use serde_json::json;

use super::Agent;
use super::unread::unread;

/// How often, as Kubernetes has it: a quarter of how long it holds.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long a heartbeat holds, as Kubernetes has it.
const DURATION_SECONDS: i32 = 40;
/// Where leases of nodes are.
const NAMESPACE: &str = "kube-node-lease";
/// Wait for a Node that is not registered yet: its lease has to be there before anybody misses it.
const NODE_WAIT: Duration = Duration::from_millis(250);
/// Wait after a renewal that failed: a node whose line is back is heard of soon. Part of it is chance, so that the nodes of a
/// fleet do not come back in one moment.
const RETRY_AFTER: Duration = Duration::from_secs(4);
/// One request may take this long: a renewal that hangs must not cost the next one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// Renews the lease until shutdown. Trouble is logged once, and once more when it is over.
pub(super) async fn keep<R>(agent: &Arc<Agent<R>>) {
    let leases: Api<Lease> = Api::namespaced(agent.client.clone(), NAMESPACE);
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = agent.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let name = &agent.options.node_name;
        let result = tokio::time::timeout(REQUEST_TIMEOUT, renew(agent, &leases)).await;
        if matches!(result, Ok(Ok(_) | Err(kube::Error::Api(_)))) {
            agent.answers.note();
        }
        let error = match result {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => {
                ticks.reset_after(NODE_WAIT);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {REQUEST_TIMEOUT:?}")),
        };
        if error.is_some() {
            ticks.reset_after(RETRY_AFTER.mul_f64(rand::rng().random_range(0.5..1.0)));
        }
        match &error {
            Some(error) if !failing => tracing::warn!("lease {NAMESPACE}/{name} can't be renewed: {error}"),
            None if failing => tracing::info!("lease {NAMESPACE}/{name} is renewed again"),
            _ => {}
        }
        failing = error.is_some();
    }
}

/// False while there is no Node to own it.
async fn renew<R>(agent: &Arc<Agent<R>>, leases: &Api<Lease>) -> Result<bool, kube::Error> {
    let name = &agent.options.node_name;
    let now = MicroTime(Timestamp::now());
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now});
    let patch = Patch::Merge(json!({"spec": spec}));
    let request = Request::new(leases.resource_url()).patch(name, &PatchParams::default(), &patch);
    match unread(&agent.client, request).await {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => create(agent, leases, now).await,
        Err(error) => Err(error),
    }
}

async fn create<R>(agent: &Arc<Agent<R>>, leases: &Api<Lease>, now: MicroTime) -> Result<bool, kube::Error> {
    let name = &agent.options.node_name;
    let node = Api::<Node>::all(agent.client.clone()).get_opt(name).await?;
    // Without an owner the lease would outlive the node.
    let Some(uid) = node.and_then(|n| n.metadata.uid) else { return Ok(false) };
    let owner =
        OwnerReference { api_version: "v1".into(), kind: "Node".into(), name: name.clone(), uid, ..Default::default() };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.into()),
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(now),
            ..Default::default()
        }),
    };
    match leases.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(true),
        other => other.map(|_| true),
    }
}
