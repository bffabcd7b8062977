//! What each write of a daemon pod's life costs the server: `writes [PODS] [DIR]`.
//!
//! The requests go in-process, as those of the controllers do, so that TLS and HTTP/2 are not in it. For each kind of
//! write: how many a second with fifty at once, and CPU microseconds of the whole process for one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};
use server::{Config, Server};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Requests at once.
const AT_ONCE: usize = 50;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let pods: usize = args.next().map_or(Ok(5000), |text| text.parse())?;
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let server = Server::start(Config::new(dir.path().to_owned(), "127.0.0.1:0".parse()?)).await?;
    let client = server.client("system:kube-controller-manager");
    let base = "/api/v1/namespaces/default";
    let each = |phase: &'static str, make: Box<dyn Fn(usize) -> Asked + Send + Sync>| {
        measure(client.clone(), phase, pods, make.into())
    };
    each("node create", Box::new(|n| post("/api/v1/nodes".into(), node(n)))).await;
    each(
        "lease create",
        Box::new(|n| post("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases".into(), lease(n, 0))),
    )
    .await;
    each(
        "lease renewal",
        Box::new(|n| {
            let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n-{n}");
            let body = json!({"spec": lease(n, 1)["spec"]});
            Asked { method: Method::PATCH, path, media: "application/merge-patch+json", body }
        }),
    )
    .await;
    each(
        "configmap create",
        Box::new(move |n| {
            let body = json!({"metadata": {"name": format!("c-{n}")}, "data": {"k": "x".repeat(1024)}});
            post(format!("{base}/configmaps"), body)
        }),
    )
    .await;
    each("pod create", Box::new(move |n| post(format!("{base}/pods"), pod(n)))).await;
    each(
        "pod bind",
        Box::new(move |n| {
            let body =
                json!({"metadata": {"name": format!("p-{n}")}, "target": {"kind": "Node", "name": format!("n-{n}")}});
            post(format!("{base}/pods/p-{n}/binding"), body)
        }),
    )
    .await;
    each(
        "pod status patch",
        Box::new(move |n| Asked {
            method: Method::PATCH,
            path: format!("{base}/pods/p-{n}/status"),
            media: "application/strategic-merge-patch+json",
            body: running(n),
        }),
    )
    .await;
    each("event create", Box::new(move |n| post(format!("{base}/events"), event(n)))).await;
    each(
        "pod get",
        Box::new(move |n| Asked {
            method: Method::GET,
            path: format!("{base}/pods/p-{n}"),
            media: "application/json",
            body: Value::Null,
        }),
    )
    .await;
    each(
        "pod delete",
        Box::new(move |n| Asked {
            method: Method::DELETE,
            path: format!("{base}/pods/p-{n}"),
            media: "application/json",
            body: json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}),
        }),
    )
    .await;
    Ok(())
}

struct Asked {
    method: Method,
    path: String,
    media: &'static str,
    body: Value,
}

fn post(path: String, body: Value) -> Asked {
    Asked { method: Method::POST, path, media: "application/json", body }
}

/// Runs one kind of request and prints what it cost.
async fn measure(client: kube::Client, phase: &str, count: usize, make: Arc<dyn Fn(usize) -> Asked + Send + Sync>) {
    let requests: Vec<_> = (0..count)
        .map(|n| {
            let asked = make(n);
            let body = if asked.body.is_null() { Vec::new() } else { asked.body.to_string().into_bytes() };
            Request::builder()
                .method(asked.method)
                .uri(asked.path)
                .header("content-type", asked.media)
                .header("accept", "application/json")
                .header("user-agent", "writes")
                .body(Body::from(body))
        })
        .collect();
    let (cpu, at) = (cpu_time(), Instant::now());
    let mut failed = 0;
    let mut answers = futures::stream::iter(requests)
        .map(|request| {
            let client = client.clone();
            tokio::spawn(async move {
                let Ok(request) = request else { return false };
                match client.send(request).await {
                    Ok(answer) => {
                        let good = answer.status().is_success();
                        let bytes = answer.into_body().collect_bytes().await;
                        good && bytes.is_ok()
                    }
                    Err(_) => false,
                }
            })
        })
        .buffer_unordered(AT_ONCE);
    while let Some(good) = answers.next().await {
        failed += usize::from(!good.unwrap_or(false));
    }
    let (cpu, wall) = (cpu_time() - cpu, at.elapsed());
    let per_second = count as f64 / wall.as_secs_f64();
    let micros = cpu.as_secs_f64() * 1e6 / count as f64;
    println!("{phase:18} {per_second:8.0}/s {micros:7.1} us of CPU each, {failed} failed");
}

