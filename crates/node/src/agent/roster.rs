//! Which pods this node has: the watch of the API server, the workers, and who wakes them.
//!
//! # Invariants
//! - A pod that is missing is ended only after a whole list, or by a deletion in the watch.
//! - Pods that an earlier agent kept on disk run on without the API server.
//! - Static pods begin and end by their files alone; of those the API server only has images, which run nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use decide::dead_man::is_stand_in;
use decide::static_pods::{is_mirror, is_static};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::dead_man::{self, Lonely};
use super::reconnect::Reconnect;
use super::static_pods::{StaticPods, from_server};
use super::unmanaged::Unmanaged;
use super::worker::{Order, Worker};
use super::{Agent, stop};
use crate::runtime::Runtime;

/// An agent that starts waits this long for its API server before it goes by what an earlier agent kept.
const KEPT_AFTER: Duration = Duration::from_secs(5);
/// How long the last worker may finish its step at shutdown; containers are not touched.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs the workers until shutdown.
pub(super) async fn keep<R: Runtime>(agent: &Arc<Agent<R>>) {
    let pods: Api<Unmanaged<Pod>> = Api::all(agent.client.clone());
    let own = watcher::Config::default().fields(&format!("spec.nodeName={}", agent.options.node_name));
    let mut watch = watcher(pods, own).backoff(Reconnect::default()).boxed();
    let mut runtime_events = agent.runtime.events();
    let mut roster = Roster::new(Arc::clone(agent));
    let kept = agent.kept.load().await;
    roster.take_stand_ins(&kept).await;
    let (mut lonely, mut lonely_ticks) = (Lonely::new(), tokio::time::interval(dead_man::LOOK_EVERY));
    let mut statics = StaticPods::new(&agent.options, kept);
    statics.look().await;
    roster.follow(&mut statics);
    let (kept_after, shutdown) = (tokio::time::sleep(KEPT_AFTER), agent.shutdown.cancelled());
    tokio::pin!(kept_after, shutdown);
    let (mut listed, mut failing) = (false, false);
    // The API server has answered, and goes on doing so.
    let mut answers = false;
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            event = watch.next() => match event {
                Some(Ok(event)) => {
                    // A list that begins has asked nobody yet.
                    let answered = !matches!(event, Event::Init);
                    if answered {
                        agent.answers.note();
                    }
                    if answered && failing {
                        tracing::info!("node {}: the API server answers again", agent.options.node_name);
                        failing = false;
                    }
                    let whole = matches!(event, Event::InitDone);
                    (listed, answers) = (listed | whole, answers | whole);
                    roster.hear(event).await;
                    if whole {
                        roster.delete_orphans(&statics);
                        statics.say(agent);
                        agent.pods_known.cancel();
                    }
                }
                Some(Err(error)) => {
                    if !failing {
                        tracing::warn!("node {}: the watch of pods is broken, what runs goes on: {error}", agent.options.node_name);
                    }
                    (failing, answers) = (true, false);
                }
                None => break,
            },
            () = statics.changed() => {
                statics.look().await;
                roster.follow(&mut statics);
                if answers {
                    statics.say(agent);
                }
            }
            event = runtime_events.recv() => match event {
                Ok(id) => roster.wake(agent.pod_of_sandbox(&id).as_deref()),
                Err(broadcast::error::RecvError::Lagged(_)) => roster.wake(None),
                // The runtime tells nothing any more; workers look by themselves.
                Err(broadcast::error::RecvError::Closed) => tokio::time::sleep(KEPT_AFTER).await,
            },
            stale = agent.watched.changed() => stale.iter().for_each(|uid| roster.wake(Some(uid))),
            () = agent.nudge.notified() => {
                roster.follow_stand_ins().await;
                roster.wake(None);
            }
            _ = lonely_ticks.tick(), if !agent.stand_ins.is_empty() => roster.end_lonely(&mut lonely).await,
            () = &mut kept_after, if !listed => {
                listed = true;
                roster.take_kept().await;
                agent.pods_known.cancel();
            }
            Some(done) = roster.workers.join_next(), if !roster.workers.is_empty() => {
                match done {
                    // The UID may have got another worker meanwhile.
                    Ok(uid) => roster.orders.retain(|id, orders| *id != uid || orders.receiver_count() > 0),
                    Err(error) => tracing::error!("a pod's worker broke: {error}"),
                }
                // Another may have waited for its end.
                roster.follow(&mut statics);
                roster.follow_stand_ins().await;
            }
        }
    }
    drop(tokio::time::timeout(FAREWELL, async { while roster.workers.join_next().await.is_some() {} }).await);
}

pub(super) struct Roster<R> {
    pub(super) agent: Arc<Agent<R>>,
    pub(super) orders: BTreeMap<String, watch::Sender<Order>>,
    /// Static pods of which something is left here: full names by UID.
    pub(super) statics: BTreeMap<String, String>,
    workers: JoinSet<String>,
    /// UIDs of the list that comes in now.
    listing: Option<Vec<String>>,
}

