//! Following changes.
//!
//! # Invariants
//! - A watcher sees each change of what it selects once and in order, or an ERROR event that tells it to list again.
//! - Objects are spliced from the store's shared bytes when the client takes them; nothing waits here per watcher.
//!
//! # Absent
//! Queues: the store bounds what may wait for a watcher.

use std::sync::Arc;
use std::time::Duration;

use api::kinds::Kind;
use api::status::{self, Status};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use rand::Rng;
use serde_json::{Value, json};
use store::{Entry, Event, Revision, Store, StoreError, Watch};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::list;
use crate::app::{App, Ask, Place, failure};
use crate::limits::{BOOKMARK_INTERVAL, WATCH_TIMEOUT};
use crate::negotiate::{self, Form, Shape};
use crate::node_pods::{self, Events};
use crate::object;
use crate::reply::{self, Reply};
use crate::request::Query;
use crate::seats::Seat;
use crate::selection::Selection;
use crate::shape::{self, Include};

/// A frame is cut at about this size: many small events leave in one write.
const FRAME_BYTES: usize = 32 * 1024;
/// The annotation of the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Which events come before the live ones.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    /// Begin with what is there; otherwise after `after`.
    initial: bool,
    /// End the initial events by a bookmark.
    end_mark: bool,
    after: Revision,
}

