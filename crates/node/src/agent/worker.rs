//! One pod's worker: looks, asks [`decide::pod_lifecycle`], does, tells, waits.
//!
//! # Invariants
//! - One worker a pod UID, so no two steps of a pod run at once.
//! - Whatever it waits for, a new order (a changed or deleted pod) wakes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use decide::dead_man::is_stand_in;
use decide::pod_lifecycle::{self, Look, Memory, Plan, PodFailure, StartFailure, Step};
use decide::static_pods::is_static;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::dead_man::OnTrial;
use super::ignored::ignored;
use super::pre_pull::PrePull;
use super::probes::Probes;
use super::{Agent, Picture, last_words, observe, patch, resources};
use crate::runtime::{Runtime, RuntimeError};
use crate::volumes::Mounted;

/// A pod is looked at this often even when nothing happens: a lost event costs no more.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Wait after a trouble that has no time of its own.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Longest such wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Plans carried out in one turn: a pod with the most containers gets up in one, and a loop ends.
const PLANS_MAX: usize = 64;

/// What the worker is told.
#[derive(Clone)]
pub(super) struct Order {
    /// As the API server has it.
    pub(super) pod: Arc<Pod>,
    /// The API server no longer has it.
    pub(super) gone: bool,
    /// Counts what else the worker was to look for.
    pub(super) wakes: u64,
}

impl Order {
    pub(super) fn new(pod: Pod, gone: bool) -> Self {
        Self { pod: Arc::new(pod), gone, wakes: 0 }
    }

    /// Has the worker look.
    pub(super) fn wake(&mut self) {
        self.wakes = self.wakes.wrapping_add(1);
    }
}

/// See the module.
pub(super) struct Worker<R> {
    pub(super) agent: Arc<Agent<R>>,
    pub(super) uid: String,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) state: State,
}

/// What the worker remembers between turns.
#[derive(Default)]
pub(super) struct State {
    pub(super) pod: Arc<Pod>,
    pub(super) memory: Memory,
    pub(super) probes: Probes,
    pub(super) mounted: Option<Mounted>,
    pub(super) mount_failure: Option<StartFailure>,
    pub(super) renewed: Option<Instant>,
    /// What the pod shows or awaits has changed, and was not looked at yet.
    pub(super) objects_changed: bool,
    pub(super) again_at: Option<Timestamp>,
    pub(super) last_words: BTreeMap<String, String>,
    /// The status that the API server was told last, by its fingerprint, and when.
    pub(super) told: Option<(u64, Instant)>,
    /// A status that said nothing new of the pod as it was then.
    pub(super) nothing_to_tell: Option<(PodStatus, Weak<Pod>)>,
    /// The order that was taken last.
    taken: Option<Arc<Pod>>,
    /// What the worker has looked for.
    wakes: u64,
    pub(super) trouble: Option<Duration>,
    pub(super) ended: bool,
    /// It was never let in.
    pub(super) turned_away: bool,
    /// Its end can't take the time that the pod asks for.
    pub(super) hurried: bool,
    /// When the pod came; None once it has run.
    pub(super) since: Option<Instant>,
    /// It was told that the pod waits for the node's network.
    pub(super) network_told: bool,
    /// Whether it cuts the node off.
    pub(super) on_trial: OnTrial,
    /// What is kept of it on disk is not what it is by now.
    pub(super) unkept: bool,
    /// What its node pulls for its successor.
    pub(super) pre_pull: Option<PrePull>,
    /// Something became of that.
    pub(super) pulled: Arc<Notify>,
}

/// Whether the API server's pod is the one that its answer to a write of the status told of. Of that only the version was
/// read: what others changed before is only in the pod.
fn echoes(own: &Pod, new: &Pod) -> bool {
    let (a, b) = (&own.metadata, &new.metadata);
    a.resource_version.is_some()
        && a.resource_version == b.resource_version
        && a.deletion_timestamp == b.deletion_timestamp
        && a.labels == b.labels
        && a.annotations == b.annotations
        && own.spec == new.spec
        && patch::is_same(own.status.as_ref(), new.status.as_ref())
}

