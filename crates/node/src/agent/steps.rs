//! The steps of a plan, carried out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use decide::dead_man;
use decide::node_pressure::eviction::Standing;
use decide::node_pressure::refusal;
use decide::pod_lifecycle::{self, Plan, PodFailure, SeenState, StartFailure, Step, Waiting};
use jiff::Timestamp;
use tokio::time::Instant;

use super::ignored::ignored;
use super::node_status::network_words;
use super::refused::{APP_ARMOR, Able, refused, waits};
use super::start::{Place, begin, find_any, sandbox_failure, start};
use super::worker::Worker;
use super::{Picture, resources, sandbox, stop, watched};
use crate::runtime::{ContainerId, Runtime, RuntimeError, SandboxId};
use crate::volumes::{self, Mounted};

/// Grace of a pod that ends for a node in need, as Kubernetes has it.
const HURRIED_GRACE_SECONDS: i64 = 1;
/// How often a pod looks whether the node's network is there by now.
const NETWORK_EVERY: Duration = Duration::from_secs(2);
/// How often a pod looks whether the one that stood in for it has ended.
const STAND_IN_EVERY: Duration = Duration::from_secs(1);
/// How often tokens of a running pod are looked at, and asked for what no watch tells of, as Kubernetes has it.
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// Whether a start failed for what may come by itself: an object, or a key of it.
fn lacks_object(failure: &StartFailure) -> bool {
    failure.waiting.reason == "CreateContainerConfigError"
}

impl<R: Runtime> Worker<R> {
    /// Does the steps; a time where they have to wait for something from outside.
    pub(super) async fn carry_out(
        &mut self,
        picture: &Picture,
        plan: &Plan,
    ) -> Result<Option<Timestamp>, RuntimeError> {
        let needs_volumes = plan.steps.iter().any(|s| matches!(s, Step::CreateSandbox { .. } | Step::Start { .. }));
        let needs_network = plan.steps.iter().any(|s| matches!(s, Step::CreateSandbox { .. }));
        if needs_network && (self.is_refused(picture) || self.is_turned_away(picture)) {
            return Ok(None);
        }
        if needs_network && let Some(at) = self.wait_for_stand_in() {
            return Ok(Some(at));
        }
        if needs_network && let Some(at) = self.wait_for_network().await {
            return Ok(Some(at));
        }
        if needs_volumes && let Some(at) = self.mount(picture).await {
            return Ok(Some(at));
        }
        for step in &plan.steps {
            match step {
                Step::Start { name, attempt } => {
                    if let Some(backoff) = plan.restarts.get(name) {
                        self.state.memory.restarts.insert(name.clone(), *backoff);
                    }
                    Box::pin(self.start(picture, name, Some(*attempt))).await;
                }
                Step::StartMade { name, .. } => Box::pin(self.start(picture, name, None)).await,
                other => Box::pin(self.carry_out_one(picture, other)).await?,
            }
            if self.orders.has_changed().unwrap_or(true) {
                break;
            }
        }
        Ok(None)
    }

    async fn carry_out_one(&mut self, picture: &Picture, step: &Step) -> Result<(), RuntimeError> {
        let runtime = &self.agent.runtime;
        match step {
            Step::DropSandbox { id } => {
                let id = SandboxId(id.clone());
                let text = "Pod sandbox changed, it will be killed and re-created.";
                self.agent.recorder.pod_event(&self.state.pod, None, false, "SandboxChanged", text);
                runtime.stop_pod_sandbox(&id).await?;
                runtime.remove_pod_sandbox(&id).await?;
                self.agent.forget_sandbox(&id);
            }
            Step::CreateSandbox { attempt } => {
                let fields = ignored(&self.state.pod);
                if *attempt == 0 && !fields.is_empty() {
                    let text = format!("not supported by this node and without effect: {}", fields.join(", "));
                    self.agent.recorder.pod_event(&self.state.pod, None, true, "NotSupported", &text);
                }
                if let Some(text) = waits(&self.state.pod) {
                    let error = RuntimeError::Invalid(text);
                    let text = sandbox_failure(&error);
                    self.agent.recorder.pod_event(&self.state.pod, None, true, "FailedCreatePodSandBox", &text);
                    return Err(error);
                }
                let machine = match sandbox::adds_to_resolv_conf(&self.state.pod) {
                    true => tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default(),
                    false => String::new(),
                };
                let config = sandbox::sandbox(&self.agent.options, &self.state.pod, *attempt, &machine);
                let pod = Arc::clone(&self.state.pod);
                let made = self.telling(picture, self.agent.runtime.run_pod_sandbox(config)).await;
                match made {
                    Ok(status) => self.agent.note_sandbox(status.id, &self.uid),
                    Err(error) => {
                        let text = sandbox_failure(&error);
                        self.agent.recorder.pod_event(&pod, None, true, "FailedCreatePodSandBox", &text);
                        return Err(error);
                    }
                }
            }
            Step::Kill { id, name, message, grace_seconds } => {
                let pod = &self.state.pod;
                self.agent.recorder.pod_event(pod, Some(name), false, "Killing", message);
                let own = grace_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
                let grace = own.unwrap_or_else(|| stop::grace(pod));
                let ip = self.ips(picture).pod.first().cloned().unwrap_or_default();
                if let Some(seen) = picture.containers.iter().find(|c| c.id == *id) {
                    stop::stop_one(&self.agent, pod, seen, &ip, grace, true).await?;
                }
            }
            Step::Forget { id } => runtime.remove_container(&ContainerId(id.clone())).await?,
            Step::EndPod => {
                let ip = self.ips(picture).pod.first().cloned().unwrap_or_default();
                let mut pod = Arc::clone(&self.state.pod);
                if self.state.hurried
                    && let Some(spec) = &mut Arc::make_mut(&mut pod).spec
                {
                    spec.termination_grace_period_seconds = Some(HURRIED_GRACE_SECONDS);
                }
                stop::stop_all(&self.agent, &pod, picture, &ip, true).await?;
                if let Some(id) = picture.sandbox_id() {
                    self.agent.runtime.stop_pod_sandbox(&id).await?;
                }
            }
            Step::Start { .. } | Step::StartMade { .. } => {}
        }
        Ok(())
    }

