//! Images before pods: under a policy that asks for it a node has the images of the new daemon before the old one ends.
//!
//! A few nodes pull ahead of those that are being updated. A node that can't get the images keeps its old daemon; after a
//! while others are asked in its place, so that one broken node holds nobody up, and a mistake in an image reaches few nodes
//! before the rollout meets its deadline.
//!
//! Invariants: only nodes that say that they pull are asked; a daemon that is not available waits for no image, nor does a
//! way back; without such a policy nothing is asked and nothing waits.
//!
//! Absent: pods that are made beside old ones (surge), whose old pod waits for the new one anyway.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::{NodeClasses, Scene};
use crate::pre_pull::{moves, whole_name};
use crate::view::{NodeView, PodView};

/// Seconds after which a node that still pulls is passed over: the next one is asked too.
pub(super) const PASSED_OVER_AFTER: SignedDuration = SignedDuration::from_secs(120);

/// How a node stands to the images of its new daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its old daemon may end.
    Ready,
    /// It is to be asked for these.
    Ask(String),
    /// It was asked, and something changes by time alone then. It holds others up while `fresh`.
    Pulls { fresh: bool, trouble: Option<String>, look_again: Option<Timestamp> },
}

/// What the policy asks for.
pub(super) struct Ahead<'s> {
    set: &'s DaemonSet,
    classes: &'s NodeClasses,
    now: Timestamp,
    /// When a node goes on without the images.
    timeout: Option<SignedDuration>,
}

impl<'s> Ahead<'s> {
    pub(super) fn new(scene: &'s Scene<'_>, timeout_s: Option<i32>) -> Self {
        let timeout = timeout_s.map(|s| SignedDuration::from_secs(s.into()));
        Self { set: scene.set, classes: &scene.gauge.classes, now: scene.gauge.now, timeout }
    }

    /// How the node of an old pod stands.
    pub(super) fn standing(&self, node: &NodeView, old: &PodView) -> Standing {
        if !node.pre_pulls {
            return Standing::Ready;
        }
        let images = self.missing(node);
        if images.is_empty() {
            return Standing::Ready;
        }
        let request = old.pre_pull.as_deref().filter(|request| covers(&request.images, &images));
        let Some(request) = request else { return Standing::Ask(images.join(",")) };
        let after = |wait| request.since.and_then(|since| since.checked_add(wait).ok());
        let ends = self.timeout.and_then(after);
        if request.done || ends.is_some_and(|at| at <= self.now) {
            return Standing::Ready;
        }
        let passed = after(PASSED_OVER_AFTER).filter(|at| *at > self.now);
        let look_again = passed.into_iter().chain(ends).min();
        Standing::Pulls { fresh: passed.is_some(), trouble: request.trouble.clone(), look_again }
    }

    /// The images that the new daemon of a node needs and the node does not list, in order of name; and all that move, of
    /// which only the node's answer tells whether it has the newest.
    fn missing(&self, node: &NodeView) -> Vec<String> {
        let images = if self.classes.are_on(&node.name) {
            let mut set = self.set.clone();
            self.classes.apply(&mut set, &node.name);
            set.spec.as_ref().map(|spec| images(&spec.template)).unwrap_or_default()
        } else {
            self.set.spec.as_ref().map(|spec| images(&spec.template)).unwrap_or_default()
        };
        let is_there = |image: &str| !moves(image) && node.images.contains_key(&whole_name(image));
        images.into_iter().filter(|image| !is_there(image)).collect()
    }
}

/// True when what was asked for holds all of these: as pulls end, fewer are missing.
fn covers(asked: &str, images: &[String]) -> bool {
    images.iter().all(|image| asked.split(',').any(|one| one == image))
}

/// The images that pods of a template pull.
fn images(template: &PodTemplateSpec) -> BTreeSet<String> {
    let Some(spec) = &template.spec else { return BTreeSet::new() };
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let pulled = all.filter(|c| c.image_pull_policy.as_deref() != Some("Never"));
    pulled.filter_map(|c| c.image.clone()).filter(|image| !image.is_empty() && !image.contains(',')).collect()
}
