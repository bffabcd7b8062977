//! The node agent: registers its Node, watches the pods bound to it and drives each with a small state machine of its own.
//!
//! # Invariants
//! - The agent owns no container. It can die at any moment: what runs goes on, and the next agent takes it over without
//!   a restart (sandboxes are found by the pod's UID).
//! - What runs is stopped only because the API server said so in a complete answer: a deletion seen in a watch, or a
//!   full list without the pod. A server that can't be reached stops nothing. What runs by a file stops with the file.
//! - Nothing here blocks the thread: file work goes to the blocking pool, so a current-thread runtime serves.
//!
//! # Absent
//! Decisions: [`decide::pod_lifecycle`] has them. How a container is made: [`crate::runtime`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use decide::node_pressure::Condition;
use decide::pod_lifecycle::PodFailure;
use k8s_openapi::api::core::v1::{Pod, Taint};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::measure::Counters;
use crate::runtime::{Runtime, SandboxId};

mod answer;
mod container;
mod dead_man;
pub(crate) mod downward;
mod end;
mod env;
mod events;
mod facts;
mod hooks;
mod ignored;
mod image;
mod image_gc;
mod kept;
mod last_words;
mod lease;
mod node;
mod node_status;
mod objects;
mod observe;
mod patch;
mod ports;
mod power;
mod pre_pull;
mod pressure;
mod probes;
mod reconnect;
mod refused;
mod resources;
mod roster;
mod sandbox;
mod security;
mod start;
mod static_pods;
mod steps;
mod stop;
mod storage;
mod tell;
mod unmanaged;
mod unread;
mod watched;
mod worker;

pub(crate) use events::Recorder;
pub(crate) use objects::{ObjectError, Objects};
pub(crate) use observe::{Picture, observe};

/// How a node agent runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the Node.
    pub node_name: String,
    /// The data directory of everynode; this agent's part is `nodes/NODE_NAME` in it.
    pub data_dir: PathBuf,
    /// Sockets and what a reboot must lose.
    pub run_dir: PathBuf,
    /// Logs of pods: /var/log/pods on a real node.
    pub pod_log_dir: PathBuf,
    /// Labels beside those every node has.
    pub labels: BTreeMap<String, String>,
    /// Taints the Node is registered with.
    pub taints: Vec<Taint>,
    /// Written into the Node when given: one of IPv4, and perhaps one of IPv6.
    pub pod_cidrs: Vec<String>,
    /// Address of the node; None finds the one that leads to the API server.
    pub node_ip: Option<IpAddr>,
    /// Where pods find the API server: https://HOST:PORT.
    pub server_url: String,
    /// Docker configurations of the node with secrets of registries.
    pub registry_credentials: Vec<PathBuf>,
    /// When images that no container has go; never, unless told otherwise.
    pub image_gc: decide::node_pressure::images::Policy,
    /// When pods have to end for want of memory, disk or process ids; never, unless told otherwise.
    pub eviction: decide::node_pressure::Thresholds,
    /// Cancelled when the machine goes down: pods end in order, then the agent. Its own end ends none.
    pub power_off: CancellationToken,
    /// How long pods may take then.
    pub shutdown_periods: decide::node_shutdown::Periods,
    /// Most processes of one pod; None is no limit.
    pub pod_pids_max: Option<u64>,
    /// Directory with files of static pods.
    pub pod_manifest_path: Option<PathBuf>,
    /// False makes no volumes: for hollow nodes, whose containers never look into one.
    pub volumes: bool,
    /// False keeps nothing of the pods for a start without the API server: for hollow nodes, which share one disk.
    pub keep_pods: bool,
}

impl Options {
    /// An agent with Kubernetes' log directories and nothing special.
    pub fn new(node_name: &str, data_dir: PathBuf, run_dir: PathBuf, server_url: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            data_dir,
            run_dir,
            pod_log_dir: PathBuf::from("/var/log/pods"),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            pod_cidrs: Vec::new(),
            node_ip: None,
            server_url: server_url.to_owned(),
            registry_credentials: Vec::new(),
            image_gc: decide::node_pressure::images::Policy::never(),
            eviction: decide::node_pressure::Thresholds::none(),
            power_off: CancellationToken::new(),
            shutdown_periods: decide::node_shutdown::Periods::default(),
            pod_pids_max: None,
            pod_manifest_path: None,
            volumes: true,
            keep_pods: true,
        }
    }

    /// This agent's part of the data directory.
    pub fn node_dir(&self) -> PathBuf {
        self.data_dir.join("nodes").join(&self.node_name)
    }

    /// What the agent keeps of one pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.node_dir().join("pods").join(uid)
    }

    /// Where a pod's containers log.
    pub fn log_directory(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}

/// How an agent speaks to its API server.
#[derive(Clone)]
pub struct Clients {
    /// For requests and watches.
    pub api: Client,
    /// For the tunnel that logs and streams ride, over HTTP/1.1, which alone can be upgraded; None opens no tunnel.
    pub tunnel: Option<Client>,
}

impl From<Client> for Clients {
    fn from(client: Client) -> Self {
        Self { api: client.clone(), tunnel: Some(client) }
    }
}

/// Why an agent can't run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A directory or file of its own can't be made.
    #[error("can't make {path}: {cause}; check --data-dir and that everynode runs as root")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// server_url is no URL.
    #[error("server URL {0:?} has no host; give https://HOST:PORT")]
    ServerUrl(String),
}

