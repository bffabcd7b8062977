//! Fields of the pod spec that the other cases leave out: what `docs/pod-spec.md` says of them.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use node::runtime::streaming::Wanted;
use node::runtime::{ContainerId, Runtime as _};
use serde_json::{Value, json};

use super::cases::{phase, ready, script};
use super::world::{Machine, World};

pub(crate) async fn names_and_rights_are_the_pods<M: Machine>() {
    let Some(world) = World::<M>::new("rights").await else { return };
    let text = "hostname; pwd; id -u; id -g; id -G; cat /proc/sys/kernel/shm_rmid_forced; touch /x || echo read-only; \
        while read name value; do test $name = CapEff: && echo rights $value; done < /proc/self/status; echo done; sleep 1000";
    let mut a = script("a", text);
    a["workingDir"] = json!("/new/dir");
    a["securityContext"] = json!({"runAsGroup": 77, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}});
    // The other container is seen by its command line.
    let b = script("b", "sleep 12345");
    world
        .create(
            "p",
            json!({"hostname": "box", "subdomain": "sub", "setHostnameAsFQDN": true, "shareProcessNamespace": true,
            "securityContext": {"runAsUser": 0, "supplementalGroups": [88],
                "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
            "containers": [a, b]}),
        )
        .await;
    world.pod("p", "ready", ready).await;
    let log = world.log("p", "a", "done").await;
    let start = "box.sub.default.svc.cluster.local\n/new/dir\n0\n77\n";
    assert!(log.starts_with(start), "{log}");
    for line in ["88", "\n1\n", "read-only\n", "rights 0000000000001000\n"] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    let runtime = world.runtime.clone().unwrap();
    let list = runtime.list_containers().await.unwrap();
    let a = &list.iter().find(|container| container.name == "a").unwrap().id;
    let look = ["sh", "-c", "cat /proc/[0-9]*/cmdline"].map(str::to_owned).to_vec();
    let seen = runtime.exec_sync(a, look, super::world::PATIENCE).await.unwrap().stdout;
    assert!(String::from_utf8_lossy(&seen).contains("12345"), "processes are shared");
    let text = "test /proc/1/ns/pid -ef /proc/self/ns/pid; ls -l /proc/self/ns; echo done; sleep 1000";
    world
        .create(
            "host",
            json!({"hostNetwork": true, "hostPID": true, "hostIPC": true, "containers": [script("c", text)]}),
        )
        .await;
    let log = world.log("host", "c", "done").await;
    for name in ["net", "pid", "ipc"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
        assert!(log.contains(&own), "{own} is not in {log}");
    }
    world.end().await;
}

/// The pod's group where the file is, in whatever hierarchy.
fn group_file(below: &Path, uid: &str, file: &str, depth: usize) -> Option<PathBuf> {
    for entry in std::fs::read_dir(below).ok()?.filter_map(Result::ok) {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains(uid) && path.join(file).exists() {
            return Some(path.join(file));
        }
        let found = if depth > 0 { group_file(&path, uid, file, depth - 1) } else { None };
        if found.is_some() {
            return found;
        }
    }
    None
}

pub(crate) async fn a_pod_is_limited_as_a_whole<M: Machine>() {
    let Some(world) = World::<M>::new("whole").await else { return };
    let amounts = json!({"cpu": "500m", "memory": "64Mi"});
    world
        .create(
            "p",
            json!({"resources": {"limits": amounts, "requests": amounts}, "containers": [script("c", "sleep 1000")]}),
        )
        .await;
    let pod = world.pod("p", "ready", ready).await;
    assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let read = |files: [&str; 2]| {
        let found = files.iter().find_map(|file| group_file(Path::new("/sys/fs/cgroup"), uid, file, 4));
        std::fs::read_to_string(found.unwrap_or_else(|| panic!("none of {files:?}"))).unwrap().trim().to_owned()
    };
    assert_eq!(read(["memory.limit_in_bytes", "memory.max"]), (64 << 20).to_string());
    assert_eq!(read(["cpu.cfs_quota_us", "cpu.max"]).split(' ').next(), Some("50000"));
    assert_eq!(read(["pids.max", "pids.max"]), super::world::PIDS_MAX.to_string());
    world.end().await;
}

