//! Why nodes run a daemon: asked of the server, or found out from its lists where the server has no such answer.
//!
//! # Invariants
//! - Both ways give the same document: everynode's server answers with what [`reasons`] finds.
//! - Reads are bounded: lists once each, and a few pods more closely.
//!
//! # Absent
//! The decision (`decide::why`).

use std::collections::BTreeMap;

use decide::node_health::Grace;
use decide::why::{Asked, Case, Found, Look, Snapshot};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Api, PAGE_OBJECTS, Query, escaped};
use crate::describe::selector_text;
use crate::failure::{Failure, Result};

/// Reads about single pods that are under way at a time: a few hide the latency, more would be a burst on the server.
const READS_AT_ONCE: usize = 4;
/// Warnings about one pod that are looked through for the newest; agents repeat few different ones.
const WARNINGS_MAX: &str = "50";
/// What a server says of a path that it does not have.
const NO_SUCH_PATH: &str = "the server could not find the requested resource";

/// Which nodes are asked about, and how much is told.
#[derive(Debug, Clone, Default)]
pub struct ReasonsQuery {
    /// This node only.
    pub node: Option<String>,
    /// Nodes with such labels only.
    pub selector: Option<String>,
    /// Counts and causes without each node.
    pub summary: bool,
}

impl ReasonsQuery {
    fn parameters(&self) -> Query {
        Query::new()
            .with_some("node", self.node.clone())
            .with_some("labelSelector", self.selector.clone())
            .with_some("summary", self.summary.then_some("true"))
    }
}

/// Finds out why nodes run a DaemonSet's daemon, from what the API lists; its controllers know a silent node as one after `grace`.
///
/// # Errors
/// A Status as the API answers it: 404 when the DaemonSet or the node is not there, 400 for a selector that can't be read.
pub async fn reasons(
    client: kube::Client,
    namespace: &str,
    name: &str,
    query: &ReasonsQuery,
    grace: Grace,
) -> std::result::Result<Value, Value> {
    let api = Api::new(client, namespace.to_owned(), true, String::new());
    find_out(&api, namespace, name, query, grace).await.map_err(|failure| match failure {
        Failure::Status(status) => *status,
        other => api::status::internal(other.text()).body,
    })
}

/// Asks the server, and finds out where it has no answer to give to this user.
pub(crate) async fn ask(api: &Api, namespace: &str, name: &str, query: &ReasonsQuery) -> Result<Value> {
    let path = format!("{}/reasons", set_path(namespace, name));
    match api.get(&path, &query.parameters()).await {
        Err(e) if has_no_answer(&e) => find_out(api, namespace, name, query, Grace::default()).await,
        other => other,
    }
}

fn has_no_answer(failure: &Failure) -> bool {
    match failure {
        Failure::Status(status) => {
            let said = status["message"].as_str().unwrap_or_default();
            matches!(failure.reason(), "Forbidden" | "MethodNotAllowed") || said.starts_with(NO_SUCH_PATH)
        }
        _ => false,
    }
}

fn set_path(namespace: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{}/daemonsets/{}", escaped(namespace), escaped(name))
}

async fn find_out(api: &Api, namespace: &str, name: &str, query: &ReasonsQuery, grace: Grace) -> Result<Value> {
    let labels = query.selector.as_deref().map(api::selector::Labels::parse).transpose();
    let labels = labels.map_err(|e| Failure::Status(Box::new(api::status::bad_request(e.to_string()).body)))?;
    let asked = Asked { node: query.node.clone(), labels };
    let snapshot = Snapshot { grace, ..snapshot(api, namespace, name).await? };
    if let Some(node) = &asked.node
        && !snapshot.nodes.iter().any(|n| n.metadata.name.as_ref() == Some(node))
    {
        return Err(Failure::Status(Box::new(api::status::not_found("", "nodes", node).body)));
    }
    let case = Case::new(&snapshot, &asked, Timestamp::now());
    let found = look(api, namespace, case.looks()).await;
    Ok(case.report(&found).document(!query.summary))
}

/// All that is listed about a DaemonSet.
pub(crate) async fn snapshot(api: &Api, namespace: &str, name: &str) -> Result<Snapshot> {
    let set: Value = api.get(&set_path(namespace, name), &Query::new()).await?;
    let selector = selector_text(&set["spec"]["selector"]);
    around(api, namespace, read(set)?, &selector).await
}

