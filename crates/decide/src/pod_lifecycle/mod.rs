//! What a pod's next step on its node is, and what its status says.
//!
//! [`next()`] compares what the pod asks for with what the runtime shows and returns steps; [`status()`] turns the same
//! picture into `pod.status`. The agent carries the steps out, looks again and asks again, so that a death between any
//! two steps costs nothing: the next plan starts from what is there.
//!
//! # Invariants
//! - A running container is killed only for its own failed liveness or startup probe, for an image the user changed, or
//!   because the pod has to end.
//! - A container that can't be started yet always has a reason ([`Waiting`]) and a time to look again.
//! - Same input, same plan: no clock, no randomness, ordered maps only.
//!
//! # Absent
//! Deletion: see [`stop`]; it is not a step towards what the pod asks for but the end of asking.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

mod backoff;
mod conditions;
mod containers;
mod ephemeral;
mod next;
mod phase;
mod policy;
mod status;
pub mod stop;
#[cfg(test)]
mod testing;

pub use backoff::{Backoff, IMAGE_BACKOFF_SHOWN_AFTER, StartFailure};
pub use ephemeral::{ephemeral_containers, target};
pub use next::next;
pub use policy::{is_sidecar, should_restart};
pub use status::{Addresses, status};

/// The newest sandbox of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSandbox {
    /// The runtime's name for it.
    pub id: String,
    /// False: its namespaces are gone, for example after a reboot.
    pub ready: bool,
    /// Counts the sandboxes of this pod, from 0.
    pub attempt: u32,
}

/// See the runtime's container states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenState {
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited,
}

/// One container of a pod as the runtime shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenContainer {
    /// Name of the runtime, the scheme of `containerID`.
    pub runtime: String,
    /// The runtime's name for it.
    pub id: String,
    /// The sandbox it was made in.
    pub sandbox: String,
    /// Name in the pod.
    pub name: String,
    /// Counts the starts of this container, from 0.
    pub attempt: u32,
    /// State.
    pub state: SeenState,
    /// Started at.
    pub started_at: Option<Timestamp>,
    /// Ended at.
    pub finished_at: Option<Timestamp>,
    /// Exit code of an ended one.
    pub exit_code: i32,
    /// Completed, Error, OOMKilled, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// As the user wrote it.
    pub image: String,
    /// As the image service named it.
    pub image_id: String,
}

impl SeenContainer {
    /// `containerID` of its status.
    pub fn container_id(&self) -> String {
        format!("{}://{}", self.runtime, self.id)
    }
}

/// `state.waiting` of a container status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// ImagePullBackOff, CrashLoopBackOff, …
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What the probes of one running container last said; None until they have said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probed {
    /// The startup probe.
    pub started: Option<bool>,
    /// The readiness probe.
    pub ready: Option<bool>,
    /// The liveness probe.
    pub alive: Option<bool>,
}

/// Why a pod failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFailure {
    /// `status.reason`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
}

/// What the agent remembers of a pod beside what the runtime shows. Losing it loses only patience, never a container.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Crash loops, by name of the container.
    pub restarts: BTreeMap<String, Backoff>,
    /// Starts that did not come to a running container, by name of the container.
    pub failures: BTreeMap<String, StartFailure>,
    /// By id of the container.
    pub probes: BTreeMap<String, Probed>,
    /// Reason each container waits for, from the last plan, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// Set once the pod failed as a whole.
    pub failed: Option<PodFailure>,
}

/// One look at a pod.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// As the API server has it.
    pub pod: &'a Pod,
    /// The newest one.
    pub sandbox: Option<&'a SeenSandbox>,
    /// All of the pod, older sandboxes' too.
    pub containers: &'a [SeenContainer],
    /// Beside what the runtime shows.
    pub memory: &'a Memory,
    /// Now.
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Stop a sandbox that is not ready, with all that may still run in it.
    DropSandbox {
        /// Which.
        id: String,
    },
    /// Make a sandbox.
    CreateSandbox {
        /// Its number.
        attempt: u32,
    },
    /// Stop a container; the pod goes on.
    Kill {
        /// Which.
        id: String,
        /// Its name in the pod.
        name: String,
        /// Text of the Killing event.
        message: String,
        /// Seconds, where the probe has its own; None is the pod's.
        grace_seconds: Option<i64>,
    },
    /// Pull what is missing, make the container and start it.
    Start {
        /// Its name in the pod.
        name: String,
        /// Its number.
        attempt: u32,
    },
    /// Start a container that was made but never started (the agent died in between).
    StartMade {
        /// Which.
        id: String,
        /// Its name in the pod.
        name: String,
    },
    /// Forget an old ended container; its log stays.
    Forget {
        /// Which.
        id: String,
    },
    /// Everything has ended: stop the sandbox, and sidecars with it.
    EndPod,
}

/// An event about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Name of the container.
    pub container: String,
    /// Warning instead of Normal.
    pub warning: bool,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Why containers that should run do not, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// To tell.
    pub notes: Vec<Note>,
    /// To remember once the step that starts the container is taken.
    pub restarts: BTreeMap<String, Backoff>,
    /// The pod failed as a whole.
    pub fail: Option<PodFailure>,
    /// Look again then, if nothing happens before.
    pub again_at: Option<Timestamp>,
}

impl Plan {
    /// Looks again at `at` or earlier.
    fn look_at(&mut self, at: Timestamp) {
        self.again_at = Some(self.again_at.map_or(at, |old| old.min(at)));
    }
}

impl Look<'_> {
    /// The newest container of that name in the sandbox that is ready now.
    fn active(&self, name: &str) -> Option<&SeenContainer> {
        let sandbox = self.sandbox.filter(|s| s.ready)?;
        self.containers.iter().filter(|c| c.name == name && c.sandbox == sandbox.id).max_by_key(|c| c.attempt)
    }

    /// The newest container of that name in any sandbox.
    fn newest(&self, name: &str) -> Option<&SeenContainer> {
        self.containers.iter().filter(|c| c.name == name).max_by_key(|c| c.attempt)
    }

    /// The number the next start of that container gets: also counts starts that only the API server still knows.
    fn next_attempt(&self, name: &str) -> u32 {
        let seen = self.newest(name).map(|c| c.attempt.saturating_add(1));
        let told = containers::old_status(self.pod, name).and_then(|old| {
            let known = old.container_id.as_deref().is_some_and(|id| !id.is_empty());
            let ran = known || old.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
            u32::try_from(old.restart_count).ok().map(|n| if ran { n.saturating_add(1) } else { n })
        });
        seen.or(told).unwrap_or(0)
    }

    /// True when some app container was made in the sandbox that is ready now: init containers are done.
    fn initialized(&self) -> bool {
        app_containers(self.pod).iter().any(|c| self.active(&c.name).is_some())
    }

    /// True once the user asked for the end.
    fn deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
}

/// The pod's own containers.
fn app_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |s| s.containers.as_slice())
}

/// The pod's init containers, sidecars among them.
fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default()
}
