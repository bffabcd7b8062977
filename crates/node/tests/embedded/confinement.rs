//! What a container may and what it is shown.

use node::runtime::{ContainerConfig, NamespaceMode, ResourceConfig, Runtime as _, SandboxConfig, SecurityConfig};

use crate::fixture::{PATIENCE, world};

#[tokio::test]
async fn an_ordinary_container_is_confined() {
    let Some(world) = world("confined").await else { return };
    let script = "grep CapEff /proc/self/status; \
                  touch /sys/x 2>/dev/null || echo sys readonly; \
                  echo 1 2>/dev/null > /proc/sys/kernel/panic || echo proc readonly; \
                  cat /proc/kcore | head -c 1 | grep -q . || echo kcore masked; \
                  mknod /fuse c 10 229 && ! (: < /fuse) 2>/dev/null && echo no fuse; \
                  mount -t tmpfs x /tmp 2>/dev/null || echo no mount; \
                  echo -n $HOME $HOSTNAME; echo";
    let (_, log) = world.run(world.container(script)).await;
    for line in [
        "CapEff:\t00000000a80425fb",
        "sys readonly",
        "proc readonly",
        "kcore masked",
        "no fuse",
        "no mount",
        "/root web",
    ] {
        assert!(log.contains(&format!("stdout F {line}\n")), "{line}: {log}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_container_can_not_lift_its_own_limits() {
    let Some(world) = world("limits").await else { return };
    let resources = ResourceConfig {
        memory_limit: Some(32 << 20),
        pids_limit: Some(20),
        cpu_shares: 256,
        cpu_quota: Some(50_000),
        cpu_period: 100_000,
        ..ResourceConfig::default()
    };
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
                  cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; \
                  cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max; \
                  echo 999999999 2>/dev/null > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo kept";
    let (_, log) = world.run(ContainerConfig { resources, ..world.container(script) }).await;
    for line in ["33554432", "20", "50000", "kept"] {
        assert!(log.contains(&format!("stdout F {line}")), "{line}: {log}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_privileged_container_is_not_confined() {
    let Some(world) = world("privileged").await else { return };
    let security = SecurityConfig { privileged: true, ..SecurityConfig::default() };
    let script = "mount -t tmpfs x /tmp && echo mounted; ls -d /dev/loop-control /dev/kmsg /dev/mem 2>/dev/null";
    let (_, log) = world.run(ContainerConfig { security, ..world.container(script) }).await;
    assert!(log.contains("mounted"), "{log}");
    for device in ["/dev/loop-control", "/dev/kmsg", "/dev/mem"] {
        assert_eq!(log.contains(device), std::path::Path::new(device).exists(), "{device}: {log}");
    }
    world.end().await;
}

#[tokio::test]
async fn users_and_groups_are_the_images_or_the_pods() {
    let Some(world) = world("users").await else { return };
    let security = SecurityConfig {
        run_as_user: Some(33),
        supplemental_groups: vec![77],
        readonly_rootfs: true,
        no_new_privs: true,
        drop_capabilities: vec!["ALL".to_owned()],
        ..SecurityConfig::default()
    };
    let script = "id -u; id -g; id -G; echo home $HOME; touch /x 2>/dev/null || echo readonly; \
                  grep -E 'NoNewPrivs|CapBnd' /proc/self/status; echo again > /dev/stdout";
    let (_, log) = world.run(ContainerConfig { security, ..world.container(script) }).await;
    for line in ["33", "33 77", "home /tmp", "readonly", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000", "again"] {
        assert!(log.contains(&format!("stdout F {line}\n")), "{line}: {log}");
    }
    world.end().await;
}

#[tokio::test]
async fn containers_of_a_pod_share_what_pods_share() {
    let Some(world) = world("shared").await else { return };
    let config = SandboxConfig { pid: NamespaceMode::Pod, ..world.sandbox_config() };
    let sandbox = world.runtime.run_pod_sandbox(config).await.unwrap().id;
    let first = world.start(&sandbox, world.container("echo x > /dev/shm/x; sleep 1234")).await;
    let config = ContainerConfig { name: "second".to_owned(), ..world.container("sleep 1000") };
    let second = world.start(&sandbox, config).await;
    let run = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let script = "until cat /dev/shm/x; do sleep 0.05; done; ps | grep -c '[s]leep 1234'; hostname; \
                  for n in net ipc uts pid; do ls -l /proc/self/ns/$n | grep -o '[0-9]*]'; done";
    let out = |id| {
        let run = run(script);
        let runtime = &world.runtime;
        async move { String::from_utf8(runtime.exec_sync(id, run, PATIENCE).await.unwrap().stdout).unwrap() }
    };
    let (a, b) = (out(&first).await, out(&second).await);
    assert!(a.starts_with("x\n1\nweb\n"), "{a}");
    assert_eq!(a, b);
    world.end().await;
}

#[tokio::test]
async fn the_nodes_namespaces_are_given_when_asked_for() {
    let Some(world) = world("host").await else { return };
    let config = SandboxConfig {
        network: NamespaceMode::Node,
        pid: NamespaceMode::Node,
        ipc: NamespaceMode::Node,
        hostname: String::new(),
        ..world.sandbox_config()
    };
    let sandbox = world.runtime.run_pod_sandbox(config).await.unwrap();
    assert!(sandbox.ips.is_empty());
    let id = world.start(&sandbox.id, world.container("sleep 1000 & sleep 1000")).await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid.unwrap();
    for kind in ["net", "pid", "ipc", "uts"] {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(&pid.to_string()), of("self"), "{kind}");
    }
    // Without a process namespace of its own, only the cgroup finds its children.
    world.runtime.stop_container(&id, std::time::Duration::ZERO).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn sysctls_hold_in_the_pod_only() {
    let Some(world) = world("sysctl").await else { return };
    let mut config = world.sandbox_config();
    config.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned());
    config.sysctls.insert("kernel.shmmni".to_owned(), "123".to_owned());
    let sandbox = world.runtime.run_pod_sandbox(config).await.unwrap().id;
    let id = world.start(&sandbox, world.container("sleep 1000")).await;
    let command = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shmmni"];
    let out = world.runtime.exec_sync(&id, command.map(str::to_owned).to_vec(), PATIENCE).await.unwrap();
    assert_eq!(out.stdout, b"7\n123\n");
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), "123\n");
    let mut config = world.sandbox_config();
    config.sysctls.insert("net.ipv4.nothing".to_owned(), "1".to_owned());
    let error = world.runtime.run_pod_sandbox(config).await.unwrap_err().to_string();
    assert!(error.contains("net.ipv4.nothing"), "{error}");
    world.end().await;
}
