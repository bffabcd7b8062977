//! What the common tests run on.

use std::sync::atomic::{AtomicUsize, Ordering};

use store::cached::{self, Cached};
use store::embedded::{self, Embedded};
use store::etcd::Etcd;
use store::{AnyStore, Store};

use crate::etcd_process::EtcdProcess;

/// Some keys have their values packed, some have not.
const PACKED: &[&[u8]] = &[b"/a"];

/// A store that can be closed and opened again.
pub(crate) trait Backend {
    type S: Store;
    /// Whether a watch ends with its store, and sees revisions of other prefixes pass.
    const MEMORY: bool;
    /// An empty one.
    async fn fresh(&mut self);
    /// Opens what is there.
    async fn open(&self) -> Self::S;
}

pub(crate) struct OnDisk(tempfile::TempDir);

impl OnDisk {
    pub(crate) fn new() -> OnDisk {
        OnDisk(tempfile::tempdir().unwrap())
    }
}

impl Backend for OnDisk {
    type S = Embedded;
    const MEMORY: bool = true;

    async fn fresh(&mut self) {
        self.0 = tempfile::tempdir().unwrap();
    }

    async fn open(&self) -> Embedded {
        let options = embedded::Options { packed: PACKED, ..embedded::Options::default() };
        Embedded::open(self.0.path(), options).unwrap()
    }
}

static PREFIXES: AtomicUsize = AtomicUsize::new(0);

fn new_prefix() -> String {
    format!("/test/{}", PREFIXES.fetch_add(1, Ordering::Relaxed))
}

/// etcd asked directly.
pub(crate) struct Direct<'a> {
    pub(crate) etcd: &'a EtcdProcess,
    pub(crate) prefix: String,
}

impl<'a> Direct<'a> {
    pub(crate) fn new(etcd: &'a EtcdProcess) -> Self {
        Direct { etcd, prefix: new_prefix() }
    }
}

impl Backend for Direct<'_> {
    type S = Etcd;
    const MEMORY: bool = false;

    async fn fresh(&mut self) {
        self.prefix = new_prefix();
    }

    async fn open(&self) -> Etcd {
        self.etcd.store(&self.prefix).await
    }
}

/// etcd behind the cache, as a server uses it.
pub(crate) struct Behind<'a>(pub(crate) Direct<'a>);

impl Backend for Behind<'_> {
    type S = AnyStore;
    const MEMORY: bool = true;

    async fn fresh(&mut self) {
        self.0.fresh().await;
    }

    async fn open(&self) -> AnyStore {
        let options = cached::Options { packed: PACKED, ..cached::Options::default() };
        AnyStore::Etcd(Cached::open(self.0.open().await, options).await.unwrap())
    }
}
