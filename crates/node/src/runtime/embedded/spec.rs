//! The OCI configuration of a container: what Kubernetes' runtimes put around a program.
//!
//! # Invariants
//! - Pure: the machine (control groups, capabilities, devices) comes in as [`Machine`].
//! - IPC, UTS and network namespaces are not named: the container is the child of a shim that is in them.
//!
//! # Absent
//! The user: only the container's own files tell it. The pod's and the user's mounts: the shim mounts them, with the
//! propagation that libcontainer would ignore.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::capabilities;
use super::parts::Rootfs;
use crate::runtime::{AppArmor, ContainerConfig, Mount, MountPropagation, NamespaceMode, SandboxConfig};
use crate::shim::cgroup::Hierarchies;

/// Where programs are looked for when neither image nor pod says.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

pub(crate) const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the machine decides.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// How control groups are mounted.
    pub(crate) groups: Hierarchies,
    /// Capabilities this process may give, a bit mask.
    pub(crate) bounding: u64,
    /// Device nodes of the machine, for privileged containers.
    pub(crate) devices: Vec<DeviceNode>,
    /// Whether a limit of memory and swap together can be set (v1 with swap accounting, v2).
    pub(crate) swap_limits: bool,
    /// The machine's own host name.
    pub(crate) hostname: String,
    /// Version of the kernel, as it says it.
    pub(crate) kernel: String,
}

/// A device of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceNode {
    pub(crate) path: PathBuf,
    /// b or c.
    pub(crate) kind: &'static str,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Makes the configuration. `pod_dir` is the sandbox's directory, `cgroup` the container's group.
///
/// # Errors
/// A text for people: what the pod asks for can't be.
pub(crate) fn build(
    sandbox: &SandboxConfig,
    container: &ContainerConfig,
    image: &Rootfs,
    machine: &Machine,
    pod_dir: &Path,
    cgroup: &Path,
) -> Result<Value, String> {
    let args = arguments(container, image)?;
    let capabilities = capabilities::resolve(&container.security, machine.bounding)?;
    let security = &container.security;
    let open = security.privileged || security.unmasked_proc;
    let mut linux = json!({
        "cgroupsPath": cgroup,
        "namespaces": namespaces(sandbox, container, machine, pod_dir),
        "resources": resources(container, machine),
        "maskedPaths": if open { &[][..] } else { &MASKED_PATHS },
        "readonlyPaths": if open { &[][..] } else { &READONLY_PATHS },
        "rootfsPropagation": propagation(&container.mounts),
    });
    let app_armor = match &security.app_armor {
        _ if security.privileged => None,
        AppArmor::Unset | AppArmor::Unconfined => None,
        AppArmor::Localhost(profile) => Some(profile),
        AppArmor::RuntimeDefault => {
            return Err("the runtime in the binary brings no AppArmor profile; load one and name it by type Localhost"
                .to_owned());
        }
    };
    if security.privileged {
        linux["devices"] = devices(&machine.devices);
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": security.readonly_rootfs },
        "process": {
            "terminal": container.tty,
            "args": args,
            "env": environment(sandbox, container, image, machine),
            "cwd": working_dir(container, image),
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
                "inheritable": [],
                "ambient": [],
            },
            "noNewPrivileges": security.no_new_privs,
            "apparmorProfile": app_armor,
            "oomScoreAdj": container.resources.oom_score_adj,
        },
        "mounts": kernel_mounts(sandbox, container, machine, pod_dir, cgroup),
        "linux": linux,
    }))
}

/// The image's entry point holds unless the pod has a command; the image's arguments unless it has either.
fn arguments(container: &ContainerConfig, image: &Rootfs) -> Result<Vec<String>, String> {
    let mut args = if container.command.is_empty() { image.entrypoint.clone() } else { container.command.clone() };
    if !container.args.is_empty() {
        args.extend(container.args.iter().cloned());
    } else if container.command.is_empty() {
        args.extend(image.cmd.iter().cloned());
    }
    if args.is_empty() { Err("no command specified".to_owned()) } else { Ok(args) }
}

fn working_dir<'a>(container: &'a ContainerConfig, image: &'a Rootfs) -> &'a str {
    [container.working_dir.as_str(), image.working_dir.as_str(), "/"]
        .into_iter()
        .find(|dir| !dir.is_empty())
        .unwrap_or("/")
}

