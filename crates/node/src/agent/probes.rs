//! The probes of one pod's running containers: one small task each, and what they last said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use decide::pod_lifecycle::{Probed, SeenContainer, SeenState};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Agent, start};
use crate::probe::{self, Kind, Said};
use crate::runtime::{ContainerId, Runtime};

/// What probes last said, by id of the container; shared between their tasks and the worker.
#[derive(Clone, Default)]
pub(super) struct Answers {
    said: Arc<Mutex<BTreeMap<String, Probed>>>,
    changed: Arc<Notify>,
}

impl Answers {
    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Probed>) -> T) -> T {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes when a probe changed its mind.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What was last said.
    pub(super) fn all(&self) -> BTreeMap<String, Probed> {
        self.with(|said| said.clone())
    }

    fn say(&self, id: &str, kind: Kind, success: bool) {
        let new = self.with(|said| {
            let probed = said.entry(id.to_owned()).or_default();
            let field = match kind {
                Kind::Startup => &mut probed.started,
                Kind::Liveness => &mut probed.alive,
                Kind::Readiness => &mut probed.ready,
            };
            field.replace(success) != Some(success)
        });
        if new {
            self.changed.notify_one();
        }
    }

    fn started(&self, id: &str) -> bool {
        self.with(|said| said.get(id).is_some_and(|p| p.started == Some(true)))
    }
}

/// The tasks of one pod.
#[derive(Default)]
pub(super) struct Probes {
    pub(super) answers: Answers,
    tasks: BTreeMap<(String, Kind), JoinHandle<()>>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Probes {
    /// Ends all of them.
    pub(super) fn stop(&mut self) {
        std::mem::take(&mut self.tasks).into_values().for_each(|t| t.abort());
    }

    /// Starts the probes of what runs and ends those of what does not.
    pub(super) fn follow<R: Runtime>(
        &mut self,
        agent: &Arc<Agent<R>>,
        pod: &Arc<Pod>,
        containers: &[SeenContainer],
        pod_ip: &str,
    ) {
        let runs = |id: &str| containers.iter().any(|c| c.id == id && c.state == SeenState::Running);
        self.tasks.retain(|(id, _), task| {
            let keep = runs(id);
            if !keep {
                task.abort();
            }
            keep
        });
        self.answers.with(|said| said.retain(|id, _| runs(id)));
        for seen in containers.iter().filter(|c| c.state == SeenState::Running) {
            let Some(spec) = start::find(pod, &seen.name) else { continue };
            let kinds = [
                (Kind::Startup, &spec.startup_probe),
                (Kind::Liveness, &spec.liveness_probe),
                (Kind::Readiness, &spec.readiness_probe),
            ];
            for (kind, probe) in kinds {
                if probe.is_some() && !self.tasks.contains_key(&(seen.id.clone(), kind)) {
                    self.resume(pod, seen);
                    let task = self.task(agent, pod, spec, seen, kind, pod_ip);
                    self.tasks.insert((seen.id.clone(), kind), task);
                }
            }
        }
    }

    /// What an earlier agent already knew of a container that still runs.
    fn resume(&self, pod: &Pod, seen: &SeenContainer) {
        let statuses = pod
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten()));
        let id = seen.container_id();
        let Some(told) = statuses.into_iter().find(|s| s.container_id.as_deref() == Some(id.as_str())) else { return };
        let started = told.started == Some(true);
        self.answers.with(|said| {
            let probed = said.entry(seen.id.clone()).or_default();
            if started && probed.started.is_none() {
                probed.started = Some(true);
            }
            if told.ready && probed.ready.is_none() {
                probed.ready = Some(true);
            }
        });
    }

    fn task<R: Runtime>(
        &self,
        agent: &Arc<Agent<R>>,
        pod: &Arc<Pod>,
        spec: &Container,
        seen: &SeenContainer,
        kind: Kind,
        pod_ip: &str,
    ) -> JoinHandle<()> {
        let (agent, pod, answers) = (Arc::clone(agent), Arc::clone(pod), self.answers.clone());
        let (spec, id, ip) = (spec.clone(), seen.id.clone(), pod_ip.to_owned());
        let begin = seen.started_at.unwrap_or_else(jiff::Timestamp::now);
        tokio::spawn(async move {
            let target = probe::Target {
                runtime: agent.runtime.as_ref(),
                id: ContainerId(id.clone()),
                container: &spec,
                pod_ip: ip,
                started_at: begin,
            };
            let gate = || kind == Kind::Startup || spec.startup_probe.is_none() || answers.started(&id);
            let done = || kind == Kind::Startup && answers.started(&id);
            probe::schedule(&target, kind, gate, done, |said| match said {
                Said::Verdict(success) => answers.say(&id, kind, success),
                Said::Unhealthy(message) => {
                    agent.recorder.pod_event(&pod, Some(&spec.name), true, "Unhealthy", &message);
                }
            })
            .await;
        })
    }
}
