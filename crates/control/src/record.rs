//! Events for users, in Kubernetes' shape.
//!
//! Invariants: recording never waits and never fails; repetitions become counts; an object has at most
//! [`EVENTS_PER_OBJECT`] events at once and one more each [`EVENT_REFILL_S`]; many similar events become one.
//!
//! Absent: events that must not be lost; there are none.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::key::Key;
use crate::limits::{
    EVENT_REFILL_S, EVENT_TRIES, EVENT_TRY_AGAIN, EVENTS_PER_OBJECT, EVENTS_REMEMBERED, EVENTS_WAITING, SIMILAR_EVENTS,
    SIMILAR_WITHIN_S,
};
use crate::rights::Rights;
use crate::wire;

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct About {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) key: Key,
    pub(crate) uid: String,
}

/// An event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) source: &'static str,
    pub(crate) about: About,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Takes events and writes them when it can.
#[derive(Clone)]
pub(crate) struct Recorder(mpsc::Sender<Event>);

impl Recorder {
    /// A recorder and what it hands on to [`write()`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
        (Self(sender), receiver)
    }

    /// Records an event, or drops it when too many wait.
    pub(crate) fn record(&self, event: Event) {
        if self.0.try_send(event).is_err() {
            tracing::debug!("an event was dropped: too many wait to be written");
        }
    }
}

/// Writes recorded events until shutdown.
pub(crate) async fn write(client: Client, mut events: mpsc::Receiver<Event>, shutdown: CancellationToken) {
    let mut memory = Memory::default();
    let rights = Rights::default();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.recv() => event,
        };
        let Some(event) = event else { return };
        let now = Timestamp::now();
        let Some(entry) = memory.admit(&event, now) else { continue };
        let written = tokio::select! {
            () = shutdown.cancelled() => return,
            written = store_when_it_can(&client, &event, &entry, now) => written,
        };
        if let Err(error) = written
            && !rights.tell(&error)
        {
            tracing::debug!(key = %event.about.key, %error, "an event could not be written");
        }
    }
}

async fn store_when_it_can(client: &Client, event: &Event, entry: &Entry, now: Timestamp) -> kube::Result<()> {
    for _ in 1..EVENT_TRIES {
        match store(client, event, entry, now).await {
            Err(error) if wire::code(&error) == 429 => tokio::time::sleep(EVENT_TRY_AGAIN).await,
            answer => return answer,
        }
    }
    store(client, event, entry, now).await
}

