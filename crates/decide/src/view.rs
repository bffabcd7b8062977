//! What decisions need to know of pods and nodes, and no more: whoever watches a cluster keeps these instead of whole
//! objects, so that memory follows the number of objects and not their size.
//!
//! Invariants: a view is a pure function of its object.
//!
//! Absent: objects that decisions write (they use the types of `k8s-openapi`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerStatus, Node, NodeSelector, Pod, PodCondition, PodSpec, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::node_readiness::READY_ANNOTATION;
use crate::pre_pull::{ABLE, Request};
pub use crate::resources::{HostPort, Resources, Usual};
use crate::terms::{Spread, Terms};

/// The key of the field selector term by which a daemon pod names its node.
pub const NODE_NAME_FIELD: &str = "metadata.name";

/// Reason of the condition `DisruptionTarget` of a pod that the scheduler ends to make room for another.
pub const PREEMPTED: &str = "PreemptionByScheduler";

/// `status.phase` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Not all containers have started.
    #[default]
    Pending,
    /// Bound, and at least one container has started.
    Running,
    /// All containers ended well and stay so.
    Succeeded,
    /// All containers ended, at least one badly.
    Failed,
    /// The node cannot tell.
    Unknown,
}

impl Phase {
    /// True when no container runs any more and none will.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Running") => Self::Running,
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            Some("Unknown") => Self::Unknown,
            _ => Self::Pending,
        }
    }
}

/// The owner that controls an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Kind of the owner, such as `DaemonSet`.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
}

impl Controller {
    /// The controlling owner among `owners`, if there is one.
    #[must_use]
    pub fn of(owners: Option<&[OwnerReference]>) -> Option<Self> {
        let owner = owners?.iter().find(|o| o.controller == Some(true))?;
        Some(Self { kind: owner.kind.clone(), name: owner.name.clone(), uid: owner.uid.clone() })
    }
}

