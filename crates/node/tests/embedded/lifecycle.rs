//! Start, end, stop, logs, commands.

use std::time::Duration;

use node::runtime::{ContainerConfig, ContainerState, ResourceConfig, Runtime as _, RuntimeError};

use crate::fixture::{PATIENCE, world, world_with};

#[tokio::test]
async fn a_container_runs_writes_and_ends() {
    let Some(world) = world("ends").await else { return };
    let (status, log) = world.run(world.container("cat /etc/motd; echo err >&2; hostname; id -u; exit 7")).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (Some(7), "Error"));
    for line in ["stdout F hello\n", "stderr F err\n", "stdout F web\n", "stdout F 0\n"] {
        assert!(log.contains(line), "{log}");
    }
    assert!(status.started_at.unwrap() >= status.created_at);
    assert!(status.finished_at.unwrap() >= status.started_at.unwrap());
    world.end().await;
}

#[tokio::test]
async fn all_that_is_written_is_in_the_log_when_the_container_has_ended() {
    let Some(world) = world("flush").await else { return };
    let (status, log) = world.run(world.container("seq 1 20000; echo -n rest")).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (Some(0), "Completed"));
    assert_eq!(log.lines().count(), 20_001);
    assert!(log.ends_with("stdout F 20000\nstdout P rest\n"));
    world.end().await;
}

#[tokio::test]
async fn a_program_that_can_not_start_says_why() {
    let Some(world) = world("starterror").await else { return };
    let sandbox = world.sandbox().await;
    for (attempt, (command, want)) in [
        ("nothere", "exec: \"nothere\": executable file not found in $PATH"),
        ("/no/where", "exec: \"/no/where\": stat /no/where: no such file or directory"),
        ("/etc/motd", "exec \"/etc/motd\": permission denied"),
    ]
    .into_iter()
    .enumerate()
    {
        let config = ContainerConfig {
            command: vec![command.to_owned()],
            attempt: attempt.try_into().unwrap(),
            ..world.container("")
        };
        let id = world.runtime.create_container(&sandbox, config).await.unwrap();
        let Err(RuntimeError::Failed(message)) = world.runtime.start_container(&id).await else { panic!("started") };
        assert!(message.ends_with(want), "{message}");
        let status = world.runtime.container_status(&id).await.unwrap();
        assert_eq!(status.state, ContainerState::Exited);
        assert_eq!((status.exit_code, status.reason.as_str()), (Some(128), "StartError"));
        assert!(status.message.ends_with(want));
        world.runtime.remove_container(&id).await.unwrap();
        assert!(matches!(world.runtime.container_status(&id).await, Err(RuntimeError::NotFound(_))));
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found_or_gone_already() {
    let Some(world) = world("missing").await else { return };
    let sandbox = world.sandbox().await;
    let config = ContainerConfig { image_id: "none".to_owned(), ..world.container("") };
    assert!(matches!(world.runtime.create_container(&sandbox, config).await, Err(RuntimeError::NotFound(_))));
    let id = node::runtime::ContainerId("ab".to_owned());
    assert!(matches!(world.runtime.start_container(&id).await, Err(RuntimeError::NotFound(_))));
    world.runtime.stop_container(&id, PATIENCE).await.unwrap();
    world.runtime.remove_container(&id).await.unwrap();
    let gone = node::runtime::SandboxId("cd".to_owned());
    world.runtime.stop_pod_sandbox(&gone).await.unwrap();
    world.runtime.remove_pod_sandbox(&gone).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn stop_asks_and_then_kills() {
    let Some(world) = world("stop").await else { return };
    let sandbox = world.sandbox().await;
    let polite = world
        .start(&sandbox, world.container("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"))
        .await;
    world.wait_for_line(&polite, "ready").await;
    world.runtime.stop_container(&polite, PATIENCE).await.unwrap();
    let status = world.runtime.container_status(&polite).await.unwrap();
    assert_eq!(status.exit_code, Some(3));
    assert!(world.log(&status).contains("bye"));
    let config =
        ContainerConfig { attempt: 1, ..world.container("trap '' TERM; echo ready; while :; do sleep 1; done") };
    let deaf = world.start(&sandbox, config).await;
    world.wait_for_line(&deaf, "ready").await;
    world.runtime.stop_container(&deaf, Duration::from_millis(100)).await.unwrap();
    assert_eq!(world.runtime.container_status(&deaf).await.unwrap().exit_code, Some(137));
    // Again, and one that never ran.
    world.runtime.stop_container(&deaf, PATIENCE).await.unwrap();
    let config = ContainerConfig { attempt: 2, ..world.container("true") };
    let idle = world.runtime.create_container(&sandbox, config).await.unwrap();
    world.runtime.stop_container(&idle, PATIENCE).await.unwrap();
    assert_eq!(world.runtime.container_status(&idle).await.unwrap().state, ContainerState::Exited);
    world.end().await;
}

#[tokio::test]
async fn a_container_that_takes_too_much_memory_is_named_so() {
    let Some(world) = world("oom").await else { return };
    let resources = ResourceConfig { memory_limit: Some(16 << 20), ..ResourceConfig::default() };
    let script = "head -c 100000000 /dev/zero | grep x";
    let (status, _) = world.run(ContainerConfig { resources, ..world.container(script) }).await;
    assert_eq!(status.reason, "OOMKilled", "{status:?}");
    world.end().await;
}

#[tokio::test]
async fn commands_run_beside_the_container() {
    let Some(world) = world("exec").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    let run = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let out =
        world.runtime.exec_sync(&id, run("echo out; echo err >&2; echo $FROM_IMAGE; exit 4"), PATIENCE).await.unwrap();
    assert_eq!((out.stdout.as_slice(), out.stderr.as_slice(), out.exit_code), (&b"out\nyes\n"[..], &b"err\n"[..], 4));
    // It is in the container's namespaces and cgroup.
    let out = world.runtime.exec_sync(&id, run("cat /proc/1/cmdline; cat /proc/self/cgroup"), PATIENCE).await.unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.starts_with("sh\0-c\0sleep 1000\0") || text.starts_with("sleep"), "{text}");
    // With version 2 the container's group is the root of what it sees.
    assert!(text.contains("/main-0") || text.contains("0::/\n"), "{text}");
    // Much output is cut, not waited for.
    let out = world.runtime.exec_sync(&id, run("head -c 5000000 /dev/zero"), PATIENCE).await.unwrap();
    assert_eq!((out.stdout.len(), out.exit_code), (1024 * 1024, 0));
    // A child that keeps the output open does not hold the answer back.
    let out = world.runtime.exec_sync(&id, run("sleep 1000 & echo started"), PATIENCE).await.unwrap();
    assert_eq!(out.stdout, b"started\n");
    let missing = world.runtime.exec_sync(&id, vec!["nothere".to_owned()], PATIENCE).await;
    assert!(matches!(missing, Err(RuntimeError::Failed(message)) if message.contains("executable file not found")));
    world.end().await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed() {
    let Some(world) = world("exectimeout").await else { return };
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    let command = ["sleep", "777"].map(str::to_owned).to_vec();
    let slow = world.runtime.exec_sync(&id, command, Duration::from_millis(300)).await;
    assert!(matches!(slow, Err(RuntimeError::Timeout(_))), "{slow:?}");
    let count = ["sh", "-c", "ps | grep -c '[s]leep 777'"].map(str::to_owned).to_vec();
    // The kill is on its way; commands are few and the loop ends when it has come.
    for _ in 0..1000 {
        let out = world.runtime.exec_sync(&id, count.clone(), PATIENCE).await.unwrap();
        if out.stdout == b"0\n" {
            world.end().await;
            return;
        }
    }
    panic!("the command still runs");
}

#[tokio::test]
async fn a_large_log_is_rotated() {
    let Some(world) = world_with("rotate", |options| {
        options.log_bytes_max = 100_000;
        options.log_files_max = 3;
    })
    .await
    else {
        return;
    };
    let (status, _) = world.run(world.container("for i in $(seq 1 5); do seq 1 4000; sleep 1.1; done")).await;
    let dir = status.log_path.parent().unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".tmp.gz")), "{names:?}");
    // What is being compressed just now has both names for a moment.
    names.iter_mut().for_each(|name| name.truncate("0.log.20260101-000000".len()));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"0.log".to_owned()));
    world.end().await;
}

