//! Images that a pod asks for on behalf of its successor ([`decide::pre_pull`]): pulled beside the running pod, with its
//! credentials, and told in its status.
//!
//! # Invariants
//! - One pull a pod at a time; it ends with the request, and with the pod's worker.
//! - What is told follows from the pull as it stands, so that a status which somebody else wrote is put right.
//!
//! # Absent
//! Who asks, and what follows from an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use decide::pre_pull::{CONDITION, Outcome, asked, moves};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::worker::Worker;
use super::{Agent, image};
use crate::runtime::Runtime;

/// First wait after a pull that failed, as for the image of a container that starts.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Longest such wait.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);

/// A pull for the successor of one pod.
pub(super) struct PrePull {
    images: String,
    outcome: Arc<Mutex<Outcome>>,
    task: AbortHandle,
}

impl Drop for PrePull {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PrePull {
    fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<R: Runtime> Worker<R> {
    /// Begins and ends the pull that the pod asks for.
    pub(super) fn pre_pull(&mut self) {
        let images = asked(&self.state.pod);
        if self.state.pre_pull.as_ref().map(|pull| pull.images.as_str()) == images {
            return;
        }
        self.state.pre_pull = images.map(|images| {
            let outcome = Arc::new(Mutex::new(Outcome::Pulls));
            let (agent, pod) = (Arc::clone(&self.agent), Arc::clone(&self.state.pod));
            let changed = Arc::clone(&self.state.pulled);
            let pull = pull_all(agent, pod, images.to_owned(), Arc::clone(&outcome), changed);
            PrePull { images: images.to_owned(), outcome, task: tokio::spawn(pull).abort_handle() }
        });
    }

    /// Puts into a status what became of it.
    pub(super) fn tell_pre_pull(&self, status: &mut PodStatus) {
        let list = status.conditions.get_or_insert_default();
        let old = list.iter().position(|c| c.type_ == CONDITION).map(|at| list.remove(at));
        if let Some(pull) = &self.state.pre_pull {
            list.insert(0, pull.outcome().condition(&pull.images, old.as_ref(), Timestamp::now()));
        }
    }
}

/// Pulls until all images are there.
async fn pull_all<R: Runtime>(
    agent: Arc<Agent<R>>,
    pod: Arc<Pod>,
    images: String,
    outcome: Arc<Mutex<Outcome>>,
    changed: Arc<Notify>,
) {
    let mut wait = AGAIN_AFTER;
    loop {
        let now = pull_once(&agent, &pod, &images).await;
        let done = now == Outcome::Pulled;
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = now;
        changed.notify_one();
        if done {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_AFTER_MAX);
    }
}

async fn pull_once<R: Runtime>(agent: &Agent<R>, pod: &Pod, images: &str) -> Outcome {
    for name in images.split(',') {
        let policy = if moves(name) { "Always" } else { "IfNotPresent" };
        if let Err(no) = image::ahead(agent, pod, name, policy).await {
            return Outcome::Failed(no.waiting.reason, no.waiting.message);
        }
    }
    Outcome::Pulled
}
