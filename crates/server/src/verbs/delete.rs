//! Deleting one object or all that a selector matches.
//!
//! # Invariants
//! - An object with finalizers is marked and stays; one without is removed.
//! - A pod on a node is marked and stays until its node, or someone who asks for no grace, deletes it again.
//! - A grace is only ever shortened.

use std::sync::Arc;

use api::kinds::DELETE_OPTIONS;
use api::status::{self, Status};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use store::{Entry, Revision, Store};

use super::list;
use super::options::{DeleteOptions, Propagation};
use super::write::{Written, now, store_over};
use crate::app::{App, Ask, Place, failure};
use crate::body;
use crate::limits::{CONFLICT_RETRIES_MAX, DELETIONS_AT_ONCE};
use crate::negotiate;
use crate::object::{self, has_finalizers, meta, metadata_mut};
use crate::outline::Outline;
use crate::reply::{self, Reply};
use crate::selection::Selection;
use crate::services::{self, GivenUp};
use crate::shape::{self, Include, ListMeta};

/// The finalizer under which an object waits for those that it owns.
const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer under which an object waits until those that it owns are on their own.
const ORPHAN: &str = "orphan";
/// Namespaces that can't be deleted.
const IMMORTAL_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What came of a deletion.
pub(crate) enum Deleted {
    /// The object waits for its end, or would.
    Marked(Written),
    /// It is gone; this is how it stood last, where its kind shows that.
    Gone { uid: String, last: Bytes, revision: Revision },
}

/// Answers a delete.
pub(crate) async fn delete<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let body = body::document(DELETE_OPTIONS.type_name, &ask.headers, ask.body).await?;
    let options = DeleteOptions::parse(&ask.query, body.as_ref())?;
    match remove(app, place, &options).await? {
        Deleted::Marked(written) => written.respond(StatusCode::OK, form, place),
        Deleted::Gone { last, revision, .. } if place.kind.returns_deleted_object() => {
            shape::respond(StatusCode::OK, form, Include::Metadata, place.kind, &last, revision)
        }
        Deleted::Gone { uid, .. } => {
            let status = status::success(place.kind.group, place.kind.plural, place.name, &uid);
            Ok(reply::json(StatusCode::OK, &status.body))
        }
    }
}

/// Deletes an object as far as it lets itself be.
///
/// # Errors
/// 404, or 409 when a precondition fails, or 403 for namespaces that must stay.
pub(crate) async fn remove<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let is_namespace = place.kind.group.is_empty() && place.kind.plural == "namespaces";
    if is_namespace && IMMORTAL_NAMESPACES.contains(&place.name) {
        return Err(place.forbidden("this namespace may not be deleted"));
    }
    let _turn = app.event_turns.other(place.kind);
    for _ in 0..CONFLICT_RETRIES_MAX {
        let entry = app.entry(place).await?;
        let mut new = Outline::of_few_fields(place.kind, &entry)?;
        check_preconditions(place, options, &new.object)?;
        let given_up = services::given_up(place, &new.object, None);
        let verdict = match (is_namespace, is_definition(place)) {
            (true, _) => mark_namespace(&mut new.object, options),
            (_, true) => mark_definition(&mut new.object),
            _ => mark(place, &mut new.object, options),
        };
        if let Some(deleted) = carry_out(app, place, &entry, given_up, new, verdict, options.dry_run).await? {
            return Ok(deleted);
        }
    }
    Err(place.modified())
}

