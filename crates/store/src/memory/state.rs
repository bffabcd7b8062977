//! What readers see: every key as it stands, the history since the last compaction, and the revision both show.
//!
//! # Invariants
//! - `history` holds one event for each commit after `compacted`, in order; revisions may have gaps where a batch failed.
//! - A clone is cheap and never changes: it is a consistent snapshot.
//!
//! # Absent
//! The disk, locks and waiting.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, Vector};

use super::limits::EVENT_OVERHEAD_BYTES;
use super::packing::Kept;
use crate::{Entry, Event, Page, Revision, StoreError};

/// One snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    keys: OrdMap<Bytes, Arc<Kept>>,
    history: Vector<Arc<Past>>,
    history_bytes: usize,
    revision: Revision,
    compacted: Revision,
}

/// One commit as it is kept.
#[derive(Debug)]
struct Past {
    revision: Revision,
    key: Bytes,
    current: Option<Arc<Kept>>,
    previous: Option<Arc<Kept>>,
}

/// One step of a compaction: what it forgets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// History up to and with this revision is forgotten.
    pub(crate) upto: Revision,
    /// How many events those are.
    pub(crate) events: usize,
    /// The records that nothing needs any more.
    pub(crate) records: Vec<Revision>,
}

impl State {
    /// A store whose history begins after `compacted`.
    pub(crate) fn starting_at(compacted: Revision) -> Self {
        Self { revision: compacted, compacted, ..Self::default() }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    pub(crate) fn history_len(&self) -> usize {
        self.history.len()
    }

    /// What the history keeps alive beyond the current values.
    pub(crate) fn history_bytes(&self) -> usize {
        self.history_bytes
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Entry> {
        self.keys.get(key).map(|kept| kept.entry())
    }

    /// The key as it is kept, if there is one like it.
    pub(crate) fn key(&self, key: &[u8]) -> Option<Bytes> {
        self.keys.get(key).map(|kept| kept.key.clone())
    }

    /// Takes in one commit: its revision, its key, and what stands there after it. Commits at or before `compacted` only
    /// set the key: they are what the history stands on.
    pub(crate) fn apply(&mut self, revision: Revision, key: &Bytes, current: Option<Arc<Kept>>) {
        let previous = match &current {
            Some(kept) => self.keys.insert(key.clone(), kept.clone()),
            None => self.keys.remove(key),
        };
        self.revision = self.revision.max(revision);
        if revision > self.compacted {
            let past = Past { revision, key: key.clone(), current, previous };
            self.history_bytes += past.cost();
            self.history.push_back(Arc::new(past));
        }
    }

    /// Notes that there was no commit up to `revision` that [`State::apply`] was not told of.
    pub(crate) fn advance(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// What forgetting up to and with `upto` would take, at most `events_max` events of it.
    pub(crate) fn plan_compaction(&self, upto: Revision, events_max: usize) -> Step {
        let mut step = Step { upto, ..Step::default() };
        for event in &self.history {
            if event.revision > upto {
                return step;
            }
            if step.events == events_max {
                // The rest is for the next step: this one ends with the event before.
                step.upto = self.history[step.events - 1].revision;
                return step;
            }
            step.events += 1;
            step.records.extend(event.previous.as_ref().map(|kept| kept.mod_revision));
            if event.current.is_none() {
                step.records.push(event.revision);
            }
        }
        step
    }

    /// Forgets what the step says.
    pub(crate) fn compact(&mut self, step: &Step) {
        for _ in 0..step.events {
            if let Some(event) = self.history.pop_front() {
                self.history_bytes -= event.cost();
            }
        }
        self.compacted = self.compacted.max(step.upto);
    }

    /// The revision to compact to so that at most `events` events and `bytes` bytes stay; None: that is so already.
    pub(crate) fn compaction_target(&self, events: usize, bytes: usize) -> Option<Revision> {
        let mut over_events = self.history.len().saturating_sub(events);
        let mut over_bytes = self.history_bytes.saturating_sub(bytes);
        let mut target = None;
        for event in &self.history {
            if over_events == 0 && over_bytes == 0 {
                break;
            }
            over_events = over_events.saturating_sub(1);
            over_bytes = over_bytes.saturating_sub(event.cost());
            target = Some(event.revision);
        }
        target
    }

    /// Whether `at` can be read.
    pub(crate) fn check_readable(&self, at: Revision) -> Result<(), StoreError> {
        if at < self.compacted {
            Err(StoreError::Compacted { wanted: at, oldest: self.compacted })
        } else if at > self.revision {
            Err(StoreError::Future { wanted: at, newest: self.revision })
        } else {
            Ok(())
        }
    }

    /// Every event of `prefix` after `after`, in order.
    pub(crate) fn events_after(&self, prefix: &[u8], after: Revision) -> Result<Vec<Arc<Event>>, StoreError> {
        self.check_readable(after)?;
        let of_prefix = self.newer_events(after).filter(|past| past.key.starts_with(prefix));
        Ok(of_prefix.map(|past| Arc::new(past.event())).collect())
    }

    fn newer_events(&self, after: Revision) -> impl Iterator<Item = &Arc<Past>> {
        let first = match self.history.binary_search_by(|event| event.revision.cmp(&after)) {
            Ok(found) => found + 1,
            Err(place) => place,
        };
        self.history.focus().narrow(first..).into_iter()
    }

    /// A page of the keys of `prefix` after `after`, as of `at` or now.
    pub(crate) fn list(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let start = if after >= prefix && !after.is_empty() { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let range: (Bound<&[u8]>, Bound<&[u8]>) = (start, Bound::Unbounded);
        let now = self.keys.range::<_, [u8]>(range).map(|(_, kept)| kept.as_ref());
        let now = now.take_while(|kept| kept.key.starts_with(prefix));
        let at = at.unwrap_or(self.revision);
        self.check_readable(at)?;
        if at == self.revision {
            return Ok(page(now, limit, at));
        }
        let mut then: BTreeMap<&Bytes, Option<&Kept>> = BTreeMap::new();
        for event in self.newer_events(at) {
            let key = event.key.as_ref();
            if key.starts_with(prefix) && (after.is_empty() || key > after) {
                then.entry(&event.key).or_insert(event.previous.as_deref());
            }
        }
        let unchanged = now.filter(|kept| !then.contains_key(&kept.key));
        let changed = then.values().copied().flatten();
        Ok(page(merge(unchanged, changed), limit, at))
    }
}

fn page<'a>(mut kept: impl Iterator<Item = &'a Kept>, limit: usize, revision: Revision) -> Page {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let entries: Vec<Entry> = kept.by_ref().take(limit).map(Kept::entry).collect();
    let remaining = kept.count() as u64;
    Page { entries, revision, more: remaining > 0, remaining }
}

impl Past {
    /// What only the history keeps alive: the value that was replaced, and the event itself.
    fn cost(&self) -> usize {
        EVENT_OVERHEAD_BYTES + self.key.len() + self.previous.as_ref().map_or(0, |kept| kept.value_bytes())
    }

    /// As watchers see it.
    fn event(&self) -> Event {
        let entry = |kept: &Option<Arc<Kept>>| kept.as_ref().map(|kept| kept.entry());
        let (current, previous) = (entry(&self.current), entry(&self.previous));
        Event { revision: self.revision, key: self.key.clone(), current, previous }
    }
}

/// Two runs of keys in order as one.
fn merge<'a>(
    left: impl Iterator<Item = &'a Kept>,
    right: impl Iterator<Item = &'a Kept>,
) -> impl Iterator<Item = &'a Kept> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(l), Some(r)) if l.key < r.key => left.next(),
        (Some(_), None) => left.next(),
        _ => right.next(),
    })
}
