//! Of several processes with controllers one runs them; the next takes over when it is killed or told to go.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::etcd_process::EtcdProcess;
use crate::processes::{Process, ready, server_on, until};

/// What a process says when it begins to act.
const RUNS: &str = "this process runs the controllers";
/// What a process says that does not.
const WAITS: &str = "another process runs the controllers";

async fn lease(client: &Client) -> Option<LeaseSpec> {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    api.get_opt("everynode-controllers").await.ok()??.spec
}

/// A new namespace gets its service account: some process acts.
async fn something_acts(client: &Client, name: &str) {
    let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    until("a service account", async || accounts.get_opt("default").await.ok()?).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_acting_server_is_killed_the_other_one_acts() {
    let etcd = EtcdProcess::start().await;
    let mut first = server_on(&etcd, None, &[]);
    ready(&mut first).await;
    until("the first acts", async || first.says(RUNS).then_some(())).await;
    let mut second = server_on(&etcd, Some(&first), &[]);
    ready(&mut second).await;
    until("the second waits", async || second.says(WAITS).then_some(())).await;
    let client = second.client().await;
    something_acts(&client, "by-the-first").await;
    let before = lease(&client).await.unwrap();
    assert_eq!((before.lease_duration_seconds, before.lease_transitions), (Some(15), Some(0)));
    assert!(!second.says(RUNS), "{}", second.said());

    first.kill();
    until("the second acts", async || second.says(RUNS).then_some(())).await;
    something_acts(&client, "by-the-second").await;
    let after = lease(&client).await.unwrap();
    assert_eq!(after.lease_transitions, Some(1));
    assert_ne!(after.holder_identity, before.holder_identity);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_told_to_go_frees_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let listen = format!("127.0.0.1:{}", crate::etcd_process::free_port());
    let mut server = Process::start(dir, &["server", "--no-controllers", "--data-dir", &data, "--listen", &listen]);
    ready(&mut server).await;
    let kubeconfig = server.kubeconfig().display().to_string();
    let controller = || Process::start(tempfile::tempdir().unwrap(), &["controller", "--kubeconfig", &kubeconfig]);
    let mut first = controller();
    until("the first acts", async || first.says(RUNS).then_some(())).await;
    let second = controller();
    until("the second waits", async || second.says(WAITS).then_some(())).await;
    assert!(!second.says(RUNS));
    let client = server.client().await;
    something_acts(&client, "by-the-first").await;

    first.signal("-TERM");
    assert!(first.ended().await, "{}", first.said());
    let freed = lease(&client).await.unwrap();
    // Free, or the second one's already.
    assert!(freed.holder_identity.as_deref() == Some("") || freed.lease_transitions == Some(1), "{freed:?}");
    until("the second acts", async || second.says(RUNS).then_some(())).await;
    something_acts(&client, "by-the-second").await;
    assert_eq!(lease(&client).await.unwrap().lease_transitions, Some(1));
}

/// A holder that was halted for longer than its lease has lost it, and does nothing when it wakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_was_halted_stops_when_it_wakes() {
    let etcd = EtcdProcess::start().await;
    let mut first = server_on(&etcd, None, &[]);
    ready(&mut first).await;
    until("the first acts", async || first.says(RUNS).then_some(())).await;
    let mut second = server_on(&etcd, Some(&first), &[]);
    ready(&mut second).await;
    first.signal("-STOP");
    until("the second acts", async || second.says(RUNS).then_some(())).await;
    first.signal("-CONT");
    until("the first stops", async || first.says("the lease was lost").then_some(())).await;
    something_acts(&second.client().await, "by-the-second").await;
    assert_eq!(lease(&first.client().await).await.unwrap().lease_transitions, Some(1));
}
