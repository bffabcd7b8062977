//! Clients that watch, and keep what they see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::task::JoinSet;

use super::check::{Seen, Sighting, uid};
use super::writers::COLOURS;
use super::{KINDS, NAMESPACES, SHARED, list, namespace, revision};
use crate::load::{Connection, Lines, Target};

/// A watch is ended by its client's wish after a number of seconds from this range, and begun again where it was.
const TIMEOUT_SECONDS: std::ops::Range<u64> = 3..20;
/// How often a watcher that is to end looks whether it may.
const LOOK: Duration = Duration::from_millis(200);

/// What one watcher selects.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    pub(super) kind: usize,
    /// None for all.
    pub(super) namespace: Option<usize>,
    pub(super) colour: Option<&'static str>,
    pub(super) name: Option<String>,
}

impl Selection {
    /// Of the watcher of this number: every kind, all and single namespaces, with and without selectors.
    fn of(number: usize) -> Selection {
        let (kind, rest) = (number % KINDS.len(), number / KINDS.len());
        let namespace = (!rest.is_multiple_of(NAMESPACES + 1)).then(|| rest % (NAMESPACES + 1) - 1);
        let (colour, name) = match rest / (NAMESPACES + 1) % 3 {
            0 => (None, None),
            1 => (Some(COLOURS[rest % COLOURS.len()]), None),
            _ => (None, Some(format!("shared-{}", rest % SHARED))),
        };
        Selection { kind, namespace, colour, name }
    }

    fn path(&self) -> String {
        let kind = &KINDS[self.kind];
        let inner = self.namespace.map_or(String::new(), |number| format!("/namespaces/{}", namespace(number)));
        let mut path = format!("{}{inner}/{}?watch=1&allowWatchBookmarks=true", kind.base, kind.plural);
        if let Some(colour) = self.colour {
            path += &format!("&labelSelector=colour%3D{colour}");
        }
        if let Some(name) = &self.name {
            path += &format!("&fieldSelector=metadata.name%3D{name}");
        }
        path
    }
}

/// The watchers that run.
pub(super) struct Watching {
    tasks: JoinSet<Result<Seen>>,
    last: tokio::sync::watch::Sender<Option<Vec<u64>>>,
}

/// Starts watchers; each has begun when this returns.
pub(super) async fn start(
    target: &Target,
    count: usize,
    seed: u64,
    start: &[u64],
    stop: Arc<AtomicBool>,
) -> Result<Watching> {
    let (last, told) = tokio::sync::watch::channel(None);
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let selection = Selection::of(number);
        let at = *start.get(selection.kind).context("a revision for each kind")?;
        let mut watcher = Watcher {
            target: target.clone(),
            random: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            seen: Seen { selection, sightings: Vec::new(), ranges: vec![(at, at)], again: 0 },
            at,
            stop: stop.clone(),
            told: told.clone(),
        };
        let lines = watcher.open().await?;
        tasks.spawn(watcher.run(lines));
    }
    Ok(Watching { tasks, last })
}

/// Lets watchers end that have seen all up to `last`, the revision of each kind; what they saw.
pub(super) async fn finish(
    watching: &mut Watching,
    stop: &AtomicBool,
    last: &[u64],
    patience: Duration,
) -> Result<Vec<Seen>> {
    watching.last.send(Some(last.to_vec())).context("no watcher is left")?;
    stop.store(true, Ordering::Release);
    let mut all = Vec::new();
    let collect = async {
        while let Some(seen) = watching.tasks.join_next().await {
            all.push(seen??);
        }
        Ok::<_, anyhow::Error>(())
    };
    match tokio::time::timeout(patience, collect).await {
        Ok(collected) => collected?,
        Err(_) => bail!("{} watchers have not seen everything after {patience:?}", watching.tasks.len()),
    }
    Ok(all)
}

struct Watcher {
    target: Target,
    random: StdRng,
    seen: Seen,
    /// Everything up to here was seen.
    at: u64,
    stop: Arc<AtomicBool>,
    told: tokio::sync::watch::Receiver<Option<Vec<u64>>>,
}

impl Watcher {
    async fn open(&mut self) -> Result<Lines> {
        let seconds = match self.stop.load(Ordering::Acquire) {
            // The last one only brings what is missing: the server sends all that is there before it ends.
            true => 1,
            false => self.random.random_range(TIMEOUT_SECONDS),
        };
        let path = format!("{}&resourceVersion={}&timeoutSeconds={seconds}", self.seen.selection.path(), self.at);
        Connection::open(&self.target).await?.follow(&path).await
    }

    async fn run(mut self, mut lines: Lines) -> Result<Seen> {
        loop {
            let began_last = self.stop.load(Ordering::Acquire);
            while let Some(line) = lines.next().await? {
                let event: Value = serde_json::from_slice(&line)?;
                if !self.take(&event)? {
                    self.list_again().await?;
                    break;
                }
            }
            if began_last {
                // This watch began after the last write, and its server had a second to say more.
                let last = self.told.borrow().as_ref().and_then(|last| last.get(self.seen.selection.kind).copied());
                self.upto(last.context("nobody said what is last")?);
                return Ok(self.seen);
            }
            if self.stop.load(Ordering::Acquire) {
                tokio::time::sleep(LOOK).await;
            }
            lines = self.open().await?;
        }
    }

    /// False: what it wants to see is gone.
    fn take(&mut self, event: &Value) -> Result<bool> {
        let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
        if kind == "ERROR" {
            return match object["code"].as_u64() {
                Some(410) => Ok(false),
                _ => bail!("{:?}: {object}", self.seen.selection),
            };
        }
        let revision = revision(object)?;
        if revision < self.at {
            bail!("{:?}: {kind} of revision {revision} after {}", self.seen.selection, self.at);
        }
        self.upto(revision);
        let ours = object["metadata"]["namespace"].as_str().is_some_and(|name| name.starts_with("soak-"));
        if kind != "BOOKMARK" && ours {
            self.seen.sightings.push(Sighting { revision, uid: uid(object), event: kind.parse()? });
        }
        Ok(true)
    }

    fn upto(&mut self, revision: u64) {
        self.at = self.at.max(revision);
        if let Some(range) = self.seen.ranges.last_mut() {
            range.1 = self.at;
        }
    }

    /// What a client does when history is gone: it goes on from a list.
    async fn list_again(&mut self) -> Result<()> {
        let mut connection = Connection::open(&self.target).await?;
        self.at = revision(&list(&mut connection, &KINDS[self.seen.selection.kind]).await?)?;
        self.seen.ranges.push((self.at, self.at));
        self.seen.again += 1;
        Ok(())
    }
}
