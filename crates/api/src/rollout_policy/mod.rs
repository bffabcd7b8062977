//! RolloutPolicy: how DaemonSets of a namespace are rolled out, beyond what `apps/v1` can say. A custom kind, so that any
//! API server can keep it; ours has the definition from its first moment.
//!
//! Invariants: whatever the schema of the definition admits can be read by these types; the status is the memory of a
//! rollout, and every list in it is bounded ([`NODES_NAMED_MAX`]).
//!
//! Absent: what a policy makes of a rollout (`decide`).

mod classes;
mod cron;
mod validate;
mod windows;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use validate::admit;
pub use validate::{Fault, validate};
pub use windows::{Opening, WindowError};

/// Group of the kind.
pub const GROUP: &str = "everynode.dev";
/// Version of the kind.
pub const VERSION: &str = "v1alpha1";
/// Plural of the kind.
pub const PLURAL: &str = "rolloutpolicies";
/// The kind.
pub const KIND: &str = "RolloutPolicy";

/// Nodes named in one list of the status. More would make a policy larger than the DaemonSet that it is for; the counts
/// beside the lists are whole.
pub const NODES_NAMED_MAX: usize = 50;

/// The shortest silence that a dead-man switch may wait for: nodes show themselves every 10 s, and one lost request is no
/// silence.
pub const DEAD_MAN_SECONDS_MIN: i32 = 30;

/// Name of the wave of all nodes that are in no other.
pub const REST: &str = "rest";

/// The definition of the kind, as a CustomResourceDefinition in YAML.
pub const DEFINITION: &str = include_str!("crd.yaml");

/// The definition of the kind, as a CustomResourceDefinition.
#[must_use]
pub fn definition() -> Value {
    // The text is part of the program, and a test reads it.
    crate::yaml::read_documents(DEFINITION).ok().and_then(|mut d| d.pop()).unwrap_or_default()
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RolloutPolicy {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: Spec,
    /// What is remembered.
    pub status: Option<Status>,
    /// Why `spec` could not be read; then it holds no more than the targets, if those can be read.
    pub unreadable: Option<String>,
}

impl Serialize for RolloutPolicy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole<'a> {
            api_version: &'a str,
            kind: &'a str,
            metadata: &'a ObjectMeta,
            spec: &'a Spec,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<&'a Status>,
        }
        let (api_version, kind) = (Self::API_VERSION, KIND);
        let (metadata, spec, status) = (&self.metadata, &self.spec, self.status.as_ref());
        Whole { api_version, kind, metadata, spec, status }.serialize(serializer)
    }
}

// By hand, so that one policy that cannot be read does not hide all others of a list.
impl<'de> Deserialize<'de> for RolloutPolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
        let (targets, status) = (spec["targets"].clone(), serde_json::from_value(status).ok());
        let (spec, unreadable) = match serde_json::from_value(spec) {
            Ok(spec) => (spec, None),
            Err(error) => {
                let targets = serde_json::from_value(targets).unwrap_or_default();
                (Spec { targets, ..Spec::default() }, Some(error.to_string()))
            }
        };
        Ok(Self { metadata, spec, status, unreadable })
    }
}

impl Resource for RolloutPolicy {
    const API_VERSION: &'static str = "everynode.dev/v1alpha1";
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = KIND;
    const VERSION: &'static str = VERSION;
    const URL_PATH_SEGMENT: &'static str = PLURAL;
    type Scope = NamespaceResourceScope;
}

impl Metadata for RolloutPolicy {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What the user wants.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The DaemonSets that it is for.
    pub targets: Targets,
    /// The rollout stops; nodes without a pod get the last good revision.
    pub paused: bool,
    /// Nothing is created, deleted or updated.
    pub frozen: bool,
    /// Seconds without progress after which a rollout has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// What makes a revision a bad one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When a node takes a daemon back that cut it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_man: Option<DeadMan>,
    /// Nodes pull the new images before the old daemon ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_pull: Option<PrePull>,
    /// The order of nodes; the rest is a last, implicit wave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// When nodes are updated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// What differs on some nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_classes: Vec<NodeClass>,
    /// Whether nodes wait for the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_readiness: Option<NodeReadiness>,
}

/// DaemonSets of the namespace of the policy: by name, or by their labels.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Targets {
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// By labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What makes a revision a bad one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// Nodes that may fail, as a number or as a percentage, rounded up; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failed_nodes: Option<IntOrString>,
    /// Restarts of a container that a node may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<i32>,
    /// Seconds that an updated pod may be unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unready_seconds: Option<i32>,
    /// What is done about a bad revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<FailureAction>,
}

/// When a node takes a daemon back that cut it off from the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeadMan {
    /// Seconds of silence.
    pub after_seconds: i32,
}