fn start(query: &Query) -> Result<Start, Status> {
    let asked = list::asked_revision(query)?;
    let after = asked.unwrap_or_default();
    let matching = query.get("resourceVersionMatch");
    if query.get("sendInitialEvents").is_none() {
        return match matching {
            None => Ok(Start { initial: after.0 == 0, end_mark: false, after }),
            Some(_) => Err(status::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )),
        };
    }
    if matching != Some("NotOlderThan") {
        return Err(status::bad_request(
            "sendInitialEvents: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let initial = query.flag("sendInitialEvents");
    Ok(Start { initial, end_mark: initial, after })
}

/// Answers a watch.
pub(crate) async fn watch<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let form = negotiate::accept(&ask.headers)?;
    let selection = Selection::parse(place.kind, &ask.query)?;
    let start = start(&ask.query)?;
    let too_many = || status::too_many_requests("too many watches are open, please try again later", 1);
    let seat = app.watchers.take(ask.user.name.clone()).ok_or_else(too_many)?;
    let permit = app.watches.clone().try_acquire_owned().map_err(|_| too_many())?;
    let mut initial = Vec::new();
    let mut after = start.after;
    if start.initial {
        let hand = list::at_hand(&ask.query, app.store.seen());
        if hand.is_none() {
            list::not_in_the_future(&ask.query, app.store.revision().await.map_err(failure)?)?;
        }
        let matched = list::matching(app, place, &selection, Vec::new(), 0, None, hand).await;
        let matched = matched.map_err(failure)?;
        initial = matched.entries;
        after = matched.revision;
    }
    let (opened, selection) = match list::node(place, &selection).map(str::to_owned) {
        Some(node) => (node_pods::open(app, &node, after).await, selection.on_node(&node)),
        None => {
            let opened = app.store.watch(list::prefix(place, &selection).as_bytes(), after).await;
            (opened.map(Events::Store), selection)
        }
    };
    let stream = match opened {
        Ok(events) => {
            let bookmarks = ask.query.flag("allowWatchBookmarks");
            let end_mark = start.end_mark.then_some(after);
            let watching = Watching {
                kind: place.kind.clone(),
                selection,
                form,
                include: Include::parse(&ask.query),
                columns: true,
                initial: initial.into_iter(),
                end_mark,
                events,
                bookmarks: bookmarks.then(ticks),
                deadline: Instant::now() + timeout(&ask.query)?,
                shutdown: app.shutdown.clone(),
                redefined: app.customs.ends(place.kind).unwrap_or_default(),
                ended: false,
                _permit: (permit, seat),
            };
            reply::streamed(futures::stream::unfold(watching, |mut w| async move {
                let frame = w.next().await?;
                Some((frame, w))
            }))
        }
        // Kubernetes' watch cache tells this inside of the stream, and clients look for it there.
        Err(error @ StoreError::Compacted { .. }) => reply::full(error_line(&failure(error))),
        Err(error) => return Err(failure(error)),
    };
    Ok(reply::with_type(http::StatusCode::OK, shape::media(Form { yaml: false, ..form }), stream))
}

fn timeout(query: &Query) -> Result<Duration, Status> {
    match query.get("timeoutSeconds") {
        Some(text) => {
            let seconds: u64 =
                text.parse().map_err(|_| status::bad_request(format!("invalid timeoutSeconds: {text}")))?;
            // Longer watches than a day are cut: clients begin anew anyway, and time arithmetic stays in range.
            Ok(Duration::from_secs(seconds.min(24 * 3600)))
        }
        None => Ok(WATCH_TIMEOUT.mul_f64(rand::rng().random_range(0.7..1.3))),
    }
}

fn ticks() -> Interval {
    let mut ticks = interval_at(Instant::now() + BOOKMARK_INTERVAL, BOOKMARK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One running watch.
struct Watching<W> {
    kind: Kind,
    /// What `events` leave to be looked at.
    selection: Selection,
    form: Form,
    include: Include,
    /// The first table brings the columns.
    columns: bool,
    initial: std::vec::IntoIter<Entry>,
    end_mark: Option<Revision>,
    events: W,
    bookmarks: Option<Interval>,
    deadline: Instant,
    shutdown: CancellationToken,
    /// The kind is not any more what it was when the watch began.
    redefined: CancellationToken,
    ended: bool,
    _permit: (OwnedSemaphorePermit, Seat<String>),
}

impl<W: Watch> Watching<W> {
    /// The next frame; None at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut frame = BytesMut::new();
        while frame.len() < FRAME_BYTES {
            let Some(entry) = self.initial.next() else { break };
            self.line(&mut frame, "ADDED", &entry.value, entry.mod_revision);
        }
        if self.initial.as_slice().is_empty()
            && let Some(revision) = self.end_mark.take()
        {
            self.bookmark(&mut frame, revision, true);
        }
        while frame.is_empty() {
            tokio::select! {
                biased;
                event = self.events.next() => self.take(&mut frame, event)?,
                () = tick(&mut self.bookmarks) => {
                    let progress = self.events.progress();
                    self.bookmark(&mut frame, progress, false);
                }
                () = sleep_until(self.deadline) => return None,
                () = self.shutdown.cancelled() => return None,
                () = self.redefined.cancelled() => return None,
            }
        }
        // What waits already goes into the same frame.
        while frame.len() < FRAME_BYTES && !self.ended && self.initial.as_slice().is_empty() {
            match self.events.next().now_or_never() {
                Some(event) => match self.take(&mut frame, event) {
                    Some(()) => {}
                    None => {
                        self.ended = true;
                        break;
                    }
                },
                None => break,
            }
        }
        Some(frame.freeze())
    }

    /// Adds an event's line; None when the watch is over without one.
    fn take(&mut self, frame: &mut BytesMut, event: Result<Option<Event>, StoreError>) -> Option<()> {
        match event {
            Ok(Some(event)) => self.event(frame, &event),
            Ok(None) => return None,
            Err(error) => {
                self.ended = true;
                frame.extend_from_slice(&error_line(&failure(error)));
            }
        }
        Some(())
    }

    /// A change as this watcher sees it: what enters its selection is added, what leaves it is deleted.
    fn event(&mut self, frame: &mut BytesMut, event: &Event) {
        if let Some(name) = self.selection.name()
            && object::names_of_key(&self.kind, &event.key).1 != name
        {
            return;
        }
        let shows = |entry: &&Entry| {
            self.selection.is_everything() || self.selection.shows(&self.kind, &event.key, &entry.value)
        };
        let (before, now) = (event.previous.as_ref().filter(shows), event.current.as_ref().filter(shows));
        match (before, now) {
            (None, Some(now)) => self.line(frame, "ADDED", &now.value, event.revision),
            (Some(_), Some(now)) => self.line(frame, "MODIFIED", &now.value, event.revision),
            (Some(before), None) => self.line(frame, "DELETED", &before.value, event.revision),
            (None, None) => {}
        }
    }

    fn line(&mut self, frame: &mut BytesMut, event: &str, value: &[u8], revision: Revision) {
        if self.form.shape == Shape::Whole {
            let start = frame.len();
            frame.reserve(value.len() + 128);
            frame.extend_from_slice(b"{\"type\":\"");
            frame.extend_from_slice(event.as_bytes());
            frame.extend_from_slice(b"\",\"object\":");
            if let Err(status) = object::splice_as(&self.kind, frame, value, revision) {
                self.ended = true;
                frame.truncate(start);
                frame.extend_from_slice(&error_line(&status));
                return;
            }
            frame.extend_from_slice(b"}\n");
            return;
        }
        let decoded = match self.form.shape {
            Shape::Metadata => object::decode_at(value, revision),
            _ => object::decode_at_as(&self.kind, value, revision),
        };
        match decoded {
            Ok(object) => {
                let columns = std::mem::take(&mut self.columns);
                let object = shape::shaped(self.form, self.include, &self.kind, object, columns);
                push(frame, &json!({"type": event, "object": object}));
            }
            Err(status) => {
                self.ended = true;
                frame.extend_from_slice(&error_line(&status));
            }
        }
    }

    fn bookmark(&mut self, frame: &mut BytesMut, revision: Revision, end: bool) {
        let mut object = json!({
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": revision.0.to_string(), "creationTimestamp": null},
        });
        if end {
            object["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        match self.form.shape {
            Shape::Whole => {}
            Shape::Metadata => {
                object["kind"] = "PartialObjectMetadata".into();
                object["apiVersion"] = format!("meta.k8s.io/{}", self.form.meta_version).into();
            }
            Shape::Table => {
                let columns = std::mem::take(&mut self.columns);
                object = shape::shaped(self.form, self.include, &self.kind, object, columns);
            }
        }
        push(frame, &json!({"type": "BOOKMARK", "object": object}));
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn push(frame: &mut BytesMut, value: &Value) {
    frame.extend_from_slice(value.to_string().as_bytes());
    frame.extend_from_slice(b"\n");
}

fn error_line(status: &Status) -> Bytes {
    let mut frame = BytesMut::new();
    push(&mut frame, &json!({"type": "ERROR", "object": status.body}));
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_watches_begin() {
        let at = |initial, end_mark, n| Ok(Start { initial, end_mark, after: Revision(n) });
        for (query, want) in [
            ("watch=1", at(true, false, 0)),
            ("watch=1&resourceVersion=0", at(true, false, 0)),
            ("watch=1&resourceVersion=7", at(false, false, 7)),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", at(true, true, 0)),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=7", at(false, false, 7)),
            ("sendInitialEvents=true", Err(400)),
            ("resourceVersionMatch=NotOlderThan", Err(400)),
        ] {
            assert_eq!(start(&Query::parse(Some(query))).map_err(|s| s.code), want, "{query}");
        }
    }
}
