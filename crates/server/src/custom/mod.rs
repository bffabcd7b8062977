//! The kinds that custom resource definitions serve: a registry that follows the store, and what the server does for a
//! definition: grants its names, serves it, and takes its objects along when it goes.
//!
//! # Invariants
//! - What was written through this server counts from the answer on: writers of definitions wait until the registry has
//!   seen their write.
//! - A schema is compiled once for each change of its definition and shared by all requests.

mod end;
mod follow;
mod registry;
mod settle;

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use api::kinds::{self, Kind};
use bytes::Bytes;
use store::{Revision, Store};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::discovery::Documents;
use crate::limits::INDEX_WAIT;
use crate::request::ResourcePath;

pub(crate) use follow::start;
use registry::Registry;

/// What the keys of definitions begin with.
pub(crate) const PREFIX: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

/// The kinds of definitions.
pub(crate) struct Customs {
    /// Held only while something is looked up or a change is taken over, never across a wait.
    registry: RwLock<Registry>,
    seen: watch::Sender<Revision>,
    /// Some definition may need another status.
    unsettled: Notify,
    /// Documents of the schemas.
    pub(crate) documents: Documents,
}

impl Default for Customs {
    fn default() -> Self {
        Customs {
            registry: RwLock::default(),
            seen: watch::Sender::new(Revision(0)),
            unsettled: Notify::new(),
            documents: Documents::default(),
        }
    }
}

impl Customs {
    fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kind that a path names, as far as the registry has seen: a built-in one before any other.
    pub(crate) fn kind(&self, path: &ResourcePath) -> Option<Cow<'static, Kind>> {
        match kinds::find(&path.group, &path.version, &path.resource) {
            Some(kind) => Some(Cow::Borrowed(kind)),
            None => self.registry().find(&path.group, &path.version, &path.resource).cloned().map(Cow::Owned),
        }
    }

    /// The kind that a path names. Whoever was told by a watch that it is served may ask before the registry was told.
    pub(crate) async fn look_up<S: Store>(&self, store: &S, path: &ResourcePath) -> Option<Cow<'static, Kind>> {
        if let Some(kind) = self.kind(path) {
            return Some(kind);
        }
        let key = format!("{PREFIX}{}.{}", path.resource, path.group);
        let (entry, _) = store.get(key.as_bytes()).await.ok()?;
        self.sees(entry?.mod_revision).await;
        self.kind(path)
    }

    /// All kinds that are served, by name of the definition and in the order of its versions.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.registry().kinds().cloned().collect()
    }

    /// The stored definition of a kind.
    pub(crate) fn definition(&self, kind: &Kind) -> Option<Bytes> {
        self.registry().definition(kind.group, kind.plural)
    }

    /// What changes whenever the definition of a kind does.
    pub(crate) fn stamp(&self, kind: &Kind) -> String {
        self.registry().stamp(kind.group, kind.plural)
    }

    /// Ends when the definition of a kind changes or goes: whoever follows its objects has to look again.
    pub(crate) fn ends(&self, kind: &Kind) -> Option<CancellationToken> {
        kind.custom.as_ref().map(|_| self.registry().ends(kind))
    }

    /// Returns when the registry has seen a revision of a definition, or when that takes too long: the write is durable
    /// then all the same.
    pub(crate) async fn sees(&self, revision: Revision) {
        let mut seen = self.seen.subscribe();
        let wait = seen.wait_for(|seen| *seen >= revision);
        let _ = tokio::time::timeout(INDEX_WAIT, wait).await;
    }
}
