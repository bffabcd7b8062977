//! What every backend speaks: revisions, entries, events, errors and the [`Store`] trait.

use std::future::Future;

use bytes::Bytes;

/// A point in the store's history; 0 is before the first commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// One key as it stood at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value, shared, never copied for a reader.
    pub value: Bytes,
    /// When the key came to be.
    pub create_revision: Revision,
    /// When it was last written.
    pub mod_revision: Revision,
}

/// What a commit demands of the key as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must exist with this `mod_revision`.
    At(Revision),
}

/// What a commit does.
#[derive(Debug, Clone)]
pub enum Op {
    /// Writes the value.
    Put(Bytes),
    /// Removes the key.
    Delete,
}

/// One change, as a watcher sees it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The revision of the commit.
    pub revision: Revision,
    /// The key.
    pub key: Bytes,
    /// What stands there now; None after a delete.
    pub current: Option<Entry>,
    /// What stood there before; None for a new key.
    pub previous: Option<Entry>,
}

/// A page of a list, all of it as of one revision.
#[derive(Debug, Clone)]
pub struct Page {
    /// In key order.
    pub entries: Vec<Entry>,
    /// The revision it shows.
    pub revision: Revision,
    /// More keys follow the last one.
    pub more: bool,
    /// How many keys of the prefix follow the last one.
    pub remaining: u64,
}

/// Why a call failed, by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The key is not as expected; look at it again. Holds what stands there.
    #[error("the key is not as expected")]
    Conflict(Option<Entry>),
    /// The revision is older than the history kept; list again.
    #[error("revision {wanted:?} is older than the oldest kept, {oldest:?}")]
    Compacted {
        /// What was asked for.
        wanted: Revision,
        /// The oldest that can still be read.
        oldest: Revision,
    },
    /// The revision is not there yet.
    #[error("revision {wanted:?} is newer than the newest, {newest:?}")]
    Future {
        /// What was asked for.
        wanted: Revision,
        /// The newest.
        newest: Revision,
    },
    /// The watcher was slower than its bound; list and watch again.
    #[error("the watcher was too slow")]
    Lagged,
    /// The key and the value are larger than the store takes.
    #[error("{0}")]
    TooLarge(String),
    /// The disk or the far store does not answer; nothing was changed.
    #[error("the store can't be reached or written: {0}")]
    Unavailable(String),
    /// The far store did not answer in time. A commit may have happened or not: look at the key.
    #[error("the store did not answer in time: {0}")]
    Timeout(String),
}

/// A running watch.
pub trait Watch: Send {
    /// The next event; None when the store closed. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<Option<Event>, StoreError>> + Send;
    /// The revision up to which this watch has seen everything (for bookmarks).
    fn progress(&self) -> Revision;
}

/// A backend. Cheap to clone.
pub trait Store: Clone + Send + Sync + 'static {
    /// Its watches.
    type Watch: Watch + 'static;
    /// The newest revision. It takes in every commit, of whichever server, that was acknowledged before the call.
    fn revision(&self) -> impl Future<Output = Result<Revision, StoreError>> + Send;
    /// A revision that can be read without waiting for anything; perhaps not the newest, never going back but for a
    /// store that was restored from a backup.
    fn seen(&self) -> Revision;
    /// One key, with the revision the answer shows.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<(Option<Entry>, Revision), StoreError>> + Send;
    /// Up to `limit` (0: all) keys that start with `prefix` and stand after `after` (empty: from the first), as of `at` (None: now).
    fn list(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;
    /// Changes one key if it is as expected; returns when that is durable.
    fn commit(&self, key: &[u8], expect: Expect, op: Op) -> impl Future<Output = Result<Revision, StoreError>> + Send;
    /// Every event of `prefix` after `after`.
    fn watch(&self, prefix: &[u8], after: Revision) -> impl Future<Output = Result<Self::Watch, StoreError>> + Send;
    /// Forgets history up to and with `upto`.
    fn compact(&self, upto: Revision) -> impl Future<Output = Result<(), StoreError>> + Send;
}
