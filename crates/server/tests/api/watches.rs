//! Following changes.

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use crate::support::{CONFIG_MAPS, Cluster, PODS, config_map, pod};

/// A watch being read.
struct Events {
    body: Body,
    text: Vec<u8>,
}

impl Events {
    async fn open(cluster: &Cluster, query: &str) -> Events {
        Events::open_at(cluster, &format!("{CONFIG_MAPS}?watch=1&{query}")).await
    }

    async fn open_at(cluster: &Cluster, uri: &str) -> Events {
        let response = cluster.response(Request::get(uri).body(Body::from(Vec::new())).unwrap()).await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), text: Vec::new() }
    }

    /// The next event as `TYPE NAME`; None at the end.
    async fn next(&mut self) -> Option<String> {
        let event = self.next_value().await?;
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        Some(format!("{} {name}", event["type"].as_str().unwrap()))
    }

    async fn next_value(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.text.extend_from_slice(&frame.into_data().unwrap());
        }
    }
}

#[tokio::test]
async fn changes_come_in_order_and_selections_turn_them() {
    let cluster = Cluster::start().await;
    let made = cluster.post(CONFIG_MAPS, &config_map("a", "1")).await;
    let mut all = Events::open(&cluster, "").await;
    let mut later = Events::open(&cluster, &format!("resourceVersion={}", made.revision())).await;
    let mut ones = Events::open(&cluster, "labelSelector=value%3D1").await;
    let uri = format!("{CONFIG_MAPS}/a");
    cluster.put(&uri, &config_map("a", "2")).await;
    cluster.put(&uri, &config_map("a", "1")).await;
    cluster.delete(&uri, None).await;
    for want in ["ADDED a", "MODIFIED a", "MODIFIED a", "DELETED a"] {
        assert_eq!(all.next().await.as_deref(), Some(want));
    }
    for want in ["MODIFIED a", "MODIFIED a", "DELETED a"] {
        assert_eq!(later.next().await.as_deref(), Some(want));
    }
    for want in ["ADDED a", "DELETED a", "ADDED a", "DELETED a"] {
        assert_eq!(ones.next().await.as_deref(), Some(want));
    }
}

#[tokio::test]
async fn a_list_by_watch_ends_with_its_mark() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIG_MAPS, &config_map("a", "1")).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = Events::open(&cluster, query).await;
    assert_eq!(events.next().await.as_deref(), Some("ADDED a"));
    let mark = events.next_value().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let made = cluster.post(CONFIG_MAPS, &config_map("b", "1")).await;
    assert_eq!(events.next().await.as_deref(), Some("ADDED b"));
    let number = |text: &str| text.parse::<u64>().unwrap();
    assert!(number(&made.revision()) > number(mark["object"]["metadata"]["resourceVersion"].as_str().unwrap()));
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let cluster = Cluster::start().await;
    let mut events = Events::open(&cluster, "timeoutSeconds=0&resourceVersion=1").await;
    while let Some(event) = events.next_value().await {
        assert_ne!(event["type"], "ERROR");
    }
}

/// The pods of a node, as its agent asks for them.
const NODE_PODS: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn-1";

async fn bind(cluster: &Cluster, name: &str, node: &str) {
    let binding = serde_json::json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"kind": "Node", "name": node}});
    assert_eq!(cluster.post(&format!("{PODS}/{name}/binding"), &binding).await.code, 201);
}

async fn remove(cluster: &Cluster, name: &str) {
    assert_eq!(cluster.delete(&format!("{PODS}/{name}?gracePeriodSeconds=0"), None).await.code, 200);
}

#[tokio::test]
async fn the_pods_of_a_node_from_any_moment() {
    let cluster = Cluster::start().await;
    let start = cluster.get(PODS).await.revision();
    for name in ["a", "b", "c"] {
        cluster.post(PODS, &pod(name)).await;
    }
    bind(&cluster, "b", "n-2").await;
    let open = async |query: &str| Events::open_at(&cluster, &format!("{NODE_PODS}&watch=1&{query}")).await;
    let mut empty = open("").await;
    let mut early = open(&format!("resourceVersion={start}")).await;
    bind(&cluster, "a", "n-1").await;
    let bound = cluster.get(NODE_PODS).await;
    assert_eq!(bound.names(), ["a"]);
    let mut late = open(&format!("resourceVersion={start}")).await;
    let mut after = open(&format!("resourceVersion={}", bound.revision())).await;
    let mut listed = open("resourceVersion=0").await;
    bind(&cluster, "c", "n-1").await;
    remove(&cluster, "b").await;
    remove(&cluster, "a").await;
    for events in [&mut empty, &mut early, &mut late, &mut listed] {
        for want in ["ADDED a", "ADDED c", "DELETED a"] {
            assert_eq!(events.next().await.as_deref(), Some(want));
        }
    }
    for want in ["ADDED c", "DELETED a"] {
        assert_eq!(after.next().await.as_deref(), Some(want));
    }
}

#[tokio::test]
async fn a_list_of_a_nodes_pods_shows_what_was_just_written() {
    let cluster = Cluster::start().await;
    for round in 0..40 {
        let name = format!("p-{round}");
        cluster.post(PODS, &pod(&name)).await;
        assert!(cluster.get(NODE_PODS).await.names().is_empty());
        bind(&cluster, &name, "n-1").await;
        // Writes of other kinds move the store on; the index need not see any of them.
        cluster.post(CONFIG_MAPS, &config_map(&name, "1")).await;
        assert_eq!(cluster.get(NODE_PODS).await.names(), [name.as_str()]);
        assert!(cluster.get(&format!("{NODE_PODS}&labelSelector=no")).await.names().is_empty());
        remove(&cluster, &name).await;
    }
}
