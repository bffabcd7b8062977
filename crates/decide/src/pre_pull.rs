//! Images that a node pulls while the old daemon still runs, for a pod that is to take its place.
//!
//! A controller that is about to replace a pod writes the images of its successor into an annotation of the pod; the node
//! pulls them and says so in a condition of the pod. A node that can do this says so in an annotation of its own, so that no
//! other is ever asked.
//!
//! # Invariants
//! - An answer names the images that it is about: one to an earlier request is none.
//!
//! # Absent
//! Who is asked and when (`daemonset`), and the pull itself.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::dead_man::is_stand_in;
use crate::static_pods::is_static;

/// Annotation of a pod: images, with commas between them.
pub const IMAGES: &str = "everynode.dev/pre-pull";
/// Annotation of a pod: since when they are asked for.
pub const SINCE: &str = "everynode.dev/pre-pull-since";
/// Type of the condition of a pod that tells whether they are there.
pub const CONDITION: &str = "everynode.dev/PrePulled";
/// Annotation of a node that pulls what is asked for.
pub const ABLE: &str = "everynode.dev/pre-pulls";

/// Reason of the condition while nothing has failed.
const PULLING: &str = "Pulling";
/// Longest cause that is told of a pull that fails: a line, since it is kept for each pod that waits.
const TROUBLE_MAX: usize = 300;

/// What was asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The images, as in the annotation.
    pub images: String,
    /// Since when they are asked for.
    pub since: Option<Timestamp>,
    /// They are there.
    pub done: bool,
    /// Why they are not, where a pull failed.
    pub trouble: Option<String>,
}

impl Request {
    /// What was asked for by the annotations of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let annotations = pod.metadata.annotations.as_ref()?;
        let images = annotations.get(IMAGES)?.clone();
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let told = conditions.iter().find(|c| c.type_ == CONDITION);
        let message = told.and_then(|c| c.message.as_deref()).unwrap_or_default();
        let failed = told.is_some_and(|c| c.status != "True" && c.reason.as_deref() != Some(PULLING));
        // The message of an answer begins with what was asked for.
        let trouble = message.strip_prefix(&images).and_then(|rest| rest.strip_prefix(": ")).filter(|_| failed);
        Some(Self {
            since: annotations.get(SINCE).and_then(|text| text.parse().ok()),
            done: told.is_some_and(|c| c.status == "True") && message == images,
            trouble: trouble.map(|text| text.chars().take(TROUBLE_MAX).collect()),
            images,
        })
    }
}

/// The images that a pod asks its node to pull.
#[must_use]
pub fn asked(pod: &Pod) -> Option<&str> {
    let images = pod.metadata.annotations.as_ref()?.get(IMAGES).filter(|images| !images.is_empty())?;
    (!is_static(pod) && !is_stand_in(pod)).then_some(images)
}

/// What became of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Pulls,
    /// All images are there.
    Pulled,
    /// It failed, with a reason in one word and a cause, and is tried again.
    Failed(String, String),
}

impl Outcome {
    /// The condition that tells of it; `old` is the one that stands in the status.
    #[must_use]
    pub fn condition(&self, images: &str, old: Option<&PodCondition>, now: Timestamp) -> PodCondition {
        let (status, reason, message) = match self {
            Self::Pulls => ("False", PULLING, images.to_owned()),
            Self::Pulled => ("True", "Pulled", images.to_owned()),
            Self::Failed(reason, cause) => ("False", reason.as_str(), format!("{images}: {cause}")),
        };
        let kept = old.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
        PodCondition {
            type_: CONDITION.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_probe_time: None,
            last_transition_time: kept.or_else(|| Timestamp::from_second(now.as_second()).ok().map(Time)),
            observed_generation: None,
        }
    }
}

/// The name of an image with its registry and a tag, as nodes list it.
#[must_use]
pub fn whole_name(image: &str) -> String {
    let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let whole = match image.split_once('/') {
        Some((first, _)) if is_registry(first) => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    };
    let last = whole.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { whole } else { format!("{whole}:latest") }
}

/// Whether an image may be another one at each pull although its name is the same.
#[must_use]
pub fn moves(image: &str) -> bool {
    whole_name(image).ends_with(":latest")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(images: &str, condition: Option<PodCondition>) -> Pod {
        let conditions: Vec<PodCondition> = condition.into_iter().collect();
        let pod = json!({"metadata": {"annotations": {IMAGES: images, SINCE: "2026-01-01T00:00:00Z"}},
            "status": {"conditions": conditions}});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn an_answer_is_to_its_own_request() {
        let now = Timestamp::UNIX_EPOCH;
        let failed = Outcome::Failed("ErrImagePull".into(), "no such tag".into());
        for (asked, about, outcome, done, trouble) in [
            ("x:2", "x:2", Outcome::Pulls, false, None),
            ("x:2", "x:2", Outcome::Pulled, true, None),
            ("x:2,y:1", "x:2,y:1", Outcome::Pulled, true, None),
            ("x:2", "x:1", Outcome::Pulled, false, None),
            ("x:2", "x:2", failed.clone(), false, Some("no such tag")),
            ("x:2", "x:1", failed.clone(), false, None),
            ("x:2", "x:20", failed, false, None),
        ] {
            let request = Request::of(&pod(asked, Some(outcome.condition(about, None, now)))).unwrap();
            assert_eq!((request.done, request.trouble.as_deref()), (done, trouble), "{asked} {about} {outcome:?}");
            assert_eq!(request.since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        }
        assert!(!Request::of(&pod("x:2", None)).unwrap().done);
        assert_eq!(Request::of(&Pod::default()), None);
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = Outcome::Pulls.condition("x", None, at(1));
        let second = Outcome::Failed("E".into(), "c".into()).condition("x", Some(&first), at(2));
        assert_eq!(second.last_transition_time, first.last_transition_time);
        let third = Outcome::Pulled.condition("x", Some(&second), at(3));
        assert_eq!(third.last_transition_time, Some(Time(at(3))));
    }

    #[test]
    fn names_as_nodes_list_them() {
        for (image, expect, moving) in [
            ("nginx", "docker.io/library/nginx:latest", true),
            ("nginx:1", "docker.io/library/nginx:1", false),
            ("fluent/fluentd:v1", "docker.io/fluent/fluentd:v1", false),
            ("r.io/a/b", "r.io/a/b:latest", true),
            ("localhost/a:1", "localhost/a:1", false),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest", true),
            ("a@sha256:12", "docker.io/library/a@sha256:12", false),
        ] {
            assert_eq!((whole_name(image).as_str(), moves(image)), (expect, moving), "{image}");
        }
    }
}