    /// Whether the pod asks for what this node must not leave out, and fails.
    fn is_refused(&mut self, picture: &Picture) -> bool {
        if picture.sandbox.is_some() || self.state.memory.failed.is_some() {
            return false;
        }
        let able = Able { features: self.agent.runtime.features(), app_armor: *APP_ARMOR };
        let Some(failure) = refused(&self.state.pod, able) else { return false };
        self.give_up(failure);
        self.state.turned_away = true;
        true
    }

    /// Whether the node is short of something and lets the pod, which has not been here yet, not in.
    fn is_turned_away(&mut self, picture: &Picture) -> bool {
        let pod = &self.state.pod;
        let known =
            pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).is_some_and(|list| !list.is_empty());
        if picture.sandbox.is_some() || known || self.state.memory.failed.is_some() {
            return false;
        }
        let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
        let tolerates = tolerations.into_iter().any(|t| {
            let key = t.key.as_deref().is_none_or(|key| key == "node.kubernetes.io/memory-pressure");
            key && t.effect.as_deref().is_none_or(|effect| effect == "NoSchedule")
        });
        let best_effort = resources::qos(pod) == "BestEffort";
        let refused = refusal(&self.agent.conditions(), &Standing::of(pod), best_effort, tolerates);
        let Some(message) = refused else { return false };
        self.give_up(PodFailure { reason: "Evicted".to_owned(), message });
        self.state.turned_away = true;
        true
    }

    /// A time while a pod stands in for this one, on the same ports perhaps.
    fn wait_for_stand_in(&self) -> Option<Timestamp> {
        let pod = &self.state.pod;
        let set = dead_man::daemon_set(pod).filter(|_| !dead_man::is_stand_in(pod))?;
        let waits = self.agent.waits_for_stand_in(set);
        Timestamp::now().checked_add(STAND_IN_EVERY).ok().filter(|_| waits)
    }

    /// A time while the node's network is not ready; pods on the node's own network do not wait for it.
    async fn wait_for_network(&mut self) -> Option<Timestamp> {
        if self.state.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
            return None;
        }
        let Err(cause) = self.agent.runtime.network_ready().await else {
            self.state.network_told = false;
            return None;
        };
        if !std::mem::replace(&mut self.state.network_told, true) {
            let text = format!("network is not ready: {}", network_words(&cause));
            self.agent.recorder.pod_event(&self.state.pod, None, true, "NetworkNotReady", &text);
        }
        Timestamp::now().checked_add(NETWORK_EVERY).ok()
    }

    /// Makes the volumes; a time where they are not all there.
    async fn mount(&mut self, picture: &Picture) -> Option<Timestamp> {
        if self.state.mounted.is_some() || !self.agent.options.volumes {
            self.state.mounted.get_or_insert_default();
            return None;
        }
        let retry_at = self.state.mount_failure.as_ref().map(StartFailure::retry_at);
        if let Some(at) = retry_at.filter(|at| Timestamp::now() < *at && !self.state.objects_changed) {
            return Some(at);
        }
        self.state.objects_changed = false;
        let pod = Arc::clone(&self.state.pod);
        let ips = self.ips(picture);
        match volumes::mount(self.agent.as_ref(), &pod, &ips).await {
            Ok(mounted) => {
                self.state.mounted = Some(mounted);
                self.state.mount_failure = None;
                self.follow_objects();
                None
            }
            Err(error) => {
                self.agent.recorder.pod_event(&pod, None, true, "FailedMount", &error.to_string());
                let waiting = Waiting { reason: "FailedMount".to_owned(), message: error.to_string() };
                let failure = StartFailure::other(self.state.mount_failure.as_ref(), waiting, Timestamp::now());
                let at = failure.retry_at();
                self.state.mount_failure = Some(failure);
                self.follow_objects();
                Some(at)
            }
        }
    }

    /// Hears of changes of what the volumes show, and of what the pod waits for.
    fn follow_objects(&self) {
        let pod = &self.state.pod;
        if dead_man::is_stand_in(pod) {
            return;
        }
        let waits = self.state.mount_failure.is_some() || self.state.memory.failures.values().any(lacks_object);
        let shows = self.agent.options.volumes;
        let objects = if waits {
            watched::awaited(pod)
        } else if shows {
            watched::shown(pod)
        } else {
            BTreeSet::new()
        };
        self.agent.watched.follow(&self.uid, &objects);
    }

    /// What the pod waited for may be there by now: it is tried at once.
    pub(super) fn hear_of_objects(&mut self) {
        if self.agent.watched.take_stale(&self.uid) {
            self.state.objects_changed = true;
            self.state.memory.failures.retain(|_, failure| !lacks_object(failure));
        }
    }

    async fn start(&mut self, picture: &Picture, name: &str, attempt: Option<u32>) {
        let (Some(sandbox), Some(mounted)) =
            (picture.sandbox_id(), self.state.mounted.clone().or_else(|| attempt.is_none().then(Mounted::default)))
        else {
            return;
        };
        let (agent, pod, ips) = (Arc::clone(&self.agent), Arc::clone(&self.state.pod), self.ips(picture));
        let old_failure = self.state.memory.failures.get(name).cloned();
        let runs = |name: &str| {
            let seen = picture.containers.iter().find(|c| c.name == name && c.state == SeenState::Running);
            seen.map(|seen| ContainerId(seen.id.clone()))
        };
        let place = Place {
            pod: &pod,
            sandbox: &sandbox,
            volumes: &mounted,
            ips: &ips,
            old_failure: old_failure.as_ref(),
            target: pod_lifecycle::target(&pod, name).and_then(runs),
        };
        let made = picture.containers.iter().find(|c| c.name == name && c.state == SeenState::Created);
        let work = async {
            match (attempt, made, find_any(&pod, name)) {
                (Some(attempt), ..) => start(&agent, &place, name, attempt).await,
                (None, Some(made), Some(spec)) => begin(&agent, &place, &spec, &ContainerId(made.id.clone())).await,
                _ => Ok(()),
            }
        };
        let mut orders = self.orders.clone();
        let deleted = async {
            // A pod that is to end does not wait for its image.
            loop {
                if orders.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let order = orders.borrow_and_update();
                if order.gone || order.pod.metadata.deletion_timestamp.is_some() {
                    return;
                }
            }
        };
        let result = tokio::select! {
            result = self.telling(picture, work) => result,
            () = deleted => return,
        };
        let waited = self.state.memory.failures.values().any(lacks_object);
        match result {
            Ok(()) => drop(self.state.memory.failures.remove(name)),
            Err(failure) => drop(self.state.memory.failures.insert(name.to_owned(), failure)),
        }
        if waited || self.state.memory.failures.values().any(lacks_object) {
            self.follow_objects();
        }
    }

    /// Brings what came from ConfigMaps and Secrets up to date, and measures emptyDirs. True when the pod has to end.
    pub(super) async fn renew(&mut self, picture: &Picture) -> bool {
        let changed = std::mem::take(&mut self.state.objects_changed);
        let due = changed || self.state.renewed.is_none_or(|at| at.elapsed() >= RENEW_EVERY);
        if !due || !self.agent.options.volumes {
            return false;
        }
        self.state.renewed = Some(Instant::now());
        let pod = Arc::clone(&self.state.pod);
        if volumes::renewable(&pod) {
            match volumes::mount(self.agent.as_ref(), &pod, &self.ips(picture)).await {
                Ok(mounted) => {
                    self.state.mounted = Some(mounted);
                    // Of a pod that an earlier agent began nobody follows them yet.
                    self.follow_objects();
                }
                // What is mounted stays as it is; the next turn tries again.
                Err(error) => tracing::debug!("{}: {error}", super::pod_words(&pod)),
            }
        }
        let Some(message) = volumes::over_limit(self.agent.as_ref(), &pod).await else { return false };
        self.agent.recorder.pod_event(&pod, None, true, "Evicted", &message);
        self.state.memory.failed = Some(PodFailure { reason: "Evicted".to_owned(), message });
        true
    }
}
