//! Hands each commit to the watchers of its key's prefixes.
//!
//! # Invariants
//! - A commit looks up one prefix for each distinct prefix length, and touches no watcher of another prefix.
//! - A watcher is registered under the same lock that commits are handed out under, and skips what its backlog holds:
//!   it sees each event once.
//! - A watcher that falls behind loses its queue, not the store its memory.
//!
//! # Locks
//! The hub's lock is taken before a queue's lock; the state's lock may be taken under the hub's, never the other way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{Event, Revision, StoreError, Watch};

/// All watchers.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    index: Mutex<Index>,
    /// Everything up to here was handed out.
    handed_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    by_prefix: HashMap<Bytes, HashMap<u64, Arc<Queue>>>,
    /// How many distinct prefixes have each length.
    lengths: BTreeMap<usize, usize>,
    next_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct Queue {
    inner: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    /// The queue may hold this many; the backlog at registration comes on top of the bound.
    events_max: usize,
    /// Events up to here were in the backlog.
    since: Revision,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Lagged,
    Closed,
}

impl Hub {
    /// A hub that has handed out everything up to `revision`.
    pub(crate) fn starting_at(revision: Revision) -> Self {
        Self { handed_out: AtomicU64::new(revision.0), ..Self::default() }
    }

    /// Adds a watcher of `prefix`; `backlog` tells, under the hub's lock, the events it begins with and the revision
    /// they end at.
    pub(crate) fn register(
        self: &Arc<Self>,
        prefix: &[u8],
        queue_max: usize,
        backlog: impl FnOnce() -> Result<(Vec<Arc<Event>>, Revision), StoreError>,
    ) -> Result<MemoryWatch, StoreError> {
        let mut index = locked(&self.index);
        let (events, since) = backlog()?;
        let queue = Arc::new(Queue {
            inner: Mutex::new(Waiting {
                events_max: queue_max + events.len(),
                events: events.into(),
                since,
                end: index.closed.then_some(End::Closed),
            }),
            wake: Notify::new(),
        });
        let prefix = Bytes::copy_from_slice(prefix);
        let id = index.next_id;
        index.next_id += 1;
        let watchers = index.by_prefix.entry(prefix.clone()).or_default();
        let first = watchers.is_empty();
        watchers.insert(id, queue.clone());
        if first {
            *index.lengths.entry(prefix.len()).or_default() += 1;
        }
        Ok(MemoryWatch { hub: self.clone(), queue, prefix, id, delivered: Revision(0) })
    }

    /// Hands out commits that are durable and that readers see already, in order.
    pub(crate) fn hand_out(&self, events: &[Arc<Event>]) {
        let mut index = locked(&self.index);
        for event in events {
            index.hand_out(event);
        }
        if let Some(last) = events.last() {
            self.handed_out.store(last.revision.0, Ordering::Release);
        }
    }

    /// Notes that there is nothing more to hand out up to `revision`.
    pub(crate) fn advance(&self, revision: Revision) {
        let _index = locked(&self.index);
        self.handed_out.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// Ends every watch because events were missed; new ones begin after `revision`.
    pub(crate) fn interrupt(&self, revision: Revision) {
        let mut index = locked(&self.index);
        for queue in index.by_prefix.values().flat_map(HashMap::values) {
            queue.end(End::Lagged);
        }
        index.by_prefix.clear();
        index.lengths.clear();
        self.handed_out.store(revision.0, Ordering::Release);
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        let mut index = locked(&self.index);
        index.closed = true;
        for queue in index.by_prefix.values().flat_map(HashMap::values) {
            queue.end(End::Closed);
        }
    }

    fn remove(&self, prefix: &Bytes, id: u64) {
        locked(&self.index).remove(prefix, id);
    }

    #[cfg(test)]
    fn watchers(&self) -> usize {
        locked(&self.index).by_prefix.values().map(HashMap::len).sum()
    }
}

impl Index {
    fn hand_out(&mut self, event: &Arc<Event>) {
        let mut fallen: Vec<(Bytes, u64)> = Vec::new();
        for &length in self.lengths.range(..=event.key.len()).map(|(length, _)| length) {
            let Some((prefix, watchers)) = self.by_prefix.get_key_value(&event.key[..length]) else { continue };
            for (id, queue) in watchers {
                if !queue.push(event) {
                    fallen.push((prefix.clone(), *id));
                }
            }
        }
        for (prefix, id) in fallen {
            self.remove(&prefix, id);
        }
    }

    fn remove(&mut self, prefix: &Bytes, id: u64) {
        let Some(watchers) = self.by_prefix.get_mut(prefix) else { return };
        watchers.remove(&id);
        if !watchers.is_empty() {
            return;
        }
        self.by_prefix.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }
}

impl Queue {
    /// False: the watcher is out, for being too slow.
    fn push(&self, event: &Arc<Event>) -> bool {
        let mut inner = locked(&self.inner);
        if event.revision <= inner.since {
            return true;
        }
        if inner.events.len() >= inner.events_max {
            drop(inner);
            self.end(End::Lagged);
            return false;
        }
        inner.events.push_back(event.clone());
        drop(inner);
        self.wake.notify_one();
        true
    }

    fn end(&self, end: End) {
        let mut inner = locked(&self.inner);
        inner.end = Some(end);
        if matches!(end, End::Lagged) {
            inner.events = VecDeque::new();
        }
        drop(inner);
        self.wake.notify_one();
    }

