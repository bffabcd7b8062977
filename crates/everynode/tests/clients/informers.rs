//! Stock informers, by list and watch and by streaming list: what they see, and how they get over lost servers and lost
//! history.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as informer};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::process::{Process, until};

type Events = Pin<Box<dyn Stream<Item = Result<Event<ConfigMap>, watcher::Error>> + Send>>;

/// One informer, and all that it was told.
struct Informer {
    events: Events,
    /// What it believes to be there, by name: the resourceVersions.
    known: BTreeMap<String, String>,
    filling: BTreeMap<String, String>,
    /// Changes after the first fill, in order.
    changes: Vec<String>,
    fills: usize,
    errors: Vec<String>,
}

impl Informer {
    fn new(client: Client, config: watcher::Config) -> Informer {
        let api: Api<ConfigMap> = Api::namespaced(client, "default");
        Informer {
            events: informer(api, config).default_backoff().boxed(),
            known: BTreeMap::new(),
            filling: BTreeMap::new(),
            changes: Vec::new(),
            fills: 0,
            errors: Vec::new(),
        }
    }

    /// Takes in events until it believes what `names` says.
    async fn believes(&mut self, fills: usize, names: &[&str]) {
        let enough = async {
            while self.fills < fills || !self.known.keys().eq(names.iter()) {
                match self.events.next().await.unwrap() {
                    Ok(event) => self.take(event),
                    Err(error) => self.errors.push(format!("{error}: {error:?}")),
                }
            }
        };
        let done = tokio::time::timeout(std::time::Duration::from_secs(90), enough).await;
        assert!(
            done.is_ok(),
            "want {names:?} after {fills} fills, know {:?} after {}; errors {:?}",
            self.known,
            self.fills,
            self.errors
        );
    }

    fn take(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Init => self.filling.clear(),
            Event::InitApply(map) => {
                assert!(self.filling.insert(map.name_any(), map.resource_version().unwrap()).is_none(), "told twice");
            }
            Event::InitDone => {
                self.known = std::mem::take(&mut self.filling);
                self.fills += 1;
            }
            Event::Apply(map) => {
                self.changes.push(format!("apply {}", map.name_any()));
                self.known.insert(map.name_any(), map.resource_version().unwrap());
            }
            Event::Delete(map) => {
                self.changes.push(format!("delete {}", map.name_any()));
                assert!(self.known.remove(&map.name_any()).is_some(), "deleted what was not there");
            }
        }
    }
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).unwrap()
}

/// Both ways in which informers begin.
fn configs() -> [watcher::Config; 2] {
    let selected = watcher::Config::default().fields("metadata.name!=kube-root-ca.crt");
    [selected.clone().page_size(2), selected.streaming_lists()]
}

#[tokio::test]
async fn informers_see_each_change_once_through_a_killed_server() {
    let mut process = Process::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(process.client().await, "default");
    for name in ["a", "b", "c", "d", "e"] {
        maps.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    let mut informers = Vec::new();
    for config in configs() {
        let mut informer = Informer::new(process.client().await, config);
        informer.believes(1, &["a", "b", "c", "d", "e"]).await;
        informers.push(informer);
    }
    maps.create(&PostParams::default(), &map("f")).await.unwrap();
    maps.patch("b", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    for informer in &mut informers {
        informer.believes(1, &["b", "c", "d", "e", "f"]).await;
    }

    process.kill_and_restart().await;
    // These have not been looked at since, and the client below is a new one: no informer saw the new server yet.
    let maps: Api<ConfigMap> = Api::namespaced(process.client().await, "default");
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &map("g")).await.unwrap();
    let listed = maps.list(&Default::default()).await.unwrap();
    for informer in &mut informers {
        informer.believes(1, &["b", "d", "e", "f", "g"]).await;
        assert_eq!(informer.changes, ["apply f", "apply b", "delete a", "delete c", "apply g"]);
        assert_eq!(informer.fills, 1, "history survives a restart, so nobody lists again: {:?}", informer.errors);
        for map in &listed {
            assert_eq!(informer.known.get(&map.name_any()), map.resource_version().as_ref());
        }
    }
}

#[tokio::test]
async fn informers_list_again_when_their_history_is_gone() {
    let mut process = Process::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(process.client().await, "default");
    let seen = maps.create(&PostParams::default(), &map("a")).await.unwrap().resource_version().unwrap();
    let mut informers = Vec::new();
    for config in configs() {
        let mut informer = Informer::new(process.client().await, config);
        informer.believes(1, &["a"]).await;
        informers.push(informer);
    }
    // Their connections are gone, and they are not polled, so they stay where they were.
    process.kill_and_restart().await;
    let client = process.client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &map("b")).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client, "default");
    let secret = |n: usize| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "large"},
            "stringData": {"n": n.to_string(), "x": "x".repeat(700_000)}})
    };
    secrets.create(&PostParams::default(), &serde_json::from_value(secret(0)).unwrap()).await.unwrap();
    // The server bounds the bytes of its history; what is written here is above any such bound in the end.
    let mut n = 0;
    until("the history is compacted", async || {
        for _ in 0..10 {
            n += 1;
            let secret: Secret = serde_json::from_value(secret(n)).unwrap();
            secrets.replace("large", &PostParams::default(), &secret).await.unwrap();
        }
        let params = WatchParams::default().timeout(1).disable_bookmarks();
        let mut events = maps.watch(&params, &seen).await.unwrap().boxed();
        match events.next().await {
            Some(Ok(WatchEvent::Error(status))) => {
                assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
                Some(())
            }
            _ => None,
        }
    })
    .await;
    for informer in &mut informers {
        informer.believes(2, &["b"]).await;
        assert!(informer.errors.iter().any(|e| e.contains("410")), "{:?}", informer.errors);
    }
}
