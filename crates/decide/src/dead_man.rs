//! The dead-man switch of a node: an updated daemon that cuts its node off from the API server is taken back by the node
//! itself, since nobody else can reach it.
//!
//! A pod of another revision than the one before is on trial from its start on. It passes when the server has answered
//! after the whole of the time that its annotation [`AFTER`] states; it fails when the server was silent for that long
//! before it passed. Then the pod before it runs again, as a stand-in, until another revision comes.
//!
//! # Invariants
//! - Times are of a clock that nobody sets: a jump of the machine's clock decides nothing.
//! - No trial without an answer of the server before it: a server that was away already says nothing about the pod.
//! - A revision that cut a node off is not tried there again: the stand-in runs on undisturbed.
//!
//! # Absent
//! Clocks, disks, the runtime.

use std::time::Duration;

use api::rollout_policy::DEAD_MAN_SECONDS_MIN;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::daemonset::{CLASS_LABEL, HASH_LABEL, KIND};
use crate::node_health::Grace;
use crate::pod_lifecycle::PodFailure;

/// Annotation of a pod: seconds of silence after which its node takes it back.
pub const AFTER: &str = "everynode.dev/dead-man-after-seconds";
/// Annotation of a pod that a node runs in the place of one that cut it off; no API server knows it any more.
pub const STAND_IN: &str = "everynode.dev/stand-in";
/// `status.reason` of a pod that was taken back, and of events about it.
pub const REASON: &str = "DeadManSwitch";

/// How much later than a node counts as unreachable a controller has seen it.
const SEEN_WITHIN_S: i64 = 10;

/// How long after the start of a pod a controller knows that it has passed, if it has heard nothing else: as long as it takes
/// until a node that fell silent at the end of the trial is known as one.
#[must_use]
pub fn proven_within_s(after_s: i32, grace: Grace) -> i64 {
    i64::from(after_s).saturating_add(grace.0).saturating_add(SEEN_WITHIN_S)
}

/// A pod on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// When it came.
    pub began: Duration,
    /// How long the server may be silent.
    pub after: Duration,
}

/// How a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The pod cuts nobody off.
    Passed,
    /// It is looked at again then.
    Open(Duration),
    /// The pod cut its node off.
    Failed,
}

impl Trial {
    /// How it stands at `now`; `answered` is when the server last answered. All are times since the same moment.
    #[must_use]
    pub fn standing(&self, answered: Duration, now: Duration) -> Standing {
        let silent_since = answered.max(self.began);
        if answered >= self.began.saturating_add(self.after) {
            return Standing::Passed;
        }
        let due = silent_since.saturating_add(self.after);
        if now > due { Standing::Failed } else { Standing::Open(due) }
    }
}

/// UID of the DaemonSet that a pod is of.
#[must_use]
pub fn daemon_set(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true) && owner.kind == KIND)?;
    Some(owner.uid.as_str())
}

/// What a pod was made from: the hash of the revision, and that of the classes of its node.
#[must_use]
pub fn revision(pod: &Pod) -> String {
    let label =
        |name: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map_or("", String::as_str);
    format!("{} {}", label(HASH_LABEL), label(CLASS_LABEL)).trim_end().to_owned()
}

/// How long the server may be silent once this pod has begun, if it is one to watch.
#[must_use]
pub fn after(pod: &Pod) -> Option<Duration> {
    let seconds: u64 = pod.metadata.annotations.as_ref()?.get(AFTER)?.parse().ok()?;
    let least = u64::try_from(DEAD_MAN_SECONDS_MIN).unwrap_or_default();
    // Anybody may write an annotation; whoever writes a policy was told of the bound.
    daemon_set(pod).map(|_| Duration::from_secs(seconds.max(least)))
}

/// True for a pod that stands in for one that was taken back. Whoever takes pods from an API server has to take
/// [`STAND_IN`] away from them.
#[must_use]
pub fn is_stand_in(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(STAND_IN))
}

/// True when a pod that ends is one to go back to: a daemon that the API server knows to be ready.
#[must_use]
pub fn is_good(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && daemon_set(pod).is_some() && !is_stand_in(pod)
}

