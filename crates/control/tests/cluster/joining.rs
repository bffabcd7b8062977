//! What new nodes join by: tokens that end, and what the others sign.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::fixture::Cluster;
use crate::merge;

fn token(id: &str, expiration: &str) -> Secret {
    let data = json!({"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
        "expiration": expiration});
    let metadata = json!({"name": format!("bootstrap-token-{id}")});
    serde_json::from_value(json!({"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "stringData": data}))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_sign_until_they_end() {
    let cluster = Cluster::start(0).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), "kube-system");
    let infos: Api<ConfigMap> = Api::namespaced(cluster.client(), "kube-public");
    let wanted = PostParams::default();
    let data: BTreeMap<String, String> = [("kubeconfig".to_owned(), "K".to_owned())].into();
    let info: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "cluster-info"}, "data": data})).unwrap();
    if infos.get_opt("cluster-info").await.unwrap().is_none() {
        infos.create(&wanted, &info).await.unwrap();
    }
    let signatures = async || -> BTreeMap<String, String> {
        let data = infos.get("cluster-info").await.unwrap().data.unwrap_or_default();
        data.into_iter().filter(|(key, _)| key.starts_with("jws-kubeconfig-")).collect()
    };
    let signers =
        async |want: &[&str]| signatures().await.keys().map(|k| &k["jws-kubeconfig-".len()..]).eq(want.iter().copied());

    let soon = Timestamp::now().checked_add(SignedDuration::from_secs(3)).unwrap();
    secrets.create(&wanted, &token("abcdef", "")).await.unwrap();
    secrets.create(&wanted, &token("ending", &soon.to_string())).await.unwrap();
    secrets.create(&wanted, &token("passed", "2020-01-01T00:00:00Z")).await.unwrap();
    cluster
        .until("who may sign does", async || signers(&["abcdef"]).await || signers(&["abcdef", "ending"]).await)
        .await;
    let there = async |id: &str| secrets.get_opt(&format!("bootstrap-token-{id}")).await.unwrap().is_some();
    cluster.until("those that ended are gone", async || !there("passed").await && !there("ending").await).await;
    assert!(Timestamp::now() >= soon, "not before its time");
    cluster.until("with their signatures", async || signers(&["abcdef"]).await).await;
    assert!(there("abcdef").await);

    let before = signatures().await;
    merge(&infos, "cluster-info", json!({"data": {"kubeconfig": "L", "others": "stay"}})).await;
    cluster.until("another text is signed", async || signatures().await != before).await;
    secrets.delete("bootstrap-token-abcdef", &DeleteParams::default()).await.unwrap();
    cluster.until("no token, no signature", async || signers(&[]).await).await;
    let data = infos.get("cluster-info").await.unwrap().data.unwrap();
    assert_eq!((data["kubeconfig"].as_str(), data["others"].as_str()), ("L", "stay"));
    cluster.stop().await;
}