/// Whether an order is only that: nothing else was to be looked for since `wakes`, and it is not the one that was taken last.
fn is_echo(own: &Pod, taken: Option<&Arc<Pod>>, wakes: u64, order: &Order) -> bool {
    let new = taken.is_some_and(|taken| !Arc::ptr_eq(taken, &order.pod));
    new && order.wakes == wakes && !order.gone && echoes(own, &order.pod)
}

/// Until that time, or until the next look.
fn wait_until(at: Option<Timestamp>) -> Duration {
    let left = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
    at.map_or(LOOK_EVERY, |at| left(at).min(LOOK_EVERY))
}

impl<R: Runtime> Worker<R> {
    pub(super) fn new(agent: Arc<Agent<R>>, uid: String, orders: watch::Receiver<Order>) -> Self {
        let pod = Arc::clone(&orders.borrow().pod);
        Self { agent, uid, orders, state: State { pod, since: Some(Instant::now()), ..Default::default() } }
    }

    /// Until the pod is gone from this node, or shutdown. Its long parts are boxed: a pod at rest, of which a node has 110,
    /// holds none of what they need.
    pub(super) async fn run(mut self) {
        self.state.unkept = true;
        let (mut until, mut ordered) = (Instant::now(), false);
        loop {
            let order = self.orders.borrow_and_update().clone();
            let echo = ordered && self.hears_itself(&order);
            self.take(&order, echo);
            self.keep().await;
            until = if echo {
                until
            } else if self.agent.is_going_down() {
                match Box::pin(self.go_down()).await {
                    Ok(()) => self.calm(None),
                    Err(error) => self.later(Some(error.to_string())),
                }
            } else if order.gone || order.pod.metadata.deletion_timestamp.is_some() {
                match Box::pin(self.end(&order)).await {
                    Ok(true) => return,
                    Ok(false) => self.later(None),
                    Err(error) => self.later(Some(error.to_string())),
                }
            } else {
                let begun = Instant::now();
                let turned = Box::pin(self.turn()).await;
                self.agent.counters.turned(begun.elapsed());
                match turned {
                    Ok(again_at) => self.calm(again_at),
                    Err(error) => self.later(Some(error.to_string())),
                }
            };
            self.keep().await;
            let changed = self.state.probes.answers.clone();
            let pulled = Arc::clone(&self.state.pulled);
            ordered = tokio::select! {
                () = self.agent.shutdown.cancelled() => return,
                order = self.orders.changed() => if order.is_err() { return } else { true },
                () = changed.changed() => false,
                () = pulled.notified() => false,
                () = tokio::time::sleep_until(until) => false,
            };
        }
    }

    /// True when the order tells only what the API server answered to this worker itself: there is nothing to look for.
    fn hears_itself(&mut self, order: &Order) -> bool {
        let wakes = std::mem::replace(&mut self.state.wakes, order.wakes);
        !self.agent.is_going_down() && is_echo(&self.state.pod, self.state.taken.as_ref(), wakes, order)
    }

    /// The newer of what the API server says and what this worker told it; of an echo it is known that they are the same.
    pub(super) fn take(&mut self, order: &Order, echo: bool) {
        if self.state.taken.as_ref().is_some_and(|taken| Arc::ptr_eq(taken, &order.pod)) {
            return;
        }
        self.state.taken = Some(Arc::clone(&order.pod));
        let version = |pod: &Pod| pod.metadata.resource_version.as_ref().and_then(|v| v.parse::<u64>().ok());
        // Of what no API server brought nobody but this worker knows the status.
        let own = is_static(&order.pod) || is_stand_in(&order.pod);
        let stale = own || version(&order.pod) < version(&self.state.pod);
        let old = &self.state.pod;
        // What a start without the API server has to know: what shall run, and that it shall end.
        let new_spec = !echo && order.pod.spec != old.spec;
        let changed = new_spec
            || order.pod.metadata.deletion_timestamp != old.metadata.deletion_timestamp
            || order.pod.metadata.annotations != old.metadata.annotations;
        if new_spec && old.metadata.resource_version.is_some() {
            self.tell_changes(&order.pod);
        }
        let mut pod = Arc::clone(&order.pod);
        if stale {
            let own = Arc::make_mut(&mut pod);
            own.status.clone_from(&self.state.pod.status);
            own.metadata.resource_version.clone_from(&self.state.pod.metadata.resource_version);
        }
        self.state.pod = pod;
        self.agent.keep_pod(&self.uid, Some(Arc::clone(&self.state.pod)));
        self.state.unkept |= changed;
    }

