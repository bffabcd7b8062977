//! What is written about a pod that fits nowhere: the reasons, and the end of less important pods that are in the way.
//!
//! Invariants: the pod is told its node before anything ends for it, so that whoever sees a victim go knows what for.
//!
//! Absent: the choice of victims.

use std::sync::Arc;

use decide::schedule::{DEFAULT_SCHEDULER, Unfit};
use decide::view::{PREEMPTED, PodView};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::about;
use crate::Sync;
use crate::disrupt::{condition, delete, patch_status};
use crate::hub::Hub;
use crate::key::Key;
use crate::limits::WRITES_IN_FLIGHT;
use crate::record::Event;

/// Says why a pod fits nowhere, and makes room for it if that is possible.
pub(super) async fn tell(hub: &Hub, key: &Key, pod: &PodView, unfit: Unfit) -> Sync {
    let wishes = pod.wishes.as_deref();
    let told = wishes.and_then(|w| w.unschedulable.as_ref());
    let nominated = wishes.and_then(|w| w.nominated.as_ref());
    let mut status = json!({});
    if told != Some(&unfit.why) {
        let (source, about) = (DEFAULT_SCHEDULER, about(key, pod));
        let message = unfit.why.clone();
        hub.recorder.record(Event { source, about, warning: true, reason: "FailedScheduling", message });
        let mut condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unfit.why,
            "observedGeneration": pod.generation, "lastProbeTime": null,
        });
        if told.is_none() {
            condition["lastTransitionTime"] = json!(Time(Timestamp::now()));
        }
        status["conditions"] = json!([condition]);
    }
    match &unfit.room {
        Some((node, _)) if nominated != Some(node) => status["nominatedNodeName"] = json!(node),
        None if unfit.drop_nomination => status["nominatedNodeName"] = Value::Null,
        _ => {}
    }
    if status != json!({}) {
        patch_status(hub, pod, &status).await?;
    }
    if let Some((node, victims)) = unfit.room {
        drop_lesser(hub, pod, &node).await?;
        let work: Vec<_> =
            victims.iter().filter(|v| v.deleting.is_none()).map(|victim| end(hub, pod, victim, &node)).collect();
        let outcomes: Vec<Sync> = stream::iter(work).buffer_unordered(WRITES_IN_FLIGHT).collect().await;
        outcomes.into_iter().collect::<Sync>()?;
    }
    Ok(())
}

/// Ends a pod that is in the way.
async fn end(hub: &Hub, pod: &PodView, victim: &PodView, node: &str) -> Sync {
    let key = Key::new(&victim.namespace, &victim.name);
    let message = format!("{DEFAULT_SCHEDULER}: preempting to accommodate a higher priority pod");
    patch_status(hub, victim, &json!({"conditions": [condition(victim, PREEMPTED, &message)]})).await?;
    delete(hub, victim, None).await?;
    let (source, about) = (DEFAULT_SCHEDULER, about(&key, victim));
    let message = format!("Preempted by pod {} on node {node}", pod.uid);
    hub.recorder.record(Event { source, about, warning: false, reason: "Preempted", message });
    Ok(())
}

/// Lets less important pods look elsewhere for which room was being made on the same node.
async fn drop_lesser(hub: &Hub, pod: &PodView, node: &str) -> Sync {
    let lesser: Vec<Arc<PodView>> = {
        let world = hub.world();
        let expected = world.nodes.one(node).map(|(_, load)| load.nominated.values().cloned().collect::<Vec<_>>());
        expected.unwrap_or_default().into_iter().filter(|p| p.priority < pod.priority && p.uid != pod.uid).collect()
    };
    for other in lesser {
        let key = Key::new(&other.namespace, &other.name);
        patch_status(hub, &other, &json!({"nominatedNodeName": null})).await?;
        hub.world().nodes.nominate(&other.uid, None);
        hub.pods.add(key);
    }
    Ok(())
}
