//! Following etcd from a revision.
//!
//! # Invariants
//! - A feed delivers every event after its revision, in order, each commit whole; or it fails, and says when that is
//!   because etcd compacted what it needed.
//! - `upto` of a batch is never ahead of an event that is still to come.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::{sleep, timeout};
use tonic::Streaming;

use super::Core;
use super::client::no_answer;
use super::commit::entry;
use super::failure::Failure;
use super::keys::end;
use super::limits::{ATTEMPT_MAX, COMPACTED_ANSWER_MAX, FIRST_REVISION, PAUSE_MAX, PAUSE_MIN};
use super::proto::{
    EventType, KeyValue, WatchCreate, WatchEvent, WatchRequest, WatchResponse, revision, signed, unsigned,
};
use crate::cached::{Batch, Change, Feed};
use crate::{Entry, Event, Revision, StoreError, Watch};

/// A range of etcd's keys, followed on one stream. It ends with the stream.
#[derive(Debug)]
pub struct EtcdFeed {
    core: Arc<Core>,
    stream: Streaming<WatchResponse>,
    after: Revision,
}

/// What is followed.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
    /// Whether events tell what stood there before.
    pub(super) previous: bool,
}

impl EtcdFeed {
    /// Follows a range after a revision.
    pub(super) async fn open(core: Arc<Core>, range: Range, after: Revision) -> Result<EtcdFeed, StoreError> {
        let start = after.0.max(FIRST_REVISION);
        let create = WatchCreate {
            key: range.from,
            range_end: range.to,
            // One earlier than needed, and skipped: a compaction may remove a deletion at its very revision, and etcd
            // would not say so to a watch that starts there.
            start_revision: signed(Revision(start)),
            progress_notify: true,
            prev_kv: range.previous,
        };
        let stream = core.client.watch(WatchRequest { create: Some(create) }).await.map_err(no_answer)?;
        let mut feed = EtcdFeed { core, stream, after };
        let created = timeout(ATTEMPT_MAX, feed.answer()).await;
        let created = created.unwrap_or_else(|_| Err(no_answer(Failure::silence())))?;
        if created.canceled {
            return Err(feed.canceled(&created));
        }
        // etcd tells a watch of compacted revisions a moment later; a read is told at once.
        match feed.core.readable(Revision(start)).await {
            Err(StoreError::Compacted { .. }) => Err(feed.until_canceled().await),
            Err(StoreError::Future { newest, .. }) if after <= newest => Ok(feed),
            Err(error) => Err(error),
            Ok(()) => Ok(feed),
        }
    }

    /// The next answer on the stream.
    async fn answer(&mut self) -> Result<WatchResponse, StoreError> {
        match self.stream.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(StoreError::Unavailable("etcd ended the watch".to_owned())),
            Err(status) => Err(no_answer(Failure::from(status))),
        }
    }

    fn canceled(&self, answer: &WatchResponse) -> StoreError {
        if answer.compact_revision > 0 {
            return StoreError::Compacted { wanted: self.after, oldest: Revision(unsigned(answer.compact_revision)) };
        }
        StoreError::Unavailable(format!("etcd ended the watch: {}", answer.cancel_reason))
    }

    /// Waits for etcd's word on a revision that is known to be compacted.
    async fn until_canceled(&mut self) -> StoreError {
        let unknown = StoreError::Compacted { wanted: self.after, oldest: Revision(self.after.0 + 1) };
        let told = async {
            loop {
                match self.answer().await {
                    Ok(answer) if answer.canceled => return self.canceled(&answer),
                    Ok(_) => {}
                    Err(_) => return unknown.clone(),
                }
            }
        };
        timeout(COMPACTED_ANSWER_MAX, told).await.unwrap_or(unknown.clone())
    }
}

impl Feed for EtcdFeed {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        let answer = self.answer().await?;
        if answer.canceled {
            return Err(self.canceled(&answer));
        }
        let mut batch = Batch { changes: Vec::new(), upto: self.after, compacted: None };
        // Without events it is etcd's word that this watch has seen all up to here.
        if answer.events.is_empty() && !answer.created {
            batch.upto = self.after.max(revision(answer.header.as_ref()));
        }
        for event in answer.events {
            let Some(change) = change(event) else { continue };
            if change.revision <= self.after {
                continue;
            }
            batch.upto = batch.upto.max(change.revision);
            if let Some(key) = self.core.layout.strip(&change.key) {
                batch.changes.push(Change { key: key.to_vec().into(), ..change });
            } else if change.key == self.core.layout.fact(super::COMPACTION) {
                batch.compacted = change.value.as_deref().and_then(super::compaction::read);
            }
        }
        self.after = batch.upto;
        self.core.client.saw(batch.upto);
        Ok(batch)
    }
}

fn change(event: WatchEvent) -> Option<Change> {
    let deleted = event.r#type() == EventType::Delete;
    let kv = event.kv?;
    Some(Change {
        revision: Revision(unsigned(kv.mod_revision)),
        create_revision: Revision(unsigned(kv.create_revision)),
        key: kv.key.into(),
        value: (!deleted).then(|| kv.value.into()),
        previous: event.prev_kv.map(KeyValue::into_entry),
    })
}

impl KeyValue {
    /// As an entry that has etcd's key.
    fn into_entry(self) -> Entry {
        let key = self.key.clone().into();
        entry(self, key)
    }
}

/// A watch of one prefix that takes up again where etcd broke off.
#[derive(Debug)]
pub struct EtcdWatch {
    core: Arc<Core>,
    range: Range,
    feed: Option<EtcdFeed>,
    waiting: VecDeque<Event>,
    /// Everything up to here is in `waiting` or was delivered.
    upto: Revision,
    delivered: Revision,
}

impl EtcdWatch {
    pub(super) async fn open(core: Arc<Core>, prefix: &[u8], after: Revision) -> Result<EtcdWatch, StoreError> {
        let from = core.layout.entry(prefix);
        let range = Range { to: end(&from), from, previous: true };
        let feed = EtcdFeed::open(core.clone(), range.clone(), after).await?;
        Ok(EtcdWatch { core, range, feed: Some(feed), waiting: VecDeque::new(), upto: after, delivered: after })
    }

    /// Fills `waiting`; what etcd broke off is opened anew.
    async fn fill(&mut self) -> Result<(), StoreError> {
        let mut pause = PAUSE_MIN;
        loop {
            let error = match &mut self.feed {
                Some(feed) => match feed.next().await {
                    Ok(batch) => {
                        self.waiting.extend(batch.changes.into_iter().map(Change::into_event));
                        self.upto = batch.upto;
                        return Ok(());
                    }
                    Err(error) => error,
                },
                None => match EtcdFeed::open(self.core.clone(), self.range.clone(), self.upto).await {
                    Ok(feed) => {
                        self.feed = Some(feed);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            self.feed = None;
            if matches!(error, StoreError::Compacted { .. } | StoreError::Future { .. }) {
                return Err(error);
            }
            tracing::debug!(%error, "a watch of etcd broke off");
            self.core.client.turn();
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.delivered = event.revision;
                return Ok(Some(event));
            }
            self.fill().await?;
        }
    }

    fn progress(&self) -> Revision {
        match self.waiting.front() {
            Some(event) => self.delivered.max(Revision(event.revision.0 - 1)),
            None => self.upto,
        }
    }
}