/// What is listed around a DaemonSet, which need not be there yet.
pub(crate) async fn around(api: &Api, namespace: &str, set: DaemonSet, selector: &str) -> Result<Snapshot> {
    let of_set = Query::new().with("labelSelector", selector);
    let inside = |group: &str, plural: &str| format!("{group}/namespaces/{}/{plural}", escaped(namespace));
    let namespace_path = format!("/api/v1/namespaces/{}", escaped(namespace));
    // A namespace that may not be read is taken as one for all nodes.
    let policies = inside("/apis/everynode.dev/v1alpha1", "rolloutpolicies");
    let of_namespace = api.get(&namespace_path, &Query::new()).await.ok().map(read).transpose()?;
    Ok(Snapshot {
        set,
        nodes: list(api, "/api/v1/nodes", &Query::new()).await?,
        pods: list(api, &inside("/api/v1", "pods"), &of_set).await?,
        revisions: list(api, &inside("/apis/apps/v1", "controllerrevisions"), &of_set).await?,
        namespace: of_namespace,
        // A server that has none, or keeps them from this user, has none for this answer.
        policies: list(api, &policies, &Query::new()).await.unwrap_or_default(),
        grace: Grace::default(),
    })
}

/// Reads what is on the nodes of pods that wait for the scheduler, and the warnings about the other pods that wait. What may
/// not be read is left out: the answer is shorter then, not wrong.
async fn look(api: &Api, namespace: &str, looks: Vec<Look>) -> Found {
    let mut found = Found::default();
    let mut reads = stream::iter(looks)
        .map(async |look| {
            let read = if look.unbound {
                Read::Neighbours(neighbours(api, &look.node).await)
            } else {
                Read::Warning(warning(api, namespace, &look.uid).await)
            };
            (look, read)
        })
        .buffered(READS_AT_ONCE);
    while let Some((look, read)) = reads.next().await {
        match read {
            Read::Neighbours(Some(pods)) => {
                found.neighbours.insert(look.node, pods);
            }
            Read::Warning(Some(event)) => {
                found.warnings.insert(look.uid, *event);
            }
            Read::Neighbours(None) | Read::Warning(None) => {}
        }
    }
    found
}

/// What was read about one pod.
enum Read {
    Neighbours(Option<Vec<Pod>>),
    Warning(Option<Box<Event>>),
}

async fn neighbours(api: &Api, node: &str) -> Option<Vec<Pod>> {
    let query = Query::new().with("fieldSelector", format!("spec.nodeName={node}"));
    list(api, "/api/v1/pods", &query).await.ok()
}

async fn warning(api: &Api, namespace: &str, uid: &str) -> Option<Box<Event>> {
    let selector = format!("involvedObject.uid={uid},type=Warning");
    let query = Query::new().with("fieldSelector", selector).with("limit", WARNINGS_MAX);
    let path = format!("/api/v1/namespaces/{}/events", escaped(namespace));
    let list = api.get(&path, &query).await.ok()?;
    let events: Vec<Event> = read(list["items"].clone()).ok()?;
    events.into_iter().max_by_key(last_seen).map(Box::new)
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let of_series = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0);
    let seen = [of_series, event.last_timestamp.as_ref().map(|t| t.0), event.event_time.as_ref().map(|t| t.0)];
    seen.into_iter().flatten().max()
}

async fn list<T: DeserializeOwned>(api: &Api, path: &str, query: &Query) -> Result<Vec<T>> {
    let mut list = api.list(path, query, false, PAGE_OBJECTS).await?;
    read(list["items"].take())
}

/// The typed form of what the server sent.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Failure::Message(format!("the server's answer can't be read: {e}")))
}

/// The nodes of a report's causes as one text: `n-0, n-1 and 3 more`.
pub(crate) fn named(cause: &Value) -> String {
    let examples: Vec<&str> = cause["examples"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let more = cause["nodes"].as_u64().unwrap_or_default().saturating_sub(examples.len() as u64);
    if more == 0 { examples.join(", ") } else { format!("{} and {more} more", examples.join(", ")) }
}

/// What updates wait for, by how many nodes.
pub(crate) fn held(report: &Value) -> BTreeMap<&str, u64> {
    let held = report["held"].as_array().into_iter().flatten();
    held.filter_map(|h| Some((h["about"].as_str()?, h["nodes"].as_u64()?))).collect()
}