impl<R: Runtime> Roster<R> {
    fn new(agent: Arc<Agent<R>>) -> Self {
        let (orders, statics) = (BTreeMap::new(), BTreeMap::new());
        Self { agent, orders, statics, workers: JoinSet::new(), listing: None }
    }

    async fn hear(&mut self, event: Event<Unmanaged<Pod>>) {
        match event {
            Event::Init => self.listing = Some(Vec::new()),
            Event::InitApply(Unmanaged(pod)) => {
                if let (Some(listing), Some(uid)) = (&mut self.listing, &pod.metadata.uid) {
                    listing.push(uid.clone());
                }
                self.hear_pod(pod, false);
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                self.agent.mirrors.keep(&listed);
                self.end_missing(&listed).await;
            }
            Event::Apply(Unmanaged(pod)) => self.hear_pod(pod, false),
            Event::Delete(Unmanaged(pod)) => self.hear_pod(pod, true),
        }
    }

    fn hear_pod(&mut self, pod: Pod, gone: bool) {
        if is_mirror(&pod) { self.hear_mirror(pod, gone) } else { self.order(from_server(pod), gone) }
    }

    /// Tells the pod's worker; a pod that is new gets one.
    fn order(&mut self, pod: Pod, gone: bool) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if (gone || pod.metadata.deletion_timestamp.is_some()) && self.is_stood_in_for(&uid) {
            if !gone {
                stop::delete_later(&self.agent, Arc::new(pod));
            }
            return;
        }
        let order = Order::new(pod, gone);
        if let Some(orders) = self.orders.get(&uid)
            && orders.receiver_count() > 0
        {
            orders.send_modify(|old| *old = Order { wakes: old.wakes, ..order });
            return;
        }
        if gone {
            return;
        }
        self.spawn(uid, order);
    }

    /// Whether nothing is left here of a pod but one that stands in under its UID: its end is no matter of that one.
    fn is_stood_in_for(&self, uid: &str) -> bool {
        self.orders.get(uid).is_some_and(|orders| is_stand_in(&orders.borrow().pod))
    }

    /// A worker for a pod that is new here.
    pub(super) fn spawn(&mut self, uid: String, order: Order) {
        let (sender, receiver) = watch::channel(order);
        self.orders.insert(uid.clone(), sender);
        let worker = Worker::new(Arc::clone(&self.agent), uid.clone(), receiver);
        self.workers.spawn(async move {
            worker.run().await;
            uid
        });
    }

    /// Lets workers look: one, or all.
    pub(super) fn wake(&self, uid: Option<&str>) {
        for (_, orders) in self.orders.iter().filter(|(id, _)| uid.is_none_or(|uid| uid == id.as_str())) {
            orders.send_modify(Order::wake);
        }
    }

    /// Goes by what an earlier agent kept.
    async fn take_kept(&mut self) {
        let mut kept = self.agent.kept.load().await;
        kept.retain(|pod| !is_static(pod) && !is_stand_in(pod));
        if !kept.is_empty() {
            tracing::info!("node {}: {} pods go on without the API server", self.agent.options.node_name, kept.len());
        }
        kept.into_iter().for_each(|pod| self.order(pod, false));
    }

    /// Ends what a whole list no longer has: pods with a worker, and what an earlier agent left.
    async fn end_missing(&mut self, listed: &[String]) {
        let fixed = |uid: &str| self.statics.contains_key(uid) || self.agent.stand_ins.has(uid);
        let missing: Vec<String> =
            self.orders.keys().filter(|uid| !listed.contains(uid) && !fixed(uid)).cloned().collect();
        for uid in missing {
            if let Some(orders) = self.orders.get(&uid) {
                orders.send_modify(|order| order.gone = true);
            }
        }
        for pod in self.agent.kept.load().await {
            let Some(uid) = pod.metadata.uid.clone() else { continue };
            if listed.contains(&uid) || self.orders.contains_key(&uid) || is_static(&pod) || is_stand_in(&pod) {
                continue;
            }
            tracing::info!("pod {} is gone from the API server; it ends here too", super::pod_words(&pod));
            self.order(pod, false);
            if let Some(orders) = self.orders.get(&uid) {
                orders.send_modify(|order| order.gone = true);
            }
        }
        self.end_unknown(listed).await;
    }

    /// Sandboxes of pods nobody knows: the API server does not have them and their file is lost.
    async fn end_unknown(&self, listed: &[String]) {
        let Ok(sandboxes) = self.agent.runtime.list_pod_sandboxes().await else { return };
        for sandbox in sandboxes {
            let uid = sandbox.config.uid.clone();
            if listed.contains(&uid) || self.orders.contains_key(&uid) {
                continue;
            }
            let (namespace, name) = (&sandbox.config.namespace, &sandbox.config.name);
            tracing::info!(
                "a sandbox of {namespace}/{name} ({uid}) belongs to no pod of the API server; it is removed"
            );
            let agent = Arc::clone(&self.agent);
            tokio::spawn(async move {
                if let Err(error) = stop::clean(agent.as_ref(), &uid, None).await {
                    tracing::warn!("sandbox of {uid}: {error}; the next list tries again");
                }
            });
        }
    }
}
