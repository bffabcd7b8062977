//! The DaemonSet controller: has a plan made (`planner`) and carries it out.
//!
//! Invariants: a set is planned only on data that shows its own last writes; a failed write of history ends the plan
//! before pods are touched; what a policy is to remember is stored before anything else is written; the status is written once per plan, whatever became of the writes, and at most every
//! [`STATUS_PAUSE`] while it only tells of progress.
//!
//! Absent: any decision.

use std::sync::Arc;
use std::time::Duration;

use decide::daemonset::{self, Action, KIND, Plan};
use decide::{node_readiness, pre_pull};
use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::json;
use tokio::time::Instant;

use crate::carry::{self, Carrier};
use crate::hub::{Hub, until};
use crate::key::Key;
use crate::limits::{GATHER, REST_FACTOR, REST_MAX, STATUS_PAUSE};
use crate::planner::{self, Planned};
use crate::policy;
use crate::readiness;
use crate::record::{About, Event};
use crate::wire::{self, Deletion, Patch};
use crate::world::version;
use crate::{Sync, SyncError};

/// Name of the source of its events.
const SOURCE: &str = "daemonset-controller";
/// The kind in what was written.
pub(crate) const PLURAL: &str = "daemonsets";

/// Plans one set and carries the plan out.
pub(crate) async fn sync(hub: Arc<Hub>, key: Key) -> Sync {
    let begun = Instant::now();
    let Some(planned) = planner::plan(&hub, &key) else { return Ok(()) };
    hub.daemon_sets.rest(&key, (begun.elapsed() * REST_FACTOR).clamp(GATHER, REST_MAX));
    let Planned { set, policy, plan } = &planned;
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let about = About { api_version: daemonset::API_VERSION, kind: KIND, key: key.clone(), uid: uid.clone() };
    let carrier = Carrier { hub: hub.clone(), set: (PLURAL, key.clone()), source: SOURCE, about };
    if let (Some(governing), Some(memory)) = (policy, &plan.memory) {
        policy::remember(&carrier, governing, memory).await?;
    }
    // A fleet keeps them itself.
    if plan.backoff.is_empty() {
        hub.world().backoff.remove(&uid);
    } else {
        hub.world().backoff.insert(uid, plan.backoff.clone());
    }
    for event in &plan.events {
        let (warning, reason, message) = (event.warning, event.reason, event.message.clone());
        hub.recorder.record(Event { source: SOURCE, about: carrier.about.clone(), warning, reason, message });
    }
    if let Some(at) = plan.requeue_at {
        hub.daemon_sets.add_after(key.clone(), until(at));
    }
    let outcome = carry_out(&carrier, set, plan).await;
    let stored = store_status(&carrier, set, plan).await;
    outcome.and(stored)
}

async fn carry_out(carrier: &Carrier, set: &DaemonSet, plan: &Plan) -> Sync {
    let adopts = |a: &Action| matches!(a, Action::AdoptPod(_) | Action::AdoptRevision(_));
    if plan.actions.iter().any(adopts) {
        carrier.check_alive(wire::daemon_sets()).await?;
    }
    let (mut deletions, mut creations) = (Vec::new(), Vec::new());
    let mut last = Vec::new();
    for action in &plan.actions {
        match action {
            Action::DeletePod(pod) => deletions.push((pod.name.clone(), pod.uid.clone())),
            Action::CreatePod(node) => creations.push(node.clone()),
            Action::DeleteRevision(_) | Action::RestoreTemplate(_) => last.push(action),
            other => history_or_claim(carrier, set, other).await?,
        }
    }
    let deleted = carry::delete_pods(carrier, deletions).await;
    let waits = readiness::is_wanted(&carrier.hub.world());
    let pod = |node: &String| {
        let mut pod = plan.pod(set, node);
        if waits {
            node_readiness::tolerate(&mut pod);
        }
        pod
    };
    let created = carry::create_pods(carrier, creations.iter().map(pod)).await;
    deleted.and(created)?;
    for action in last {
        history_or_claim(carrier, set, action).await?;
    }
    Ok(())
}

