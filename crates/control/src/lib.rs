//! The controllers: they watch the API server, ask `decide` what to do, and do it.
//!
//! [`run`] starts those that [`Options`] name, all by default, over one `kube::Client`: DaemonSets, ReplicaSets, disruption budgets, the scheduler, nodes,
//! the garbage collectors, namespaces, and what new nodes join by: tokens and certificate requests. They keep one picture of the cluster, made of the views that decisions read.
//!
//! Invariants: one informer per kind; a key is in work once at a time; a key is planned only on data that shows its own
//! last writes; every write of an existing object names its UID; what fails is retried with bounded backoff, and a
//! broken watch is reopened. The API server is the only thing that this crate talks to.
//!
//! Absent: any decision (`decide`), any way to the store.

mod carry;
mod collector;
mod csr_cleaner;
mod custom;
mod daemonset;
mod disrupt;
mod disruption;
mod elect;
mod graph;
mod hub;
mod informers;
mod key;
mod limits;
mod namespaces;
mod nodes;
mod planner;
mod podgc;
mod policy;
mod queue;
mod readiness;
mod record;
mod replicaset;
mod rights;
mod roster;
mod scheduler;
mod shadow;
#[cfg(test)]
mod testing;
mod tokens;
mod unmanaged;
mod watch;
mod wire;
mod world;

use std::sync::Arc;

pub use elect::{LEASE, run_elected};
use kube::Client;
pub use roster::{Controller, Roster, RosterError};
pub use scheduler::{Placed, Placer};
pub use shadow::shadow;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use hub::{Hub, NAMESPACES, NODES};
use limits::WORKERS;

/// What the controllers are told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The certificate by which pods know the API server, in PEM: each namespace gets it as a config map.
    pub ca_pem: Option<String>,
    /// Which controllers run.
    pub roster: Roster,
    /// How long a node may be silent before it counts as unreachable.
    pub node_monitor_grace: decide::node_health::Grace,
    /// By which an API server of the same process asks the scheduler.
    pub placer: Placer,
}

/// Why the controllers ended before they were told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of them ended by itself, which is a mistake in it.
    #[error("a controller ended by itself: {0}")]
    Ended(String),
}

/// Why a key could not be synced; it is tried again.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The object is not what the watch said it was.
    #[error("the object changed meanwhile")]
    Stale,
}

impl SyncError {
    /// What the API server said when it refused.
    fn said(&self) -> Option<&str> {
        match self {
            Self::Api(kube::Error::Api(status)) if status.code != 409 => Some(&status.message),
            _ => None,
        }
    }

    /// True when someone else was faster; the watch will tell what they did.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Api(error) => wire::code(error) == 409,
            Self::Stale => true,
        }
    }
}

/// The outcome of a sync.
type Sync = Result<(), SyncError>;

/// Runs all controllers until `shutdown`.
///
/// # Errors
///
/// Fails only when a part of them ends by itself. An API server that cannot be reached is waited for.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let (recorder, events) = record::Recorder::new();
    let hub = Hub::new(client.clone(), options, recorder);
    let mut tasks = JoinSet::new();
    tasks.spawn(record::write(client, events, shutdown.clone()));
    let start = |hub: &Arc<Hub>, tasks: &mut JoinSet<()>| {
        start_controllers(hub, tasks, &shutdown);
        tracing::info!(controllers = %hub.options.roster, "controllers run");
    };
    run_on(hub, tasks, start, shutdown.clone()).await
}

/// Follows what the roster needs, and starts whoever works on it once all of it is known.
async fn run_on(
    hub: Arc<Hub>,
    mut tasks: JoinSet<()>,
    start: impl FnOnce(&Arc<Hub>, &mut JoinSet<()>),
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let ready = Arc::new(Semaphore::new(0));
    let needed = informers::start(&hub, &mut tasks, &ready, &shutdown);
    tokio::select! {
        () = shutdown.cancelled() => {}
        permits = ready.acquire_many(needed) => if permits.is_ok() {
            start(&hub, &mut tasks);
        },
        ended = tasks.join_next() => return outcome(ended, &shutdown),
    }
    let ended = tasks.join_next().await;
    let outcome = outcome(ended, &shutdown);
    shutdown.cancel();
    while tasks.join_next().await.is_some() {}
    outcome
}

fn outcome(ended: Option<Result<(), tokio::task::JoinError>>, shutdown: &CancellationToken) -> Result<(), Error> {
    match ended {
        Some(Err(error)) => Err(Error::Ended(error.to_string())),
        _ if shutdown.is_cancelled() => Ok(()),
        _ => Err(Error::Ended("a watch or a queue has closed".to_owned())),
    }
}

fn start_controllers(hub: &Arc<Hub>, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
    let stop = || shutdown.clone();
    let runs = |controllers: &[Controller]| hub.options.roster.runs_any(controllers);
    if runs(&[Controller::Scheduler]) {
        tasks.spawn(scheduler::run(hub.clone(), stop()));
    }
    if runs(&[Controller::PodGc]) {
        tasks.spawn(podgc::run(hub.clone(), stop()));
    }
    if runs(&[Controller::CsrCleaner]) {
        tasks.spawn(csr_cleaner::run(hub.clone(), stop()));
    }
    if runs(&[Controller::TokenCleaner]) {
        tasks.spawn(hub::work(hub.clone(), |h| &h.tokens, "token cleaner", stop(), tokens::clean));
    }
    if runs(&[Controller::BootstrapSigner]) {
        tasks.spawn(hub::work(hub.clone(), |h| &h.signatures, "bootstrap signer", stop(), tokens::sign));
    }
    for _ in 0..WORKERS {
        if runs(&[Controller::DaemonSet]) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.daemon_sets, "daemonset", stop(), daemonset::sync));
        }
        if runs(&[Controller::ReplicaSet]) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.replica_sets, "replicaset", stop(), replicaset::sync));
        }
        if runs(&[Controller::RolloutPolicy]) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.policies, "rollout policy", stop(), policy::sync));
        }
        if runs(&[Controller::Disruption]) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.budgets, "disruption", stop(), disruption::sync));
        }
        if runs(NODES) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.nodes, "node", stop(), nodes::sync));
        }
        if runs(&[Controller::NodeReadiness]) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.readiness, "node readiness", stop(), readiness::sync));
        }
        if runs(&[Controller::GarbageCollector]) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.objects, "garbage collector", stop(), collector::sync));
        }
        if runs(NAMESPACES) {
            tasks.spawn(hub::work(hub.clone(), |h| &h.namespaces, "namespace", stop(), namespaces::sync));
        }
    }
}
