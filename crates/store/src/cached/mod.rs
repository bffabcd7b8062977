//! A cache before a store that several servers share: one feed of it keeps the keys and the recent history in memory,
//! from which this server's readers and watchers are served.
//!
//! # Invariants
//! - The far store has one feed a server, however many watchers there are.
//! - A read that asks for no revision shows every commit that was acknowledged before it, of whichever server: the newest
//!   revision is asked of the far store, and the memory waited for until it is there.
//! - A feed that breaks off goes on where it was, and watchers notice nothing; only when the far store has forgotten what
//!   lies between are they told to list again.
//!
//! # Absent
//! Commits: they go to the far store, and come back by the feed.

mod follow;
mod fresh;
mod limits;

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::memory::{self, Hub, MemoryWatch, Packer, State};
use crate::{Entry, Event, Expect, Op, Page, Revision, Store, StoreError};
use fresh::Fresh;
use limits::{CATCH_UP_MAX, MARK_AFTER, REACH_MAX};

/// One change, as a feed tells it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The revision of the commit.
    pub revision: Revision,
    /// When the key came to be; 0 for a deletion.
    pub create_revision: Revision,
    /// The key.
    pub key: Bytes,
    /// What stands there now; None after a delete.
    pub value: Option<Bytes>,
    /// What stood there before, where the feed tells it.
    pub previous: Option<Entry>,
}

impl Change {
    /// As an event.
    pub(crate) fn into_event(self) -> Event {
        let Change { revision, create_revision, key, value, previous } = self;
        let current = value.map(|value| Entry { key: key.clone(), value, create_revision, mod_revision: revision });
        let previous = previous.map(|entry| Entry { key: key.clone(), ..entry });
        Event { revision, key, current, previous }
    }
}

/// What a feed delivers at once.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In order.
    pub changes: Vec<Change>,
    /// There is nothing else up to here.
    pub upto: Revision,
    /// History up to here is about to be forgotten.
    pub compacted: Option<Revision>,
}

/// All that happens in a store, from a revision on.
pub trait Feed: Send {
    /// What comes next. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<Batch, StoreError>> + Send;
}

/// A store that can be cached.
pub trait Source: Store {
    /// Its feed.
    type Feed: Feed;
    /// A revision that can be read and followed, as old as possible.
    fn oldest(&self) -> impl Future<Output = Result<Revision, StoreError>> + Send;
    /// Everything after a revision.
    fn feed(&self, after: Revision) -> impl Future<Output = Result<Self::Feed, StoreError>> + Send;
    /// Makes every feed move on to the newest revision, also when what is newest is not ours.
    fn mark(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// How much is remembered.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events of history kept.
    pub history_events_max: usize,
    /// Bytes that the history may hold beyond the current values.
    pub history_bytes_max: usize,
    /// Events that may wait for one watcher, beyond those that it begins with.
    pub watch_queue_events_max: usize,
    /// Values of keys that begin so are compressed in memory: those of kinds that are many and alike.
    pub packed: &'static [&'static [u8]],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_events_max: memory::HISTORY_EVENTS_MAX,
            history_bytes_max: memory::HISTORY_BYTES_MAX,
            watch_queue_events_max: memory::WATCH_QUEUE_EVENTS_MAX,
            packed: &[],
        }
    }
}

/// A cached store. Cheap to clone; the last clone ends its watches.
#[derive(Debug)]
pub struct Cached<S: Source> {
    shared: Arc<Shared<S>>,
}

impl<S: Source> Clone for Cached<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

#[derive(Debug)]
struct Shared<S> {
    core: Arc<Core<S>>,
    fresh: Fresh,
    /// Held by who makes the feed move on: once for all who wait.
    marking: Mutex<()>,
    follower: AbortHandle,
}

/// What the follower shares with the handles.
#[derive(Debug)]
struct Core<S> {
    source: S,
    options: Options,
    state: RwLock<State>,
    hub: Arc<Hub>,
    seen: watch::Sender<Revision>,
}