    /// What a pod that is here already asks for anew, and does not get.
    fn tell_changes(&self, new: &Pod) {
        let old = &self.state.pod;
        let (before, now) = (ignored(old), ignored(new));
        let added: Vec<_> = now.into_iter().filter(|field| !before.contains(field)).collect();
        if !added.is_empty() {
            let text = format!("not supported by this node and without effect: {}", added.join(", "));
            self.agent.recorder.pod_event(new, None, true, "NotSupported", &text);
        }
        if resources::resized(old, new) {
            let text = "containers that run are not resized in place: new resources hold from their next start on";
            self.agent.recorder.pod_event(new, None, true, "NotSupported", text);
        }
    }

    /// Keeps the pod for a start without the API server. Not while it ends: its directory may be gone by then.
    async fn keep(&mut self) {
        if std::mem::take(&mut self.state.unkept) {
            Box::pin(self.agent.kept.save(&self.uid, &self.state.pod)).await;
        }
    }

    fn calm(&mut self, again_at: Option<Timestamp>) -> Instant {
        self.state.trouble = None;
        Instant::now() + wait_until(again_at)
    }

    fn later(&mut self, error: Option<String>) -> Instant {
        let wait = self.state.trouble.map_or(RETRY_AFTER, |w| (w * 2).min(RETRY_AFTER_MAX));
        if let Some(error) = error.filter(|_| self.state.trouble.is_none()) {
            tracing::warn!("pod {}: {error}; it is tried again", super::pod_words(&self.state.pod));
        }
        self.state.trouble = Some(wait);
        Instant::now() + wait.min(wait_until(self.state.again_at))
    }

    /// One turn: plans and steps until nothing is left to do now.
    async fn turn(&mut self) -> Result<Option<Timestamp>, RuntimeError> {
        if let Some(failure) = self.agent.take_eviction(&self.uid) {
            self.give_up(failure);
        }
        self.hear_of_objects();
        self.pre_pull();
        let trial_at = Box::pin(self.stand_trial()).await;
        let again = |at: Option<Timestamp>| at.into_iter().chain(trial_at).min();
        for _ in 0..PLANS_MAX {
            let picture = self.look().await?;
            let plan = self.plan(&picture);
            self.state.again_at = again(plan.again_at);
            if plan.steps.is_empty() && picture.runs() && self.renew(&picture).await {
                continue;
            }
            if plan.steps.is_empty() || self.state.ended {
                if self.state.ended {
                    self.agent.watched.follow(&self.uid, &BTreeSet::new());
                    Box::pin(self.raise_stand_in()).await;
                }
                self.tell(&picture, self.state.ended).await?;
                return Ok(self.state.again_at);
            }
            let waits = Box::pin(self.carry_out(&picture, &plan)).await?;
            let stops = self.agent.shutdown.is_cancelled() || self.agent.is_going_down();
            if stops || self.orders.has_changed().unwrap_or(true) {
                return Ok(Some(Timestamp::now()));
            }
            if let Some(at) = waits {
                let picture = self.look().await?;
                self.plan(&picture);
                self.state.again_at = again(Some(at));
                self.tell(&picture, false).await?;
                return Ok(self.state.again_at);
            }
        }
        Ok(Some(Timestamp::now()))
    }

    /// The pod ends for the node, and soon.
    pub(super) fn give_up(&mut self, failure: PodFailure) {
        if self.state.memory.failed.is_some() {
            return;
        }
        self.agent.recorder.pod_event(&self.state.pod, None, true, &failure.reason, &failure.message);
        self.state.memory.failed = Some(failure);
        self.state.hurried = true;
    }