/// What a pod that has no node yet asks of nodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wishes {
    /// `spec.schedulerName`; empty means the default scheduler.
    pub scheduler_name: String,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.affinity`.
    pub affinity: Option<Affinity>,
    /// True while `spec.schedulingGates` holds any gate.
    pub gated: bool,
    /// False with `preemptionPolicy: Never`.
    pub preempts: bool,
    /// `spec.topologySpreadConstraints`.
    pub spread: Vec<Spread>,
    /// Images of its containers, with a tag each.
    pub images: Vec<String>,
    /// `status.nominatedNodeName`: where room is being made for it.
    pub nominated: Option<String>,
    /// The message of a `PodScheduled=False` condition.
    pub unschedulable: Option<String>,
}

/// A pod as decisions see it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Version of the object that this view was made from.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The owner that controls it.
    pub controller: Option<Controller>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When its deletion is due, once it has been asked for.
    pub deleting: Option<Timestamp>,
    /// When its deletion was asked for: what `deleting` states lies the grace period later.
    pub ending_since: Option<Timestamp>,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// The one node that its required node affinity names, as a daemon pod's does.
    pub target: Option<String>,
    /// `status.phase`.
    pub phase: Phase,
    /// True when the `Ready` condition is true.
    pub ready: bool,
    /// When the `Ready` condition last changed.
    pub ready_changed: Option<Timestamp>,
    /// `spec.priority`.
    pub priority: i32,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// True when the scheduler ends it to make room for another.
    pub preempted: bool,
    /// True when somebody said that it ends for a reason of the cluster: an eviction, a taint, a node that is gone.
    pub disrupted: bool,
    /// True when it failed because its node drove it away.
    pub evicted: bool,
    /// True when its node took it back because it cut the node off.
    pub cut_off: bool,
    /// What its end costs, as its annotation says: the cheapest go first.
    pub deletion_cost: i32,
    /// The most restarts that one of its containers and one of its sidecars have had.
    pub restarts: (i32, i32),
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// What its containers ask for.
    pub requests: Resources,
    /// What its containers are reckoned to use when they do not say.
    pub usual: Usual,
    /// What it asks of other pods.
    pub terms: Option<Box<Terms>>,
    /// Ports that it takes of its node.
    pub host_ports: Vec<HostPort>,
    /// What it asks of nodes; only while it has none.
    pub wishes: Option<Box<Wishes>>,
    /// The images that its node is to pull for its successor.
    pub pre_pull: Option<Box<Request>>,
}

impl PodView {
    /// The node that it is bound to or that it names by affinity.
    #[must_use]
    pub fn node_or_target(&self) -> Option<&str> {
        self.node.as_deref().or(self.target.as_deref())
    }

    /// True when it has been ready for `min_ready_seconds` at `now`.
    #[must_use]
    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.ready && self.available_at(min_ready_seconds).is_none_or(|at| at <= now)
    }

    /// When a ready pod becomes available; `None` when it is not ready or needs no wait.
    #[must_use]
    pub fn available_at(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        if !self.ready || min_ready_seconds <= 0 {
            return None;
        }
        let since = self.ready_changed.unwrap_or(Timestamp::MAX);
        Some(since.checked_add(jiff::SignedDuration::from_secs(min_ready_seconds.into())).unwrap_or(Timestamp::MAX))
    }
}

impl From<&Pod> for PodView {
    fn from(pod: &Pod) -> Self {
        let ObjectMeta { namespace, name, uid, resource_version, labels, .. } = &pod.metadata;
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let condition = |kind: &str| -> Option<&PodCondition> {
            status.and_then(|s| s.conditions.as_deref()).unwrap_or_default().iter().find(|c| c.type_ == kind)
        };
        let ready = condition("Ready");
        let node = spec.and_then(|s| s.node_name.clone()).filter(|n| !n.is_empty());
        let wishes = match (&node, spec) {
            (None, Some(spec)) => {
                let mut wishes = wishes(spec, condition("PodScheduled"));
                wishes.nominated = status.and_then(|s| s.nominated_node_name.clone()).filter(|n| !n.is_empty());
                Some(Box::new(wishes))
            }
            _ => None,
        };
        Self {
            namespace: namespace.clone().unwrap_or_default(),
            name: name.clone().unwrap_or_default(),
            uid: uid.clone().unwrap_or_default(),
            resource_version: resource_version.clone().unwrap_or_default(),
            generation: pod.metadata.generation.unwrap_or_default(),
            labels: labels.clone().unwrap_or_default(),
            controller: Controller::of(pod.metadata.owner_references.as_deref()),
            created: pod.metadata.creation_timestamp.as_ref().map(|t| t.0),
            deleting: pod.metadata.deletion_timestamp.as_ref().map(|t| t.0),
            ending_since: ending_since(&pod.metadata),
            node,
            target: spec.and_then(|s| s.affinity.as_ref()).and_then(target_node),
            phase: Phase::parse(status.and_then(|s| s.phase.as_deref())),
            ready: ready.is_some_and(|c| c.status == "True"),
            ready_changed: ready.and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0),
            priority: spec.and_then(|s| s.priority).unwrap_or_default(),
            started: status.and_then(|s| s.start_time.as_ref()).map(|t| t.0),
            preempted: condition("DisruptionTarget")
                .is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some(PREEMPTED)),
            disrupted: condition("DisruptionTarget").is_some_and(|c| c.status == "True"),
            evicted: status.is_some_and(|s| s.reason.as_deref() == Some("Evicted")),
            cut_off: status.is_some_and(|s| s.reason.as_deref() == Some(crate::dead_man::REASON)),
            deletion_cost: pod
                .metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(DELETION_COST)?.parse().ok())
                .unwrap_or_default(),
            restarts: restarts(pod),
            tolerations: spec.and_then(|s| s.tolerations.clone()).unwrap_or_default(),
            usual: spec.map(Usual::of).unwrap_or_default(),
            terms: Terms::of(spec.and_then(|s| s.affinity.as_ref()), namespace.as_deref().unwrap_or_default()),
            requests: spec.map(Resources::requested).unwrap_or_default(),
            host_ports: spec.map(HostPort::of).unwrap_or_default(),
            wishes,
            pre_pull: Request::of(pod).map(Box::new),
        }
    }
}

fn ending_since(metadata: &ObjectMeta) -> Option<Timestamp> {
    let grace = jiff::SignedDuration::from_secs(metadata.deletion_grace_period_seconds.unwrap_or_default());
    metadata.deletion_timestamp.as_ref().and_then(|t| t.0.checked_sub(grace).ok())
}

/// The annotation of a pod with what its end costs.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let most = |statuses: &mut dyn Iterator<Item = &ContainerStatus>| statuses.map(|c| c.restart_count).max();
    let init = pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let is_sidecar =
        |c: &&ContainerStatus| init.iter().any(|i| i.name == c.name && i.restart_policy.as_deref() == Some("Always"));
    let containers = most(&mut status.container_statuses.iter().flatten());
    let sidecars = most(&mut status.init_container_statuses.iter().flatten().filter(is_sidecar));
    (containers.unwrap_or_default(), sidecars.unwrap_or_default())
}

fn wishes(spec: &PodSpec, scheduled: Option<&PodCondition>) -> Wishes {
    Wishes {
        scheduler_name: spec.scheduler_name.clone().unwrap_or_default(),
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        affinity: spec.affinity.clone(),
        gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
        preempts: spec.preemption_policy.as_deref() != Some("Never"),
        spread: Spread::of(spec),
        images: spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(image).collect(),
        nominated: None,
        unschedulable: scheduled.filter(|c| c.status == "False").and_then(|c| c.message.clone()),
    }
}

/// The image of a container as nodes list it: with a tag.
fn image(container: &Container) -> String {
    tagged(container.image.as_deref().unwrap_or_default())
}

fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

/// The one node that `affinity` names, as the affinity of a daemon pod does.
#[must_use]
pub fn target_node(affinity: &Affinity) -> Option<String> {
    let required: &NodeSelector =
        affinity.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|t| t.match_fields.iter().flatten());
    let field = fields.find(|f| f.key == NODE_NAME_FIELD && f.operator == "In")?;
    match field.values.as_deref() {
        Some([name]) => Some(name.clone()),
        _ => None,
    }
}

/// One condition of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason, one word.
    pub reason: String,
    /// When the node last reported it.
    pub heartbeat: Option<Timestamp>,
    /// When its status last changed.
    pub changed: Option<Timestamp>,
}

/// A node as decisions see it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Version of the object that this view was made from.
    pub resource_version: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// True once its deletion has been asked for.
    pub deleting: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.conditions` by type.
    pub conditions: BTreeMap<String, Condition>,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// True when the daemons that it had to wait for have been ready once.
    pub daemons_were_ready: bool,
    /// `status.images`: names with sizes in bytes.
    pub images: BTreeMap<String, i64>,
    /// True when it pulls images that a pod asks for.
    pub pre_pulls: bool,
}

