//! What every request shares: the store, who may what, the connected nodes, the counters.
//!
//! # Invariants
//! No lock is held while a request waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::kinds::Kind;
use api::status::{self, Status};
use bytes::Bytes;
use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use store::{Entry, Expect, Op, Revision, Store, StoreError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::accounts::Issuer;
use crate::auth::{Access, Tokens, User, rbac};
use crate::custom::{self, Customs};
use crate::event_turns::EventTurns;
use crate::limits::{BODIES_BYTES_MAX, RETRY_SECONDS, WATCHES_MAX, WATCHES_PER_USER_MAX};
use crate::metrics::Metrics;
use crate::node_pods::NodePods;
use crate::object;
use crate::placing::Placing;
use crate::reasons::Desk;
use crate::reply::Body;
use crate::request::Query;
use crate::seats::Seats;
use crate::services::ServiceRange;
use crate::tunnel::Nodes;

/// What every request shares.
pub(crate) struct App<S> {
    pub(crate) store: S,
    pub(crate) tokens: Tokens,
    pub(crate) issuer: Issuer,
    pub(crate) access: Access,
    /// The kinds of custom resource definitions.
    pub(crate) customs: Customs,
    pub(crate) nodes: Nodes,
    pub(crate) node_pods: NodePods,
    pub(crate) metrics: Metrics,
    /// Who says why nodes run a daemon.
    pub(crate) reasons: Desk,
    /// Who gives new daemons their nodes.
    pub(crate) placing: Placing,
    /// One permit a watch.
    pub(crate) watches: Arc<Semaphore>,
    /// The watches of each user.
    pub(crate) watchers: Arc<Seats<String>>,
    /// One permit a byte of the bodies that are being worked on.
    pub(crate) bodies: Semaphore,
    pub(crate) event_turns: EventTurns,
    /// Ends watches and followed logs when the server stops.
    pub(crate) shutdown: CancellationToken,
    /// The addresses that Services are given.
    pub(crate) service_range: ServiceRange,
    /// Where clients in the cluster reach this server; None for one without a socket.
    pub(crate) advertised: Option<SocketAddr>,
    /// The certificate of the cluster's authority, PEM; None for one without a socket.
    pub(crate) authority_pem: Option<String>,
    /// What runs beside requests until `shutdown`.
    pub(crate) tasks: TaskTracker,
    ready: AtomicBool,
}

/// One request, taken apart.
pub(crate) struct Ask {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    /// Path and query as they came, for passing them on.
    pub(crate) uri: http::Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) user: User,
    pub(crate) body: Body,
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// The object or collection that a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) kind: &'a Kind,
    /// None for kinds without a namespace and for all namespaces.
    pub(crate) namespace: Option<&'a str>,
    /// Empty for collections.
    pub(crate) name: &'a str,
}

impl Place<'_> {
    /// The object's key.
    pub(crate) fn key(&self) -> String {
        object::key(self.kind, self.namespace, self.name)
    }

    /// 404 in Kubernetes' words.
    pub(crate) fn not_found(&self) -> Status {
        status::not_found(self.kind.group, self.kind.plural, self.name)
    }

    /// 409 in Kubernetes' words.
    pub(crate) fn conflict(&self, why: &str) -> Status {
        status::conflict(self.kind.group, self.kind.plural, self.name, why)
    }

    /// 409 because someone else wrote in between.
    pub(crate) fn modified(&self) -> Status {
        self.conflict(status::OBJECT_MODIFIED)
    }

    /// 403 in Kubernetes' words.
    pub(crate) fn forbidden(&self, why: &str) -> Status {
        status::forbidden(self.kind.group, self.kind.plural, self.name, why)
    }
}

impl<S: Store> App<S> {
    pub(crate) fn new(store: S, tokens: Tokens, issuer: Issuer, shutdown: CancellationToken) -> App<S> {
        App {
            store,
            tokens,
            issuer,
            access: Access::default(),
            customs: Customs::default(),
            nodes: Nodes::default(),
            node_pods: NodePods::default(),
            metrics: Metrics::default(),
            reasons: Desk::default(),
            placing: Placing::default(),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            watchers: Seats::new(WATCHES_PER_USER_MAX),
            bodies: Semaphore::new(BODIES_BYTES_MAX),
            event_turns: EventTurns::default(),
            shutdown,
            service_range: ServiceRange::default(),
            advertised: None,
            authority_pem: None,
            tasks: TaskTracker::new(),
            ready: AtomicBool::new(false),
        }
    }

    /// Whether the objects that must exist at start do.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Says that they do.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// The entry of an object.
    ///
    /// # Errors
    /// 404 when there is none.
    pub(crate) async fn entry(&self, place: Place<'_>) -> Result<Entry, Status> {
        let (entry, _) = self.store.get(place.key().as_bytes()).await.map_err(failure)?;
        entry.ok_or_else(|| place.not_found())
    }

    /// The entry of an object of a kind that the table of kinds is sure to hold.
    pub(crate) async fn lookup(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Entry>, Status> {
        let key = object::key(kind, namespace, name);
        Ok(self.store.get(key.as_bytes()).await.map_err(failure)?.0)
    }

    /// Writes; None when the key was not as expected.
    pub(crate) async fn put(&self, key: &str, expect: Expect, value: Bytes) -> Result<Option<Revision>, Status> {
        match self.store.commit(key.as_bytes(), expect, Op::Put(value)).await {
            Ok(revision) => Ok(Some(self.seen(key, revision).await)),
            Err(StoreError::Conflict(_)) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// Waits until what was written counts, where that is not at once.
    async fn seen(&self, key: &str, revision: Revision) -> Revision {
        if key.starts_with(rbac::PREFIX) {
            self.access.rbac.sees(revision).await;
        } else if key.starts_with(custom::PREFIX) {
            self.customs.sees(revision).await;
        }
        revision
    }

    /// Removes; None when the key was not as expected.
    pub(crate) async fn remove(&self, key: &str, at: Revision) -> Result<Option<Revision>, Status> {
        match self.store.commit(key.as_bytes(), Expect::At(at), Op::Delete).await {
            Ok(revision) => Ok(Some(self.seen(key, revision).await)),
            Err(StoreError::Conflict(_)) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }
}

/// What a client is told when the store fails.
pub(crate) fn failure(error: StoreError) -> Status {
    match error {
        StoreError::Conflict(_) => status::internal("the object was changed at the same time; try again"),
        StoreError::Compacted { wanted, oldest } => {
            status::expired(format!("too old resource version: {} ({})", wanted.0, oldest.0))
        }
        StoreError::Future { wanted, newest } => too_large(wanted.0, newest.0),
        StoreError::Lagged => status::expired("the watch was too slow; list and watch again"),
        StoreError::TooLarge(why) => status::request_too_large(&why),
        StoreError::Unavailable(why) => status::unavailable_for_a_moment(&why, RETRY_SECONDS),
        StoreError::Timeout(why) => status::timeout(&why, 1),
    }
}

/// 504 for a resourceVersion that is not there yet.
pub(crate) fn too_large(wanted: u64, newest: u64) -> Status {
    let mut status = status::timeout(&format!("Too large resource version: {wanted}, current: {newest}"), 1);
    status.body["details"]["causes"] =
        serde_json::json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
    status.body["message"] = format!("Too large resource version: {wanted}, current: {newest}").into();
    status
}
