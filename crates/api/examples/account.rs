//! What the account of managers costs a write, beside what the write costs anyway: `cargo run --release -p api
//! --example account`.

use std::hint::black_box;
use std::time::Instant;

use api::apply::{Writer, record};
use api::decode::{self, FieldValidation, Media};
use api::kinds::{self, Kind};
use api::{defaults, prepare, validate};
use serde_json::{Value, json};

/// Enough runs for a steady mean of some microseconds each.
const RUNS: u32 = 20_000;

fn mean(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..RUNS {
        run();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: "2026-01-01T00:00:00Z" }
}

fn made(kind: &'static Kind, body: &[u8]) -> Value {
    let mut object =
        decode::decode(kind, body, Media::Json, FieldValidation::Strict).map(|d| d.value).unwrap_or_default();
    defaults::apply(kind, &mut object);
    object
}

fn bytes(object: &Value) -> usize {
    object.to_string().len()
}

fn create(name: &str, kind: &'static Kind, object: &Value) -> Value {
    let body = object.to_string();
    let bare = mean(|| {
        let mut object = made(kind, body.as_bytes());
        prepare::create(kind, &mut object);
        black_box(validate::create(kind, &object));
        black_box(object.to_string());
    });
    let accounted = mean(|| {
        let mut object = made(kind, body.as_bytes());
        record(kind, None, &mut object, &writer("kubectl"));
        prepare::create(kind, &mut object);
        black_box(validate::create(kind, &object));
        black_box(object.to_string());
    });
    let mut stored = made(kind, body.as_bytes());
    let plain = bytes(&stored);
    record(kind, None, &mut stored, &writer("kubectl"));
    let grown = bytes(&stored);
    println!("create {name:10} {bare:7.1} us, accounted {accounted:7.1} us; {plain} bytes, accounted {grown}");
    stored
}

fn change(name: &str, kind: &'static Kind, stored: &Value, subresource: &str, write: impl Fn(&mut Value, u32)) {
    let mut live = stored.clone();
    let by = Writer { subresource, ..writer("everynode") };
    let mut first = live.clone();
    write(&mut first, 0);
    record(kind, Some(&live), &mut first, &by);
    live = first;
    let text = live.to_string();
    let (mut bare_turn, mut turn) = (0, 0);
    let bare = mean(|| {
        let old: Value = serde_json::from_str(&text).unwrap_or_default();
        let mut new = old.clone();
        bare_turn += 1;
        write(&mut new, bare_turn);
        black_box(validate::update_status(kind, &new, &old));
        black_box(new.to_string());
    });
    let accounted = mean(|| {
        let old: Value = serde_json::from_str(&text).unwrap_or_default();
        let mut new = old.clone();
        turn += 1;
        write(&mut new, turn);
        record(kind, Some(&old), &mut new, &by);
        black_box(validate::update_status(kind, &new, &old));
        black_box(new.to_string());
    });
    println!("change {name:10} {bare:7.1} us, accounted {accounted:7.1} us; {} bytes", text.len());
}

fn kind(api_version: &str, name: &str) -> &'static Kind {
    kinds::by_kind(api_version, name).unwrap_or(&kinds::KINDS[0])
}

fn main() {
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"},
        "data": {"a": "x".repeat(1024)}});
    create("configmap", kind("v1", "ConfigMap"), &config_map);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "default",
            "labels": {"app": "x", "pod-template-generation": "1", "controller-revision-hash": "5d8f"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "controller": true,
                "blockOwnerDeletion": true, "uid": "6f1c1d0e-6e0a-4a2b-9a53-0d6c0b4c7f11"}]},
        "spec": {"containers": [{"name": "c", "image": "busybox:1.36", "command": ["sleep", "3600"],
                "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "10m", "memory": "64Mi"}},
                "volumeMounts": [{"name": "log", "mountPath": "/var/log"}]}],
            "volumes": [{"name": "log", "hostPath": {"path": "/var/log"}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]}});
    let pod = create("pod", kind("v1", "Pod"), &pod);
    change("pod status", kind("v1", "Pod"), &pod, "status", |pod, turn| {
        pod["status"] = json!({"phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.2",
            "startTime": "2026-01-01T00:00:00Z", "conditions": [
                {"type": "Ready", "status": if turn % 2 == 0 { "True" } else { "False" }},
                {"type": "ContainersReady", "status": "True"}, {"type": "Initialized", "status": "True"}],
            "containerStatuses": [{"name": "c", "ready": true, "restartCount": turn, "image": "busybox:1.36",
                "imageID": "", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]});
    });
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n", "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": "n", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}});
    let lease = create("lease", kind("coordination.k8s.io/v1", "Lease"), &lease);
    change("lease", kind("coordination.k8s.io/v1", "Lease"), &lease, "", |lease, turn| {
        lease["spec"]["renewTime"] = format!("2026-01-01T00:00:00.{turn:06}Z").into();
    });
}
