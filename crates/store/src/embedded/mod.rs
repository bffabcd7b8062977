//! The embedded backend: every key in memory, every commit on the local disk before it is acknowledged.
//!
//! Reads are answered from an ordered persistent map, so a reader holds a consistent snapshot and never waits for the
//! disk. One writer thread takes what waits, decides it in order, writes one batch, and calls fsync once for all of it.
//!
//! # Invariants
//! - The directory has one opener at a time.
//! - What a watcher was shown, a watcher after a restart is shown again: the history is on the disk too.
//!
//! # Absent
//! Replication: that is what the etcd backend is for.

mod dir;
mod journal;
mod limits;
mod log;
mod record;
mod writer;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use dir::OpenError;

use crate::memory::{self, Hub, MemoryWatch, Packer, State};
use crate::{Entry, Expect, Op, Page, Revision, Store, StoreError};
use dir::DataDir;
use log::Log;
use writer::{Command, Writer};

/// How much the store remembers.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events of history kept; beyond it the oldest are compacted away.
    pub history_events_max: usize,
    /// Bytes that the history may hold beyond the current values; beyond it the oldest are compacted away.
    pub history_bytes_max: usize,
    /// History older than this is compacted away at the next commit; None keeps it until another bound is met. A restart
    /// starts the clock anew.
    pub history_age_max: Option<Duration>,
    /// Events that may wait for one watcher, beyond those that it begins with.
    pub watch_queue_events_max: usize,
    /// Commits that may wait for others to share their fsync. None: no commit waits.
    pub patient: Option<Patient>,
    /// Values of keys that begin so are compressed in memory: those of kinds that are many and alike.
    pub packed: &'static [&'static [u8]],
}

/// Commits that may wait.
#[derive(Debug, Clone)]
pub struct Patient {
    /// Those to keys that begin so.
    pub prefix: Bytes,
    /// They wait no longer than this, and end at once when a commit comes that may not wait.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_events_max: memory::HISTORY_EVENTS_MAX,
            history_bytes_max: memory::HISTORY_BYTES_MAX,
            history_age_max: None,
            watch_queue_events_max: memory::WATCH_QUEUE_EVENTS_MAX,
            patient: None,
            packed: &[],
        }
    }
}

/// An open store. Cheap to clone; the last clone closes it, waiting for the batch at hand.
#[derive(Debug, Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Arc<RwLock<State>>,
    hub: Arc<Hub>,
    /// None only while closing.
    queue: Option<mpsc::Sender<Command>>,
    room: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
    watch_queue_events_max: usize,
}

impl Embedded {
    /// Opens the store in `dir`, making it if there is none. Reads everything, so it takes time in proportion to the data.
    ///
    /// # Errors
    /// When the directory is another process's, of a newer version, not a store, damaged, or can't be read or written.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let dir = DataDir::open(dir)?;
        let path = dir.path().to_owned();
        let mut log = Log::open(dir)?;
        let mut packer = Packer::new(options.packed);
        let state = replay(&mut log, &mut packer).map_err(|why| OpenError::Damaged { dir: path.clone(), why })?;
        let hub = Arc::new(Hub::starting_at(state.revision()));
        let state = Arc::new(RwLock::new(state));
        let (queue, commands) = mpsc::channel(limits::QUEUE_COMMANDS_MAX);
        let watch_queue_events_max = options.watch_queue_events_max;
        let writer = Writer::new(log, packer, state.clone(), hub.clone(), commands, options);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path, source })?;
        let shared = Shared {
            state,
            hub,
            queue: Some(queue),
            room: Arc::new(Semaphore::new(limits::QUEUE_BYTES_MAX)),
            writer: Some(writer),
            watch_queue_events_max,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands a command to the writer and waits for its answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("it is closed".into());
        let (reply, answer) = oneshot::channel();
        let queue = self.shared.queue.as_ref().ok_or_else(closed)?;
        queue.send(command(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Store for Embedded {
    type Watch = MemoryWatch;

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.read(State::revision))
    }

    fn seen(&self) -> Revision {
        self.read(State::revision)
    }

    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), StoreError> {
        Ok(self.read(|state| (state.get(key), state.revision())))
    }

    async fn list(&self, prefix: &[u8], after: &[u8], limit: usize, at: Option<Revision>) -> Result<Page, StoreError> {
        // A clone is a snapshot: the writer never waits for a long list.
        self.read(State::clone).list(prefix, after, limit, at)
    }

    /// Not cancel safe in one way: a commit that the writer has taken may still happen when its future is dropped.
    async fn commit(&self, key: &[u8], expect: Expect, op: Op) -> Result<Revision, StoreError> {
        let value_bytes = if let Op::Put(value) = &op { value.len() } else { 0 };
        let bytes = (key.len() + value_bytes).clamp(1, limits::QUEUE_BYTES_MAX);
        let closed = |_| StoreError::Unavailable("it is closed".into());
        // The bound fits in u32: it is clamped to a constant of a few MiB.
        let room = self.shared.room.clone().acquire_many_owned(bytes as u32).await.map_err(closed)?;
        let key = Bytes::copy_from_slice(key);
        self.ask(|reply| Command::Commit { key, expect, op, reply, room }).await
    }

    async fn watch(&self, prefix: &[u8], after: Revision) -> Result<MemoryWatch, StoreError> {
        // The long look back happens outside the hub's lock; under it only what was committed meanwhile is added.
        let before = self.read(State::clone);
        let mut backlog = before.events_after(prefix, after)?;
        self.shared.hub.register(prefix, self.shared.watch_queue_events_max, || {
            let now = self.read(State::clone);
            backlog.extend(now.events_after(prefix, before.revision())?);
            Ok((backlog, now.revision()))
        })
    }

    async fn compact(&self, upto: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Command::Compact { upto, reply }).await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// Builds what readers see from what the disk holds.
fn replay(log: &mut Log, packer: &mut Packer) -> Result<State, String> {
    let mut state = State::starting_at(log.compacted());
    log.read_all(|revision, bytes| {
        let record =
            record::decode(bytes).ok_or_else(|| format!("the record of revision {} is garbled", revision.0))?;
        // One allocation of the key for its whole life.
        let key = state.key(&record.key).unwrap_or(record.key);
        let create_revision = record.create_revision;
        let current =
            record.value.map(|value| Entry { key: key.clone(), value, create_revision, mod_revision: revision });
        state.apply(revision, &key, current.map(|entry| packer.keep(&entry)));
        Ok(())
    })?;
    Ok(state)
}
