//! The end of pods that nobody asked to delete: they are told why before they go.
//!
//! Invariants: a pod that is gone, or another of the same name, is left alone.
//!
//! Absent: which pods end.

use decide::view::PodView;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::Sync;
use crate::hub::Hub;
use crate::key::Key;
use crate::wire::{self, Deletion, Patch};

/// The condition `DisruptionTarget` of a pod with this reason.
pub(crate) fn condition(pod: &PodView, reason: &str, message: &str) -> Value {
    json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "observedGeneration": pod.generation, "lastTransitionTime": Time(Timestamp::now())})
}

/// Patches the status of a pod.
pub(crate) async fn patch_status(hub: &Hub, pod: &PodView, status: &Value) -> Sync {
    let body = json!({"metadata": {"uid": pod.uid}, "status": status});
    let key = Key::new(&pod.namespace, &pod.name);
    gone_is_fine(wire::patch(&hub.client, wire::pods(), &key, "status", Patch::Strategic, &body).await.map(|_| ()))
}

/// Deletes a pod.
pub(crate) async fn delete(hub: &Hub, pod: &PodView, grace_s: Option<i64>) -> Sync {
    let how = Deletion { uid: Some(&pod.uid), grace_s, ..Deletion::default() };
    gone_is_fine(wire::delete(&hub.client, wire::pods(), &Key::new(&pod.namespace, &pod.name), &how).await)
}

/// Ends a pod that no node will end: it counts as failed, and goes at once.
pub(crate) async fn finish(hub: &Hub, pod: &PodView, condition: Option<Value>) -> Sync {
    if !pod.phase.is_terminal() {
        let mut status = json!({"phase": "Failed"});
        if let Some(condition) = condition {
            status["conditions"] = json!([condition]);
        }
        patch_status(hub, pod, &status).await?;
    }
    delete(hub, pod, Some(0)).await
}

fn gone_is_fine(answer: kube::Result<()>) -> Sync {
    match answer {
        Err(error) if wire::is_gone(&error) || wire::code(&error) == 409 => Ok(()),
        other => Ok(other?),
    }
}
