//! Logs and commands of a pod that runs. tests/e2e sets these up:
//! `EVERYNODE_TEST_KUBECONFIG`, and `EVERYNODE_TEST_POD`, whose container `web` has a shell and has logged a line.

use futures::AsyncBufReadExt;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams};
use kube::config::Kubeconfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::process::client_of;

async fn pods() -> (Api<Pod>, String) {
    let path = std::env::var("EVERYNODE_TEST_KUBECONFIG").unwrap();
    let client = client_of(Kubeconfig::read_from(path).unwrap()).await;
    (Api::namespaced(client, "default"), std::env::var("EVERYNODE_TEST_POD").unwrap())
}

#[tokio::test]
#[ignore = "needs a pod that runs: tests/e2e/run.py"]
async fn commands_in_a_pod_have_input_output_and_an_end() {
    let (pods, name) = pods().await;
    let params = AttachParams::default().container("web").stdin(true);
    let mut process = pods.exec(&name, ["sh", "-c", "cat; echo err >&2; exit 7"], &params).await.unwrap();
    let mut input = process.stdin().unwrap();
    input.write_all(b"to the pod\n").await.unwrap();
    input.shutdown().await.unwrap();
    drop(input);
    let status = process.take_status().unwrap();
    let (mut output, mut errors) = (String::new(), String::new());
    process.stdout().unwrap().read_to_string(&mut output).await.unwrap();
    process.stderr().unwrap().read_to_string(&mut errors).await.unwrap();
    assert_eq!((output.as_str(), errors.as_str()), ("to the pod\n", "err\n"));
    let status = status.await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
    process.join().await.unwrap();
    let missing = pods.exec("no-such-pod", ["true"], &AttachParams::default()).await;
    assert!(missing.is_err());
}

#[tokio::test]
#[ignore = "needs a pod that runs: tests/e2e/run.py"]
async fn logs_of_a_pod_are_read_and_followed() {
    let (pods, name) = pods().await;
    let params = LogParams { container: Some("web".into()), ..LogParams::default() };
    let text = pods.logs(&name, &params).await.unwrap();
    let first = text.lines().next().unwrap();
    let follow = LogParams { follow: true, ..params };
    let mut lines = pods.log_stream(&name, &follow).await.unwrap().lines();
    assert_eq!(lines.next().await.unwrap().unwrap(), first);
}