/// What all parts of one agent share.
pub(crate) struct Agent<R> {
    pub(crate) options: Options,
    pub(crate) client: Client,
    pub(crate) tunnel: Option<Client>,
    pub(crate) runtime: Arc<R>,
    pub(crate) recorder: Recorder,
    pub(crate) objects: Objects,
    /// What volumes show.
    pub(crate) watched: watched::Watched,
    /// What outlives the agent, and the boot.
    pub(crate) kept: kept::Kept,
    pub(crate) addresses: Vec<IpAddr>,
    /// Host and port pods find the API server at.
    pub(crate) server: (String, u16),
    /// Bytes of memory of the machine: what oom_score_adj is measured against.
    pub(crate) memory_bytes: i64,
    pub(crate) shutdown: CancellationToken,
    pub(crate) counters: Counters,
    /// Which pod a sandbox belongs to, so that a runtime event wakes one worker and not all.
    sandboxes: Mutex<HashMap<SandboxId, String>>,
    /// When the API server last answered.
    pub(crate) answers: dead_man::Answers,
    /// Pods that run in the place of ones that cut the node off.
    stand_ins: dead_man::StandIns,
    /// The images of static pods.
    pub(crate) mirrors: static_pods::Mirrors,
    /// The pods of this node as the API server last had them, and static ones, for the node's own HTTP answers.
    pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    /// What the node is short of, for its status.
    conditions: Mutex<Vec<Condition>>,
    /// Pods that have to end for the node, until their workers have taken note.
    evictions: Mutex<BTreeMap<String, PodFailure>>,
    /// Pods that end because the machine goes down; None while it stays up.
    ending: Mutex<Option<power::Ending>>,
    /// The Node's status has changed.
    pub(crate) node_changed: tokio::sync::Notify,
    /// Cancelled once it is known which pods are here: whoever asks about one before is not told that it is not.
    pub(crate) pods_known: CancellationToken,
    /// Wakes all workers.
    pub(crate) nudge: tokio::sync::Notify,
}

impl<R> Agent<R> {
    pub(crate) fn note_sandbox(&self, id: SandboxId, uid: &str) {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, uid.to_owned());
    }

    pub(crate) fn forget_sandbox(&self, id: &SandboxId) {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(crate) fn pod_of_sandbox(&self, id: &SandboxId) -> Option<String> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn keep_pod(&self, uid: &str, pod: Option<Arc<Pod>>) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        match pod {
            Some(pod) => pods.insert(uid.to_owned(), pod),
            None => pods.remove(uid),
        };
    }

    /// What the node is short of.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_conditions(&self, conditions: Vec<Condition>) {
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
    }

    /// Lets a pod end for the node.
    fn evict(&self, uid: &str, failure: PodFailure) {
        self.evictions.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), failure);
        self.nudge.notify_one();
    }

    fn is_evicted(&self, uid: &str) -> bool {
        self.evictions.lock().unwrap_or_else(PoisonError::into_inner).contains_key(uid)
    }

    pub(crate) fn take_eviction(&self, uid: &str) -> Option<PodFailure> {
        self.evictions.lock().unwrap_or_else(PoisonError::into_inner).remove(uid)
    }

    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Runs the agent until `shutdown`; containers go on after it.
///
/// # Errors
/// Only when it can't start; after that every trouble is retried.
pub async fn run<R: Runtime>(
    options: Options,
    clients: impl Into<Clients>,
    runtime: Arc<R>,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let Clients { api: client, tunnel } = clients.into();
    let pods_dir = options.node_dir().join("pods");
    tokio::fs::create_dir_all(&pods_dir)
        .await
        .map_err(|cause| AgentError::Directory { path: pods_dir.clone(), cause })?;
    let node_dir = options.node_dir();
    let kept = kept::Kept::open(&node_dir)
        .map_err(|cause| AgentError::Directory { path: node_dir.join("seal.key"), cause })?;
    let kept = if options.keep_pods { kept } else { kept.read_only() };
    let server = server_of(&options.server_url)?;
    let addresses = facts::addresses(&options, &server).await;
    let (recorder, recording) = events::recorder(client.clone(), &options.node_name, shutdown.clone());
    let watched = watched::Watched::new(client.clone());
    let agent = Arc::new(Agent {
        objects: Objects::new(client.clone(), kept.clone(), watched.clone()),
        watched,
        kept,
        memory_bytes: facts::memory_bytes().await,
        options,
        client,
        tunnel,
        runtime,
        recorder,
        addresses,
        server,
        shutdown: shutdown.clone(),
        counters: Counters::default(),
        sandboxes: Mutex::default(),
        answers: dead_man::Answers::default(),
        stand_ins: dead_man::StandIns::default(),
        mirrors: static_pods::Mirrors::default(),
        pods: Mutex::default(),
        conditions: Mutex::default(),
        evictions: Mutex::default(),
        ending: Mutex::default(),
        node_changed: tokio::sync::Notify::new(),
        pods_known: CancellationToken::new(),
        nudge: tokio::sync::Notify::new(),
    });
    tracing::info!(node = %agent.options.node_name, runtime = %agent.runtime.version(), "the agent starts");
    // Each is a task by itself: what wakes one is no matter of the others. All of them end with `shutdown`.
    let mut parts = JoinSet::new();
    parts.spawn(recording);
    macro_rules! keep {
        ($part:path) => {
            let agent = Arc::clone(&agent);
            parts.spawn(async move { $part(&agent).await });
        };
    }
    keep!(node::keep);
    keep!(lease::keep);
    keep!(roster::keep);
    keep!(pressure::keep);
    keep!(storage::keep);
    keep!(power::keep);
    keep!(crate::tunnel::keep);
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    Ok(())
}

/// NAME_NAMESPACE(UID), as Kubernetes names a pod in messages.
pub(crate) fn pod_words(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

fn server_of(url: &str) -> Result<(String, u16), AgentError> {
    let bad = || AgentError::ServerUrl(url.to_owned());
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    Ok((host, port))
}
