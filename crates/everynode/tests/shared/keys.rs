//! A server whose keys are not those of the cluster in etcd does not start.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use crate::etcd_process::EtcdProcess;
use crate::processes::{ready, server_on};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_one_store_have_the_same_keys() {
    let etcd = EtcdProcess::start().await;
    let mut first = server_on(&etcd, None, &["--no-controllers"]);
    ready(&mut first).await;

    let mut stranger = server_on(&etcd, None, &["--no-controllers"]);
    assert!(!stranger.ended().await);
    let said = stranger.said();
    assert!(said.contains("copy ca.crt, ca.key and sa.key") && said.contains("/x holds a cluster"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(!stranger.dir.path().join("data/pki/ca.crt").exists(), "it made keys of its own");

    // The same authority, and another key for the tokens of accounts.
    let mut half = {
        let elsewhere = server_on(&EtcdProcess::start().await, Some(&first), &["--no-controllers"]);
        let key = elsewhere.dir.path().join("data/pki/sa.key");
        std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        server_on(&etcd, Some(&elsewhere), &["--no-controllers"])
    };
    assert!(!half.ended().await);
    assert!(half.says("copy ca.crt, ca.key and sa.key"), "{}", half.said());

    let mut second = server_on(&etcd, Some(&first), &["--no-controllers"]);
    ready(&mut second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_serves_from_an_etcd_over_tls() {
    let mut etcd = EtcdProcess::start_with(&[], true).await;
    let mut server = server_on(&etcd, None, &["--no-controllers"]);
    ready(&mut server).await;
    let namespaces: Api<Namespace> = Api::all(server.client().await);
    assert!(namespaces.get_opt("kube-system").await.unwrap().is_some());
    etcd.tls = None; // the flags, not etcd
    let mut without = server_on(&etcd, Some(&server), &[]);
    assert!(!without.ended().await);
    assert_eq!(without.said().trim().lines().count(), 1, "{}", without.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_does_not_answer_is_said_in_a_line() {
    let mut etcd = EtcdProcess::start().await;
    etcd.kill();
    let mut server = server_on(&etcd, None, &[]);
    assert!(!server.ended().await);
    let said = server.said();
    assert!(said.contains("etcd does not answer at") && said.contains("or correct --store"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}
