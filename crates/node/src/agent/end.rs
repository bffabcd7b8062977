//! The end of one pod, from the deletion to the last trace.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use decide::dead_man::is_stand_in;

use super::worker::{Order, Worker};
use super::{last_words, observe, stop};
use crate::runtime::{Runtime, RuntimeError};

/// A new deadline this much earlier is worth a second signal.
const SHORTER: Duration = Duration::from_secs(1);

impl<R: Runtime> Worker<R> {
    /// One try to end the pod; true when nothing of it is left, neither here nor at the API server.
    pub(super) async fn end(&mut self, order: &Order) -> Result<bool, RuntimeError> {
        self.state.probes.stop();
        self.agent.watched.follow(&self.uid, &BTreeSet::new());
        Box::pin(self.keep_for_later()).await;
        self.stop_containers().await?;
        let gone = order.gone || self.orders.borrow().gone;
        if !gone && !self.makes_room() {
            let mut picture = observe(self.agent.runtime.as_ref(), &self.uid).await?;
            last_words::read(&self.agent, &self.state.pod, &mut picture, &mut self.state.last_words).await;
            self.tell(&picture, true).await?;
        }
        stop::clean(self.agent.as_ref(), &self.uid, Some(&self.state.pod)).await?;
        if !gone && !self.makes_room() && !stop::delete_object(&self.agent, &self.state.pod).await && !self.makes_room()
        {
            return Ok(false);
        }
        if !gone && self.makes_room() {
            stop::delete_later(&self.agent, Arc::clone(&self.state.pod));
        }
        self.agent.keep_pod(&self.uid, None);
        Ok(true)
    }

    /// Whether the one that stands in for its DaemonSet, under the same UID, waits for its end: then it does not wait itself for
    /// an API server that can't be reached.
    fn makes_room(&self) -> bool {
        !is_stand_in(&self.state.pod) && self.agent.stand_ins.has(&self.uid)
    }

    /// Stops what runs. A new order with less time (a forced deletion) takes effect while it waits.
    async fn stop_containers(&mut self) -> Result<(), RuntimeError> {
        let mut first = true;
        loop {
            let picture = observe(self.agent.runtime.as_ref(), &self.uid).await?;
            if !picture.runs() {
                return Ok(());
            }
            let pod = Arc::clone(&self.state.pod);
            let ip = self.ips(&picture).pod.first().cloned().unwrap_or_default();
            let agent = Arc::clone(&self.agent);
            let mut stopped = std::pin::pin!(stop::stop_all(&agent, &pod, &picture, &ip, first));
            first = false;
            loop {
                tokio::select! {
                    result = &mut stopped => return result,
                    order = self.orders.changed() => if order.is_err() {
                        return stopped.await;
                    },
                }
                let order = self.orders.borrow_and_update().clone();
                self.take(&order, false);
                if stop::grace(&self.state.pod) + SHORTER < stop::grace(&pod) {
                    break;
                }
            }
        }
    }
}