    fn take(&self) -> Option<Result<Option<Arc<Event>>, StoreError>> {
        let mut inner = locked(&self.inner);
        match (inner.events.pop_front(), inner.end) {
            (Some(event), _) => Some(Ok(Some(event))),
            (None, Some(End::Lagged)) => Some(Err(StoreError::Lagged)),
            (None, Some(End::Closed)) => Some(Ok(None)),
            (None, None) => None,
        }
    }
}

/// A watch that is fed from memory. Dropping it ends it.
#[derive(Debug)]
pub struct MemoryWatch {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
    prefix: Bytes,
    id: u64,
    delivered: Revision,
}

impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        loop {
            match self.queue.take() {
                Some(Ok(Some(event))) => {
                    self.delivered = event.revision;
                    return Ok(Some(Arc::unwrap_or_clone(event)));
                }
                Some(Ok(None)) => return Ok(None),
                Some(Err(e)) => return Err(e),
                // A wake-up between the look and the wait is kept by the Notify.
                None => self.queue.wake.notified().await,
            }
        }
    }

    fn progress(&self) -> Revision {
        // Read before the queue: what is handed out by then is in the queue by then.
        let handed_out = Revision(self.hub.handed_out.load(Ordering::Acquire));
        let inner = locked(&self.queue.inner);
        match (inner.events.front(), inner.end) {
            (Some(event), _) => self.delivered.max(Revision(event.revision.0.saturating_sub(1))),
            (None, Some(_)) => self.delivered,
            (None, None) => handed_out.max(inner.since).max(self.delivered),
        }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.hub.remove(&self.prefix, self.id);
    }
}

/// The lock, also after a panic of another holder: what it guards is whole between any two statements here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, key: &str) -> Arc<Event> {
        Arc::new(Event {
            revision: Revision(revision),
            key: Bytes::from(key.to_owned()),
            current: None,
            previous: None,
        })
    }

    fn watch(hub: &Arc<Hub>, prefix: &str, backlog: &[u64], since: u64) -> MemoryWatch {
        let events = backlog.iter().map(|r| event(*r, prefix)).collect();
        hub.register(prefix.as_bytes(), 2, || Ok((events, Revision(since)))).unwrap()
    }

    async fn revisions(watch: &mut MemoryWatch, count: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        for _ in 0..count {
            seen.push(watch.next().await.unwrap().unwrap().revision.0);
        }
        seen
    }

    #[tokio::test]
    async fn each_event_once_backlog_first() {
        let hub = Arc::new(Hub::starting_at(Revision(3)));
        let mut pods = watch(&hub, "/pods/", &[2, 3], 3);
        let mut all = watch(&hub, "", &[], 3);
        let mut one = watch(&hub, "/pods/a", &[], 3);
        // 3 is in the backlogs already: the hub may hand it out again.
        hub.hand_out(&[event(3, "/pods/a"), event(4, "/nodes/a"), event(5, "/pods/a")]);
        assert_eq!(revisions(&mut pods, 3).await, [2, 3, 5]);
        assert_eq!(revisions(&mut all, 2).await, [4, 5]);
        assert_eq!(revisions(&mut one, 1).await, [5]);
        hub.close();
        assert!(pods.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_and_let_go() {
        let hub = Arc::new(Hub::default());
        let mut slow = watch(&hub, "/a", &[1], 1);
        let mut fast = watch(&hub, "/a", &[], 1);
        for revision in 2..=4 {
            hub.hand_out(&[event(revision, "/a")]);
            assert_eq!(revisions(&mut fast, 1).await, [revision]);
        }
        // A backlog of one and a bound of two: three events fit, one more does not.
        hub.hand_out(&[event(5, "/a")]);
        assert!(matches!(slow.next().await, Err(StoreError::Lagged)));
        assert!(matches!(slow.next().await, Err(StoreError::Lagged)));
        assert_eq!(hub.watchers(), 1);
        assert_eq!(revisions(&mut fast, 1).await, [5]);
        drop((slow, fast));
        assert_eq!(hub.watchers(), 0);
        assert!(locked(&hub.index).lengths.is_empty());
    }

    #[tokio::test]
    async fn progress_covers_other_prefixes_but_not_what_waits() {
        let hub = Arc::new(Hub::starting_at(Revision(10)));
        let mut quiet = watch(&hub, "/quiet", &[], 10);
        assert_eq!(quiet.progress(), Revision(10));
        hub.hand_out(&[event(11, "/busy"), event(12, "/busy")]);
        assert_eq!(quiet.progress(), Revision(12));
        hub.hand_out(&[event(13, "/busy"), event(14, "/quiet"), event(15, "/busy")]);
        assert_eq!(quiet.progress(), Revision(13));
        revisions(&mut quiet, 1).await;
        assert_eq!(quiet.progress(), Revision(15));
    }

    #[tokio::test]
    async fn waiting_can_be_cancelled() {
        let hub = Arc::new(Hub::default());
        let mut watch = watch(&hub, "/a", &[], 0);
        for revision in 1..=2 {
            tokio::select! {
                biased;
                _ = watch.next() => panic!("nothing was committed"),
                () = std::future::ready(()) => {}
            }
            hub.hand_out(&[event(revision, "/a")]);
            assert_eq!(revisions(&mut watch, 1).await, [revision]);
        }
    }
}
