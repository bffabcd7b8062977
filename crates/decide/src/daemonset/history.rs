//! The revisions of a DaemonSet: its history of pod templates, as ControllerRevisions that `kubectl rollout` reads.
//!
//! Invariants: exactly one revision holds the current template, with the highest number; a template that comes back
//! takes its old revision out again; revisions that pods still run are kept whatever `revisionHistoryLimit` says.
//!
//! Absent: revisions of other controllers; they are never touched, not even when they hold the name that is wanted.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Map, Value};

use super::{API_VERSION, Action, HASH_LABEL, KIND, PastRevision, Target, template};
use crate::claim::{Claim, Claimant, controller_reference};
use crate::limits::REVISION_HISTORY_DEFAULT;
use crate::view::{Controller, PodView};

/// What is known of the revisions.
pub(super) enum Outcome<'a> {
    /// The current revision is known.
    Known(History<'a>),
    /// The name of the current revision belongs to another template or owner: this status moves on to the next name.
    NameTaken(Box<DaemonSetStatus>),
}

/// The revisions, with the writes that put them in order.
pub(super) struct History<'a> {
    /// Hash of the current revision.
    pub(super) hash: String,
    /// Hashes of its duplicates, whose pods are relabelled by the actions.
    pub(super) aliases: BTreeSet<String>,
    /// Writes to make first.
    pub(super) actions: Vec<Action>,
    /// The other revisions, oldest first.
    pub(super) old: Vec<&'a ControllerRevision>,
}

/// The last good revision.
pub(super) struct Good<'a> {
    /// Its hash, if there is one.
    pub(super) hash: Option<String>,
    /// The revision, if it is not the current one.
    pub(super) revision: Option<&'a ControllerRevision>,
}

/// Puts the revisions in order. `pods` are those that the DaemonSet controls.
pub(super) fn decide<'a>(
    set: &DaemonSet,
    claimant: &Claimant<'_>,
    revisions: &[&'a ControllerRevision],
    pods: &[&PodView],
) -> Outcome<'a> {
    let current = current_template(set);
    let wanted = template::canonical(&current);
    let mut actions = Vec::new();
    let owned = claim(claimant, revisions, &mut actions);
    let (mut same, mut old): (Vec<_>, Vec<_>) = owned.into_iter().partition(|r| holds(r, &wanted));
    old.sort_by_key(|r| (r.revision, r.metadata.name.clone()));
    same.sort_by_key(|r| (r.revision, r.metadata.name.clone()));
    let number = old.last().map_or(0, |r| r.revision) + 1;
    let mut aliases = BTreeSet::new();
    let hash = if let Some(newest) = same.pop() {
        let hash = hash_of(newest);
        aliases = same.iter().map(|r| hash_of(r)).collect();
        relabel(&aliases, &hash, pods, &mut actions);
        actions.extend(same.iter().map(|r| Action::DeleteRevision(Target::revision(r))));
        if newest.revision < number || !has_label(newest) {
            actions.push(update(newest, newest.revision.max(number)));
        }
        hash
    } else {
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let hash = template::hash(&current, collisions);
        let revision = new_revision(set, current, &hash, number);
        match revisions.iter().find(|r| r.metadata.name == revision.metadata.name) {
            None => actions.push(Action::CreateRevision(Box::new(revision))),
            // Left by a DaemonSet of the same name that is gone: it will go too, and is created anew after that.
            Some(taken) if holds(taken, &wanted) && is_of_namesake(taken, set) => {}
            Some(_) => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(collisions.unwrap_or_default().saturating_add(1));
                return Outcome::NameTaken(Box::new(status));
            }
        }
        hash
    };
    let unlabelled = old.iter().filter(|r| !has_label(r));
    actions.extend(unlabelled.map(|r| update(r, r.revision)));
    Outcome::Known(History { hash, aliases, actions, old })
}

impl<'a> History<'a> {
    /// The last good revision: the one that is remembered. If none is, or if it is gone, it is that of the most daemons
    /// for which `is_well` holds, unless they are all of the current revision.
    pub(super) fn good(&self, known: Option<&str>, pods: &[&PodView], is_well: impl Fn(&PodView) -> bool) -> Good<'a> {
        if known == Some(&self.hash) {
            return Good { hash: known.map(str::to_owned), revision: None };
        }
        let remembered = self.old.iter().rev().find(|r| Some(hash_of(r).as_str()) == known);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        if remembered.is_none() {
            let well = pods.iter().filter(|p| is_well(p)).filter_map(|p| p.labels.get(HASH_LABEL));
            well.for_each(|hash| *counts.entry(hash).or_default() += 1);
        }
        let daemons = |r: &&ControllerRevision| counts.get(hash_of(r).as_str()).copied().unwrap_or_default();
        let guess = || self.old.iter().copied().max_by_key(daemons).filter(|r| daemons(r) > 0);
        let revision = remembered.copied().or_else(guess);
        Good { hash: revision.map(hash_of), revision }
    }
}