fn environment(sandbox: &SandboxConfig, container: &ContainerConfig, image: &Rootfs, machine: &Machine) -> Vec<String> {
    let hostname = if sandbox.hostname.is_empty() { &machine.hostname } else { &sandbox.hostname };
    let mut pairs: Vec<(String, String)> = Vec::new();
    let own = [("HOSTNAME".to_owned(), hostname.clone())];
    let terminal = container.tty.then(|| ("TERM".to_owned(), "xterm".to_owned()));
    for (name, value) in own.iter().chain(&terminal).chain(&image.env).chain(&container.env) {
        match pairs.iter_mut().find(|(known, _)| known == name) {
            Some(pair) => pair.1.clone_from(value),
            None => pairs.push((name.clone(), value.clone())),
        }
    }
    let mut env: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !env.iter().any(|pair| pair.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    env
}

fn namespaces(sandbox: &SandboxConfig, container: &ContainerConfig, machine: &Machine, pod_dir: &Path) -> Value {
    let mut list = vec![json!({ "type": "mount" })];
    match sandbox.pid {
        NamespaceMode::Container => list.push(json!({ "type": "pid" })),
        NamespaceMode::Pod => {
            list.push(json!({ "type": "pid", "path": pod_dir.join(crate::shim::files::PID_NAMESPACE) }));
        }
        NamespaceMode::Node => {}
    }
    if matches!(machine.groups, Hierarchies::V2(_)) && !container.security.privileged {
        list.push(json!({ "type": "cgroup" }));
    }
    Value::Array(list)
}

/// Puts a container that would have process ids of its own among those of the container with this first process.
pub(super) fn share_processes(spec: &mut Value, pid: i32) {
    let list = spec["linux"]["namespaces"].as_array_mut().into_iter().flatten();
    for own in list.filter(|one| one["type"] == "pid" && one["path"].is_null()) {
        own["path"] = format!("/proc/{pid}/ns/pid").into();
    }
}

fn resources(container: &ContainerConfig, machine: &Machine) -> Value {
    let limits = &container.resources;
    let mut cpu = json!({});
    if limits.cpu_shares > 0 {
        cpu["shares"] = limits.cpu_shares.into();
    }
    if let Some(quota) = limits.cpu_quota.filter(|quota| *quota > 0) {
        cpu["quota"] = quota.into();
    }
    if limits.cpu_period > 0 {
        cpu["period"] = limits.cpu_period.into();
    }
    let mut resources = json!({
        "devices": [{ "allow": container.security.privileged, "access": "rwm" }],
        "cpu": cpu,
    });
    if let Some(bytes) = limits.memory_limit.filter(|bytes| *bytes > 0) {
        resources["memory"] = json!({ "limit": bytes });
        if machine.swap_limits {
            // Memory and swap together: no swap, as Kubernetes has it by default.
            resources["memory"]["swap"] = bytes.into();
        }
    }
    if let Some(limit) = limits.pids_limit.filter(|limit| *limit > 0) {
        resources["pids"] = json!({ "limit": limit });
    }
    resources
}

/// libcontainer makes the whole tree slave or shared first; mounts of the pod have their own kind already.
fn propagation(mounts: &[Mount]) -> &'static str {
    if mounts.iter().any(|mount| mount.propagation == MountPropagation::Bidirectional) { "shared" } else { "slave" }
}

fn devices(nodes: &[DeviceNode]) -> Value {
    let device = |node: &DeviceNode| {
        json!({
            "path": node.path, "type": node.kind, "major": node.major, "minor": node.minor,
            "fileMode": node.mode, "uid": node.uid, "gid": node.gid,
        })
    };
    Value::Array(nodes.iter().map(device).collect())
}