    async fn look(&mut self) -> Result<Picture, RuntimeError> {
        let mut picture = observe(self.agent.runtime.as_ref(), &self.uid).await?;
        for old in std::mem::take(&mut picture.older) {
            self.agent.runtime.stop_pod_sandbox(&old).await?;
            self.agent.runtime.remove_pod_sandbox(&old).await?;
            self.agent.forget_sandbox(&old);
        }
        if let Some(id) = picture.sandbox_id() {
            self.agent.note_sandbox(id, &self.uid);
        }
        last_words::read(&self.agent, &self.state.pod, &mut picture, &mut self.state.last_words).await;
        let ip = self.ips(&picture).pod.first().cloned().unwrap_or_default();
        let pod = Arc::clone(&self.state.pod);
        self.state.probes.follow(&self.agent, &pod, &picture.containers, &ip);
        self.state.memory.probes = self.state.probes.answers.all();
        Ok(picture)
    }

    fn plan(&mut self, picture: &Picture) -> Plan {
        let plan = pod_lifecycle::next(&self.looked(picture));
        for note in &plan.notes {
            let about = Some(note.container.as_str());
            self.agent.recorder.pod_event(&self.state.pod, about, note.warning, note.reason, &note.message);
        }
        self.state.memory.waiting.clone_from(&plan.waiting);
        if self.state.memory.failed.is_none() {
            self.state.memory.failed.clone_from(&plan.fail);
        }
        let sandbox_up = picture.sandbox.as_ref().is_some_and(|s| s.ready);
        self.state.ended = plan.steps == [Step::EndPod] && !picture.runs() && !sandbox_up;
        plan
    }

    pub(super) fn looked<'a>(&'a self, picture: &'a Picture) -> Look<'a> {
        Look {
            pod: &self.state.pod,
            sandbox: picture.sandbox.as_ref(),
            containers: &picture.containers,
            memory: &self.state.memory,
            now: Timestamp::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::runtime::hollow::Hollow;

    /// Most bytes of a task that waits.
    const TASK_MAX: usize = 4096;

    fn size<A, F: Future>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn only_what_tells_nothing_new_is_an_echo() {
        let own = serde_json::json!({"metadata": {"name": "p", "resourceVersion": "7", "labels": {"a": "1"}, "annotations": {"b": "1"}},
            "spec": {"containers": [{"name": "c", "image": "x:1"}]}, "status": {"phase": "Running"}});
        let pod = |value: &Value| serde_json::from_value::<Pod>(value.clone()).unwrap();
        assert!(echoes(&pod(&own), &pod(&own)));
        for (path, other) in [
            ("/metadata/resourceVersion", "8"),
            ("/metadata/labels/a", "2"),
            ("/metadata/annotations/b", "2"),
            ("/spec/containers/0/image", "x:2"),
            ("/status/phase", "Failed"),
        ] {
            let mut new = own.clone();
            *new.pointer_mut(path).unwrap() = other.into();
            assert!(!echoes(&pod(&own), &pod(&new)), "{path}");
        }
        let mut going = own.clone();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(!echoes(&pod(&own), &pod(&going)));
        let mut without = own.clone();
        without["metadata"]["resourceVersion"] = Value::Null;
        assert!(!echoes(&pod(&without), &pod(&without)), "no API server has it");
    }

    #[test]
    fn an_order_is_an_echo_unless_there_is_more_to_look_for() {
        let pod = |version: &str| {
            let pod = serde_json::json!({"metadata": {"name": "p", "resourceVersion": version}});
            Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        // The worker wrote 7, and takes it from the API server's answer; the order before was 6.
        let (own, before) = (pod("7"), pod("6"));
        let order = Order { pod: pod("7"), gone: false, wakes: 3 };
        assert!(is_echo(&own, Some(&before), 3, &order));
        assert!(!is_echo(&own, Some(&before), 2, &order), "it was woken meanwhile");
        assert!(!is_echo(&own, None, 3, &order), "its first order");
        assert!(!is_echo(&own, Some(&order.pod), 3, &order), "only woken again");
        assert!(!is_echo(&own, Some(&before), 3, &Order { gone: true, ..order.clone() }), "gone");
        assert!(!is_echo(&own, Some(&before), 3, &Order { pod: pod("8"), ..order }), "somebody else wrote");
    }

    #[test]
    fn a_pod_at_rest_is_small() {
        let bytes = size(Worker::<Hollow>::run);
        assert!(bytes < TASK_MAX, "{bytes} bytes");
    }
}