impl<S: Source> Cached<S> {
    /// Reads everything into memory and begins to follow.
    ///
    /// # Errors
    /// When the source does not answer.
    pub async fn open(source: S, options: Options) -> Result<Self, StoreError> {
        let newest = source.revision().await?;
        let mut packer = Packer::new(options.packed);
        let state = follow::beginning(&source, newest, &mut packer).await?;
        let revision = state.revision();
        let core = Arc::new(Core {
            source,
            options,
            state: RwLock::new(state),
            hub: Arc::new(Hub::starting_at(revision)),
            seen: watch::Sender::new(revision),
        });
        let follower = tokio::spawn(follow::run(core.clone(), packer)).abort_handle();
        let shared = Shared { core, fresh: Fresh::default(), marking: Mutex::new(()), follower };
        let cached = Self { shared: Arc::new(shared) };
        // What a client of another server has seen, this one has too before it serves.
        timeout(CATCH_UP_MAX, cached.reach(newest)).await.unwrap_or_else(|_| Err(behind(newest)))?;
        Ok(cached)
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.core.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest revision of the far store. Who asks while another question is on its way shares the next one.
    async fn newest(&self) -> Result<Revision, StoreError> {
        self.shared.fresh.ask(|| self.shared.core.source.revision()).await
    }

    /// Waits until the memory shows `revision`.
    async fn reach(&self, revision: Revision) -> Result<(), StoreError> {
        let mut seen = self.shared.core.seen.subscribe();
        // The sender lives as long as this handle.
        if timeout(MARK_AFTER, seen.wait_for(|seen| *seen >= revision)).await.is_ok() {
            return Ok(());
        }
        let reached = async {
            // The newest revision may be someone else's in the same store, of which the feed tells nothing.
            let turn = self.shared.marking.lock().await;
            if self.seen() < revision {
                self.shared.core.source.mark().await?;
            }
            drop(turn);
            let _ = seen.wait_for(|seen| *seen >= revision).await;
            Ok(())
        };
        timeout(REACH_MAX, reached).await.unwrap_or_else(|_| Err(behind(revision)))
    }
}

fn behind(revision: Revision) -> StoreError {
    StoreError::Timeout(format!("this server's watch of the store has not reached revision {}", revision.0))
}

impl<S> Core<S> {
    /// A watch, if the memory holds what it begins with.
    fn register(self: &Arc<Self>, prefix: &[u8], after: Revision) -> Result<MemoryWatch, StoreError> {
        let read = || self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        // The long look back happens outside the hub's lock; under it only what came meanwhile is added.
        let before = read();
        let mut backlog = before.events_after(prefix, after)?;
        self.hub.register(prefix, self.options.watch_queue_events_max, || {
            let now = read();
            backlog.extend(now.events_after(prefix, before.revision())?);
            Ok((backlog, now.revision()))
        })
    }
}

impl<S: Source> Store for Cached<S> {
    type Watch = MemoryWatch;

    async fn revision(&self) -> Result<Revision, StoreError> {
        let newest = self.newest().await?;
        self.reach(newest).await?;
        Ok(newest)
    }

    fn seen(&self) -> Revision {
        self.read(State::revision)
    }

    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), StoreError> {
        let newest = self.newest().await?;
        if self.seen() < newest && self.reach(newest).await.is_err() {
            // One key can be had without the feed.
            return self.shared.core.source.get(key).await;
        }
        Ok(self.read(|state| (state.get(key), state.revision())))
    }

    async fn list(&self, prefix: &[u8], after: &[u8], limit: usize, at: Option<Revision>) -> Result<Page, StoreError> {
        match at {
            None => {
                let newest = self.newest().await?;
                self.reach(newest).await?;
            }
            Some(at) if at > self.seen() => {
                let newest = self.newest().await?;
                if at > newest {
                    return Err(StoreError::Future { wanted: at, newest });
                }
                self.reach(at).await?;
            }
            Some(_) => {}
        }
        // A clone is a snapshot: the follower never waits for a long list.
        match self.read(State::clone).list(prefix, after, limit, at) {
            // The far store may remember for longer.
            Err(StoreError::Compacted { .. }) => self.shared.core.source.list(prefix, after, limit, at).await,
            answered => answered,
        }
    }

    async fn commit(&self, key: &[u8], expect: Expect, op: Op) -> Result<Revision, StoreError> {
        self.shared.core.source.commit(key, expect, op).await
    }

    async fn watch(&self, prefix: &[u8], after: Revision) -> Result<MemoryWatch, StoreError> {
        // A client that comes from another server may be ahead of this one.
        if after > self.seen() {
            let newest = self.newest().await?;
            if after > newest {
                return Err(StoreError::Future { wanted: after, newest });
            }
            self.reach(after).await?;
        }
        self.shared.core.register(prefix, after)
    }

    async fn compact(&self, upto: Revision) -> Result<(), StoreError> {
        let newest = self.newest().await?;
        if upto <= newest {
            self.reach(upto).await?;
        }
        self.shared.core.source.compact(upto).await?;
        self.shared.core.forget(upto);
        Ok(())
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        self.follower.abort();
        self.core.hub.close();
    }
}