impl NodeView {
    /// A node object with no more than the name and the labels, for the rules that match those.
    #[must_use]
    pub fn skeleton(&self) -> Node {
        let (name, labels) = (Some(self.name.clone()), Some(self.labels.clone()));
        Node { metadata: ObjectMeta { name, labels, ..ObjectMeta::default() }, ..Node::default() }
    }
}

impl From<&Node> for NodeView {
    fn from(node: &Node) -> Self {
        let ObjectMeta { name, uid, resource_version, labels, annotations, .. } = &node.metadata;
        let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let condition = |c: &k8s_openapi::api::core::v1::NodeCondition| Condition {
            status: c.status.clone(),
            reason: c.reason.clone().unwrap_or_default(),
            heartbeat: c.last_heartbeat_time.as_ref().map(|t| t.0),
            changed: c.last_transition_time.as_ref().map(|t| t.0),
        };
        Self {
            name: name.clone().unwrap_or_default(),
            uid: uid.clone().unwrap_or_default(),
            resource_version: resource_version.clone().unwrap_or_default(),
            created: node.metadata.creation_timestamp.as_ref().map(|t| t.0),
            deleting: node.metadata.deletion_timestamp.is_some(),
            labels: labels.clone().unwrap_or_default(),
            daemons_were_ready: annotations.as_ref().is_some_and(|a| a.contains_key(READY_ANNOTATION)),
            pre_pulls: annotations.as_ref().is_some_and(|a| a.contains_key(ABLE)),
            taints: spec.and_then(|s| s.taints.clone()).unwrap_or_default(),
            unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or_default(),
            conditions: conditions.iter().map(|c| (c.type_.clone(), condition(c))).collect(),
            images: status
                .and_then(|s| s.images.as_deref())
                .unwrap_or_default()
                .iter()
                .flat_map(|i| i.names.iter().flatten().map(|n| (tagged(n), i.size_bytes.unwrap_or_default())))
                .collect(),
            allocatable: status
                .and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()))
                .map(Resources::from)
                .unwrap_or_default(),
        }
    }
}
