//! Keeping the memory as the far store is.
//!
//! # Invariants
//! - What the feed repeats after a break is taken once.
//! - The memory is shown to readers before watchers are handed a change, and both before its revision counts as seen.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::time::sleep;

use super::limits::{BEGIN_TRIES, FORGET_STEP, LIST_KEYS, PAUSE_MAX, PAUSE_MIN};
use super::{Batch, Core, Feed, Source};
use crate::memory::{COMPACT_SHARE, Packer, State};
use crate::{Entry, Event, Revision, Store, StoreError};

/// The memory at the start: as of the oldest revision there is, so that the history after it can be followed.
pub(super) async fn beginning<S: Source>(
    source: &S,
    newest: Revision,
    packer: &mut Packer,
) -> Result<State, StoreError> {
    let mut from = source.oldest().await?.min(newest);
    // Others may compact the store beyond what its servers know, perhaps at this moment.
    for _ in 0..BEGIN_TRIES {
        match snapshot(source, Some(from), packer).await {
            Err(StoreError::Compacted { oldest, .. }) => from = oldest,
            read => return read,
        }
    }
    snapshot(source, None, packer).await
}

async fn snapshot<S: Store>(source: &S, mut at: Option<Revision>, packer: &mut Packer) -> Result<State, StoreError> {
    let (mut after, mut entries) = (Vec::new(), Vec::new());
    let revision = loop {
        let page = source.list(b"", &after, LIST_KEYS, at).await?;
        at = Some(page.revision);
        entries.extend(page.entries);
        match entries.last() {
            Some(last) if page.more => after = last.key.to_vec(),
            _ => break page.revision,
        }
    };
    let mut state = State::starting_at(revision);
    for entry in entries {
        state.apply(entry.mod_revision, &entry.key, Some(packer.keep(&entry)));
    }
    Ok(state)
}

/// Follows until it is aborted.
pub(super) async fn run<S: Source>(core: Arc<Core<S>>, mut packer: Packer) {
    let mut pause = PAUSE_MIN;
    loop {
        let after = core.revision();
        let error = match core.source.feed(after).await {
            Ok(mut feed) => loop {
                match feed.next().await {
                    Ok(batch) => {
                        pause = PAUSE_MIN;
                        core.take(batch, &mut packer);
                    }
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        let error = match error {
            // What lies between is gone, or the store was restored from a backup: begin anew.
            StoreError::Compacted { .. } | StoreError::Future { .. } => {
                match snapshot(&core.source, None, &mut packer).await {
                    Ok(state) => {
                        tracing::warn!(%error, "events of the store were missed; all watchers list again");
                        core.replace(state);
                        continue;
                    }
                    Err(error) => error,
                }
            }
            other => other,
        };
        tracing::warn!(%error, "the watch of the store broke off; trying again until it works");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl<S> Core<S> {
    pub(super) fn revision(&self) -> Revision {
        self.state.read().unwrap_or_else(PoisonError::into_inner).revision()
    }

    /// Takes in what a feed delivered.
    pub(super) fn take(&self, batch: Batch, packer: &mut Packer) {
        let mut events = Vec::with_capacity(batch.changes.len());
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let mut touched: HashMap<Bytes, Option<Entry>> = HashMap::new();
            for change in batch.changes {
                if change.revision <= state.revision() {
                    continue;
                }
                let before = touched.get(&change.key).cloned();
                let previous = before.unwrap_or_else(|| state.get(&change.key));
                // One allocation of the key for its whole life.
                let key = previous.as_ref().map_or(change.key.clone(), |entry| entry.key.clone());
                let event = Event { previous, ..super::Change { key, ..change }.into_event() };
                touched.insert(event.key.clone(), event.current.clone());
                events.push(Arc::new(event));
            }
            for event in &events {
                let kept = event.current.as_ref().map(|entry| packer.keep(entry));
                state.apply(event.revision, &event.key, kept);
            }
            state.advance(batch.upto);
            let (most, bytes) = (self.options.history_events_max, self.options.history_bytes_max);
            if state.history_len() > most || state.history_bytes() > bytes {
                let upto = state.compaction_target(most - most / COMPACT_SHARE, bytes - bytes / COMPACT_SHARE);
                forget(&mut state, upto.unwrap_or_default());
            }
            if let Some(upto) = batch.compacted {
                forget(&mut state, upto);
            }
        }
        self.hub.hand_out(&events);
        self.hub.advance(batch.upto);
        self.seen.send_replace(self.revision());
    }

    /// Forgets history.
    pub(super) fn forget(&self, upto: Revision) {
        forget(&mut self.state.write().unwrap_or_else(PoisonError::into_inner), upto);
    }

    /// Begins anew: every watcher has missed something.
    fn replace(&self, state: State) {
        let revision = state.revision();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.hub.interrupt(revision);
        self.seen.send_replace(revision);
    }
}

fn forget(state: &mut State, upto: Revision) {
    if upto > state.compacted() {
        let step = state.plan_compaction(upto.min(state.revision()), FORGET_STEP);
        state.compact(&step);
    }
}
