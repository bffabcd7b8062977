//! What only a runtime of its own can do to an agent: restart, serve others, and stream.

use std::time::Duration;

use node::runtime::streaming::Wanted;
use node::runtime::{ContainerId, ContainerState, Runtime as _, RuntimeError, SandboxId};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::cases::{ready, script};
use super::containerd::Containerd;
use super::world::{PATIENCE, World};

async fn running(world: &World<Containerd>) -> Vec<(ContainerId, Option<i32>)> {
    let list = world.runtime.as_ref().unwrap().list_containers().await.unwrap();
    list.into_iter().filter(|c| c.state == ContainerState::Running).map(|c| (c.id, c.pid)).collect()
}

#[tokio::test]
async fn a_restart_of_the_runtime_stops_nothing() {
    let Some(mut world) = World::<Containerd>::new("restart").await else { return };
    world.create("p", json!({"containers": [script("c", "echo up; sleep 1000")]})).await;
    let before = world.pod("p", "ready", ready).await;
    let pids = running(&world).await;
    assert_eq!(pids.len(), 1);
    world.machine.crash();
    // The agent that was there before finds the runtime again, and does what it is asked.
    world.create("q", json!({"containers": [script("c", "echo up; sleep 1000")]})).await;
    world.pod("q", "ready", ready).await;
    let after = world.pod("p", "still ready", ready).await;
    assert_eq!(after["status"], before["status"]);
    assert!(running(&world).await.contains(&pids[0]));
    world.end().await;
}

#[tokio::test]
async fn what_others_made_is_not_touched() {
    let Some(world) = World::<Containerd>::new("others").await else { return };
    let mut other = world.machine.options().clone();
    other.owner = "another/n-1".to_owned();
    let theirs = node::runtime::cri::Cri::open(other).await.unwrap();
    let config = node::runtime::SandboxConfig {
        name: "q".to_owned(),
        namespace: "default".to_owned(),
        uid: "their-uid".to_owned(),
        log_directory: world.dir.path().join("their-logs"),
        ..Default::default()
    };
    let sandbox = theirs.run_pod_sandbox(config).await.unwrap();
    world.create("p", json!({"containers": [script("c", "sleep 1000")]})).await;
    world.pod("p", "ready", ready).await;
    let seen = world.runtime.as_ref().unwrap().list_pod_sandboxes().await.unwrap();
    assert_eq!(seen.iter().map(|s| s.config.name.as_str()).collect::<Vec<_>>(), ["p"]);
    let own = theirs.list_pod_sandboxes().await.unwrap();
    assert_eq!(own.iter().map(|s| (&s.id, s.ready)).collect::<Vec<_>>(), [(&sandbox.id, true)]);
    theirs.remove_pod_sandbox(&sandbox.id).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn streams_of_commands_and_ports() {
    let Some(world) = World::<Containerd>::new("streams").await else { return };
    world.create("p", json!({"containers": [script("c", "echo up; sleep 1000")]})).await;
    world.pod("p", "ready", ready).await;
    let runtime = world.runtime.clone().unwrap();
    let (id, _) = running(&world).await.remove(0);
    let line = |text: &str| ["sh", "-c", text].map(str::to_owned).to_vec();
    // Input to its end, both outputs, and the exit code.
    let wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
    let mut command = runtime.exec(&id, line("cat; echo err >&2; exit 4"), wanted).await.unwrap();
    let mut stdin = command.stdin.take().unwrap();
    stdin.write_all(b"in and out").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    command.stdout.unwrap().read_to_string(&mut out).await.unwrap();
    command.stderr.unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("in and out", "err\n"));
    assert_eq!(command.ended.unwrap().await.unwrap(), 4);
    // A terminal with a size.
    let wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: true };
    let mut command = runtime.exec(&id, line("read x; test -t 0 && echo terminal $x"), wanted).await.unwrap();
    command.terminal.as_ref().unwrap().resize(80, 24).unwrap();
    command.stdin.as_mut().unwrap().write_all(b"y\n").await.unwrap();
    let mut out = String::new();
    command.stdout.unwrap().read_to_string(&mut out).await.unwrap();
    assert!(out.contains("terminal y"), "{out}");
    let output = runtime.exec_sync(&id, line("echo out; exit 3"), PATIENCE).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.exit_code), (&b"out\n"[..], 3));
    let slow = runtime.exec_sync(&id, line("sleep 777"), Duration::from_secs(1)).await;
    assert!(matches!(slow, Err(RuntimeError::Timeout(_))), "{slow:?}");
    let missing = runtime.exec_sync(&id, vec!["nothere".to_owned()], PATIENCE).await;
    assert!(missing.unwrap_err().to_string().contains("executable file not found"));
    let sandbox = runtime.list_pod_sandboxes().await.unwrap().remove(0).id;
    // On a machine that is busy the refusal may come later, and then the connection ends without a word.
    match runtime.connect(&sandbox, 1).await {
        Err(error) => {
            assert_eq!(error.to_string(), "failed to connect to localhost:1 inside the pod: connection refused");
        }
        Ok(mut connection) => assert_eq!(connection.reader.read(&mut [0; 8]).await.unwrap(), 0),
    }
    let answers = "while true; do echo hello | nc -l -p 7000; done";
    let serving = runtime.exec(&id, line(answers), Wanted { stdout: true, ..Wanted::default() }).await.unwrap();
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut heard = String::new();
        if let Ok(mut connection) = runtime.connect(&sandbox, 7000).await {
            connection.reader.read_to_string(&mut heard).await.unwrap();
        }
        if heard == "hello\n" {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{heard:?}");
    }
    drop(serving);
    world.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_gone_already() {
    let Some(world) = World::<Containerd>::new("missing").await else { return };
    let runtime = world.runtime.clone().unwrap();
    let (container, sandbox) = (ContainerId("ab".to_owned()), SandboxId("cd".to_owned()));
    runtime.stop_container(&container, PATIENCE).await.unwrap();
    runtime.remove_container(&container).await.unwrap();
    runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    assert!(matches!(runtime.container_status(&container).await, Err(RuntimeError::NotFound(_))));
    assert!(runtime.image_status("nothere:1").await.unwrap().is_none());
    world.end().await;
}