/// A revision as pods are made from it.
pub(super) fn past(revision: &ControllerRevision) -> PastRevision {
    let data = revision.data.as_ref().map(|d| d.0.clone()).unwrap_or_default();
    let template = data.pointer("/spec/template").and_then(|t| serde_json::from_value(t.clone()).ok());
    PastRevision {
        name: revision.metadata.name.clone().unwrap_or_default(),
        hash: hash_of(revision),
        template: template.unwrap_or_default(),
        data,
    }
}

fn claim<'a>(
    claimant: &Claimant<'_>,
    revisions: &[&'a ControllerRevision],
    actions: &mut Vec<Action>,
) -> Vec<&'a ControllerRevision> {
    let none = BTreeMap::new();
    let mut owned = Vec::new();
    for revision in revisions {
        let metadata = &revision.metadata;
        let controller = Controller::of(metadata.owner_references.as_deref());
        let labels = metadata.labels.as_ref().unwrap_or(&none);
        match claimant.claim(labels, controller.as_ref().map(|c| c.uid.as_str()), metadata.deletion_timestamp.is_some())
        {
            Claim::Owned => owned.push(*revision),
            Claim::Adopt => {
                actions.push(Action::AdoptRevision(Target::revision(revision)));
                owned.push(*revision);
            }
            Claim::Release => actions.push(Action::ReleaseRevision(Target::revision(revision))),
            Claim::Ignore => {}
        }
    }
    owned
}

/// The template of `set` as JSON, as the API server gave it.
fn current_template(set: &DaemonSet) -> Value {
    let template = set.spec.as_ref().map(|s| &s.template);
    template.and_then(|t| serde_json::to_value(t).ok()).unwrap_or_default()
}

/// True when `revision` holds the template with this canonical encoding.
fn holds(revision: &ControllerRevision, wanted: &str) -> bool {
    let stored = revision.data.as_ref().and_then(|d| d.0.pointer("/spec/template"));
    stored.is_some_and(|t| template::canonical(t) == wanted)
}

fn is_of_namesake(revision: &ControllerRevision, set: &DaemonSet) -> bool {
    let controller = Controller::of(revision.metadata.owner_references.as_deref());
    controller.is_some_and(|c| c.kind == KIND && Some(c.name) == set.metadata.name)
}

fn has_label(revision: &ControllerRevision) -> bool {
    revision.metadata.labels.as_ref().is_some_and(|l| l.contains_key(HASH_LABEL))
}

/// The hash by which pods know a revision: its label, or its name if it was made before there was one.
fn hash_of(revision: &ControllerRevision) -> String {
    let label = revision.metadata.labels.as_ref().and_then(|l| l.get(HASH_LABEL));
    label.or(revision.metadata.name.as_ref()).cloned().unwrap_or_default()
}

fn update(revision: &ControllerRevision, number: i64) -> Action {
    Action::UpdateRevision { target: Target::revision(revision), number, hash: hash_of(revision) }
}

/// Moves pods of duplicate revisions to the one that stays.
fn relabel(gone: &BTreeSet<String>, hash: &str, pods: &[&PodView], actions: &mut Vec<Action>) {
    if gone.is_empty() {
        return;
    }
    let mut moved: Vec<_> = pods.iter().collect();
    moved.retain(|p| p.labels.get(HASH_LABEL).is_some_and(|h| h != hash && gone.contains(h)));
    moved.sort_by(|a, b| a.name.cmp(&b.name));
    actions.extend(moved.into_iter().map(|p| Action::RelabelPod(Target::pod(p), hash.to_owned())));
}

fn new_revision(set: &DaemonSet, template: Value, hash: &str, number: i64) -> ControllerRevision {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let metadata = set.spec.as_ref().and_then(|s| s.template.metadata.as_ref());
    let mut labels = metadata.and_then(|m| m.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let mut template = template;
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), Value::from("replace"));
    }
    let nest = |name: &str, inner: Value| Value::Object(Map::from_iter([(name.to_owned(), inner)]));
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![controller_reference(API_VERSION, KIND, name, uid)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(nest("spec", nest("template", template)))),
        revision: number,
    }
}

/// The deletions that bring the old revisions, oldest first, down to the limit. Those whose hash is in use are kept.
pub(super) fn cleanup<'r>(
    set: &DaemonSet,
    old: impl ExactSizeIterator<Item = &'r ControllerRevision>,
    is_used: impl Fn(&str) -> bool,
) -> Vec<Action> {
    let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit).unwrap_or(REVISION_HISTORY_DEFAULT);
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    if surplus == 0 {
        return Vec::new();
    }
    let unused = old.filter(|r| r.metadata.deletion_timestamp.is_none() && !is_used(&hash_of(r)));
    unused.take(surplus).map(|r| Action::DeleteRevision(Target::revision(r))).collect()
}
