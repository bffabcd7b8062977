//! Namespaces: what each has from the start, and its end.
//!
//! Invariants: a namespace ends only when the API server itself found no object of any kind in it, custom ones included.

use std::sync::Arc;

use api::kinds::{KINDS, Kind, Verb};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use crate::Sync;
use crate::hub::{Hub, lock, until};
use crate::key::Key;
use crate::limits::{NAMESPACE_GRACE_S, NAMESPACE_POLL};
use crate::roster::Controller;
use crate::wire;

/// The service account of pods that name none.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";
/// The config map with the certificate by which pods know the API server.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
/// The finalizer of namespaces that this controller takes out.
const FINALIZER: &str = "kubernetes";

/// Looks at one namespace.
pub(crate) async fn sync(hub: Arc<Hub>, name: String) -> Sync {
    let Some(namespace) = hub.world().namespaces.get(&name).cloned() else { return Ok(()) };
    if let Some(since) = &namespace.metadata.deletion_timestamp {
        if !hub.runs(Controller::Namespace) {
            return Ok(());
        }
        let at = since.0.checked_add(SignedDuration::from_secs(NAMESPACE_GRACE_S)).unwrap_or(since.0);
        if at > Timestamp::now() {
            hub.namespaces.add_after(name, until(at));
            return Ok(());
        }
        return empty(&hub, &name, &namespace).await;
    }
    if hub.runs(Controller::ServiceAccount) {
        let account = json!({"metadata": {"name": DEFAULT_ACCOUNT, "namespace": name}});
        ensure(&hub, wire::service_accounts(), &name, DEFAULT_ACCOUNT, &account).await?;
    }
    if let Some(certificate) = hub.options.ca_pem.as_ref().filter(|_| hub.runs(Controller::RootCa)) {
        let description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
            endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
            distributions of Kubernetes clusters.";
        let map = json!({
            "metadata": {"name": ROOT_CA, "namespace": name,
                "annotations": {"kubernetes.io/description": description}},
            "data": {"ca.crt": certificate},
        });
        ensure(&hub, wire::config_maps(), &name, ROOT_CA, &map).await?;
    }
    Ok(())
}

async fn ensure(hub: &Hub, kind: &'static Kind, namespace: &str, name: &str, body: &Value) -> Sync {
    if hub.graph().has(kind, &Key::new(namespace, name)) {
        return Ok(());
    }
    match wire::create(&hub.client, kind, namespace, body).await {
        Err(error) if wire::code(&error) == 409 || wire::is_gone(&error) || wire::is_namespace_going(&error) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// Kinds whose objects a namespace may hold.
fn contents(hub: &Hub) -> Vec<&'static Kind> {
    let customs = lock(&hub.customs).kinds();
    let all = KINDS.iter().chain(customs);
    all.filter(|k| k.namespaced && k.can(Verb::DeleteCollection) && k.can(Verb::List)).collect()
}

/// Deletes what is in a namespace, and lets it end when nothing is.
async fn empty(hub: &Hub, name: &str, namespace: &Namespace) -> Sync {
    let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.as_deref()).unwrap_or_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(());
    }
    let mut left = false;
    for kind in contents(hub) {
        if hub.graph().count(kind, name) > 0 {
            wire::delete_all(&hub.client, kind, name).await?;
            left |= hub.graph().count(kind, name) > 0;
        }
    }
    if left {
        hub.namespaces.add_after(name.to_owned(), NAMESPACE_POLL);
        return Ok(());
    }
    for kind in contents(hub) {
        if !wire::is_empty(&hub.client, kind, name).await? {
            wire::delete_all(&hub.client, kind, name).await?;
            hub.namespaces.add_after(name.to_owned(), NAMESPACE_POLL);
            return Ok(());
        }
    }
    let mut ended = namespace.clone();
    let spec = ended.spec.get_or_insert_default();
    spec.finalizers = Some(finalizers.iter().filter(|f| *f != FINALIZER).cloned().collect());
    match wire::replace(&hub.client, wire::namespaces(), &Key::new("", name), "finalize", &ended).await {
        Err(error) if wire::is_gone(&error) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}
