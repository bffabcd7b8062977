//! What containers may do and take, whatever runs them.

use std::time::Duration;

use node::runtime::{ContainerId, Runtime as _};
use serde_json::{Value, json};

use super::cases::{phase, ready, script};
use super::world::{Machine, PATIENCE, PIDS_MAX, World};

/// What a shell says of its system calls and capabilities, and whether it may make a user namespace.
const LOOK: &str = "look() { while read name value; do case $name in Seccomp:|CapEff:|CapBnd:|NoNewPrivs:) echo $name $value;; \
    esac; done < /proc/self/status; }; look; busybox unshare -U true && echo unshared; mkdir /dev/shm/d && echo made; echo done";

/// The container's id of a pod.
async fn container<M: Machine>(world: &World<M>, name: &str) -> ContainerId {
    let pod = world.pod(name, "ready", ready).await;
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().to_owned();
    ContainerId(id.rsplit('/').next().unwrap().to_owned())
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

pub(crate) async fn system_calls_are_filtered<M: Machine>() {
    let Some(world) = World::<M>::new("seccomp").await else { return };
    let profiles = world.dir.path().join("data/seccomp/own");
    std::fs::create_dir_all(&profiles).unwrap();
    let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28});
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    std::fs::write(profiles.join("no-mkdir.json"), profile.to_string()).unwrap();
    let localhost = json!({"type": "Localhost", "localhostProfile": "own/no-mkdir.json"});
    let missing = json!({"type": "Localhost", "localhostProfile": "own/none.json"});
    let default = json!({"type": "RuntimeDefault"});
    let unconfined = json!({"type": "Unconfined"});
    let container = |own: Value| {
        let mut container = script("c", &format!("{LOOK}; sleep 1000"));
        container["securityContext"] = own;
        container
    };
    for (name, of_pod, own) in [
        ("plain", json!({}), json!({})),
        ("default", json!({"seccompProfile": default}), json!({})),
        ("user", json!({}), json!({"seccompProfile": default, "runAsUser": 1000})),
        ("strict", json!({}), json!({"seccompProfile": default, "allowPrivilegeEscalation": false})),
        ("own", json!({"seccompProfile": default}), json!({"seccompProfile": localhost})),
        ("free", json!({"seccompProfile": default}), json!({"seccompProfile": unconfined})),
        ("privileged", json!({"seccompProfile": default}), json!({"privileged": true})),
        ("missing", json!({"seccompProfile": missing}), json!({})),
    ] {
        world.create(name, json!({"securityContext": of_pod, "containers": [container(own)]})).await;
    }
    let plain = world.log("plain", "c", "done").await;
    assert_eq!(line(&plain, "Seccomp:"), "0");
    let may_unshare = plain.contains("unshared");
    for (name, filtered, unshares, makes, strict) in [
        ("default", true, false, true, "0"),
        ("user", true, false, true, "0"),
        ("strict", true, false, true, "1"),
        ("own", true, true, false, "0"),
        ("free", false, true, true, "0"),
        ("privileged", false, true, true, "0"),
    ] {
        let log = world.log(name, "c", "done").await;
        assert_eq!(line(&log, "Seccomp:"), if filtered { "2" } else { "0" }, "{name}: {log}");
        assert_eq!(log.contains("unshared"), unshares && may_unshare, "{name}: {log}");
        assert_eq!(log.contains("made"), makes, "{name}: {log}");
        assert_eq!(line(&log, "NoNewPrivs:"), strict, "{name}: {log}");
        if name != "privileged" {
            let effective = if name == "user" { "0000000000000000" } else { line(&plain, "CapEff:") };
            assert_eq!((line(&log, "CapEff:"), line(&log, "CapBnd:")), (effective, line(&plain, "CapBnd:")), "{name}");
        }
    }
    assert!(world.log("own", "c", "done").await.contains("No space left on device"), "the error is the profile's");
    // Commands in it are filtered too.
    let runtime = world.runtime.clone().unwrap();
    for (name, filtered) in [("default", "2"), ("user", "2"), ("own", "2"), ("plain", "0")] {
        let id = self::container(&world, name).await;
        let command = vec!["sh".to_owned(), "-c".to_owned(), LOOK.to_owned()];
        let output = runtime.exec_sync(&id, command, PATIENCE).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(line(&text, "Seccomp:"), filtered, "{name}: {text}");
        assert_eq!(line(&text, "CapBnd:"), line(&plain, "CapBnd:"), "{name}");
    }
    let told = |pod: &Value| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "CreateContainerError"
            && waiting["message"].as_str().is_some_and(|text| text.contains("own/none.json"))
    };
    world.pod("missing", "told that its profile is not there", told).await;
    world.end().await;
}

pub(crate) async fn stop_signals_are_the_pods<M: Machine>() {
    let Some(world) = World::<M>::new("signal").await else { return };
    let mut asked = script("c", "trap 'exit 42' USR1; trap '' TERM; echo up; while true; do sleep 0.1; done");
    asked["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    world.create("p", json!({"os": {"name": "linux"}, "restartPolicy": "Never", "containers": [asked]})).await;
    let id = container(&world, "p").await;
    world.log("p", "c", "up").await;
    world.runtime.clone().unwrap().stop_container(&id, PATIENCE).await.unwrap();
    let pod = world.pod("p", "ended", phase("Failed")).await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!((&status["state"]["terminated"]["exitCode"], &status["stopSignal"]), (&json!(42), &json!("SIGUSR1")));
    // One that does not care is killed when its grace is over.
    let mut deaf = script("c", "trap '' USR1; trap '' TERM; echo up; while true; do sleep 0.1; done");
    deaf["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    world.create("q", json!({"os": {"name": "linux"}, "restartPolicy": "Never", "containers": [deaf]})).await;
    let id = container(&world, "q").await;
    world.log("q", "c", "up").await;
    world.runtime.clone().unwrap().stop_container(&id, Duration::from_secs(1)).await.unwrap();
    let pod = world.pod("q", "ended", phase("Failed")).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
    world.end().await;
}

pub(crate) async fn processes_of_a_pod_are_limited<M: Machine>() {
    let Some(world) = World::<M>::new("pids").await else { return };
    let text = format!("i=0; while test $i -lt {}; do sleep 1000 & i=$((i+1)); done; echo all", PIDS_MAX + 20);
    world.create("p", json!({"restartPolicy": "Never", "containers": [script("c", &text)]})).await;
    world.pod("p", "ended", phase("Failed")).await;
    let log = world.log("p", "c", "fork").await;
    assert!(log.contains("Resource temporarily unavailable") && !log.contains("all\n"), "{log}");
    world.end().await;
}
