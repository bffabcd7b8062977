//! The etcd backend: entries in an etcd cluster, over its v3 API, so that several servers can share them.
//!
//! etcd's revision is the store's revision. Reads ask etcd and are linearizable; for many readers and watchers put
//! [`crate::cached::Cached`] before it.
//!
//! # Invariants
//! - All keys are below one prefix; nothing else in etcd is read, written or counted on.
//! - A commit whose outcome etcd did not tell is looked up, and never called a failure that it may not be.
//! - Every request ends within a bound.
//!
//! # Absent
//! Leases and locks of etcd: servers agree by compare-and-set alone.

mod address;
mod client;
mod commit;
mod compaction;
mod failure;
mod feed;
mod keys;
mod limits;
mod proto;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;

pub use address::{Address, AddressError, TlsFiles};
pub use feed::{EtcdFeed, EtcdWatch};

use crate::cached::Source;
use crate::{Entry, Expect, Op, Page, Revision, Store, StoreError};
use client::{Client, no_answer};
use failure::Failure;
use feed::Range;
use keys::Layout;
use limits::{FIRST_REVISION, LIST_KEYS_FIRST, LIST_KEYS_MAX, LIST_PAGE_BYTES};
use proto::{
    Compare, CompareTarget, CompareTo, Done, PUT, PutRequest, RANGE, RangeRequest, RangeResponse, Request, RequestOp,
    TXN, TxnRequest, TxnResponse, revision, signed, unsigned,
};

/// The fact that says how far history was forgotten.
const COMPACTION: &str = "compaction";
/// The fact that is written to be seen by watches, and means nothing.
const MARK: &str = "mark";
/// Kubernetes' interval: watchers may stay away for so long.
const COMPACT_EVERY: Duration = Duration::from_secs(5 * 60);

/// How etcd is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it is.
    pub address: Address,
    /// History older than one or two of these is forgotten; None leaves that to others.
    pub compact_every: Option<Duration>,
}

impl Options {
    /// As a server uses it.
    pub fn new(address: Address) -> Options {
        Options { address, compact_every: Some(COMPACT_EVERY) }
    }
}

/// Why etcd can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No member answers.
    #[error("etcd does not answer at {members}: {why}; start it, or correct --store")]
    Unreachable {
        /// Who was asked.
        members: String,
        /// What the last one said.
        why: String,
    },
    /// A member answers, and will not serve us.
    #[error(
        "etcd at {members} does not let this server in: {why}; give it a client certificate that etcd knows as a user by --store-cert and --store-key"
    )]
    Refused {
        /// Who was asked.
        members: String,
        /// What it said.
        why: String,
    },
    /// A member answers, and the certificates do not fit.
    #[error(
        "etcd at {members} and this server do not trust each other: {why}; check --store-ca, --store-cert and --store-key"
    )]
    Certificates {
        /// Who was asked.
        members: String,
        /// What TLS said.
        why: String,
    },
    /// A file of certificates can't be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS can't be set up with what the files hold.
    #[error("{0}; check the files of --store-ca, --store-cert and --store-key")]
    Tls(String),
}

/// What every handle and every task shares.
#[derive(Debug)]
pub(crate) struct Core {
    client: Client,
    layout: Layout,
}

/// An etcd cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    core: Arc<Core>,
    compactor: Option<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = &self.compactor {
            task.abort();
        }
    }
}

impl Etcd {
    /// Connects, and looks whether etcd answers.
    ///
    /// # Errors
    /// When no member answers within seconds, or the certificates are wrong.
    pub async fn open(options: Options) -> Result<Etcd, OpenError> {
        let address = &options.address;
        let core = Arc::new(Core { client: Client::new(address)?, layout: Layout::new(&address.prefix) });
        core.revision_or_failure().await.map_err(|failure| {
            let (members, why) = (address.members.join(" "), failure.words());
            if matches!(failure, Failure::Refused(_)) {
                return OpenError::Refused { members, why };
            }
            // etcd hangs up on clients that it does not know, and its reason may not arrive before the end.
            let words = ["certificate", "tls", "handshake", "connection closed", "reset by peer", "broken pipe"];
            match address.tls.is_some() && words.iter().any(|word| why.to_lowercase().contains(word)) {
                true => OpenError::Certificates { members, why },
                false => OpenError::Unreachable { members, why },
            }
        })?;
        let compact = |interval| tokio::spawn(compaction::run(core.clone(), interval)).abort_handle();
        let compactor = options.compact_every.map(compact);
        Ok(Etcd { shared: Arc::new(Shared { core, compactor }) })
    }