async fn store(client: &Client, event: &Event, entry: &Entry, now: Timestamp) -> kube::Result<()> {
    let namespace = if event.about.key.namespace.is_empty() { "default" } else { &event.about.key.namespace };
    let key = Key::new(namespace, &entry.name);
    if entry.count > 1 {
        let patch = json!({"count": entry.count, "lastTimestamp": Time(now), "message": entry.message});
        match wire::patch(client, wire::events(), &key, "", wire::Patch::Merge, &patch).await {
            Err(error) if wire::is_gone(&error) => {}
            answer => return answer.map(|_| ()),
        }
    }
    let about = &event.about;
    let body = json!({
        "metadata": {"name": key.name, "namespace": namespace},
        "involvedObject": {"apiVersion": about.api_version, "kind": about.kind, "name": about.key.name,
            "namespace": about.key.namespace, "uid": about.uid},
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": event.reason, "message": entry.message,
        "source": {"component": event.source}, "reportingComponent": event.source, "reportingInstance": "",
        "firstTimestamp": Time(entry.first), "lastTimestamp": Time(now), "count": entry.count,
    });
    match wire::create(client, wire::events(), namespace, &body).await {
        Err(error) if wire::is_namespace_going(&error) || wire::is_gone(&error) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

type Source = (&'static str, About);

/// What was recorded lately.
#[derive(Default)]
struct Memory {
    /// By object, reason and message; the message is empty for combined ones.
    entries: BTreeMap<(Source, &'static str, String), Entry>,
    /// By object and reason: how many different messages there were since when.
    similar: BTreeMap<(Source, &'static str), (u32, Timestamp)>,
    /// By object: events it may still have, and when that was counted.
    credit: BTreeMap<Source, (f64, Timestamp)>,
    names: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    message: String,
    first: Timestamp,
    count: u32,
}

impl Memory {
    /// The event as it is to be stored; `None` when its object has had too many.
    fn admit(&mut self, event: &Event, now: Timestamp) -> Option<Entry> {
        self.shrink();
        let source: Source = (event.source, event.about.clone());
        if !self.spend(&source, now) {
            return None;
        }
        let mut key = (source.clone(), event.reason, event.message.clone());
        let mut message = event.message.clone();
        if !self.entries.contains_key(&key) {
            let similar = self.similar.entry((source, event.reason)).or_insert((0, now));
            if now.as_second() - similar.1.as_second() > SIMILAR_WITHIN_S {
                *similar = (0, now);
            }
            similar.0 += 1;
            if similar.0 > SIMILAR_EVENTS {
                key.2.clear();
                message = format!("(combined from similar events): {message}");
            }
        }
        self.names += 1;
        let serial = self.names;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            name: format!("{}.{:x}{serial:04x}", event.about.key.name, now.as_nanosecond() >> 16),
            message: message.clone(),
            first: now,
            count: 0,
        });
        entry.count += 1;
        entry.message = message;
        Some(entry.clone())
    }

    fn spend(&mut self, source: &Source, now: Timestamp) -> bool {
        let (left, since) = self.credit.entry(source.clone()).or_insert((EVENTS_PER_OBJECT, now));
        let seconds = (now.as_millisecond() - since.as_millisecond()).max(0) as f64 / 1000.0;
        *left = (*left + seconds / EVENT_REFILL_S).min(EVENTS_PER_OBJECT);
        *since = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }

    fn shrink(&mut self) {
        if self.entries.len() >= EVENTS_REMEMBERED {
            let mut ages: Vec<Timestamp> = self.entries.values().map(|e| e.first).collect();
            ages.sort();
            let middle = ages[ages.len() / 2];
            self.entries.retain(|_, e| e.first > middle);
        }
        if self.credit.len() >= EVENTS_REMEMBERED {
            self.credit.retain(|_, (left, _)| *left < EVENTS_PER_OBJECT - 2.0);
        }
        if self.credit.len() >= EVENTS_REMEMBERED || self.similar.len() >= EVENTS_REMEMBERED {
            self.credit.clear();
            self.similar.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answers, hub, lines, status};

    fn event(message: &str) -> Event {
        let about = About { api_version: "apps/v1", kind: "DaemonSet", key: Key::new("x", "d"), uid: "u".into() };
        Event { source: "daemonset-controller", about, warning: false, reason: "R", message: message.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn repetitions_are_counted() {
        let mut memory = Memory::default();
        let first = memory.admit(&event("a"), at(0)).unwrap();
        let second = memory.admit(&event("a"), at(1)).unwrap();
        assert_eq!((first.count, second.count, first.name == second.name), (1, 2, true));
        assert_ne!(memory.admit(&event("b"), at(1)).unwrap().name, first.name);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_has_no_time_for_is_tried_again() {
        let busy: Answers = |_, _| (429, status(429, "TooManyRequests"));
        let refused: Answers = |_, _| (403, status(403, "Forbidden"));
        for (answer, code, asked) in [(busy, 429, EVENT_TRIES), (refused, 403, 1)] {
            let (hub, requests) = hub(answer);
            let entry = Memory::default().admit(&event("a"), at(0)).unwrap();
            let error = store_when_it_can(&hub.client, &event("a"), &entry, at(0)).await.unwrap_err();
            assert_eq!((wire::code(&error), lines(&requests).len()), (code, asked as usize));
        }
    }

    #[test]
    fn many_similar_ones_are_combined() {
        let mut memory = Memory::default();
        for i in 0..10 {
            assert_eq!(memory.admit(&event(&i.to_string()), at(0)).unwrap().count, 1);
        }
        let combined = memory.admit(&event("10"), at(0)).unwrap();
        assert_eq!((combined.message.as_str(), combined.count), ("(combined from similar events): 10", 1));
        assert_eq!(memory.admit(&event("11"), at(0)).unwrap().count, 2);
    }

    #[test]
    fn an_object_cannot_flood() {
        let mut memory = Memory::default();
        let admitted = (0..40).filter(|i| memory.admit(&event(&i.to_string()), at(0)).is_some()).count();
        assert_eq!(admitted, 25);
        assert!(memory.admit(&event("later"), at(299)).is_none());
        assert!(memory.admit(&event("later"), at(601)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for i in 0..3 * EVENTS_REMEMBERED {
            let mut event = event("a");
            event.about.uid = i.to_string();
            memory.admit(&event, at(i64::try_from(i).unwrap()));
        }
        assert!(memory.entries.len() <= EVENTS_REMEMBERED);
        assert!(memory.credit.len() <= EVENTS_REMEMBERED);
        assert!(memory.similar.len() <= EVENTS_REMEMBERED);
    }
}
