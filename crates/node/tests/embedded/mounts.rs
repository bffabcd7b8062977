//! Volumes.

use std::path::PathBuf;

use node::runtime::{ContainerConfig, Mount, MountPropagation, Runtime as _, RuntimeError};

use crate::fixture::{PATIENCE, World, world};

fn mount(host: impl Into<PathBuf>, container: &str, readonly: bool) -> Mount {
    Mount {
        host_path: host.into(),
        container_path: container.into(),
        readonly,
        readonly_below: false,
        propagation: MountPropagation::Private,
    }
}

fn with_mounts(world: &World, script: &str, mounts: Vec<Mount>) -> ContainerConfig {
    ContainerConfig { mounts, ..world.container(script) }
}

#[tokio::test]
async fn directories_and_files_of_the_node_are_in_the_container() {
    let Some(world) = world("volumes").await else { return };
    let volume = world.dir.path().join("volume");
    std::fs::create_dir_all(volume.join("sub")).unwrap();
    std::fs::write(volume.join("file"), "of the node\n").unwrap();
    let script = "cat /file /new/place/file; touch /file 2>/dev/null || echo readonly; touch /new/place/made; \
                  touch /new/place/over/x; cat /etc/hosts; ls /etc/hostname";
    let mounts = vec![
        mount(world.dir.path().join("links-not-there"), "/etc/hosts", true),
        mount(volume.join("sub"), "/new/place/over", false),
        mount(volume.join("file"), "/file", true),
        mount(&volume, "/new/place", false),
    ];
    std::fs::write(world.dir.path().join("links-not-there"), "own hosts\n").unwrap();
    let (_, log) = world.run(with_mounts(&world, script, mounts)).await;
    for line in ["of the node", "readonly", "own hosts", "/etc/hostname"] {
        assert!(log.contains(&format!("stdout F {line}\n")), "{line}: {log}");
    }
    assert!(volume.join("made").exists() && volume.join("sub/x").exists());
    world.end().await;
}

#[tokio::test]
async fn the_nodes_devices_can_be_mounted_and_stay_whole() {
    let Some(world) = world("dev").await else { return };
    let before = list("/dev");
    let mounts = vec![mount("/dev", "/dev", false), mount("/sys", "/sys", true)];
    let (status, log) = world.run(with_mounts(&world, "ls /dev; echo x > /dev/null; ls /sys", mounts)).await;
    assert_eq!(status.exit_code, Some(0), "{log}");
    for device in &before {
        assert!(log.contains(&format!("stdout F {device}\n")), "{device}");
    }
    assert_eq!(list("/dev"), before);
    world.end().await;
}

fn list(dir: &str) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_missing_source_is_named() {
    let Some(world) = world("nosource").await else { return };
    let sandbox = world.sandbox().await;
    let config = with_mounts(&world, "true", vec![mount("/no/such/source", "/data", false)]);
    let id = world.runtime.create_container(&sandbox, config).await.unwrap();
    let Err(RuntimeError::Failed(message)) = world.runtime.start_container(&id).await else { panic!("started") };
    assert!(message.contains("failed to mount /no/such/source at /data"), "{message}");
    world.end().await;
}

#[tokio::test]
async fn the_working_directory_may_lie_in_a_volume_or_be_new() {
    let Some(world) = world("cwd").await else { return };
    let volume = world.dir.path().join("volume");
    std::fs::create_dir_all(volume.join("sub")).unwrap();
    let config = ContainerConfig {
        working_dir: "/data/sub".to_owned(),
        ..with_mounts(&world, "touch here", vec![mount(&volume, "/data", false)])
    };
    world.run(config).await;
    assert!(volume.join("sub/here").exists());
    let config = ContainerConfig { working_dir: "/brand/new".to_owned(), ..world.container("pwd") };
    assert_eq!(world.run(config).await.1, "stdout F /brand/new\n");
    world.end().await;
}

#[tokio::test]
async fn propagation_is_each_mounts_own() {
    let Some(world) = world("propagation").await else { return };
    // A shared mount, as / is where systemd runs.
    let shared = world.dir.path().join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    const NONE: Option<&str> = None;
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&shared), &shared, NONE, flags, NONE).unwrap();
    nix::mount::mount(NONE, &shared, NONE, nix::mount::MsFlags::MS_SHARED, NONE).unwrap();
    for name in ["late", "own"] {
        std::fs::create_dir_all(shared.join(name)).unwrap();
    }
    let with = |path: &str, propagation| Mount { propagation, ..mount(&shared, path, false) };
    let mounts = vec![
        with("/private", MountPropagation::Private),
        with("/slave", MountPropagation::HostToContainer),
        with("/both", MountPropagation::Bidirectional),
    ];
    let security = node::runtime::SecurityConfig { privileged: true, ..Default::default() };
    let sandbox = world.sandbox().await;
    let config = ContainerConfig { security, ..with_mounts(&world, "sleep 1000", mounts) };
    let id = world.start(&sandbox, config).await;
    nix::mount::mount(Some("late"), &shared.join("late"), Some("tmpfs"), nix::mount::MsFlags::empty(), NONE).unwrap();
    std::fs::write(shared.join("late/seen"), "").unwrap();
    let run = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let script = "ls /private/late /slave/late /both/late; mount -t tmpfs own /slave/own && touch /slave/own/slave; \
                  mount -t tmpfs own /both/own && touch /both/own/both";
    let out = world.runtime.exec_sync(&id, run(script), PATIENCE).await.unwrap();
    let text = String::from_utf8(out.stdout.clone()).unwrap();
    assert_eq!(text, "/both/late:\nseen\n\n/private/late:\n\n/slave/late:\nseen\n", "{out:?}");
    assert_eq!(list(shared.join("own").to_str().unwrap()), ["both"]);
    world.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    for path in [shared.join("own"), shared.join("late"), shared] {
        nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
    world.end().await;
}