    /// Settles a fact that all servers of a cluster agree on: writes `value` unless there is one, and returns what
    /// stands.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn settle(&self, fact: &str, value: &str) -> Result<String, StoreError> {
        let core = &self.shared.core;
        let key = core.layout.fact(fact);
        let request = TxnRequest {
            compare: vec![Compare {
                target: CompareTarget::Version.into(),
                key: key.clone(),
                to: Some(CompareTo::Version(0)),
            }],
            success: vec![RequestOp {
                request: Some(Request::Put(PutRequest { key: key.clone(), value: value.as_bytes().to_vec() })),
            }],
            failure: Vec::new(),
        };
        let _: TxnResponse = core.client.ask(TXN, request).await.map_err(no_answer)?;
        Ok(self.fact(fact).await?.unwrap_or_default())
    }

    /// What a fact says.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn fact(&self, fact: &str) -> Result<Option<String>, StoreError> {
        let core = &self.shared.core;
        let answer = core.range(RangeRequest { key: core.layout.fact(fact), ..RangeRequest::default() }).await;
        let kv = answer.map_err(no_answer)?.kvs.into_iter().next();
        Ok(kv.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
    }
}

impl Core {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        let answer: RangeResponse = self.client.ask(RANGE, request).await?;
        self.client.saw(revision(answer.header.as_ref()));
        Ok(answer)
    }

    /// etcd's newest revision, as agreed by its members now.
    async fn revision_or_failure(&self) -> Result<Revision, Failure> {
        let request = RangeRequest { key: self.layout.fact(MARK), count_only: true, ..RangeRequest::default() };
        Ok(revision(self.range(request).await?.header.as_ref()))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.revision_or_failure().await.map_err(no_answer)
    }

    /// Whether etcd still and already has a revision.
    async fn readable(&self, at: Revision) -> Result<(), StoreError> {
        let request = RangeRequest {
            key: self.layout.fact(MARK),
            revision: signed(at),
            count_only: true,
            ..RangeRequest::default()
        };
        match self.range(request).await {
            Ok(_) => Ok(()),
            Err(Failure::Compacted) => Err(StoreError::Compacted { wanted: at, oldest: Revision(at.0 + 1) }),
            Err(Failure::Future) => Err(StoreError::Future { wanted: at, newest: self.revision().await? }),
            Err(failure) => Err(no_answer(failure)),
        }
    }

    /// The revision that our own servers compacted to.
    async fn compacted(&self) -> Result<Option<Revision>, StoreError> {
        let answer = self.range(RangeRequest { key: self.layout.fact(COMPACTION), ..RangeRequest::default() }).await;
        let kv = answer.map_err(no_answer)?.kvs.into_iter().next();
        Ok(kv.and_then(|kv| compaction::read(&kv.value)))
    }

    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), StoreError> {
        let request = RangeRequest { key: self.layout.entry(key), ..RangeRequest::default() };
        let answer = self.range(request).await.map_err(no_answer)?;
        let at = revision(answer.header.as_ref());
        let kv = answer.kvs.into_iter().next();
        Ok((kv.map(|kv| commit::entry(kv, Bytes::copy_from_slice(key))), at))
    }
}

impl Etcd {
    /// Why a revision can't be read, with the numbers.
    async fn unreadable(&self, failure: Failure, at: Revision) -> StoreError {
        let core = &self.shared.core;
        match failure {
            Failure::Compacted => {
                let (from, to) = core.layout.everything();
                let range = Range { from, to, previous: false };
                match EtcdFeed::open(core.clone(), range, at).await {
                    Err(StoreError::Compacted { oldest, .. }) => StoreError::Compacted { wanted: at, oldest },
                    _ => StoreError::Compacted { wanted: at, oldest: Revision(at.0 + 1) },
                }
            }
            Failure::Future => match core.revision().await {
                Ok(newest) => StoreError::Future { wanted: at, newest },
                Err(error) => error,
            },
            other => no_answer(other),
        }
    }
}