/// CPU time of this process so far, in the kernel's hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold spaces; what follows its bracket does not. utime and stime are fields 14 and 15.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn node(n: usize) -> Value {
    let name = format!("n-{n}");
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64"}}})
}

fn lease(n: usize, renewed: u8) -> Value {
    let name = format!("n-{n}");
    json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name,
        "leaseDurationSeconds": 40, "renewTime": format!("2026-01-01T00:00:0{renewed}.000000Z")}})
}

/// As the DaemonSet controller makes them.
fn pod(n: usize) -> Value {
    let toleration = |key: &str, effect: &str| json!({"key": key, "operator": "Exists", "effect": effect});
    json!({
    "metadata": {"name": format!("p-{n}"), "labels": {"app": "a", "controller-revision-hash": "6f8d9c7b5d",
        "pod-template-generation": "1"}, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet",
        "name": "a", "uid": "0b8e1c9e-5a1f-4c1e-9d57-0f6f6d1f2a3b", "controller": true, "blockOwnerDeletion": true}]},
    "spec": {
        "containers": [{"name": "main", "image": "registry.example/agent:1.0",
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [format!("n-{n}")]}]}]}}},
        "tolerations": [
            toleration("node.kubernetes.io/not-ready", "NoExecute"),
            toleration("node.kubernetes.io/unreachable", "NoExecute"),
            toleration("node.kubernetes.io/disk-pressure", "NoSchedule"),
            toleration("node.kubernetes.io/memory-pressure", "NoSchedule"),
            toleration("node.kubernetes.io/pid-pressure", "NoSchedule"),
            toleration("node.kubernetes.io/unschedulable", "NoSchedule")],
    }})
}

/// What an agent says of a pod that runs.
fn running(n: usize) -> Value {
    let at = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "lastTransitionTime": at, "reason": null,
        "message": null, "lastProbeTime": null, "observedGeneration": null})
    };
    json!({"status": {"phase": "Running", "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}, {"$patch": "replace"}],
        "podIP": "10.64.0.2", "podIPs": [{"ip": "10.64.0.2"}, {"$patch": "replace"}], "startTime": at,
        "conditions": [condition("PodReadyToStartContainers"), condition("Initialized"), condition("Ready"),
            condition("ContainersReady"), condition("PodScheduled")],
        "containerStatuses": [{"name": "main", "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example/agent:1.0", "imageID": "sha256:1", "containerID": format!("everynode://{n:064}"),
            "state": {"running": {"startedAt": at}}, "lastState": {}}]}})
}

fn event(n: usize) -> Value {
    let at = "2026-01-01T00:00:00Z";
    json!({"metadata": {"name": format!("p-{n}.18a"), "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": format!("p-{n}"),
            "uid": "0b8e1c9e-5a1f-4c1e-9d57-0f6f6d1f2a3b", "fieldPath": "spec.containers{main}"},
        "type": "Normal", "reason": "Started", "message": "Started container main", "count": 1,
        "source": {"component": "kubelet", "host": format!("n-{n}")}, "reportingComponent": "kubelet",
        "reportingInstance": format!("n-{n}"), "firstTimestamp": at, "lastTimestamp": at})
}
