//! Reading: lists, pages, tables, discovery, what others may.

use http::{Method, Request};
use kube::client::Body;
use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, config_map};

#[tokio::test]
async fn pages_show_one_moment() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.post(CONFIG_MAPS, &config_map(name, name)).await;
    }
    let first = cluster.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    cluster.delete(&format!("{CONFIG_MAPS}/c"), None).await;
    let next = first.body["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{CONFIG_MAPS}?limit=2&continue={next}")).await;
    assert_eq!(second.names(), ["c", "d"], "the page shows what there was when the list began");
    assert_eq!(second.revision(), first.revision());
    let last = second.body["metadata"]["continue"].as_str().unwrap();
    let third = cluster.get(&format!("{CONFIG_MAPS}?limit=2&continue={last}")).await;
    assert_eq!((third.names(), third.body["metadata"].get("continue")), (vec!["e".to_owned()], None));
}

#[tokio::test]
async fn selections_and_revisions() {
    let cluster = Cluster::start().await;
    for name in ["a", "ab", "b"] {
        cluster.post(CONFIG_MAPS, &config_map(name, name)).await;
    }
    for (query, want) in [
        ("", vec!["a", "ab", "b"]),
        ("labelSelector=value%20in%20(a,b)", vec!["a", "b"]),
        ("fieldSelector=metadata.name%3Da", vec!["a"]),
        ("fieldSelector=metadata.name!%3Da", vec!["ab", "b"]),
        ("labelSelector=value!%3Da&limit=1", vec!["ab"]),
    ] {
        let answer = cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(answer.names(), want, "{query}");
    }
    let everywhere = cluster.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dkube-system").await;
    assert!(everywhere.names().is_empty());
    for (query, code) in [
        ("labelSelector=a%20b%20c", 400),
        ("fieldSelector=spec.x%3D1", 400),
        ("resourceVersion=999999", 504),
        ("continue=nonsense", 400),
    ] {
        assert_eq!(cluster.get(&format!("{CONFIG_MAPS}?{query}")).await.code, code, "{query}");
    }
}

#[tokio::test]
async fn tables_and_metadata() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIG_MAPS, &config_map("a", "1")).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let answer = cluster.ask(Method::GET, CONFIG_MAPS, table, "", "").await;
    assert_eq!(answer.body["kind"], "Table");
    assert_eq!(answer.body["rows"][0]["cells"][0], "a");
    assert_eq!(answer.body["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let answer = cluster.ask(Method::GET, CONFIG_MAPS, partial, "", "").await;
    assert_eq!((answer.names(), answer.body["items"][0].get("data")), (vec!["a".to_owned()], None));
    assert_eq!(cluster.ask(Method::GET, CONFIG_MAPS, "image/png", "", "").await.code, 406);
}

#[tokio::test]
async fn discovery_names_what_there_is() {
    let cluster = Cluster::start().await;
    for uri in ["/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/openapi/v2", "/openapi/v3"] {
        assert_eq!(cluster.get(uri).await.code, 200, "{uri}");
    }
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = cluster.ask(Method::GET, "/apis", aggregated, "", "").await;
    assert_eq!(answer.body["kind"], "APIGroupDiscoveryList");
    assert_eq!(cluster.get("/readyz").await.body, json!("ok"));
    assert_eq!(cluster.get("/apis/nope/v1").await.message(), "the server could not find the requested resource");
    let metrics = cluster.get("/metrics").await;
    assert!(metrics.body.as_str().unwrap().contains("everynode_store_revision"));
}

#[tokio::test]
async fn others_may_less() {
    let cluster = Cluster::start().await;
    let uri = "/api/v1/namespaces/default/secrets/x";
    let request = Request::get(uri).header("impersonate-user", "alice").body(Body::from(Vec::new())).unwrap();
    let response = cluster.response(request).await;
    assert_eq!(response.status(), 403);
    let bytes = response.into_body().collect_bytes().await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        body["message"],
        "secrets \"x\" is forbidden: User \"alice\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\""
    );
}
