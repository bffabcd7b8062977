//! What the parts of this crate share: the picture of the cluster, the queues, the way to the API server.
//!
//! Invariants: the locks are never held together, two at a time, nor across an await.
//!
//! Absent: decisions.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::custom::Customs;
use crate::graph::{Graph, Uid};
use crate::key::Key;
use crate::limits::{ABSENT_OWNERS, REST_FACTOR, REST_MAX};
use crate::queue::Queue;
use crate::record::Recorder;
use crate::rights::Rights;
use crate::roster::Controller;
use crate::tokens::Joining;
use crate::world::World;
use crate::{Options, SyncError};

/// The controllers that look at nodes.
pub(crate) const NODES: &[Controller] = &[Controller::NodeLifecycle, Controller::TaintEviction, Controller::PodGc];
/// The controllers that look at namespaces.
pub(crate) const NAMESPACES: &[Controller] = &[Controller::Namespace, Controller::ServiceAccount, Controller::RootCa];

/// What the parts of this crate share.
pub(crate) struct Hub {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) recorder: Recorder,
    /// Rights that were missing.
    pub(crate) rights: Rights,
    world: Mutex<World>,
    graph: Mutex<Graph>,
    /// The kinds of custom resource definitions.
    pub(crate) customs: Mutex<Customs>,
    pub(crate) daemon_sets: Queue<Key>,
    pub(crate) replica_sets: Queue<Key>,
    pub(crate) budgets: Queue<Key>,
    pub(crate) policies: Queue<Key>,
    /// Pods that may want a node.
    pub(crate) pods: Queue<Key>,
    pub(crate) nodes: Queue<String>,
    /// Nodes that may have to wait for their daemons.
    pub(crate) readiness: Queue<String>,
    pub(crate) objects: Queue<Uid>,
    pub(crate) namespaces: Queue<String>,
    /// Bootstrap tokens that may have ended.
    pub(crate) tokens: Queue<Key>,
    /// What bootstrap tokens sign; it is one object.
    pub(crate) signatures: Queue<Key>,
    /// What new nodes join by.
    pub(crate) joining: Mutex<Joining>,
    /// Pods that will have to leave their node unless something changes, by node.
    pub(crate) leaving: Mutex<HashMap<String, BTreeSet<Key>>>,
    /// UIDs of owners that the API server said are gone; none of them can come back.
    pub(crate) absent: Mutex<VecDeque<String>>,
    /// Nodes that pods are bound to and that are not there, since when.
    pub(crate) missing: Mutex<HashMap<String, Instant>>,
}

/// Locks, whatever happened to whoever held the lock before: all that is kept is rebuilt by the next list.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(client: Client, options: Options, recorder: Recorder) -> Arc<Self> {
        let roster = options.roster.clone();
        let runs = |controllers: &[Controller]| roster.runs_any(controllers);
        let mut world = World::default();
        world.nodes.grace = options.node_monitor_grace;
        Arc::new(Self {
            client,
            options,
            recorder,
            rights: Rights::default(),
            world: Mutex::new(world),
            graph: Mutex::default(),
            customs: Mutex::default(),
            daemon_sets: Queue::open_if(runs(&[Controller::DaemonSet])),
            replica_sets: Queue::open_if(runs(&[Controller::ReplicaSet])),
            budgets: Queue::open_if(runs(&[Controller::Disruption])),
            policies: Queue::open_if(runs(&[Controller::RolloutPolicy])),
            pods: Queue::open_if(runs(&[Controller::Scheduler])),
            nodes: Queue::open_if(runs(NODES)),
            readiness: Queue::open_if(runs(&[Controller::NodeReadiness])),
            objects: Queue::open_if(runs(&[Controller::GarbageCollector])),
            namespaces: Queue::open_if(runs(NAMESPACES)),
            tokens: Queue::open_if(runs(&[Controller::TokenCleaner])),
            signatures: Queue::open_if(runs(&[Controller::BootstrapSigner])),
            joining: Mutex::default(),
            leaving: Mutex::default(),
            absent: Mutex::default(),
            missing: Mutex::default(),
        })
    }

    pub(crate) fn runs(&self, controller: Controller) -> bool {
        self.options.roster.runs(controller)
    }

    /// True when somebody asks who owns what, or whether an object is there.
    pub(crate) fn keeps_owners(&self) -> bool {
        let roster = &self.options.roster;
        roster.runs(Controller::GarbageCollector) || roster.runs_any(NAMESPACES)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub(crate) fn graph(&self) -> MutexGuard<'_, Graph> {
        lock(&self.graph)
    }
}

impl Hub {
    /// Notes that the owner of this UID is gone; it can't come back.
    pub(crate) fn note_absent(&self, uid: &str) {
        let mut absent = lock(&self.absent);
        absent.push_back(uid.to_owned());
        if absent.len() > ABSENT_OWNERS {
            absent.pop_front();
        }
    }
}

/// The time from now until `at`; zero when it is past.
pub(crate) fn until(at: Timestamp) -> Duration {
    let millis = at.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    // One more, since the time is cut to milliseconds: looking a moment too early would find nothing to do.
    Duration::from_millis(u64::try_from(millis).unwrap_or_default() + 1)
}

/// Takes keys from a queue one after the other and syncs them, until shutdown.
pub(crate) async fn work<K, F, Fut>(
    hub: Arc<Hub>,
    queue: fn(&Hub) -> &Queue<K>,
    what: &'static str,
    shutdown: CancellationToken,
    sync: F,
) where
    K: Clone + Eq + Hash + std::fmt::Display,
    F: Fn(Arc<Hub>, K) -> Fut,
    Fut: Future<Output = Result<(), SyncError>>,
{
    loop {
        let key = tokio::select! {
            () = shutdown.cancelled() => return,
            key = queue(&hub).next() => key,
        };
        let start = Instant::now();
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = sync(hub.clone(), key.clone()) => outcome,
        };
        match outcome {
            Ok(()) => queue(&hub).forget(&key),
            Err(error) => {
                let failures = queue(&hub).retry(key.clone());
                let lacks_right = matches!(&error, SyncError::Api(error) if hub.rights.tell(error));
                if lacks_right || error.is_conflict() || failures > 1 {
                    tracing::debug!(controller = what, %key, failures, %error, "sync failed again");
                } else {
                    tracing::warn!(controller = what, %key, %error, "sync failed, trying again until it works");
                }
            }
        }
        queue(&hub).done(&key, (start.elapsed() * REST_FACTOR).min(REST_MAX));
    }
}
