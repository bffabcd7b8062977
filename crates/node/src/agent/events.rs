//! Events in the kubelet's words: written in order, counted instead of repeated, never in the way.
//!
//! # Invariants
//! - Telling an event never waits: a full queue drops it (events are for people; state lives in statuses).
//! - An event that is no warning lets statuses go first: it waits a moment. Its time is when it was told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams, Request};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::unread::unread;

/// Events that wait for the server: a start of all 110 pods of a node writes about five each.
const QUEUE_MAX: usize = 640;
/// What is no warning waits so long before it is written: then the start that it tells of has reached the API server.
const PAUSE: Duration = Duration::from_millis(500);
/// Events remembered to be counted: enough for what repeats (probes, back-offs) on a full node.
const REMEMBERED_MAX: usize = 256;
/// An event that the server can't take now is tried so often, with a pause before each further try: two minutes, as the
/// kubelet does it.
const TRIES: u32 = 12;
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// Longest message, as the API server allows.
const MESSAGE_MAX: usize = 1024;
/// Who says so; people look for this name.
const COMPONENT: &str = "kubelet";

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    about: ObjectReference,
    warning: bool,
    reason: String,
    message: String,
}

/// Where events go in, each with the time at which it was told.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<(Told, Time)>,
}

impl Recorder {
    /// About a pod, or about one of its containers.
    pub(crate) fn pod_event(&self, pod: &Pod, container: Option<&str>, warning: bool, reason: &str, message: &str) {
        self.put(Told {
            about: pod_reference(pod, container),
            warning,
            reason: reason.into(),
            message: message.into(),
        });
    }

    /// About the node.
    pub(crate) fn node_event(&self, node: &ObjectReference, type_: &str, reason: &str, message: &str) {
        let warning = type_ == "Warning";
        self.put(Told { about: node.clone(), warning, reason: reason.into(), message: message.into() });
    }

    fn put(&self, mut told: Told) {
        if told.message.len() > MESSAGE_MAX {
            let cut = (0..=MESSAGE_MAX).rev().find(|at| told.message.is_char_boundary(*at)).unwrap_or(0);
            told.message.truncate(cut);
        }
        if self.queue.try_send((told, Time(Timestamp::now()))).is_err() {
            tracing::debug!("an event is dropped: {QUEUE_MAX} others wait for the API server");
        }
    }
}

fn pod_reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let init = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref());
    let field = container.map(|name| {
        let later = pod.spec.as_ref().and_then(|s| s.ephemeral_containers.as_ref());
        let list = match name {
            _ if init.is_some_and(|l| l.iter().any(|c| c.name == name)) => "initContainers",
            _ if later.is_some_and(|l| l.iter().any(|c| c.name == name)) => "ephemeralContainers",
            _ => "containers",
        };
        format!("spec.{list}{{{name}}}")
    });
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: field,
    }
}

/// The way in, and the task that writes until shutdown.
pub(super) fn recorder(
    client: Client,
    node: &str,
    shutdown: CancellationToken,
) -> (Recorder, impl Future<Output = ()> + use<>) {
    let (queue, inbox) = mpsc::channel(QUEUE_MAX);
    let writer = Writer { client, node: node.into(), known: VecDeque::new() };
    (Recorder { queue }, writer.run(inbox, shutdown))
}

/// Whether the same may be taken later: the server is away or has too much to do.
fn is_for_now(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}

/// The next events to write: those that are told within the pause, which a warning ends. None: nobody tells any more.
async fn gather(inbox: &mut mpsc::Receiver<(Told, Time)>) -> Option<Vec<(Told, Time)>> {
    let first = inbox.recv().await?;
    let end = tokio::time::Instant::now() + PAUSE;
    let mut hurry = first.0.warning;
    let mut waiting = vec![first];
    while !hurry && waiting.len() < QUEUE_MAX {
        let Ok(Some(next)) = tokio::time::timeout_at(end, inbox.recv()).await else { break };
        hurry = next.0.warning;
        waiting.push(next);
    }
    Some(waiting)
}

struct Known {
    told: Told,
    name: String,
    count: i32,
}

struct Writer {
    client: Client,
    node: Arc<str>,
    known: VecDeque<Known>,
}

