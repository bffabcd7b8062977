//! The objects that every cluster has from its first moment.
//!
//! # Invariants
//! What is there is left as it is: a start never overwrites what a user changed. Default roles and bindings get what they
//! lack, unless a user turned that off. The definition of RolloutPolicies is ours: it is always that of this version.

use std::sync::Arc;

use api::status::Status;
use serde_json::{Value, json};
use store::Store;

use crate::app::{App, Place};
use crate::auth::{self, User, rbac};
use crate::custom;
use crate::node_pods;
use crate::object::{self, meta};
use crate::services::own;
use crate::verbs::write::{Part, now, replace};
use crate::verbs::{FieldManager, make};

mod flow;
mod joining;

/// The server itself, as it makes these objects.
const SELF: &str = "system:apiserver";

/// Makes those that are missing, brings default roles up to date, and says that the server is ready.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run<S: Store>(app: &Arc<App<S>>) -> Result<(), Status> {
    rbac::start(app).await?;
    custom::start(app).await?;
    node_pods::start(app).await?;
    let made: Result<(), Status> = auth::acting(User::master(SELF), async {
        for object in objects() {
            ensure(app, object, |_, _| None).await?;
        }
        for object in app.advertised.map(|address| own::objects(address, app.service_range)).unwrap_or_default() {
            ensure(app, object, own::moved).await?;
        }
        for object in flow::objects() {
            ensure(app, object, |_, _| None).await?;
        }
        if let (Some(address), Some(pem)) = (app.advertised, &app.authority_pem) {
            ensure(app, joining::cluster_info(pem, address), joining::told).await?;
        }
        ensure(app, policies(), of_this_version).await?;
        range_is_ready(app).await?;
        // All at once: the store makes many commits durable by one sync.
        let roles = api::rbac::defaults().into_iter().map(|object| ensure(app, object, api::rbac::reconciled));
        futures::future::try_join_all(roles).await?;
        for object in joining::roles() {
            ensure(app, object, |_, _| None).await?;
        }
        Ok(())
    })
    .await;
    made?;
    rbac::aggregate(app).await?;
    app.set_ready();
    Ok(())
}

/// Makes one object, or puts what `change` makes of the stored and the wanted one in its place.
async fn ensure<S: Store>(
    app: &Arc<App<S>>,
    mut object: Value,
    change: impl Fn(&Value, &Value) -> Option<Value>,
) -> Result<(), Status> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let Some(kind) = api::kinds::by_kind(api_version, object["kind"].as_str().unwrap_or_default()) else {
        return Ok(());
    };
    let (name, namespace) = (meta(&object, "name").to_owned(), meta(&object, "namespace").to_owned());
    let namespace = Some(namespace.as_str()).filter(|n| !n.is_empty());
    let place = Place { kind, namespace, name: &name };
    let manager = FieldManager::server();
    // Once: who writes at the same time does the same, and the next start looks again.
    if let Some(entry) = app.lookup(kind, namespace, &name).await? {
        let stored = object::decode(&entry)?;
        if let Some(mut changed) = change(&stored, &object) {
            api::apply::record(kind, Some(&stored), &mut changed, &manager.writer(Part::Whole));
            replace(app, place, Part::Whole, &entry, stored, changed, false).await?;
        }
        return Ok(());
    }
    api::apply::record(kind, None, &mut object, &manager.writer(Part::Whole));
    match make(app, place, object, false).await {
        Ok(_) => Ok(()),
        Err(status) if status.code == 409 => Ok(()),
        Err(status) => Err(status),
    }
}

/// Says of the range of Services that it is in use.
async fn range_is_ready<S: Store>(app: &Arc<App<S>>) -> Result<(), Status> {
    let Some(kind) = api::kinds::find("networking.k8s.io", "v1", "servicecidrs") else { return Ok(()) };
    let place = Place { kind, namespace: None, name: own::NAME };
    let Some(entry) = app.lookup(kind, None, place.name).await? else { return Ok(()) };
    let old = object::decode(&entry)?;
    if old["status"]["conditions"].is_array() {
        return Ok(());
    }
    let mut new = old.clone();
    new["status"] = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes \
        default Service CIDR is ready", "lastTransitionTime": now()}]});
    replace(app, place, Part::Status, &entry, old, new, false).await.map(|_| ())
}

/// The definition of RolloutPolicies.
fn policies() -> Value {
    let mut definition = api::rollout_policy::definition();
    if let Some(kind) = api::kinds::by_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition") {
        api::defaults::apply(kind, &mut definition);
    }
    definition
}

/// The stored definition as this version of the program has it.
fn of_this_version(stored: &Value, wanted: &Value) -> Option<Value> {
    (stored["spec"] != wanted["spec"]).then(|| {
        let mut changed = stored.clone();
        changed["spec"] = wanted["spec"].clone();
        changed
    })
}

fn objects() -> Vec<Value> {
    let namespace = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}})
    };
    let class = |name: &str, value: i64, description: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "preemptionPolicy": "PreemptLowerPriority", "description": description})
    };
    let mut all: Vec<Value> =
        ["default", "kube-system", "kube-public", "kube-node-lease"].into_iter().map(namespace).collect();
    all.push(class(
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ));
    all.push(class(
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ));
    all
}
