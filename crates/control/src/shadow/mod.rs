//! A shadow: it looks on while another controller works, and tells what ours would do otherwise.
//!
//! Invariants: it changes nothing, by a client that cannot; every DaemonSet is looked at after each change that would wake
//! our controller, and when something may have lasted for too long.
//!
//! Absent: any decision (`decide::shadow`); controllers of other kinds.

mod read_only;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use decide::shadow::{Look, Memory, Terms, compare};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::hub::{self, Hub, lock, until};
use crate::key::Key;
use crate::limits::WORKERS;
use crate::record::Recorder;
use crate::roster::{Controller, Roster};
use crate::{Error, Options, Sync, planner};

/// Whom a look is told to: the namespace and the name of the DaemonSet, and what was found.
type Tell = dyn Fn(&str, &Look) + Send + std::marker::Sync;

struct Shadow {
    terms: Terms,
    seen: Mutex<BTreeMap<Key, Memory>>,
    tell: Box<Tell>,
}

/// Looks on until `shutdown`, and tells of each look at a DaemonSet: its namespace and name, and what was found. What
/// differs counts once it has lasted for `patience`.
///
/// # Errors
///
/// As [`crate::run`].
pub async fn shadow(
    client: Client,
    patience: Duration,
    tell: impl Fn(&str, &Look) + Send + std::marker::Sync + 'static,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let roster = Roster::of(&[Controller::DaemonSet]);
    let options = Options { roster, ..Options::default() };
    // Nothing is recorded, so nobody waits for events.
    let (recorder, _) = Recorder::new();
    let hub = Hub::new(read_only::read_only(client), options, recorder);
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    let shadow = Shadow { terms: Terms { patience }, seen: Mutex::default(), tell: Box::new(tell) };
    let shadow = Arc::new(shadow);
    let start = |hub: &Arc<Hub>, tasks: &mut JoinSet<()>| {
        for _ in 0..WORKERS {
            let shadow = shadow.clone();
            let look = move |hub: Arc<Hub>, key: Key| {
                let shadow = shadow.clone();
                async move { shadow.look(&hub, key) }
            };
            tasks.spawn(hub::work(hub.clone(), |h| &h.daemon_sets, "shadow", shutdown.clone(), look));
        }
    };
    crate::run_on(hub, JoinSet::new(), start, shutdown.clone()).await
}

impl Shadow {
    fn look(&self, hub: &Hub, key: Key) -> Sync {
        let Some(snapshot) = planner::snapshot(hub, &key) else {
            lock(&self.seen).remove(&key);
            return Ok(());
        };
        // A key is in work once at a time, so nobody else looks at this memory meanwhile.
        let memory = lock(&self.seen).remove(&key).unwrap_or_default();
        let is_there = |name: &str, uid: &str| {
            let world = hub.world();
            world.pods.get(&Key::new(&key.namespace, name)).is_some_and(|pod| pod.uid == uid)
        };
        let now = Timestamp::now();
        let mut look = snapshot.observe(|set, observed| compare(memory, set, observed, &is_there, self.terms, now));
        if let Some(at) = look.look_again {
            hub.daemon_sets.add_after(key.clone(), until(at));
        }
        (self.tell)(&key.to_string(), &look);
        lock(&self.seen).insert(key, std::mem::take(&mut look.memory));
        Ok(())
    }
}
