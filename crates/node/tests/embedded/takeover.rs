//! Agents and shims that die.

use node::runtime::{ContainerState, Runtime as _};

use crate::fixture::{PATIENCE, shims_in, world};

#[tokio::test]
async fn a_new_agent_takes_over_what_runs_and_what_ended_meanwhile() {
    let Some(mut world) = world("takeover").await else { return };
    let sandbox = world.sandbox().await;
    let runs = world.start(&sandbox, world.container("sleep 1000")).await;
    let config = node::runtime::ContainerConfig { name: "short".to_owned(), ..world.container("sleep 0.3; exit 5") };
    let ends = world.start(&sandbox, config).await;
    let before = world.runtime.container_status(&runs).await.unwrap();
    world.restart().await;
    let sandboxes = world.runtime.list_pod_sandboxes().await.unwrap();
    assert_eq!(sandboxes.len(), 1);
    assert!(sandboxes[0].ready);
    assert_eq!((&sandboxes[0].id, sandboxes[0].ips.len()), (&sandbox, 1));
    let status = world.wait_for(&ends, ContainerState::Exited).await;
    assert_eq!(status.exit_code, Some(5));
    let after = world.runtime.container_status(&runs).await.unwrap();
    assert_eq!((after.pid, after.started_at), (before.pid, before.started_at));
    let out = world.runtime.exec_sync(&runs, vec!["hostname".to_owned()], PATIENCE).await.unwrap();
    assert_eq!(out.stdout, b"web\n");
    assert_eq!(world.runtime.list_containers().await.unwrap().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn when_a_shim_is_killed_its_pod_is_gone_and_another_can_be_made() {
    let Some(world) = world("shimkill").await else { return };
    let config = world.sandbox_config();
    let sandbox = world.runtime.run_pod_sandbox(config.clone()).await.unwrap().id;
    let id = world.start(&sandbox, world.container("sleep 4321")).await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid.unwrap();
    let shims = shims_in(&format!("{}/pods/{}", world.options.run_dir.display(), sandbox.0));
    let [shim] = shims[..] else { panic!("{shims:?}") };
    kill(shim);
    let status = world.wait_for(&id, ContainerState::Exited).await;
    assert_eq!(status.exit_code, Some(137));
    assert!(!world.runtime.list_pod_sandboxes().await.unwrap()[0].ready);
    assert!(!runs(pid, "4321"));
    let next = node::runtime::SandboxConfig { attempt: 1, ..config };
    let next = world.runtime.run_pod_sandbox(next).await.unwrap().id;
    world.start(&next, world.container("sleep 1000")).await;
    world.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    assert_eq!(world.runtime.list_pod_sandboxes().await.unwrap().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_shim_that_died_while_no_agent_ran_is_found_dead() {
    let Some(mut world) = world("deadshim").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 5432")).await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid.unwrap();
    let shims = shims_in(&format!("{}/pods/{}", world.options.run_dir.display(), sandbox.0));
    // The new agent opens after the kill; the old one, still there, sees it too, and neither minds the other.
    kill(shims[0]);
    world.restart().await;
    let status = world.wait_for(&id, ContainerState::Exited).await;
    assert_eq!(status.exit_code, Some(137));
    assert!(!world.runtime.list_pod_sandboxes().await.unwrap()[0].ready);
    assert!(!runs(pid, "5432"));
    world.end().await;
}

#[tokio::test]
async fn what_an_agent_left_half_made_is_taken_away() {
    let Some(mut world) = world("half").await else { return };
    let half = world.options.run_dir.join("pods/half");
    std::fs::create_dir_all(half.join("containers/x")).unwrap();
    let data = world.options.data_dir.join("containers/feed");
    std::fs::create_dir_all(&data).unwrap();
    world.pins.lock().unwrap().insert("n_feed".to_owned(), "busybox".to_owned());
    world.wires.0.lock().unwrap().insert("half".to_owned(), half.clone());
    let kept = world.sandbox().await;
    world.start(&kept, world.container("sleep 1000")).await;
    world.restart().await;
    assert!(!half.exists() && !data.exists());
    assert_eq!((world.pins.lock().unwrap().len(), world.wires.0.lock().unwrap().len()), (1, 1));
    assert_eq!(world.runtime.list_containers().await.unwrap()[0].state, ContainerState::Running);
    world.end().await;
}

#[tokio::test]
async fn damaged_state_is_rebuilt_and_stops_nothing() {
    let Some(mut world) = world("damaged").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    let before = world.runtime.container_status(&id).await.unwrap();
    let known = world.runtime.list_pod_sandboxes().await.unwrap().remove(0);
    let record = format!("containers/{}/state.json", id.0);
    for (files, damage) in [
        (&["sandbox.json"][..], Some("{")),
        (&["sandbox.json"], None),
        (&["sandbox.json", "shim.json", &record], Some("\0\0\0\0")),
        (&[&record], Some("")),
    ] {
        for path in files.iter().map(|file| world.pod_dir(&sandbox).join(file)) {
            match damage {
                Some(text) => std::fs::write(path, text).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
        }
        world.restart().await;
        let after = world.runtime.container_status(&id).await.unwrap();
        assert_eq!(
            (after.state, after.pid, after.started_at),
            (ContainerState::Running, before.pid, before.started_at),
            "{files:?} {damage:?}"
        );
        let [found] = &world.runtime.list_pod_sandboxes().await.unwrap()[..] else { panic!("{files:?} {damage:?}") };
        assert!(found.ready, "{files:?} {damage:?}");
        assert_eq!((&found.id, &found.config.uid, &found.ips), (&known.id, &known.config.uid, &known.ips));
        assert_eq!(found.created_at, known.created_at);
        for path in files.iter().map(|file| world.pod_dir(&sandbox).join(file)) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with('{') && text.ends_with('}'), "{}: {text}", path.display());
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_dead_pod_with_damaged_state_still_tells_how_it_ended() {
    let Some(mut world) = world("deaddamaged").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 6543")).await;
    let lost = node::runtime::ContainerConfig { name: "lost".to_owned(), ..world.container("sleep 7654") };
    let lost = world.start(&sandbox, lost).await;
    let pid = world.runtime.container_status(&lost).await.unwrap().pid.unwrap();
    let dir = world.pod_dir(&sandbox);
    std::fs::write(dir.join("sandbox.json"), "{").unwrap();
    std::fs::write(dir.join("containers").join(&lost.0).join("state.json"), "{").unwrap();
    kill(shims_in(dir.to_str().unwrap())[0]);
    world.restart().await;
    assert_eq!(world.wait_for(&id, ContainerState::Exited).await.exit_code, Some(137));
    assert_eq!(world.wait_for(&lost, ContainerState::Exited).await.name, "lost");
    assert!(!runs(pid, "7654"), "what has no record is killed too");
    assert!(!world.runtime.list_pod_sandboxes().await.unwrap()[0].ready);
    world.end().await;
}

#[tokio::test]
async fn the_state_of_a_newer_version_is_refused_and_not_touched() {
    let Some(mut world) = world("newer").await else { return };
    let other = world.sandbox().await;
    std::fs::write(world.pod_dir(&other).join("sandbox.json"), "{").unwrap();
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 8765")).await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid.unwrap();
    let path = world.pod_dir(&sandbox).join("sandbox.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let newer = r#"{"version":99,"all":"new"}"#;
    std::fs::write(&path, newer).unwrap();
    let error = world.try_restart().await.unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("newer everynode"), "{error}");
    assert!(runs(pid, "8765"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    assert_eq!(std::fs::read_to_string(world.pod_dir(&other).join("sandbox.json")).unwrap(), "{");
    std::fs::write(&path, text).unwrap();
    world.restart().await;
    assert_eq!(world.runtime.container_status(&id).await.unwrap().pid, Some(pid));
    world.end().await;
}

#[tokio::test]
async fn a_stopped_sandbox_still_tells_how_its_containers_ended() {
    let Some(world) = world("stopped").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    world.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    let status = world.runtime.container_status(&id).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, Some(137)));
    assert!(!world.runtime.list_pod_sandboxes().await.unwrap()[0].ready);
    assert!(world.wires.0.lock().unwrap().is_empty());
    world.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    world.end().await;
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Whether the process is still that one.
fn runs(pid: i32, word: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(word)
}