async fn history_or_claim(carrier: &Carrier, set: &DaemonSet, action: &Action) -> Sync {
    let kind = wire::revisions();
    let client = &carrier.hub.client;
    match action {
        Action::AdoptPod(pod) => carrier.adopt(wire::pods(), &pod.name, &pod.uid).await,
        Action::ReleasePod(pod) => carrier.release(wire::pods(), &pod.name, &pod.uid).await,
        Action::AdoptRevision(revision) => carrier.adopt(kind, &revision.name, &revision.uid).await,
        Action::ReleaseRevision(revision) => carrier.release(kind, &revision.name, &revision.uid).await,
        Action::RelabelPod(pod, hash) => {
            let body = json!({"metadata": {"uid": pod.uid, "labels": {daemonset::HASH_LABEL: hash}}});
            carrier.patch(wire::pods(), &pod.name, Patch::Merge, &body).await
        }
        Action::PrePull(pod, images) => {
            let since = images.as_ref().map(|_| jiff::Timestamp::now().to_string());
            let annotations = json!({pre_pull::IMAGES: images, pre_pull::SINCE: since});
            let body = json!({"metadata": {"uid": pod.uid, "annotations": annotations}});
            carrier.patch(wire::pods(), &pod.name, Patch::Merge, &body).await
        }
        Action::UpdateRevision { target, number, hash } => {
            let labels = json!({daemonset::HASH_LABEL: hash});
            let body = json!({"metadata": {"uid": target.uid, "labels": labels}, "revision": number});
            carrier.patch(kind, &target.name, Patch::Merge, &body).await
        }
        Action::CreateRevision(revision) => {
            let metadata = wire::create(client, kind, carrier.namespace(), revision).await?;
            let key = Key::of(&metadata);
            let version = version(metadata.resource_version.as_ref());
            carrier.hub.world().written.changed(&carrier.set, kind.plural, key, version);
            Ok(())
        }
        Action::DeleteRevision(revision) => {
            let key = Key::new(carrier.namespace(), &revision.name);
            let how = Deletion { uid: Some(&revision.uid), ..Deletion::default() };
            match wire::delete(client, kind, &key, &how).await {
                Err(error) if wire::is_gone(&error) || wire::code(&error) == 409 => {}
                other => other?,
            }
            carrier.hub.world().written.changed(&carrier.set, kind.plural, key, 0);
            Ok(())
        }
        Action::RestoreTemplate(past) => {
            let mut body = past.data.clone();
            let (uid, version) = (&set.metadata.uid, &set.metadata.resource_version);
            body["metadata"] = json!({"uid": uid, "resourceVersion": version});
            let (kind, key) = (wire::daemon_sets(), &carrier.set.1);
            let metadata = wire::patch(client, kind, key, "", Patch::Strategic, &body).await?;
            let version = self::version(metadata.resource_version.as_ref());
            carrier.hub.world().written.changed(&carrier.set, PLURAL, key.clone(), version);
            Ok(())
        }
        Action::DeletePod(_) | Action::CreatePod(_) => Ok(()),
    }
}

async fn store_status(carrier: &Carrier, set: &DaemonSet, plan: &Plan) -> Sync {
    let Some(status) = &plan.status else { return Ok(()) };
    if let Some(rest) = rest(carrier, plan) {
        carrier.hub.daemon_sets.add_after(carrier.set.1.clone(), rest);
        return Ok(());
    }
    let mut set = set.clone();
    set.status = Some(status.clone());
    carrier.store_status(wire::daemon_sets(), &set).await.map_err(SyncError::Api)
}

/// How long the status of a plan rests before it is stored; `None` when it is stored now, which is noted.
fn rest(carrier: &Carrier, plan: &Plan) -> Option<Duration> {
    let now = Instant::now();
    let mut world = carrier.hub.world();
    let told = world.told.get(&carrier.about.uid).map(|at| *at + STATUS_PAUSE);
    if let Some(due) = told.filter(|due| plan.status_may_wait && *due > now) {
        return Some(due - now);
    }
    world.told.insert(carrier.about.uid.clone(), now);
    None
}
