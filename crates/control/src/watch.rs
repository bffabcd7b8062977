//! The loop that follows one kind on the API server.
//!
//! Invariants: what is reported is complete: whatever was missed while a watch was down is reported by the list that
//! follows; failures are retried for ever with bounded backoff. A kind that may be missing, because it is not defined or
//! because this user may not read it, counts as one without objects until it can be had.
//!
//! Absent: what is kept of the objects.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config, DefaultBackoff, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::key::Key;
use crate::limits::LACKING_RETRY_MAX;
use crate::rights::Right;
use crate::unmanaged::Unmanaged;

/// What was seen.
pub(crate) enum Seen<K> {
    /// An object is as given.
    Applied(Box<K>),
    /// An object is gone.
    Gone(Key),
    /// All objects have been reported; those not named here are gone. The list was begun at this time.
    Listed(BTreeSet<Key>, Instant),
}

impl<K> Seen<Unmanaged<K>> {
    /// It, of the object itself.
    pub(crate) fn bare(self) -> Seen<K> {
        match self {
            Seen::Applied(object) => Seen::Applied(Box::new(object.0)),
            Seen::Gone(key) => Seen::Gone(key),
            Seen::Listed(names, began) => Seen::Listed(names, began),
        }
    }
}

/// What the server said when it refused.
fn refusal(error: &watcher::Error) -> Option<(u16, &str)> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => Some((status.code, &status.message)),
        _ => None,
    }
}

/// The pauses between two attempts.
struct Pauses {
    usual: DefaultBackoff,
    max: Duration,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.usual.next().map(|pause| pause.min(self.max))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.usual.reset();
    }
}

/// Reports to `on` what happens to all objects of a kind, until shutdown.
pub(crate) async fn follow<K>(api: Api<K>, what: &'static str, shutdown: CancellationToken, on: impl FnMut(Seen<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    run((api, Config::default()), what, shutdown, on, false).await;
}

/// As [`follow`], for those objects that fields select.
pub(crate) async fn follow_where<K>(
    api: Api<K>,
    fields: &str,
    what: &'static str,
    shutdown: CancellationToken,
    on: impl FnMut(Seen<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    run((api, Config::default().fields(fields)), what, shutdown, on, false).await;
}

/// As [`follow`], for a kind that may be missing or kept from this user: until it is there, it has no objects.
pub(crate) async fn follow_if_had<K>(
    api: Api<K>,
    what: &'static str,
    shutdown: CancellationToken,
    on: impl FnMut(Seen<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    run((api, Config::default()), what, shutdown, on, true).await;
}

async fn run<K>(
    (api, config): (Api<K>, Config),
    what: &'static str,
    shutdown: CancellationToken,
    mut on: impl FnMut(Seen<K>),
    mut may_lack: bool,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let max = if may_lack { LACKING_RETRY_MAX } else { Duration::MAX };
    let stream = watcher(api, config).backoff(Pauses { usual: DefaultBackoff::default(), max });
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
            Some(Err(error)) => {
                let refused = refusal(&error);
                // A custom kind that is deleted, for instance; whoever began this ends it on the news.
                let is_unknown = refused.is_some_and(|(code, _)| code == 404);
                let right = refused.filter(|(code, _)| *code == 403).and_then(|(_, said)| Right::missing(said));
                // Once at most: what was listed goes by events, not because the kind is out of reach for a moment.
                if (is_unknown || right.is_some()) && std::mem::take(&mut may_lack) {
                    on(Seen::Listed(BTreeSet::new(), began));
                }
                match right {
                    _ if is_unknown => tracing::debug!(kind = what, "kind is not served"),
                    _ if broken => {}
                    Some(right) => tracing::warn!("{right}"),
                    None => tracing::warn!(kind = what, %error, "watch failed, trying again until it works"),
                }
                broken |= !is_unknown;
                continue;
            }
            Some(Ok(Event::Init)) => {
                // Only that another attempt begins.
                listed.clear();
                began = Instant::now();
                continue;
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
