//! The machine goes down: pods end in order, within their time, and are not begun again before the next boot.
//!
//! # Invariants
//! - Only the word that the machine goes down ([`super::Options::power_off`]) ends a pod here; the agent's own end ends none.
//! - Pods are not failed: their objects stay, and begin again after the boot, with or without an API server.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use decide::node_pressure::eviction::Standing;
use decide::node_shutdown::{Running, waves};
use k8s_openapi::api::core::v1::Pod;

use super::node::reference;
use super::worker::Worker;
use super::{Agent, observe, stop};
use crate::runtime::{ContainerState, Runtime, RuntimeError};

/// How often it is looked whether a wave has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What a wave gets beyond its time: SIGKILL and the last look take a moment.
const SLACK: Duration = Duration::from_secs(2);

/// Which pods end for the machine, and how long each has; the others wait, and none begins.
pub(super) type Ending = BTreeMap<String, Duration>;

impl<R> Agent<R> {
    /// The machine goes down.
    pub(crate) fn is_going_down(&self) -> bool {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// How long the pod has to end, once it is its turn.
    fn time_to_end(&self, uid: &str) -> Option<Duration> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(uid).copied()
    }

    fn end(&self, pods: impl IntoIterator<Item = (String, Duration)>) {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().extend(pods);
        self.nudge.notify_one();
    }
}

/// Waits for the word, ends the pods, and then the agent.
pub(super) async fn keep<R: Runtime>(agent: &Arc<Agent<R>>) {
    tokio::select! {
        () = agent.shutdown.cancelled() => return,
        () = agent.options.power_off.cancelled() => {}
    }
    let node = &agent.options.node_name;
    let periods = agent.options.shutdown_periods;
    if periods.whole.is_zero() {
        agent.shutdown.cancel();
        return;
    }
    tracing::info!("node {node}: the machine goes down, pods have {:?} to end", periods.whole);
    agent.end([]);
    agent.node_changed.notify_one();
    agent.recorder.node_event(&reference(agent), "Normal", "NodeShutdown", "The machine is going down.");
    let begin = Instant::now();
    for wave in waves(periods, &running(agent).await) {
        let uids: Vec<String> = wave.pods.iter().map(|(uid, _)| uid.clone()).collect();
        tracing::info!("node {node}: {} pods end", uids.len());
        agent.end(wave.pods);
        while begin.elapsed() < wave.until + SLACK && runs(agent, &uids).await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    agent.shutdown.cancel();
}

async fn running<R: Runtime>(agent: &Arc<Agent<R>>) -> Vec<Running> {
    let mut list = Vec::new();
    for pod in agent.pods() {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if runs(agent, std::slice::from_ref(&uid)).await {
            list.push(Running { uid, standing: Standing::of(&pod), grace: stop::grace(&pod) });
        }
    }
    list
}

/// Whether a container of one of the pods runs; also where nobody can tell.
async fn runs<R: Runtime>(agent: &Arc<Agent<R>>, uids: &[String]) -> bool {
    let (Ok(sandboxes), Ok(containers)) =
        (agent.runtime.list_pod_sandboxes().await, agent.runtime.list_containers().await)
    else {
        return true;
    };
    let own = sandboxes.iter().filter(|sandbox| uids.contains(&sandbox.config.uid));
    own.into_iter()
        .any(|sandbox| containers.iter().any(|c| c.sandbox == sandbox.id && c.state == ContainerState::Running))
}

impl<R: Runtime> Worker<R> {
    /// The machine goes down: ends the pod's containers when it is its turn, begins none, and tells how they ended.
    pub(super) async fn go_down(&mut self) -> Result<(), RuntimeError> {
        let Some(time) = self.agent.time_to_end(&self.uid) else { return Ok(()) };
        self.state.probes.stop();
        let picture = observe(self.agent.runtime.as_ref(), &self.uid).await?;
        if picture.runs() {
            let pod = within(&self.state.pod, time);
            let ip = self.ips(&picture).pod.first().cloned().unwrap_or_default();
            let agent = Arc::clone(&self.agent);
            stop::stop_all(&agent, &pod, &picture, &ip, true).await?;
        }
        let picture = observe(self.agent.runtime.as_ref(), &self.uid).await?;
        self.tell(&picture, false).await
    }
}

/// The pod, with no more time to end than that.
fn within(pod: &Pod, time: Duration) -> Pod {
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        spec.termination_grace_period_seconds = Some(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    }
    pod
}
