//! The loop that follows one kind on the API server.
//!
//! Invariants: what is reported is complete: whatever was missed while a watch was down is reported by the list that
//! follows; failures are retried for ever with bounded backoff.
//!
//! Absent: what is kept of the objects.

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures::{StreamExt, pin_mut};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::key::Key;

/// What was seen.
pub(crate) enum Seen<K> {
    /// An object is as given.
    Applied(Box<K>),
    /// An object is gone.
    Gone(Key),
    /// All objects have been reported; those not named here are gone. The list was begun at this time.
    Listed(BTreeSet<Key>, Instant),
}

/// Whether the server knows no such kind.
fn is_unknown(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// Reports to `on` what happens to all objects of a kind, until shutdown.
pub(crate) async fn follow<K>(api: Api<K>, what: &'static str, shutdown: CancellationToken, on: impl FnMut(Seen<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    run(api, what, shutdown, on, false).await;
}

/// As [`follow`], for a kind that may not be served: until it is, it has no objects.
pub(crate) async fn follow_if_served<K>(
    api: Api<K>,
    what: &'static str,
    shutdown: CancellationToken,
    on: impl FnMut(Seen<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    run(api, what, shutdown, on, true).await;
}

async fn run<K>(
    api: Api<K>,
    what: &'static str,
    shutdown: CancellationToken,
    mut on: impl FnMut(Seen<K>),
    mut may_lack: bool,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watcher(api, Config::default()).default_backoff();
    pin_mut!(stream);
    let mut listed = BTreeSet::new();
    let mut began = Instant::now();
    let mut broken = false;
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = stream.next() => event,
        };
        match event {
            None => return,
            // A custom kind that is deleted; whoever began this ends it on the news.
            Some(Err(error)) if is_unknown(&error) => {
                tracing::debug!(kind = what, "kind is not served");
                // Once at most: what was listed goes by events, not because the kind is out of reach for a moment.
                if std::mem::take(&mut may_lack) {
                    on(Seen::Listed(BTreeSet::new(), began));
                }
                continue;
            }
            Some(Err(error)) => {
                if !broken {
                    tracing::warn!(kind = what, %error, "watch failed, trying again until it works");
                }
                broken = true;
                continue;
            }
            Some(Ok(Event::Init)) => {
                listed.clear();
                began = Instant::now();
            }
            Some(Ok(Event::InitApply(object))) => {
                listed.insert(Key::of(object.meta()));
                on(Seen::Applied(Box::new(object)));
            }
            Some(Ok(Event::InitDone)) => {
                may_lack = false;
                on(Seen::Listed(std::mem::take(&mut listed), began));
            }
            Some(Ok(Event::Apply(object))) => on(Seen::Applied(Box::new(object))),
            Some(Ok(Event::Delete(object))) => on(Seen::Gone(Key::of(object.meta()))),
        }
        if broken {
            tracing::info!(kind = what, "watch works again");
            broken = false;
        }
    }
}