/// Nodes pull the images of a new daemon before the old one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrePull {
    /// Seconds after which a node is updated although it has not pulled them; without it, it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
}

/// What is done about a bad revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FailureAction {
    /// The rollout stops.
    #[default]
    Pause,
    /// The rollout stops, and the template of the last good revision is written to the DaemonSet.
    Rollback,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wave {
    /// Name, unique in the policy.
    pub name: String,
    /// Some nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<WaveNodes>,
    /// All nodes, those of one value of this label after those of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_key: Option<String>,
    /// Seconds that the wave must have been well, unless the user passes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake_seconds: Option<i32>,
    /// Who begins the next wave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

/// The nodes of a wave: exactly one field is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaveNodes {
    /// This many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i32>,
    /// This percentage, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Those with these labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// One for each combination of the values of these labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverse: Option<Vec<String>>,
}

/// Who begins the next wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Gate {
    /// It begins by itself.
    #[default]
    Auto,
    /// The user, by `rollout promote`.
    Manual,
}

/// A time in which nodes are updated: by `schedule`, or by `days` and `start`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Window {
    /// When it opens, as five fields of cron.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Days of the week, `Mon` to `Sun`; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// Time of day, `HH:MM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Seconds that it stays open.
    pub duration_seconds: i64,
    /// Name of a time zone; UTC by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// What differs from the template on some nodes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeClass {
    /// Name, unique in the policy.
    pub name: String,
    /// The nodes.
    pub node_selector: LabelSelector,
    /// What differs, as JSON: `containers` and `initContainers` by name.
    pub patch: Value,
}

/// Whether nodes wait for the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReadiness {
    /// New nodes keep a taint until the daemon is ready there.
    pub required: bool,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The generation that the conditions were found for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the policy can work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// One entry for each DaemonSet, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub daemon_sets: Vec<Memory>,
}

/// What is remembered of the rollout of one DaemonSet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Name of the DaemonSet.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Where its rollout is.
    pub phase: Phase,
    /// Hash of the revision that is rolled out.
    pub revision: String,
    /// Hash of the last revision that was rolled out to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good_revision: Option<String>,
    /// The wave that is being updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// When the phase or the wave began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Since when all of the wave is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake_since: Option<Time>,
    /// The wave that the user passed, its gate and its bake time; [`PROMOTED_ALL`] for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted: Option<String>,
    /// The user let the revision go on although it has failed.
    #[serde(skip_serializing_if = "is_false")]
    pub overridden: bool,
    /// Why the revision has failed, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The revision that failed and was replaced by the last good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back_from: Option<String>,
    /// How many nodes failed under the revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_node_count: i32,
    /// Nodes that failed under the revision, with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_nodes: Vec<NodeReason>,
    /// How many nodes were sick before their update.
    #[serde(skip_serializing_if = "is_zero")]
    pub excused_node_count: i32,
    /// Nodes that were sick before their update, with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excused_nodes: Vec<NodeReason>,
    /// What it waits for or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The word by which [`Memory::promoted`] passes all waves.
pub const PROMOTED_ALL: &str = "*";

/// Where a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// All nodes run the revision, but for excused ones.
    #[default]
    Complete,
    /// Nodes are being updated.
    Rolling,
    /// A wave is done and is being watched.
    Baking,
    /// A wave is done, and the user has to open its gate.
    WaitingForPromotion,
    /// No window is open.
    WaitingForWindow,
    /// The policy says so.
    Paused,
    /// The policy says so.
    Frozen,
    /// The revision is bad, and the rollout has stopped.
    Failed,
    /// The last good revision takes the place of a bad one.
    RollingBack,
}

/// A node and why it is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReason {
    /// Name of the node.
    pub node: String,
    /// Why, in one word.
    pub reason: String,
}

impl RolloutPolicy {
    /// True when it is for the DaemonSet with this name and these labels, in its own namespace.
    #[must_use]
    pub fn targets(&self, name: &str, labels: Option<&std::collections::BTreeMap<String, String>>) -> bool {
        let none = std::collections::BTreeMap::new();
        match (&self.spec.targets.names, &self.spec.targets.selector) {
            (Some(names), _) => names.iter().any(|n| n == name),
            (None, Some(selector)) => crate::selector::Labels::from_label_selector(Some(selector))
                .is_ok_and(|s| s.matches(labels.unwrap_or(&none))),
            (None, None) => false,
        }
    }

    /// What is remembered of the DaemonSet with this name and UID.
    #[must_use]
    pub fn memory(&self, name: &str, uid: &str) -> Option<&Memory> {
        self.status.as_ref()?.daemon_sets.iter().find(|m| m.name == name && m.uid == uid)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests;
