//! Events go some time after they were last written.
//!
//! When that was is known by revision: now and then a mark is stored that says which revision the newest event had at what
//! time. All events up to a mark that is old enough are removed.
//!
//! # Invariants
//! - Marks are stored, so a restart neither forgets an event nor lets it live anew; several servers on one store share them.
//! - Without new events nothing is written.
//! - An event that was written in between stays: it is removed only as the revision that was found.
//!
//! # Absent
//! Reading events: what clients write into their times does not count.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use store::{Entry, Expect, Op, Revision, Store, StoreError};
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::app::App;
use crate::object;

/// Where the marks are kept, outside of what any kind lists.
const KEY: &[u8] = b"/registry/everynode/event-marks";
/// How often events are looked at: the time to live is kept to within this.
const TICK: Duration = Duration::from_secs(60);
/// Most marks at once: a long life is kept to within a 128th of it rather than a minute.
const MARKS_MAX: u32 = 128;
/// Events read at a time.
const PAGE: usize = 1000;
/// Removals at once: they share the store's next write to the disk.
const REMOVALS_AT_ONCE: usize = 32;
/// Removals a tick, so that requests are not held up for long; the rest goes with the next ticks.
const REMOVALS_MAX: usize = 10_000;

/// Removes old events until the server stops. A `ttl` of zero keeps them for good.
pub(crate) fn start<S: Store>(app: &Arc<App<S>>, ttl: Duration) {
    if ttl.is_zero() {
        return;
    }
    let (store, shutdown) = (app.store.clone(), app.shutdown.clone());
    app.tasks.spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = sweep(&store, ttl, jiff::Timestamp::now().as_second()).await {
                warn!(%error, "old events can't be removed; trying again in a minute");
            }
        }
    });
}

/// Which revision the newest event had, at what times in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Marks(Vec<(i64, u64)>);

impl Marks {
    /// Adds a mark if there is something new to mark.
    fn note(&mut self, now: i64, newest: u64, spacing: i64) {
        match self.0.last() {
            Some((at, revision)) if *revision >= newest || *at + spacing > now => {}
            _ => self.0.push((now, newest)),
        }
    }

    /// The revision up to which events are old enough; marks before that one say nothing more.
    fn old(&mut self, now: i64, ttl: i64) -> Option<u64> {
        let count = self.0.iter().take_while(|(at, _)| *at + ttl <= now).count();
        self.0.drain(..count.saturating_sub(1));
        self.0.first().filter(|_| count > 0).map(|(_, revision)| *revision)
    }
}

/// Removes what is older than `ttl` at `now` (seconds).
async fn sweep<S: Store>(store: &S, ttl: Duration, now: i64) -> Result<(), StoreError> {
    let stored = store.get(KEY).await?.0;
    let before: Marks = stored.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok()).unwrap_or_default();
    let mut marks = before.clone();
    let old = marks.old(now, seconds(ttl));
    let (newest, found) = look(store, old.unwrap_or_default()).await?;
    let spacing = seconds(TICK.max(ttl / MARKS_MAX));
    if newest > 0 {
        marks.note(now, newest, spacing);
    }
    let all = found.len() < REMOVALS_MAX;
    let removals = found.into_iter().map(|entry| async move {
        match store.commit(&entry.key, Expect::At(entry.mod_revision), Op::Delete).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    });
    let mut removals = futures::stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE);
    while let Some(removed) = removals.next().await {
        removed?;
    }
    if old.is_some() && all {
        marks.0.remove(0);
    }
    if marks == before {
        return Ok(());
    }
    let value = serde_json::to_vec(&marks).unwrap_or_default();
    let expect = stored.map_or(Expect::Absent, |entry| Expect::At(entry.mod_revision));
    match store.commit(KEY, expect, Op::Put(value.into())).await {
        // Another server on this store was faster; its marks are as good.
        Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

/// The revision of the newest event, and the events up to `old`, as many as may be removed at once.
async fn look<S: Store>(store: &S, old: u64) -> Result<(u64, Vec<Entry>), StoreError> {
    let Some(kind) = api::kinds::find("", "v1", "events") else { return Ok((0, Vec::new())) };
    let prefix = object::prefix(kind, None);
    let (mut newest, mut found) = (0, Vec::new());
    let mut after: Vec<u8> = Vec::new();
    loop {
        let page = store.list(prefix.as_bytes(), &after, PAGE, None).await?;
        let Some(last) = page.entries.last() else { break };
        after = last.key.to_vec();
        for entry in page.entries {
            newest = newest.max(entry.mod_revision.0);
            if entry.mod_revision <= Revision(old) && found.len() < REMOVALS_MAX {
                // The value is not needed, and would be held.
                found.push(Entry { value: bytes::Bytes::new(), ..entry });
            }
        }
        if !page.more {
            break;
        }
    }
    Ok((newest, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::embedded::{Embedded, Options};

    const HOUR: Duration = Duration::from_secs(3600);

    async fn write(store: &Embedded, name: &str) {
        let key = format!("/registry/core/events/default/{name}");
        let expect = store.get(key.as_bytes()).await.unwrap().0.map_or(Expect::Absent, |e| Expect::At(e.mod_revision));
        store.commit(key.as_bytes(), expect, Op::Put("{}".into())).await.unwrap();
    }

    async fn names(store: &Embedded) -> Vec<String> {
        let page = store.list(b"/registry/core/events/", b"", 0, None).await.unwrap();
        let name = |entry: &Entry| String::from_utf8_lossy(&entry.key).rsplit('/').next().unwrap().to_owned();
        page.entries.iter().map(name).collect()
    }

    #[tokio::test]
    async fn events_go_after_their_time_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        write(&store, "early").await;
        write(&store, "renewed").await;
        sweep(&store, HOUR, 1000).await.unwrap();
        write(&store, "renewed").await;
        write(&store, "late").await;
        sweep(&store, HOUR, 2000).await.unwrap();
        sweep(&store, HOUR, 1000 + 3599).await.unwrap();
        assert_eq!(names(&store).await, ["early", "late", "renewed"]);
        drop(store);
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        sweep(&store, HOUR, 1000 + 3600).await.unwrap();
        assert_eq!(names(&store).await, ["late", "renewed"], "the time is kept through a restart");
        sweep(&store, HOUR, 2000 + 3600).await.unwrap();
        assert_eq!(names(&store).await, [""; 0]);
        let quiet = store.revision().await.unwrap();
        sweep(&store, HOUR, 9000).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), quiet, "without events nothing is written");
    }

    #[test]
    fn marks_are_few() {
        let mut marks = Marks::default();
        for second in 0..10_000 {
            marks.note(second, 5 + second as u64, 60);
            marks.old(second, 3600);
        }
        assert!(marks.0.len() < 64, "{}", marks.0.len());
        let before = marks.clone();
        marks.note(20_000, marks.0.last().unwrap().1, 60);
        assert_eq!(marks, before, "nothing new needs no mark");
    }
}