impl Writer {
    async fn run(mut self, mut inbox: mpsc::Receiver<(Told, Time)>, shutdown: CancellationToken) {
        let work = async {
            while let Some(waiting) = gather(&mut inbox).await {
                for (told, at) in waiting {
                    self.write_when_it_can(told, at).await;
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    async fn write_when_it_can(&mut self, told: Told, at: Time) {
        for tries in 1.. {
            match self.write(told.clone(), at.clone()).await {
                Ok(()) => return,
                Err(error) if tries < TRIES && is_for_now(&error) => tokio::time::sleep(TRY_AGAIN).await,
                Err(error) => return tracing::debug!("an event can't be written: {error}"),
            }
        }
    }

    async fn write(&mut self, mut told: Told, now: Time) -> Result<(), kube::Error> {
        let namespace = told.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        // The version changes with every status; the same event stays the same.
        let version = told.about.resource_version.take();
        if let Some(at) = self.known.iter().position(|k| k.told == told) {
            let mut known =
                self.known.remove(at).unwrap_or(Known { told: told.clone(), name: String::new(), count: 0 });
            known.count = known.count.saturating_add(1);
            let patch = Patch::Merge(json!({"count": known.count, "lastTimestamp": now}));
            let request = Request::new(events.resource_url()).patch(&known.name, &PatchParams::default(), &patch);
            match unread(&self.client, request).await {
                Ok(()) => {
                    self.known.push_back(known);
                    return Ok(());
                }
                // It expired: a new one begins.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let name = self.name(&told);
        let mut about = told.about.clone();
        about.resource_version = version;
        let event = self.event(&name, &namespace, about, &told, &now);
        let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
        let request = Request::new(events.resource_url()).create(&PostParams::default(), body);
        unread(&self.client, request).await?;
        self.known.push_back(Known { told, name, count: 1 });
        if self.known.len() > REMEMBERED_MAX {
            self.known.pop_front();
        }
        Ok(())
    }

    fn name(&self, told: &Told) -> String {
        let nanos = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(u64::MAX);
        format!("{}.{nanos:x}", told.about.name.as_deref().unwrap_or(&self.node))
    }

    fn event(&self, name: &str, namespace: &str, about: ObjectReference, told: &Told, now: &Time) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..Default::default()
            },
            involved_object: about,
            reason: Some(told.reason.clone()),
            message: Some(told.message.clone()),
            type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now.clone()),
            source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(self.node.to_string()) }),
            reporting_component: Some(COMPONENT.to_owned()),
            reporting_instance: Some(self.node.to_string()),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request as HttpRequest, Response};
    use kube::client::Body;

    use super::*;

    /// An API server that answers one code after the other, then 201; and what was posted.
    fn server(codes: &[u16]) -> (Client, Arc<Mutex<Vec<String>>>) {
        let (left, posted) = (Arc::new(Mutex::new(codes.to_vec())), Arc::new(Mutex::new(Vec::new())));
        let seen = posted.clone();
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let (left, seen) = (left.clone(), seen.clone());
            async move {
                let bytes = request.into_body().collect_bytes().await.unwrap();
                let event: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let mut left = left.lock().unwrap();
                let code = if left.is_empty() { 201 } else { left.remove(0) };
                seen.lock().unwrap().push(format!("{} {code}", event["reason"].as_str().unwrap()));
                let body = json!({"kind": "Status", "status": "Failure", "code": code, "message": "", "reason": ""});
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        (Client::new(service, "default"), posted)
    }

    async fn told(codes: &[u16]) -> Vec<String> {
        let (client, posted) = server(codes);
        let (recorder, writer) = recorder(client, "n", CancellationToken::new());
        recorder.pod_event(&Pod::default(), None, false, "Pulled", "first");
        recorder.pod_event(&Pod::default(), None, false, "Created", "second");
        drop(recorder);
        writer.await;
        let posted = posted.lock().unwrap();
        posted.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_can_not_take_now_is_told_later_and_in_order() {
        assert_eq!(told(&[429, 503]).await, ["Pulled 429", "Pulled 503", "Pulled 201", "Created 201"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_warning_takes_along_what_waits() {
        let (client, posted) = server(&[]);
        let (recorder, writer) = recorder(client, "n", CancellationToken::new());
        let writer = tokio::spawn(writer);
        let seen = || posted.lock().unwrap().len();
        recorder.pod_event(&Pod::default(), None, false, "Pulled", "first");
        tokio::time::sleep(PAUSE / 2).await;
        assert_eq!(seen(), 0, "statuses go first");
        recorder.pod_event(&Pod::default(), None, true, "BackOff", "second");
        tokio::time::sleep(PAUSE / 4).await;
        assert_eq!(seen(), 2);
        recorder.pod_event(&Pod::default(), None, false, "Started", "third");
        tokio::time::sleep(PAUSE + PAUSE / 4).await;
        assert_eq!(seen(), 3);
        drop(recorder);
        writer.await.unwrap();
        assert_eq!(posted.lock().unwrap().clone(), ["Pulled 201", "BackOff 201", "Started 201"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_refuses_is_dropped_at_once_and_what_it_never_takes_in_the_end() {
        assert_eq!(told(&[403]).await, ["Pulled 403", "Created 201"]);
        let never = [429; TRIES as usize];
        assert_eq!(told(&never).await.len(), TRIES as usize + 1);
    }
}