/// Whether a custom resource definition is deleted.
fn is_definition(place: Place<'_>) -> bool {
    (place.kind.group, place.kind.plural) == ("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Definitions wait until their objects are gone.
fn mark_definition(new: &mut Value) -> Verdict {
    if api::crd::is_terminating(new) {
        return if has_finalizers(new) { Verdict::Pending } else { Verdict::Remove };
    }
    api::crd::mark_terminating(new, &now());
    Verdict::Mark
}

/// What a deletion comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The object goes.
    Remove,
    /// The object is stored as changed and waits.
    Mark,
    /// The deletion is on its way already.
    Pending,
}

async fn carry_out<S: Store>(
    app: &App<S>,
    place: Place<'_>,
    entry: &Entry,
    given_up: GivenUp,
    new: Outline,
    verdict: Verdict,
    dry_run: bool,
) -> Result<Option<Deleted>, Status> {
    match verdict {
        Verdict::Pending => Ok(Some(Deleted::Marked(Written::Stored(entry.value.clone(), entry.mod_revision)))),
        Verdict::Mark if dry_run => Ok(Some(Deleted::Marked(Written::Shown(new.whole()?)))),
        Verdict::Mark => Ok(store_over(app, place, entry, new).await?.map(Deleted::Marked)),
        Verdict::Remove => {
            let uid = meta(&new.object, "uid").to_owned();
            let last = match place.kind.returns_deleted_object() && !dry_run {
                // One that became too large by its marks still goes.
                true => object::encode_as(place.kind, &new).unwrap_or_else(|_| entry.value.clone()),
                false => entry.value.clone(),
            };
            drop(new);
            if dry_run {
                return Ok(Some(Deleted::Gone { uid, last, revision: entry.mod_revision }));
            }
            let Some(revision) = app.remove(&place.key(), entry.mod_revision).await? else { return Ok(None) };
            given_up.release(app, place).await;
            Ok(Some(Deleted::Gone { uid, last, revision }))
        }
    }
}

pub(super) fn check_preconditions(place: Place<'_>, options: &DeleteOptions, old: &Value) -> Result<(), Status> {
    let differs = |asked: &Option<String>, field: &str| {
        asked.as_deref().filter(|asked| *asked != meta(old, field)).map(str::to_owned)
    };
    if let Some(asked) = differs(&options.uid, "uid") {
        return Err(place.conflict(&format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            meta(old, "uid")
        )));
    }
    if let Some(asked) = differs(&options.resource_version, "resourceVersion") {
        return Err(place.conflict(&format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({}). The \
             object might have been modified",
            meta(old, "resourceVersion")
        )));
    }
    Ok(())
}

