//! What pods do, whatever runs them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{LogParams, Patch, PatchParams, PostParams};
use node::runtime::Runtime as _;
use serde_json::{Value, json};

use super::world::{Machine, World};

pub(crate) fn phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |pod| pod["status"]["phase"] == phase
}

pub(crate) fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub(crate) fn script(name: &str, text: &str) -> Value {
    json!({"name": name, "image": "busybox:1", "command": ["sh", "-c", text]})
}

fn data(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub(crate) async fn what_a_container_sees<M: Machine>() {
    let Some(world) = World::<M>::new("sees").await else { return };
    let maps: Api<ConfigMap> = Api::default_namespaced(world.client.clone());
    let map = json!({"metadata": {"name": "cm"}, "data": data(&[("k", "from-map"), ("file", "text")])});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(world.client.clone());
    let secret = json!({"metadata": {"name": "s"}, "stringData": data(&[("password", "hidden")])});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    std::fs::write(world.dir.path().join("on-host"), "host text").unwrap();
    let text = "echo env $NAME $K $P $ALL_k; echo arg $1; cat /cm/file /s/password /down/labels /sub /host/on-host; echo; \
        id -u; id -G; cat /etc/hosts; ls -ld /s; touch /ro/x || echo read-only; echo -n bye > /dev/termination-log; \
        echo done; exit 3";
    let mut container = script("c", text);
    container["command"].as_array_mut().unwrap().extend([json!("sh"), json!("$(NAME)-$(NOT)")]);
    container["env"] = json!([
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}}]);
    container["envFrom"] = json!([{"prefix": "ALL_", "configMapRef": {"name": "cm"}}]);
    container["volumeMounts"] = json!([
        {"name": "cm", "mountPath": "/cm"}, {"name": "s", "mountPath": "/s"}, {"name": "down", "mountPath": "/down"},
        {"name": "cm", "mountPath": "/sub", "subPath": "k"}, {"name": "host", "mountPath": "/host"},
        {"name": "empty", "mountPath": "/ro", "readOnly": true}]);
    container["securityContext"] = json!({"runAsUser": 1234});
    let host = world.dir.path().display().to_string();
    world
        .create(
            "p",
            json!({"restartPolicy": "Never", "containers": [container], "hostname": "box",
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["alias"]}],
            "securityContext": {"fsGroup": 4321},
            "volumes": [
                {"name": "cm", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "s"}},
                {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"name": "host", "hostPath": {"path": host}}, {"name": "empty", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]}),
        )
        .await;
    let pod = world.pod("p", "failed", phase("Failed")).await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"], &ended["message"]), (&json!(3), &json!("Error"), &json!("bye")));
    let log = world.log("p", "c", "done").await;
    let hosts = format!("\n{}\tbox\n", pod["status"]["podIP"].as_str().unwrap());
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    assert!(id.starts_with(&format!("{}://", M::name())), "{id}");
    for line in [
        "env p from-map hidden from-map\n",
        "arg p-$(NOT)\n",
        "texthiddenapp=\"x\"from-maphost text\n",
        "\n1234\n",
        "4321",
        hosts.as_str(),
        "1.2.3.4\talias\n",
        "read-only\n",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    world.end().await;
}

pub(crate) async fn pods_live_on_without_their_agent<M: Machine>() {
    let Some(mut world) = World::<M>::new("live").await else { return };
    let mut a =
        script("a", "echo a > /shared/a; echo up; trap 'echo down; exit 0' TERM; while true; do sleep 0.1; done");
    a["volumeMounts"] = json!([{"name": "v", "mountPath": "/shared"}]);
    a["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "/shared/b"]}, "periodSeconds": 1});
    let mut b = script("b", "while ! test -e /shared/a; do sleep 0.1; done; echo b > /shared/b; sleep 1000");
    b["volumeMounts"] = json!([{"name": "v", "mountPath": "/shared"}]);
    let mut i = script("i", "test ! -e /shared/a && echo first");
    i["volumeMounts"] = json!([{"name": "v", "mountPath": "/shared"}]);
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    world.create("p", json!({"initContainers": [i], "containers": [a, b], "volumes": volumes})).await;
    let before = world.pod("p", "ready", ready).await;
    assert_eq!(world.log("p", "i", "first").await, "first\n");
    let pids = async |world: &World<M>| {
        let list = world.runtime.as_ref().unwrap().list_containers().await.unwrap();
        list.iter().filter_map(|c| c.pid).collect::<BTreeSet<_>>()
    };
    let running = pids(&world).await;
    assert_eq!(running.len(), 2);
    world.stop_agent().await;
    world.start_agent().await;
    world.log("p", "a", "up").await;
    assert_eq!(pids(&world).await, running);
    let after = world.pod("p", "still ready", ready).await;
    assert_eq!(after["status"], before["status"]);
    world.end().await;
}

pub(crate) async fn failures_are_told<M: Machine>() {
    let Some(world) = World::<M>::new("fail").await else { return };
    let restarts = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0);
    world.create("crash", json!({"containers": [script("c", "echo run; exit 7")]})).await;
    let looping = |p: &Value| {
        p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff" && restarts(p) == 1
    };
    let pod = world.pod("crash", "a crash loop", looping).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 7);
    let previous = LogParams { previous: true, ..Default::default() };
    assert_eq!(world.pods().logs("crash", &previous).await.unwrap(), "run\n");
    let none = json!({"name": "c", "image": "busybox:1", "command": ["/no/such/program"]});
    world.create("none", json!({"containers": [none]})).await;
    let told = |p: &Value| {
        let state = &p["status"]["containerStatuses"][0];
        let texts = [&state["state"]["waiting"]["message"], &state["lastState"]["terminated"]["message"]];
        texts.iter().any(|t| t.as_str().is_some_and(|t| t.contains("/no/such/program")))
    };
    world.pod("none", "a clear message", told).await;
    let mut sick = script("c", "touch /tmp/well; sleep 1000");
    sick["livenessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/well"]}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1});
    sick["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", "sleep 0.5; echo hook > /tmp/hook"]}},
        "preStop": {"exec": {"command": ["touch", "/tmp/stop"]}}});
    world.create("sick", json!({"containers": [sick]})).await;
    world.pod("sick", "ready", ready).await;
    let labels = Patch::Merge(json!({"metadata": {"labels": {"app": "y"}}}));
    world.pods().patch("sick", &PatchParams::default(), &labels).await.unwrap();
    assert_eq!(restarts(&world.pod("sick", "ready", ready).await), 0);
    world.end().await;
}
