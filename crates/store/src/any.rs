//! Either backend as one type, so that what serves them is built once.

use crate::cached::Cached;
use crate::embedded::Embedded;
use crate::etcd::Etcd;
use crate::memory::MemoryWatch;
use crate::{Entry, Expect, Op, Page, Revision, Store, StoreError};

/// A store of either kind.
#[derive(Debug, Clone)]
pub enum AnyStore {
    /// On this machine's disk.
    Embedded(Embedded),
    /// In an etcd that several servers may share.
    Etcd(Cached<Etcd>),
}

/// The same call on whichever it is.
macro_rules! on_either {
    ($any:expr, $store:ident => $call:expr) => {
        match $any {
            AnyStore::Embedded($store) => $call,
            AnyStore::Etcd($store) => $call,
        }
    };
}

impl Store for AnyStore {
    type Watch = MemoryWatch;

    async fn revision(&self) -> Result<Revision, StoreError> {
        on_either!(self, store => store.revision().await)
    }

    fn seen(&self) -> Revision {
        on_either!(self, store => store.seen())
    }

    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), StoreError> {
        on_either!(self, store => store.get(key).await)
    }

    async fn list(&self, prefix: &[u8], after: &[u8], limit: usize, at: Option<Revision>) -> Result<Page, StoreError> {
        on_either!(self, store => store.list(prefix, after, limit, at).await)
    }

    async fn commit(&self, key: &[u8], expect: Expect, op: Op) -> Result<Revision, StoreError> {
        on_either!(self, store => store.commit(key, expect, op).await)
    }

    async fn watch(&self, prefix: &[u8], after: Revision) -> Result<MemoryWatch, StoreError> {
        on_either!(self, store => store.watch(prefix, after).await)
    }

    async fn compact(&self, upto: Revision) -> Result<(), StoreError> {
        on_either!(self, store => store.compact(upto).await)
    }
}
