//! The workers of static pods: which begin, which end, and what happens to their mirrors.

use std::sync::Arc;

use decide::static_pods::{self, full_name, moves};
use k8s_openapi::api::core::v1::Pod;

use super::StaticPods;
use crate::agent::roster::Roster;
use crate::agent::stop::delete_object;
use crate::agent::worker::Order;
use crate::runtime::Runtime;

impl<R: Runtime> Roster<R> {
    /// Ends and begins static pods, so that those run that the directory asks for.
    pub(in crate::agent) fn follow(&mut self, statics: &mut StaticPods) {
        self.statics.retain(|uid, _| self.orders.contains_key(uid));
        // What an earlier agent ran, and nobody asks for any more: its containers are here.
        let wanted = |uid: &str| statics.desired.pods.values().any(|pod| pod.metadata.uid.as_deref() == Some(uid));
        let left: Vec<String> = statics.kept.keys().filter(|uid| !wanted(uid)).cloned().collect();
        for pod in left.iter().filter_map(|uid| statics.kept.remove(uid)) {
            tracing::info!("static pod {}: no file asks for it any more", full_name(&pod));
            self.begin_static(pod, true);
        }
        let moves = moves(&statics.desired, &self.statics);
        for uid in &moves.end {
            if let Some(orders) = self.orders.get(uid) {
                orders.send_if_modified(|order| !std::mem::replace(&mut order.gone, true));
            }
        }
        let begin = |pod: &&Pod| pod.metadata.uid.as_ref().is_some_and(|uid| moves.begin.contains(uid));
        let pods: Vec<Pod> = statics.desired.pods.values().filter(begin).cloned().collect();
        for mut pod in pods {
            let kept = pod.metadata.uid.as_ref().and_then(|uid| statics.kept.remove(uid));
            if let Some(kept) = kept {
                pod.status = kept.status;
            }
            self.begin_static(pod, false);
        }
        self.delete_orphans(statics);
    }

    fn begin_static(&mut self, pod: Pod, gone: bool) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        self.statics.insert(uid.clone(), full_name(&pod));
        self.spawn(uid, Order::new(pod, gone));
    }

    /// A mirror pod was seen, or is gone.
    pub(in crate::agent) fn hear_mirror(&mut self, pod: Pod, gone: bool) {
        let full = full_name(&pod);
        if gone {
            self.agent.mirrors.forget(&pod);
        } else {
            self.agent.mirrors.note(Arc::new(pod));
        }
        let uid = self.statics.iter().find(|(_, name)| **name == full).map(|(uid, _)| uid.clone());
        if let Some(uid) = uid {
            self.wake(Some(&uid));
        }
    }

    /// Deletes mirrors of pods that are not here, and that nobody asks for.
    pub(in crate::agent) fn delete_orphans(&self, statics: &StaticPods) {
        for mirror in self.agent.mirrors.all() {
            let full = full_name(&mirror);
            if self.statics.values().any(|name| *name == full) || statics.desired.has(&full) {
                continue;
            }
            let agent = Arc::clone(&self.agent);
            tokio::spawn(async move {
                if delete_object(&agent, &mirror).await {
                    agent.mirrors.forget(&mirror);
                }
            });
        }
    }
}

/// A pod as the API server has it: what it says of its origin is not believed.
pub(in crate::agent) fn from_server(mut pod: Pod) -> Pod {
    if let Some(notes) = &mut pod.metadata.annotations {
        notes.remove(static_pods::SOURCE);
        notes.remove(decide::dead_man::STAND_IN);
    }
    pod
}