#[tokio::test]
async fn a_full_disk_does_not_stop_a_container() {
    let Some(world) = world("diskfull").await else { return };
    let config = world.sandbox_config();
    let logs = config.log_directory.clone();
    std::fs::create_dir_all(&logs).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("small"), &logs, Some("tmpfs"), flags, Some("size=64k")).unwrap();
    let sandbox = world.runtime.run_pod_sandbox(config).await.unwrap().id;
    let id = world.start(&sandbox, world.container("seq 1 100000; echo done > /done; sleep 1000")).await;
    let done = ["cat", "/done"].map(str::to_owned).to_vec();
    let began = std::time::Instant::now();
    while world.runtime.exec_sync(&id, done.clone(), PATIENCE).await.unwrap().exit_code != 0 {
        assert!(began.elapsed() < PATIENCE, "the container waits for its log");
    }
    world.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    let log = std::fs::read_to_string(logs.join("main/0.log")).unwrap();
    assert!(log.ends_with('\n') && log.len() > 30_000, "{} bytes", log.len());
    nix::mount::umount2(&logs, nix::mount::MntFlags::MNT_DETACH).unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_terminal_is_one() {
    let Some(world) = world("tty").await else { return };
    let config = ContainerConfig { tty: true, ..world.container("[ -t 0 ] && [ -t 1 ] && echo terminal $TERM") };
    let (status, log) = world.run(config).await;
    assert_eq!(status.exit_code, Some(0), "{log}");
    assert!(log.contains("stdout F terminal xterm"), "{log}");
    world.end().await;
}

#[tokio::test]
async fn many_pods_at_once_do_not_mix() {
    let Some(world) = world("many").await else { return };
    let runs = (0..8).map(|number| {
        let config = world.container(&format!("echo pod {number}; exit {number}"));
        world.run(config)
    });
    for (number, (status, log)) in futures::future::join_all(runs).await.into_iter().enumerate() {
        assert_eq!(status.exit_code, Some(number.try_into().unwrap()));
        assert_eq!(log, format!("stdout F pod {number}\n"));
    }
    world.end().await;
}
