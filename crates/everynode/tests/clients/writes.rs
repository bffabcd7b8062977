//! Writers that get in each other's way: stale updates, and server-side apply.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::process::Process;

const WRITERS: usize = 8;
const WRITES: usize = 5;

fn counter(map: &ConfigMap) -> usize {
    map.data.as_ref().unwrap()["n"].parse().unwrap()
}

/// Counts up, and again from what is there when someone else did in between. Returns how often that happened.
async fn count_up(client: Client) -> usize {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut conflicts = 0;
    for _ in 0..WRITES {
        loop {
            let mut map = maps.get("counter").await.unwrap();
            let next = counter(&map) + 1;
            map.data.as_mut().unwrap().insert("n".into(), next.to_string());
            match maps.replace("counter", &PostParams::default(), &map).await {
                Ok(written) => {
                    assert_eq!(counter(&written), next);
                    break;
                }
                Err(kube::Error::Api(status)) if status.is_conflict() => conflicts += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    conflicts
}

#[tokio::test]
async fn no_count_is_lost_among_writers() {
    let process = Process::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(process.client().await, "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "counter"}, "data": {"n": "0"}})).unwrap();
    let stale = maps.create(&PostParams::default(), &map).await.unwrap();
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(tokio::spawn(count_up(process.client().await)));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(counter(&maps.get("counter").await.unwrap()), WRITERS * WRITES);
    let Err(kube::Error::Api(refused)) = maps.replace("counter", &PostParams::default(), &stale).await else {
        panic!("a stale update went through");
    };
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        refused.message,
        "Operation cannot be fulfilled on configmaps \"counter\": the object has been modified; please apply your \
         changes to the latest version and try again"
    );
}

fn applied(data: Value) -> Patch<Value> {
    Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": data}))
}

/// Which managers own a key of the data.
fn owners(map: &ConfigMap, key: &str) -> Vec<String> {
    let fields = map.managed_fields().iter().filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:data"][format!("f:{key}")].is_null())
    });
    fields.map(|entry| entry.manager.clone().unwrap_or_default()).collect()
}

#[tokio::test]
async fn appliers_share_an_object() {
    let process = Process::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(process.client().await, "default");
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    let first = maps.patch("shared", &one, &applied(json!({"a": "1", "b": "1"}))).await.unwrap();
    let again = maps.patch("shared", &one, &applied(json!({"a": "1", "b": "1"}))).await.unwrap();
    assert_eq!(first.resource_version(), again.resource_version());

    let Err(kube::Error::Api(refused)) = maps.patch("shared", &two, &applied(json!({"a": "2", "c": "2"}))).await else {
        panic!("a field of another's was taken without force");
    };
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let taken = maps.patch("shared", &two.clone().force(), &applied(json!({"a": "2", "c": "2"}))).await.unwrap();
    assert_eq!(owners(&taken, "a"), ["two"]);
    assert_eq!(owners(&taken, "b"), ["one"]);

    // What its last owner no longer applies goes.
    let left = maps.patch("shared", &two, &applied(json!({"a": "2"}))).await.unwrap();
    assert_eq!(serde_json::to_value(left.data).unwrap(), json!({"a": "2", "b": "1"}));
    let left = maps.patch("shared", &one, &applied(json!({"a": "2"}))).await.unwrap();
    assert_eq!(owners(&left, "a"), ["one", "two"]);
    assert_eq!(serde_json::to_value(left.data).unwrap(), json!({"a": "2"}));
}