/// An event about the pod with these words.
async fn event<M: Machine>(world: &World<M>, pod: &str, reason: &str, words: &str) {
    let events: Api<Event> = Api::default_namespaced(world.client.clone());
    let end = tokio::time::Instant::now() + super::world::PATIENCE;
    loop {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        let told = |event: &Event| {
            event.involved_object.name.as_deref() == Some(pod)
                && event.reason.as_deref() == Some(reason)
                && event.message.as_deref().is_some_and(|message| message.contains(words))
        };
        if list.iter().any(told) {
            return;
        }
        let texts: Vec<_> = list.iter().map(|event| (&event.reason, &event.message)).collect();
        assert!(tokio::time::Instant::now() < end, "no {reason} {words:?} of {pod}: {texts:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

pub(crate) async fn what_can_not_be_is_refused<M: Machine>() {
    let Some(world) = World::<M>::new("refused").await else { return };
    let features = world.runtime.as_ref().unwrap().features();
    let sleeps = || json!([script("c", "id -G; echo done; sleep 1000")]);
    let reason = |reason: &'static str| {
        move |pod: &Value| pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == reason
    };
    world.create("os", json!({"os": {"name": "windows"}, "containers": sleeps()})).await;
    world.pod("os", "refused for its system", reason("PodOSNotSupported")).await;
    world.create("users", json!({"hostUsers": false, "containers": sleeps()})).await;
    event(&world, "users", "FailedCreatePodSandBox", "not supported by this node: spec.hostUsers").await;
    world.pod("users", "waits", phase("Pending")).await;
    let strict = json!({"supplementalGroupsPolicy": "Strict", "supplementalGroups": [88]});
    world.create("strict", json!({"securityContext": strict, "containers": sleeps()})).await;
    if features.strict_groups {
        assert_eq!(world.log("strict", "c", "done").await, "0 88\ndone\n");
    } else {
        world.pod("strict", "refused for its groups", reason("SupplementalGroupsPolicyNotSupported")).await;
    }
    if !Path::new("/sys/module/apparmor").exists() {
        let profile = json!({"appArmorProfile": {"type": "RuntimeDefault"}});
        world.create("armor", json!({"securityContext": profile, "containers": sleeps()})).await;
        world.pod("armor", "refused for its profile", reason("AppArmor")).await;
    }
    let mut file = script("c", "sleep 1000");
    file["env"] = json!([{"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}}]);
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    world.create("file", json!({"containers": [file], "volumes": volumes})).await;
    let waiting = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };
    world.pod("file", "waits for a source", waiting).await;
    let bundle = json!([{"clusterTrustBundle": {"name": "b", "path": "p"}}]);
    let volumes = json!([{"name": "v", "projected": {"sources": bundle}}]);
    world.create("bundle", json!({"containers": sleeps(), "volumes": volumes})).await;
    event(&world, "bundle", "FailedMount", "projected.sources: clusterTrustBundle is not supported").await;
    let options = json!({"seLinuxOptions": {"level": "s0:c1,c2"}});
    world.create("label", json!({"securityContext": options, "containers": sleeps()})).await;
    event(&world, "label", "NotSupported", "without effect: spec.securityContext.seLinuxOptions").await;
    world.pod("label", "ready", ready).await;
    world.end().await;
}

pub(crate) async fn mounts_below_are_read_only_too<M: Machine>() {
    let Some(world) = World::<M>::new("below").await else { return };
    let host = world.dir.path().join("host");
    let below = host.join("below");
    std::fs::create_dir_all(&below).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &below, Some("tmpfs"), flags, None::<&str>).unwrap();
    let mounted = |how: Value| {
        let mut container =
            script("c", "touch /v/x || echo above; touch /v/below/x || echo below; echo done; sleep 1000");
        container["volumeMounts"] =
            json!([{"name": "v", "mountPath": "/v", "readOnly": true, "recursiveReadOnly": how}]);
        let path = host.display().to_string();
        json!({"containers": [container], "volumes": [{"name": "v", "hostPath": {"path": path}}]})
    };
    world.create("enabled", mounted(json!("Enabled"))).await;
    world.create("possible", mounted(json!("IfPossible"))).await;
    world.create("disabled", mounted(json!("Disabled"))).await;
    let able = world.runtime.as_ref().unwrap().features().recursive_read_only;
    let refused = |name: &'static str, log: String| assert_eq!((name, log.contains("below\n")), (name, able));
    refused("possible", world.log("possible", "c", "done").await);
    let log = world.log("disabled", "c", "done").await;
    assert!(log.contains("above\n") && !log.contains("below\n"), "{log}");
    if able {
        refused("enabled", world.log("enabled", "c", "done").await);
        let pod = world.pod("enabled", "ready", ready).await;
        assert_eq!(pod["status"]["containerStatuses"][0]["volumeMounts"][0]["recursiveReadOnly"], "Enabled");
    } else {
        let told = |pod: &Value| {
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            waiting["message"].as_str().is_some_and(|text| text.contains("recursive read-only mode"))
        };
        world.pod("enabled", "waits for what the runtime can't", told).await;
    }
    let pods = ["enabled", "possible", "disabled"];
    for name in pods {
        world.pods().delete(name, &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    }
    for name in pods {
        world.pod(name, "gone", Value::is_null).await;
    }
    nix::mount::umount2(&below, nix::mount::MntFlags::MNT_DETACH).unwrap();
    world.end().await;
}

pub(crate) async fn a_debug_container_sees_its_target<M: Machine>() {
    let Some(world) = World::<M>::new("debug").await else { return };
    world.create("p", json!({"containers": [script("c", "sleep 12345"), script("other", "sleep 54321")]})).await;
    world.pod("p", "ready", ready).await;
    let text = "cat /proc/[0-9]*/cmdline; echo done; read line; echo heard $line; exit 3";
    let mut debug = script("d", text);
    debug["targetContainerName"] = json!("c");
    debug["stdin"] = json!(true);
    let added = Patch::Strategic(json!({"spec": {"ephemeralContainers": [debug]}}));
    world.pods().patch_ephemeral_containers("p", &PatchParams::default(), &added).await.unwrap();
    let of = |pod: &Value| pod["status"]["ephemeralContainerStatuses"][0].clone();
    let pod = world.pod("p", "looked at", |pod| !of(pod)["state"]["running"].is_null()).await;
    assert_eq!((&of(&pod)["name"], &of(&pod)["ready"]), (&json!("d"), &json!(false)));
    let log = world.log("p", "d", "done").await;
    assert!(log.contains("12345") && !log.contains("54321"), "{log}");
    let runtime = world.runtime.clone().unwrap();
    let id = ContainerId(of(&pod)["containerID"].as_str().unwrap().rsplit('/').next().unwrap().to_owned());
    let output = runtime.exec_sync(&id, vec!["id".to_owned()], super::world::PATIENCE).await.unwrap();
    assert!(output.stdout.starts_with(b"uid=0"), "commands run in it");
    let wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: false };
    let mut attached = runtime.attach(&id, wanted, false).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(attached.stdin.as_mut().unwrap(), b"me\n").await.unwrap();
    // Its own command line, which it printed, has the word alone.
    world.log("p", "d", "heard me").await;
    let pod = world.pod("p", "ended", |pod| !of(pod)["state"]["terminated"].is_null()).await;
    assert_eq!(of(&pod)["state"]["terminated"]["exitCode"], 3);
    assert_eq!((&pod["status"]["phase"], ready(&pod)), (&json!("Running"), true), "the pod is as it was");
    let list = runtime.list_containers().await.unwrap();
    assert_eq!(list.iter().filter(|container| container.name == "d").count(), 1, "it starts once");
    world.end().await;
}

pub(crate) async fn a_pod_that_writes_too_much_is_evicted<M: Machine>() {
    let Some(world) = World::<M>::new("storage").await else { return };
    let limit = json!({"limits": {"ephemeral-storage": "1Mi"}});
    let mut greedy = script("c", "head -c 3000000 /dev/zero > /big; echo written; sleep 1000");
    greedy["resources"] = limit.clone();
    // The other one has no limit, so its container's counts.
    world.create("p", json!({"containers": [greedy, script("free", "sleep 1000")]})).await;
    let mut modest = script("c", "echo little > /small; sleep 1000");
    modest["resources"] = limit;
    world.create("q", json!({"containers": [modest]})).await;
    let evicted = |pod: &Value| pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == "Evicted";
    let pod = world.pod("p", "evicted", evicted).await;
    let words = "Container c exceeded its local ephemeral storage limit \"1Mi\". ";
    assert_eq!(pod["status"]["message"], words);
    event(&world, "p", "Evicted", words).await;
    world.pod("q", "still there", ready).await;
    world.end().await;
}
