//! A client that moves from one server to the other in mid-watch misses nothing and sees nothing twice, while both are
//! written to and one is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};

use crate::etcd_process::{EtcdProcess, soon};
use crate::processes::{ready, server_on};

const WRITERS: usize = 4;
/// Writes of each writer before and after the kill.
const WRITES: usize = 40;
/// Events after which the watcher moves, while both servers live.
const MOVES_AFTER: usize = 15;

fn config_map(name: &str, number: usize, version: Option<String>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), resource_version: version, ..ObjectMeta::default() },
        data: Some([("n".to_owned(), number.to_string())].into()),
        ..ConfigMap::default()
    }
}

fn number(map: &ConfigMap) -> usize {
    map.data.as_ref().unwrap()["n"].parse().unwrap()
}

/// Counts up in an object of its own, on one server as long as that lives, then on the other.
async fn write(servers: [Client; 2], name: String, done: Arc<AtomicUsize>) {
    let mut at = 0;
    let mut current: Option<ConfigMap> = None;
    while current.as_ref().map_or(0, number) < 2 * WRITES {
        let api: Api<ConfigMap> = Api::default_namespaced(servers[at].clone());
        let next = config_map(
            &name,
            current.as_ref().map_or(0, number) + 1,
            current.as_ref().and_then(|map| map.metadata.resource_version.clone()),
        );
        let written = match &current {
            None => api.create(&PostParams::default(), &next).await,
            Some(_) => api.replace(&name, &PostParams::default(), &next).await,
        };
        match written {
            Ok(map) => current = Some(map),
            // An answer of the server: this object has one writer, so nothing may be in its way.
            Err(kube::Error::Api(status)) if status.code < 500 => panic!("{name}: {status:?}"),
            // Nobody knows whether it happened: look on the other server, and go on there.
            Err(_) => {
                at = 1 - at;
                let api: Api<ConfigMap> = Api::default_namespaced(servers[at].clone());
                current = loop {
                    if let Ok(found) = api.get_opt(&name).await {
                        break found;
                    }
                };
            }
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Follows from a version until the stream ends, so many events have come, or all is seen; the version to go on from.
async fn follow(client: &Client, mut version: String, seen: &mut BTreeMap<String, usize>, most: usize) -> String {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let Ok(stream) = api.watch(&WatchParams::default(), &version).await else { return version };
    let mut stream = std::pin::pin!(stream);
    let leave_at = seen.values().sum::<usize>().saturating_add(most).min(WRITERS * 2 * WRITES);
    while seen.values().sum::<usize>() < leave_at {
        match stream.next().await {
            Some(Ok(WatchEvent::Added(map) | WatchEvent::Modified(map))) => {
                let name = map.metadata.name.clone().unwrap();
                version = map.metadata.resource_version.clone().unwrap();
                if !name.starts_with("writer-") {
                    continue;
                }
                let last = seen.insert(name.clone(), number(&map)).unwrap_or(0);
                assert_eq!(number(&map), last + 1, "{name}");
            }
            Some(Ok(WatchEvent::Bookmark(mark))) => version = mark.metadata.resource_version,
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(_)) | None => return version,
        }
    }
    version
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_moves_in_mid_watch_and_misses_nothing() {
    let etcd = EtcdProcess::start().await;
    let mut first = server_on(&etcd, None, &["--no-controllers"]);
    ready(&mut first).await;
    let mut second = server_on(&etcd, Some(&first), &["--no-controllers"]);
    ready(&mut second).await;
    let clients = [first.client().await, second.client().await];
    let begin = Api::<ConfigMap>::default_namespaced(clients[0].clone()).list(&Default::default()).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let mut servers = clients.clone();
            servers.rotate_left(n % 2);
            tokio::spawn(write(servers, format!("writer-{n}"), done.clone()))
        })
        .collect();
    let watching = tokio::spawn({
        let clients = clients.clone();
        async move {
            let (mut seen, mut version) = (BTreeMap::new(), begin.metadata.resource_version.unwrap());
            // Back and forth while both live.
            for turn in 0..4 {
                version = follow(&clients[turn % 2], version, &mut seen, MOVES_AFTER).await;
            }
            // To the end: on the first until it is killed, then on the other.
            let mut at = 0;
            while seen.values().sum::<usize>() < WRITERS * 2 * WRITES {
                version = follow(&clients[at], version, &mut seen, usize::MAX).await;
                at = 1 - at;
            }
            seen
        }
    });
    let half = async {
        while done.load(Ordering::SeqCst) < WRITERS * WRITES {
            tokio::task::yield_now().await;
        }
    };
    soon("half of the writes", half).await;
    first.kill();
    for writer in writers {
        soon("the end of a writer", writer).await.unwrap();
    }
    let seen = soon("the end of the watcher", watching).await.unwrap();
    assert_eq!(seen.len(), WRITERS);
}

/// What one server acknowledged, the other one shows at once: plain reads are never behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_server_shows_what_one_acknowledged() {
    let etcd = EtcdProcess::start().await;
    let mut first = server_on(&etcd, None, &["--no-controllers"]);
    ready(&mut first).await;
    let mut second = server_on(&etcd, Some(&first), &["--no-controllers"]);
    ready(&mut second).await;
    let apis = [first.client().await, second.client().await].map(Api::<ConfigMap>::default_namespaced);
    for n in 0..30 {
        let (writer, reader) = (&apis[n % 2], &apis[(n + 1) % 2]);
        let name = format!("c-{n}");
        let made = writer.create(&PostParams::default(), &config_map(&name, n, None)).await.unwrap();
        let found = reader.get(&name).await.unwrap();
        assert_eq!(found.metadata.resource_version, made.metadata.resource_version);
        assert_eq!(
            reader.list(&Default::default()).await.unwrap().items.iter().filter(|m| m.data.is_some()).count(),
            n + 1
        );
        writer.delete(&format!("c-{n}-none"), &Default::default()).await.unwrap_err();
    }
}