#[tokio::test]
async fn what_a_pod_uses_is_measured_and_images_are_listed() {
    let Some(world) = World::<Containerd>::new("stats").await else { return };
    world.create("p", json!({"containers": [script("c", "head -c 100000 /dev/zero > /tmp/x; sleep 1000")]})).await;
    let pod = world.pod("p", "ready", ready).await;
    let runtime = world.runtime.clone().unwrap();
    let [stats] = &runtime.stats().await.unwrap()[..] else { panic!("one pod") };
    assert_eq!((stats.name.as_str(), stats.uid.as_str()), ("p", pod["metadata"]["uid"].as_str().unwrap()));
    assert!(stats.usage.memory_bytes > 0 && stats.containers[0].usage.cpu_nanos > 0, "{stats:?}");
    assert_eq!(stats.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["eth0"]);
    let images = runtime.list_images().await.unwrap();
    let pinned: Vec<_> = images.iter().map(|image| (image.tags.join(" "), image.pinned)).collect();
    assert!(pinned.contains(&("example.test/pause:1".to_owned(), true)), "{pinned:?}");
    assert!(pinned.contains(&("docker.io/library/busybox:1".to_owned(), false)), "{pinned:?}");
    assert!(runtime.image_fs().await.unwrap().capacity_bytes > 0);
    assert_eq!(runtime.network_ready().await, Ok(()));
    let node = kube::Api::<k8s_openapi::api::core::v1::Node>::all(world.client.clone()).get("n-1").await.unwrap();
    let version = serde_json::to_value(node.status.unwrap().node_info).unwrap()["containerRuntimeVersion"].clone();
    assert!(
        version.as_str().is_some_and(|v| v.starts_with("containerd://1.") || v.starts_with("containerd://2.")),
        "{version}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_large_log_is_turned_over() {
    let Some(world) =
        World::<Containerd>::with("rotate", |machine: &mut Containerd| machine.turn_logs_at(50_000)).await
    else {
        return;
    };
    let text = "i=0; while test -e /tmp; do i=$((i+1)); echo line $i of a log that grows; sleep 0.001; done";
    world.create("p", json!({"containers": [script("c", text)]})).await;
    let pod = world.pod("p", "ready", ready).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let dir = world.dir.path().join(format!("logs/default_p_{uid}/c"));
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let names: Vec<String> =
            std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        let older = names.iter().filter(|name| name.starts_with("0.log.2") && !name.ends_with(".tmp")).count();
        assert!(older <= 2, "{names:?}");
        if older == 2 && names.iter().any(|name| name.ends_with(".gz")) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{names:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.end().await;
}