/// Namespaces wait for the controller that empties them, by the finalizers in their spec.
fn mark_namespace(new: &mut Value, options: &DeleteOptions) -> Verdict {
    if new["metadata"]["deletionTimestamp"].is_string() {
        let held = new["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        return if held || has_finalizers(new) { Verdict::Pending } else { Verdict::Remove };
    }
    metadata_mut(new).insert("deletionTimestamp".to_owned(), now().into());
    set_propagation(new, options.propagation, None);
    new["status"]["phase"] = "Terminating".into();
    Verdict::Mark
}

/// Marks any other object: its grace, its finalizers.
fn mark(place: Place<'_>, new: &mut Value, options: &DeleteOptions) -> Verdict {
    let graceful = match grace(place, new, options) {
        Grace::Pending => return Verdict::Pending,
        Grace::None => None,
        Grace::Seconds(seconds) => Some(seconds),
    };
    let default = (place.kind.plural == "replicationcontrollers").then_some(Propagation::Orphan);
    set_propagation(new, options.propagation, default);
    let held = has_finalizers(new);
    match graceful {
        Some(seconds) if seconds > 0 || held => Verdict::Mark,
        Some(_) => Verdict::Remove,
        None if held => {
            mark_now(new);
            Verdict::Mark
        }
        None => Verdict::Remove,
    }
}

/// How long an object may take to end.
#[derive(Debug, PartialEq, Eq)]
enum Grace {
    /// It has none.
    None,
    /// It is ending already, at least as soon as asked for.
    Pending,
    /// This long; the object is marked.
    Seconds(i64),
}

/// Pods alone end gracefully.
fn grace(place: Place<'_>, new: &mut Value, options: &DeleteOptions) -> Grace {
    if !place.kind.group.is_empty() || place.kind.plural != "pods" {
        return Grace::None;
    }
    let asked = options.grace_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    if let Some(end) = new["metadata"]["deletionTimestamp"].as_str().map(str::to_owned) {
        let current = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        return match asked {
            _ if current == 0 => Grace::None,
            Some(asked) if asked < current => shorten(new, &end, current, asked),
            _ => Grace::Pending,
        };
    }
    let finished = matches!(new["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let placed = new["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
    let seconds = match asked.or(new["spec"]["terminationGracePeriodSeconds"].as_i64()) {
        _ if finished || !placed => 0,
        Some(seconds) if seconds < 0 => 1,
        Some(seconds) => seconds,
        None => 0,
    };
    set_end(new, Timestamp::now() + SignedDuration::from_secs(seconds), seconds);
    bump_generation(new);
    Grace::Seconds(seconds)
}

/// Moves the end of a pod that is ending already to an earlier time.
fn shorten(new: &mut Value, end: &str, current: i64, asked: i64) -> Grace {
    let now = Timestamp::now();
    let began = end.parse::<Timestamp>().unwrap_or(now) - SignedDuration::from_secs(current);
    let wanted = began + SignedDuration::from_secs(asked);
    let (end, seconds) = match wanted < now {
        // The time asked for is over, but someone still has to end the pod: leave the least grace there is.
        true => (now, if asked == 0 { 0 } else { 1 }),
        false => (wanted, asked),
    };
    set_end(new, end, seconds);
    Grace::Seconds(seconds)
}

fn set_end(new: &mut Value, end: Timestamp, seconds: i64) {
    let metadata = metadata_mut(new);
    metadata.insert("deletionTimestamp".to_owned(), end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), seconds.into());
}

/// Marks an object without grace that its finalizers still hold.
fn mark_now(new: &mut Value) {
    let end = new["metadata"]["deletionTimestamp"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    if end.is_none() {
        bump_generation(new);
    }
    let now = Timestamp::now();
    set_end(new, end.filter(|end| *end <= now).unwrap_or(now), 0);
}

fn bump_generation(new: &mut Value) {
    if let Some(generation) = new["metadata"]["generation"].as_i64().filter(|g| *g > 0) {
        new["metadata"]["generation"] = (generation + 1).into();
    }
}

/// Sets the finalizer that the propagation asks for; without one those that are there stay.
fn set_propagation(new: &mut Value, asked: Option<Propagation>, default: Option<Propagation>) {
    let metadata = metadata_mut(new);
    let before: Vec<Value> = metadata.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let has = |name: &str| before.iter().any(|f| f == name);
    let propagation = match asked {
        Some(asked) => asked,
        None if has(ORPHAN) => Propagation::Orphan,
        None if has(FOREGROUND) => Propagation::Foreground,
        None => default.unwrap_or(Propagation::Background),
    };
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    if wanted.is_some_and(has) && !(has(ORPHAN) && has(FOREGROUND)) {
        return;
    }
    let mut after: Vec<Value> = before.into_iter().filter(|f| f != ORPHAN && f != FOREGROUND).collect();
    after.extend(wanted.map(Value::from));
    match after.is_empty() {
        true => metadata.remove("finalizers"),
        false => metadata.insert("finalizers".to_owned(), after.into()),
    };
}

/// Answers a deletecollection: each object is deleted as by its own delete.
pub(crate) async fn delete_collection<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let selection = Selection::parse(place.kind, &ask.query)?;
    let body = body::document(DELETE_OPTIONS.type_name, &ask.headers, ask.body).await?;
    let options = DeleteOptions::parse(&ask.query, body.as_ref())?;
    let matched = list::matching(app, place, &selection, Vec::new(), 0, None, None).await;
    let matched = matched.map_err(failure)?;
    let mut running = FuturesUnordered::new();
    for entry in &matched.entries {
        let (namespace, name) = object::names_of_key(place.kind, &entry.key);
        if selection.name().is_some_and(|wanted| wanted != name) {
            continue;
        }
        if running.len() == DELETIONS_AT_ONCE {
            running.next().await.map_or(Ok(()), settled)?;
        }
        let one = Place { name, namespace: place.namespace.map(|_| namespace), ..place };
        running.push(remove(app, one, &options));
    }
    while let Some(removed) = running.next().await {
        settled(removed)?;
    }
    drop(running);
    let meta = ListMeta { revision: matched.revision, ..ListMeta::default() };
    let value = shape::list_value(form, shape::Include::Metadata, place.kind, &meta, &matched.entries)?;
    Ok(reply::maybe_gzip(shape::media(form), shape::text(form, &value)?, negotiate::accepts_gzip(&ask.headers)))
}

/// What one deletion of many came to: someone else may have been faster.
fn settled(removed: Result<Deleted, Status>) -> Result<(), Status> {
    match removed {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(group: &str, plural: &str) -> Place<'static> {
        let kind = api::kinds::find(group, "v1", plural).unwrap();
        Place { kind, namespace: Some("a"), name: "b" }
    }

    fn asked(grace_seconds: Option<i64>, propagation: Option<Propagation>) -> DeleteOptions {
        DeleteOptions { grace_seconds, propagation, ..DeleteOptions::default() }
    }

    #[test]
    fn pods_end_gracefully() {
        let on_node = json!({"metadata": {"name": "b", "generation": 1}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        let unplaced = json!({"metadata": {"name": "b"}, "spec": {"terminationGracePeriodSeconds": 30}});
        let finished = json!({"metadata": {"name": "b"}, "spec": {"nodeName": "n"}, "status": {"phase": "Failed"}});
        for (pod, grace, want, seconds) in [
            (&on_node, None, Verdict::Mark, 30),
            (&on_node, Some(5), Verdict::Mark, 5),
            (&on_node, Some(-5), Verdict::Mark, 1),
            (&on_node, Some(0), Verdict::Remove, 0),
            (&unplaced, None, Verdict::Remove, 0),
            (&finished, Some(30), Verdict::Remove, 0),
        ] {
            let mut new = pod.clone();
            assert_eq!(mark(place("", "pods"), &mut new, &asked(grace, None)), want, "{pod} {grace:?}");
            assert_eq!(new["metadata"]["deletionGracePeriodSeconds"], seconds, "{pod} {grace:?}");
        }
    }

    #[test]
    fn a_grace_is_only_shortened() {
        let mut pod =
            json!({"metadata": {"name": "b"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        assert_eq!(mark(place("", "pods"), &mut pod, &asked(None, None)), Verdict::Mark);
        assert_eq!(mark(place("", "pods"), &mut pod.clone(), &asked(None, None)), Verdict::Pending);
        assert_eq!(mark(place("", "pods"), &mut pod.clone(), &asked(Some(60), None)), Verdict::Pending);
        assert_eq!(mark(place("", "pods"), &mut pod.clone(), &asked(Some(3), None)), Verdict::Mark);
        assert_eq!(mark(place("", "pods"), &mut pod, &asked(Some(0), None)), Verdict::Remove);
    }

    #[test]
    fn propagation_is_a_finalizer() {
        let bare = json!({"metadata": {"name": "b", "generation": 3}});
        let held = json!({"metadata": {"name": "b", "finalizers": ["x", "orphan"]}});
        for (object, propagation, want, finalizers) in [
            (&bare, None, Verdict::Remove, json!(null)),
            (&bare, Some(Propagation::Foreground), Verdict::Mark, json!(["foregroundDeletion"])),
            (&bare, Some(Propagation::Orphan), Verdict::Mark, json!(["orphan"])),
            (&held, None, Verdict::Mark, json!(["x", "orphan"])),
            (&held, Some(Propagation::Background), Verdict::Mark, json!(["x"])),
            (&held, Some(Propagation::Foreground), Verdict::Mark, json!(["x", "foregroundDeletion"])),
        ] {
            let mut new = object.clone();
            assert_eq!(mark(place("apps", "daemonsets"), &mut new, &asked(None, propagation)), want, "{propagation:?}");
            assert_eq!(new["metadata"].get("finalizers").unwrap_or(&Value::Null), &finalizers, "{propagation:?}");
        }
    }

    #[test]
    fn marking_counts_as_a_new_generation_once() {
        let mut new = json!({"metadata": {"name": "b", "generation": 3, "finalizers": ["x"]}});
        assert_eq!(mark(place("apps", "daemonsets"), &mut new, &asked(None, None)), Verdict::Mark);
        assert_eq!(new["metadata"]["generation"], 4);
        assert_eq!(mark(place("apps", "daemonsets"), &mut new, &asked(None, None)), Verdict::Mark);
        assert_eq!(new["metadata"]["generation"], 4);
    }
}
