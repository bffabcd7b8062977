//! The workers of stand-ins: how they begin and end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use decide::dead_man::{daemon_set, images, is_stand_in};
use k8s_openapi::api::core::v1::Pod;

use super::{StandIn, StandIns};
use crate::agent::kept::Previous;
use crate::agent::roster::Roster;
use crate::agent::worker::Order;
use crate::runtime::Runtime;

/// How often it is looked whether a stand-in is still wanted.
pub(in crate::agent) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A stand-in ends when the API server, which answers, has had no pod of its DaemonSet here for so long: between two of
/// them are moments without.
const LONELY_AFTER: Duration = Duration::from_secs(60);

/// Since when stand-ins are without another pod of their DaemonSet, by its UID.
pub(in crate::agent) type Lonely = BTreeMap<String, Instant>;

impl StandIns {
    /// Lets a pod stand in.
    pub(super) fn raise(&self, set: &str, pod: &Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let images = images(pod).map(str::to_owned).collect();
        self.lock().entry(set.to_owned()).or_insert(StandIn { uid, images, ending: false });
    }
}

impl<R: Runtime> Roster<R> {
    /// Goes on with those of an earlier agent; `kept` are all pods that it kept.
    pub(in crate::agent) async fn take_stand_ins(&mut self, kept: &[Pod]) {
        for (set, previous) in self.agent.kept.all_previous().await {
            self.agent.stand_ins.note_kept(&set);
            if previous.taken_back.is_some() {
                self.agent.stand_ins.raise(&set, &previous.pod);
            }
        }
        for pod in kept.iter().filter(|pod| is_stand_in(pod)) {
            let Some(uid) = pod.metadata.uid.clone().filter(|uid| !self.agent.stand_ins.has(uid)) else { continue };
            self.spawn(uid, Order::new(pod.clone(), true));
        }
        self.follow_stand_ins().await;
    }

    /// Begins and ends those that are to.
    pub(in crate::agent) async fn follow_stand_ins(&mut self) {
        let all: Vec<(String, StandIn)> =
            self.agent.stand_ins.lock().iter().map(|(set, one)| (set.clone(), one.clone())).collect();
        for (set, one) in all {
            match self.orders.get(&one.uid) {
                // Its predecessor of the same UID has to be gone first.
                Some(orders) if !is_stand_in(&orders.borrow().pod) => {}
                Some(orders) if one.ending => {
                    orders.send_if_modified(|order| !std::mem::replace(&mut order.gone, true));
                }
                Some(_) => {}
                None if one.ending => self.forget_stand_in(&set).await,
                None => self.begin_stand_in(&set, &one.uid).await,
            }
        }
    }

    async fn begin_stand_in(&mut self, set: &str, uid: &str) {
        let Some(previous) = self.agent.kept.previous(set).await else {
            self.agent.stand_ins.lock().remove(set);
            return;
        };
        let words = crate::agent::pod_words(&previous.pod);
        tracing::warn!("pod {words} runs again, in the place of one that cut this node off");
        self.agent.kept.restore_objects(set, uid).await;
        self.spawn(uid.to_owned(), Order::new(previous.pod, false));
    }

    /// Nothing of it is left.
    async fn forget_stand_in(&mut self, set: &str) {
        self.agent.stand_ins.lock().remove(set);
        if let Some(previous) = self.agent.kept.previous(set).await {
            self.agent.kept.save_previous(set, &Previous { taken_back: None, ..previous }).await;
        }
        // Whoever waited for it goes on.
        self.wake(None);
    }

    /// Ends stand-ins, and forgets pods, of DaemonSets that have had no other pod here for a while.
    pub(in crate::agent) async fn end_lonely(&mut self, lonely: &mut Lonely) {
        let running: Vec<String> = self.agent.stand_ins.lock().keys().cloned().collect();
        let mut sets = self.agent.stand_ins.kept().clone();
        sets.extend(running.iter().cloned());
        lonely.retain(|set, _| sets.contains(set));
        for set in sets {
            if self.has_pod_of(&set) {
                lonely.remove(&set);
                continue;
            }
            let since = *lonely.entry(set.clone()).or_insert_with(Instant::now);
            let answers = &self.agent.answers;
            let silent = answers.last().map(|last| answers.now().saturating_sub(last));
            if since.elapsed() <= LONELY_AFTER || silent.is_none_or(|silent| silent >= since.elapsed()) {
                continue;
            }
            if running.contains(&set) {
                self.agent.stand_ins.displace(&set);
            } else {
                self.agent.forget_previous(&set).await;
            }
        }
        self.follow_stand_ins().await;
    }

    /// Whether a pod of a DaemonSet is here that is no stand-in.
    fn has_pod_of(&self, set: &str) -> bool {
        self.orders.iter().any(|(uid, orders)| {
            let order = orders.borrow();
            daemon_set(&order.pod) == Some(set) && !order.gone && !self.agent.stand_ins.has(uid)
        })
    }
}