/// The pod by which a node goes back: as `pod` was, with the very images that it ran.
#[must_use]
pub fn stand_in(pod: &Pod) -> Pod {
    let status = pod.status.as_ref();
    let statuses = |list: Option<&Vec<ContainerStatus>>| list.cloned().unwrap_or_default();
    let apps = statuses(status.and_then(|s| s.container_statuses.as_ref()));
    let init = statuses(status.and_then(|s| s.init_container_statuses.as_ref()));
    let mut spec = pod.spec.clone();
    if let Some(spec) = &mut spec {
        spec.containers.iter_mut().for_each(|c| pin(c, &apps));
        spec.init_containers.iter_mut().flatten().for_each(|c| pin(c, &init));
    }
    let meta = &pod.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.insert(STAND_IN.to_owned(), "true".to_owned());
    Pod {
        metadata: ObjectMeta {
            annotations: Some(annotations),
            deletion_timestamp: None,
            deletion_grace_period_seconds: None,
            managed_fields: None,
            resource_version: None,
            ..meta.clone()
        },
        spec,
        status: None,
    }
}

/// A tag may mean another image by now, and no registry may be in reach.
fn pin(container: &mut Container, statuses: &[ContainerStatus]) {
    let id = statuses.iter().find(|s| s.name == container.name).map(|s| s.image_id.clone()).filter(|id| !id.is_empty());
    container.image = id.or_else(|| container.image.take());
    container.image_pull_policy = Some("IfNotPresent".to_owned());
}

/// Images that a pod needs.
pub fn images(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.filter_map(|container| container.image.as_deref())
}

/// Why the pod of a revision that failed its trial fails.
#[must_use]
pub fn failure(after: Duration, revision: &str) -> PodFailure {
    let message = format!(
        "the node lost the API server for more than {} s after revision {revision} began here; it went back to the pod before",
        after.as_secs()
    );
    PodFailure { reason: REASON.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn trials() {
        let trial = Trial { began: s(100), after: s(30) };
        for (answered, now, expect) in [
            // The answer before the pod came counts for nothing but that there was one.
            (95, 100, Standing::Open(s(130))),
            (95, 130, Standing::Open(s(130))),
            (95, 131, Standing::Failed),
            // Each answer begins the silence anew.
            (105, 131, Standing::Open(s(135))),
            (129, 159, Standing::Open(s(159))),
            (129, 160, Standing::Failed),
            // Once the time has passed, one answer ends it for good.
            (130, 130, Standing::Passed),
            (130, 9999, Standing::Passed),
        ] {
            assert_eq!(trial.standing(s(answered), s(now)), expect, "{answered} {now}");
        }
    }

    fn pod(change: Value) -> Pod {
        let mut value = json!({
            "metadata": {"name": "d-1", "uid": "1", "labels": {"controller-revision-hash": "a"},
                "annotations": {AFTER: "60"}, "deletionTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "9", "controller": true}]},
            "spec": {"containers": [{"name": "c", "image": "app:latest", "imagePullPolicy": "Always"}, {"name": "d", "image": "e"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
                {"name": "c", "image": "app:latest", "imageID": "sha256:1", "ready": true, "restartCount": 0},
                {"name": "d", "image": "e", "imageID": "", "ready": true, "restartCount": 0}]}});
        for (path, new) in change.as_object().unwrap() {
            *value.pointer_mut(path).unwrap() = new.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn which_pods_are_watched_and_kept() {
        for (change, watched, good) in [
            (json!({}), Some(60), true),
            (json!({"/metadata/annotations": {AFTER: "1"}}), Some(30), true),
            (json!({"/metadata/annotations": {AFTER: "soon"}}), None, true),
            (json!({"/metadata/annotations": {}}), None, true),
            (json!({"/metadata/annotations": {STAND_IN: "true"}}), None, false),
            (json!({"/metadata/ownerReferences/0/kind": "ReplicaSet"}), None, false),
            (json!({"/metadata/ownerReferences/0/controller": false}), None, false),
            (json!({"/status/conditions/0/status": "False"}), Some(60), false),
        ] {
            let pod = pod(change.clone());
            assert_eq!((after(&pod), is_good(&pod)), (watched.map(s), good), "{change}");
        }
    }

    #[test]
    fn a_stand_in_runs_the_very_images() {
        let stand_in = stand_in(&pod(json!({})));
        assert_eq!(images(&stand_in).collect::<Vec<_>>(), ["sha256:1", "e"]);
        assert!(is_stand_in(&stand_in) && stand_in.status.is_none());
        assert_eq!(stand_in.metadata.deletion_timestamp, None);
        let policies = stand_in.spec.as_ref().unwrap().containers.iter().map(|c| c.image_pull_policy.as_deref());
        assert!(policies.into_iter().all(|policy| policy == Some("IfNotPresent")));
        assert_eq!(revision(&stand_in), "a");
    }
}