fn kernel_mounts(
    sandbox: &SandboxConfig,
    container: &ContainerConfig,
    machine: &Machine,
    pod_dir: &Path,
    cgroup: &Path,
) -> Value {
    let access = if container.security.privileged { "rw" } else { "ro" };
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    match &machine.groups {
        Hierarchies::V2(_) => {
            mounts.push(mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", access],
            ));
        }
        Hierarchies::V1(points) => {
            // libcontainer's own v1 mounts can be written to: a container could lift its own limits.
            mounts.push(mount(
                "/sys/fs/cgroup",
                "tmpfs",
                "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=755", "size=64k"],
            ));
            for (point, dir) in points.iter().zip(machine.groups.directories(cgroup)) {
                mounts.push(json!({
                    "destination": point, "type": "bind", "source": dir,
                    "options": ["bind", "nosuid", "noexec", "nodev", access],
                }));
            }
        }
    }
    let shm = match sandbox.ipc {
        NamespaceMode::Node => PathBuf::from("/dev/shm"),
        _ => pod_dir.join(crate::shim::files::SHM),
    };
    mounts.push(json!({ "destination": "/dev/shm", "type": "bind", "source": shm, "options": ["rbind", "rw"] }));
    Value::Array(mounts)
}

/// The mounts the shim makes: the pod's /etc files where the container has none of its own, then the container's, those
/// nearer to the root first.
pub(crate) fn shim_mounts(container: &ContainerConfig, pod_dir: &Path) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = ["hosts", "hostname", "resolv.conf"]
        .into_iter()
        .map(|name| Mount {
            host_path: pod_dir.join(name),
            container_path: Path::new("/etc").join(name),
            readonly: container.security.readonly_rootfs,
            readonly_below: false,
            propagation: MountPropagation::Private,
        })
        .filter(|own| container.mounts.iter().all(|mount| mount.container_path != own.container_path))
        .collect();
    mounts.extend(container.mounts.iter().cloned());
    mounts.sort_by_key(|mount| mount.container_path.components().count());
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{ResourceConfig, SecurityConfig};

    fn machine(groups: Hierarchies) -> Machine {
        Machine {
            groups,
            bounding: u64::MAX,
            devices: Vec::new(),
            swap_limits: true,
            hostname: "node-1".to_owned(),
            kernel: "6.1".to_owned(),
        }
    }

    fn v1() -> Machine {
        machine(Hierarchies::V1(vec!["/sys/fs/cgroup/memory".into()]))
    }

    fn image() -> Rootfs {
        Rootfs {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["arg".to_owned()],
            env: vec![("A".to_owned(), "image".to_owned()), ("B".to_owned(), "2".to_owned())],
            working_dir: "/srv".to_owned(),
            ..Rootfs::default()
        }
    }

    fn spec(sandbox: &SandboxConfig, container: &ContainerConfig, machine: &Machine) -> Value {
        build(sandbox, container, &image(), machine, Path::new("/run/p"), Path::new("/e/n/u/c-0")).unwrap()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_and_arguments_replace_the_images() {
        for (command, args, want) in [
            (&[][..], &[][..], &["/entry", "arg"][..]),
            (&[], &["x"], &["/entry", "x"]),
            (&["/cmd"], &[], &["/cmd"]),
            (&["/cmd"], &["x"], &["/cmd", "x"]),
        ] {
            let container =
                ContainerConfig { command: words(command), args: words(args), ..ContainerConfig::default() };
            assert_eq!(arguments(&container, &image()).unwrap(), want);
        }
        assert!(arguments(&ContainerConfig::default(), &Rootfs::default()).is_err());
    }

    #[test]
    fn the_environment_is_the_images_with_the_pods_on_top() {
        let container = ContainerConfig {
            env: vec![("A".to_owned(), "pod".to_owned()), ("C".to_owned(), "x=y".to_owned())],
            ..ContainerConfig::default()
        };
        let sandbox = SandboxConfig { hostname: "web".to_owned(), ..SandboxConfig::default() };
        assert_eq!(environment(&sandbox, &container, &image(), &v1()), [PATH, "HOSTNAME=web", "A=pod", "B=2", "C=x=y"]);
        assert_eq!(environment(&SandboxConfig::default(), &container, &image(), &v1())[1], "HOSTNAME=node-1");
    }

    #[test]
    fn limits_become_resources() {
        let container = ContainerConfig {
            resources: ResourceConfig {
                cpu_shares: 512,
                cpu_quota: Some(50_000),
                cpu_period: 100_000,
                memory_limit: Some(1 << 20),
                oom_score_adj: 5,
                pids_limit: Some(7),
            },
            ..ContainerConfig::default()
        };
        let spec = spec(&SandboxConfig::default(), &container, &v1());
        let resources = &spec["linux"]["resources"];
        assert_eq!(resources["cpu"], json!({ "shares": 512, "quota": 50_000, "period": 100_000 }));
        assert_eq!(resources["memory"], json!({ "limit": 1 << 20, "swap": 1 << 20 }));
        assert_eq!(resources["pids"], json!({ "limit": 7 }));
        assert_eq!(spec["process"]["oomScoreAdj"], 5);
        assert_eq!(spec["process"]["cwd"], "/srv");
    }

    #[test]
    fn processes_are_shared_where_each_container_has_its_own() {
        let own = SandboxConfig { pid: NamespaceMode::Container, ..SandboxConfig::default() };
        for (sandbox, want) in [(own, json!("/proc/7/ns/pid")), (SandboxConfig::default(), json!("/run/p/pidns"))] {
            let mut spec = spec(&sandbox, &ContainerConfig::default(), &v1());
            share_processes(&mut spec, 7);
            let list = spec["linux"]["namespaces"].as_array().unwrap();
            assert_eq!(list.iter().find(|one| one["type"] == "pid").unwrap()["path"], want);
        }
    }

    #[test]
    fn an_ordinary_container_is_confined_and_a_privileged_one_is_not() {
        let ordinary = spec(&SandboxConfig::default(), &ContainerConfig::default(), &v1());
        assert_eq!(ordinary["linux"]["maskedPaths"].as_array().unwrap().len(), MASKED_PATHS.len());
        assert_eq!(ordinary["linux"]["resources"]["devices"][0]["allow"], false);
        let group = |spec: &Value| {
            let mounts = spec["mounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["destination"] == "/sys/fs/cgroup/memory").unwrap();
            (mount["source"].clone(), mount["options"].as_array().unwrap().contains(&json!("ro")))
        };
        assert_eq!(group(&ordinary), (json!("/sys/fs/cgroup/memory/e/n/u/c-0"), true));
        let security = SecurityConfig { privileged: true, ..SecurityConfig::default() };
        let mut machine = v1();
        machine.devices.push(DeviceNode {
            path: "/dev/x".into(),
            kind: "c",
            major: 1,
            minor: 2,
            mode: 0o600,
            uid: 0,
            gid: 0,
        });
        let container = ContainerConfig { security, ..ContainerConfig::default() };
        let privileged = spec(&SandboxConfig::default(), &container, &machine);
        assert_eq!(privileged["linux"]["maskedPaths"], json!([]));
        assert_eq!(privileged["linux"]["devices"][0]["path"], "/dev/x");
        assert!(!group(&privileged).1);
    }

    #[test]
    fn namespaces_follow_the_sandbox_and_the_hierarchy() {
        let kinds = |sandbox: &SandboxConfig, machine: &Machine| {
            let spec = spec(sandbox, &ContainerConfig::default(), machine);
            let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
            list.iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let with_pid = |pid| SandboxConfig { pid, ..SandboxConfig::default() };
        assert_eq!(kinds(&with_pid(NamespaceMode::Container), &v1()), ["mount", "pid"]);
        assert_eq!(kinds(&with_pid(NamespaceMode::Node), &v1()), ["mount"]);
        let v2 = machine(Hierarchies::V2("/sys/fs/cgroup".into()));
        assert_eq!(kinds(&with_pid(NamespaceMode::Container), &v2), ["mount", "pid", "cgroup"]);
        let spec = spec(&with_pid(NamespaceMode::Pod), &ContainerConfig::default(), &v1());
        assert_eq!(spec["linux"]["namespaces"][1]["path"], "/run/p/pidns");
    }

    #[test]
    fn the_pods_files_yield_to_the_containers_own_and_parents_come_first() {
        let mount = |path: &str| Mount {
            host_path: "/h".into(),
            container_path: path.into(),
            readonly: false,
            readonly_below: false,
            propagation: MountPropagation::Private,
        };
        let container = ContainerConfig {
            mounts: vec![mount("/a/b/c"), mount("/etc/hosts"), mount("/a")],
            ..ContainerConfig::default()
        };
        let paths: Vec<PathBuf> =
            shim_mounts(&container, Path::new("/p")).into_iter().map(|mount| mount.container_path).collect();
        assert_eq!(paths, ["/a", "/etc/hostname", "/etc/resolv.conf", "/etc/hosts", "/a/b/c"].map(PathBuf::from));
    }
}
