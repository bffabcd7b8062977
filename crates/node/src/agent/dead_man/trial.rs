//! One pod on trial: whether it cuts its node off, and what follows.

use std::path::PathBuf;
use std::time::Duration;

use decide::dead_man::{self, Standing, Trial};
use decide::pod_lifecycle::PodFailure;
use jiff::Timestamp;

use crate::agent::kept::{Previous, TakenBack};
use crate::agent::node::reference;
use crate::agent::worker::Worker;
use crate::runtime::Runtime;

/// Word of the mark of a pod that passed.
const PASSED: &str = "passed";

/// What a worker remembers of its pod's trial.
#[derive(Default)]
pub(in crate::agent) struct OnTrial {
    /// It was looked up whether there is one.
    known: bool,
    trial: Option<Trial>,
    /// Its stand-in was asked for.
    raised: bool,
    /// The API server was told why.
    reported: bool,
    /// It was kept as one to go back to.
    kept: bool,
}

impl<R: Runtime> Worker<R> {
    /// Looks how the trial stands; when to look again.
    pub(in crate::agent) async fn stand_trial(&mut self) -> Option<Timestamp> {
        let pod = &self.state.pod;
        let set = dead_man::daemon_set(pod)?.to_owned();
        if dead_man::is_stand_in(pod) || !self.agent.options.volumes || self.state.memory.failed.is_some() {
            return None;
        }
        if !self.state.on_trial.known {
            self.begin_trial(&set).await;
        }
        let trial = self.state.on_trial.trial?;
        let answers = &self.agent.answers;
        match trial.standing(answers.last().unwrap_or_default(), answers.now()) {
            Standing::Open(at) => {
                let left = at.saturating_sub(answers.now()) + Duration::from_millis(1);
                Timestamp::now().checked_add(left).ok()
            }
            Standing::Passed => {
                self.state.on_trial.trial = None;
                // Whatever becomes of the server from now on, this pod is not to blame.
                self.agent.forget_previous(&set).await;
                self.write_mark(&set, PASSED).await;
                None
            }
            Standing::Failed => {
                self.state.on_trial.trial = None;
                self.fail_trial(&set, trial.after).await;
                None
            }
        }
    }

    async fn begin_trial(&mut self, set: &str) {
        let Some(after) = dead_man::after(&self.state.pod) else {
            self.state.on_trial.known = true;
            self.agent.forget_previous(set).await;
            return;
        };
        let previous = self.agent.kept.previous(set).await;
        let revision = dead_man::revision(&self.state.pod);
        let taken_back = previous.as_ref().and_then(|previous| previous.taken_back.as_ref());
        if let Some(taken_back) = taken_back.filter(|one| one.revision == revision) {
            self.state.on_trial.known = true;
            self.take_back(taken_back.message.clone());
            return;
        }
        let mark = tokio::fs::read_to_string(self.mark(set)).await.unwrap_or_default();
        let mark = mark.strip_prefix(&self.uid).map(str::trim);
        if self.agent.answers.last().is_none() && mark.is_none() {
            // A server that never answered says nothing about this pod; once it does, the trial begins.
            return;
        }
        self.state.on_trial.known = true;
        let another = match &previous {
            Some(previous) => dead_man::revision(&previous.pod) != revision,
            // The one before is to end only when this one is ready.
            None => self.has_other(set),
        };
        if mark == Some(PASSED) || !another {
            return;
        }
        self.write_mark(set, "").await;
        self.state.on_trial.trial = Some(Trial { began: self.agent.answers.now(), after });
    }

    /// Whether another pod of its DaemonSet runs here, and is not to end.
    fn has_other(&self, set: &str) -> bool {
        self.agent.pods().iter().any(|pod| {
            let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
                && pod.metadata.deletion_timestamp.is_none();
            runs && dead_man::daemon_set(pod) == Some(set) && pod.metadata.uid.as_ref() != Some(&self.uid)
        })
    }

    /// Which pod of a DaemonSet is on trial, for an agent that starts anew in the same boot. After the next one nobody
    /// knows whether the server could be reached before.
    fn mark(&self, set: &str) -> PathBuf {
        self.agent.options.run_dir.join("trials").join(set)
    }

    async fn write_mark(&self, set: &str, word: &str) {
        let mark = self.mark(set);
        let written = async {
            tokio::fs::create_dir_all(mark.parent().unwrap_or(&mark)).await?;
            tokio::fs::write(&mark, format!("{} {word}", self.uid)).await
        };
        if let Err(error) = written.await {
            tracing::warn!("{}: {error}; an agent that starts anew knows nothing of the trial", mark.display());
        }
    }

    async fn fail_trial(&mut self, set: &str, after: Duration) {
        let words = crate::agent::pod_words(&self.state.pod);
        let Some(previous) = self.agent.kept.previous(set).await else {
            tracing::warn!("pod {words} may have cut this node off, but there is no pod before it to go back to");
            return;
        };
        let revision = dead_man::revision(&self.state.pod);
        let failure = dead_man::failure(after, &revision);
        tracing::error!("pod {words}: {}", failure.message);
        let taken_back = Some(TakenBack { revision, message: failure.message.clone() });
        self.agent.kept.save_previous(set, &Previous { taken_back, ..previous }).await;
        self.take_back(failure.message);
    }

    fn take_back(&mut self, message: String) {
        self.state.memory.failed = Some(PodFailure { reason: dead_man::REASON.to_owned(), message });
    }

    fn is_taken_back(&self) -> bool {
        self.state.memory.failed.as_ref().is_some_and(|failure| failure.reason == dead_man::REASON)
    }

    /// Lets the pod before run again, once nothing of this one runs.
    pub(in crate::agent) async fn raise_stand_in(&mut self) {
        if !self.is_taken_back() || std::mem::replace(&mut self.state.on_trial.raised, true) {
            return;
        }
        let Some(set) = dead_man::daemon_set(&self.state.pod) else { return };
        // Where the old pod was to end only after the new one was ready, it may be here still.
        if self.has_other(set) {
            return;
        }
        if let Some(previous) = self.agent.kept.previous(set).await {
            self.agent.stand_ins.raise(set, &previous.pod);
            self.agent.nudge.notify_one();
        }
    }

    /// The API server knows by now: tells people too.
    pub(in crate::agent) fn report_trial(&mut self) {
        if !self.is_taken_back() || std::mem::replace(&mut self.state.on_trial.reported, true) {
            return;
        }
        let Some(failure) = &self.state.memory.failed else { return };
        let recorder = &self.agent.recorder;
        recorder.pod_event(&self.state.pod, None, true, &failure.reason, &failure.message);
        let text = format!("Pod {}: {}", crate::agent::pod_words(&self.state.pod), failure.message);
        recorder.node_event(&reference(&self.agent), "Warning", &failure.reason, &text);
    }

    /// Keeps a pod that ends as the one to go back to, if it was a good one.
    pub(in crate::agent) async fn keep_for_later(&mut self) {
        if std::mem::replace(&mut self.state.on_trial.kept, true) || !self.agent.options.volumes {
            return;
        }
        let pod = &self.state.pod;
        let Some(set) = dead_man::daemon_set(pod) else { return };
        // One on trial has proved nothing yet: the one before it stays the last good one.
        if !dead_man::is_good(pod) || self.state.on_trial.trial.is_some() {
            return;
        }
        let previous = Previous { pod: dead_man::stand_in(pod), taken_back: None };
        self.agent.kept.save_previous(set, &previous).await;
        self.agent.kept.save_previous_objects(set, &self.uid).await;
        self.agent.stand_ins.note_kept(set);
    }
}