impl Store for Etcd {
    type Watch = EtcdWatch;

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.shared.core.revision().await
    }

    fn seen(&self) -> Revision {
        self.shared.core.client.newest()
    }

    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), StoreError> {
        self.shared.core.get(key).await
    }

    async fn list(&self, prefix: &[u8], after: &[u8], limit: usize, at: Option<Revision>) -> Result<Page, StoreError> {
        let core = &self.shared.core;
        let whole = core.layout.entry(prefix);
        let range_end = keys::end(&whole);
        let mut key = if after.is_empty() || after < prefix { whole } else { keys::behind(core.layout.entry(after)) };
        let mut shown = at;
        let mut page = Page { entries: Vec::new(), revision: Revision(0), more: false, remaining: 0 };
        let mut keys_max = LIST_KEYS_FIRST;
        loop {
            let room = if limit == 0 { usize::MAX } else { limit - page.entries.len() };
            let request = RangeRequest {
                key,
                range_end: range_end.clone(),
                limit: keys_max.min(room) as i64, // at most LIST_KEYS_MAX
                revision: shown.map_or(0, |at| signed(Revision(at.0.max(FIRST_REVISION)))),
                count_only: false,
            };
            let answer = match core.range(request).await {
                Ok(answer) => answer,
                Err(failure) => return Err(self.unreadable(failure, shown.unwrap_or_default()).await),
            };
            let at = *shown.get_or_insert_with(|| revision(answer.header.as_ref()));
            page.revision = at;
            page.remaining = unsigned(answer.count).saturating_sub(answer.kvs.len() as u64);
            page.more = page.remaining > 0;
            let count = answer.kvs.len();
            let mut bytes = 0;
            for kv in answer.kvs {
                bytes += kv.value.len();
                let Some(name) = core.layout.strip(&kv.key) else { continue };
                let name = Bytes::copy_from_slice(name);
                page.entries.push(commit::entry(kv, name));
            }
            let last = page.entries.last().map(|entry| core.layout.entry(&entry.key));
            key = match last {
                Some(last) if page.more && count > 0 && page.entries.len() != limit => keys::behind(last),
                _ => return Ok(page),
            };
            keys_max = (LIST_PAGE_BYTES / (bytes / count).max(1)).clamp(LIST_KEYS_FIRST, LIST_KEYS_MAX);
        }
    }

    /// Cancel safe in this way only: a commit that was sent may still happen when its future is dropped.
    async fn commit(&self, key: &[u8], expect: Expect, op: Op) -> Result<Revision, StoreError> {
        commit::commit(&self.shared.core, key, expect, op).await
    }

    async fn watch(&self, prefix: &[u8], after: Revision) -> Result<EtcdWatch, StoreError> {
        EtcdWatch::open(self.shared.core.clone(), prefix, after).await
    }

    async fn compact(&self, upto: Revision) -> Result<(), StoreError> {
        compaction::compact(&self.shared.core, upto).await
    }
}

impl Source for Etcd {
    type Feed = EtcdFeed;

    async fn oldest(&self) -> Result<Revision, StoreError> {
        Ok(self.shared.core.compacted().await?.unwrap_or_default().max(Revision(FIRST_REVISION)))
    }

    async fn feed(&self, after: Revision) -> Result<EtcdFeed, StoreError> {
        let core = self.shared.core.clone();
        let (from, to) = core.layout.everything();
        let opened = EtcdFeed::open(core.clone(), Range { from, to, previous: false }, after).await;
        if let Err(StoreError::Unavailable(_) | StoreError::Timeout(_)) = opened {
            core.client.turn();
        }
        opened
    }

    async fn mark(&self) -> Result<(), StoreError> {
        let core = &self.shared.core;
        let put = PutRequest { key: core.layout.fact(MARK), value: Vec::new() };
        core.client.ask::<_, Done>(PUT, put).await.map(|_| ()).map_err(no_answer)
    }
}
