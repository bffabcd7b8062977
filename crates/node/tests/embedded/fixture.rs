//! A runtime with a busybox image, in directories of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use node::runtime::embedded::{Embedded, Images, Joining, Options, PodNetwork, Rootfs};
use node::runtime::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ImageError, ImageInfo, NamespaceMode, RegistryAuth,
    Runtime as _, SandboxConfig, SandboxId,
};

/// What a loaded machine may need; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One image, "busybox".
pub(crate) struct Busybox {
    layers: Vec<PathBuf>,
    pub(crate) pins: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Images for Busybox {
    fn rootfs(&self, image_id: &str) -> Result<Option<Rootfs>, ImageError> {
        Ok((image_id == "busybox").then(|| Rootfs {
            lower_dirs: self.layers.clone(),
            cmd: vec!["sh".to_owned()],
            env: vec![("FROM_IMAGE".to_owned(), "yes".to_owned())],
            ..Rootfs::default()
        }))
    }

    fn pin(&self, image_id: &str, holder: &str) -> Result<(), ImageError> {
        self.pins.lock().unwrap().insert(holder.to_owned(), image_id.to_owned());
        Ok(())
    }

    fn unpin(&self, holder: &str) -> Result<(), ImageError> {
        self.pins.lock().unwrap().remove(holder);
        Ok(())
    }

    fn retain_pins(&self, prefix: &str, live: &BTreeSet<String>) -> Result<(), ImageError> {
        self.pins.lock().unwrap().retain(|holder, _| !holder.starts_with(prefix) || live.contains(holder));
        Ok(())
    }

    async fn image_status(&self, _reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        Ok(None)
    }

    async fn pull_image(&self, reference: &str, _auth: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        Err(ImageError::Local(reference.to_owned()))
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        Ok(Vec::new())
    }
}

/// Notes who is attached.
#[derive(Clone, Default)]
pub(crate) struct Wires(pub(crate) Arc<Mutex<BTreeMap<String, PathBuf>>>);

impl PodNetwork for Wires {
    async fn attach(&self, pod: &Joining) -> Result<Vec<IpAddr>, String> {
        self.0.lock().unwrap().insert(pod.sandbox.clone(), pod.netns.clone());
        Ok(vec!["10.1.2.3".parse().unwrap()])
    }

    async fn detach(&self, sandbox: &str) -> Result<(), String> {
        self.0.lock().unwrap().remove(sandbox);
        Ok(())
    }

    async fn retain(&self, live: &BTreeSet<String>) -> Result<(), String> {
        self.0.lock().unwrap().retain(|sandbox, _| live.contains(sandbox));
        Ok(())
    }
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) options: Options,
    pub(crate) wires: Wires,
    pub(crate) pins: Arc<Mutex<BTreeMap<String, String>>>,
    pub(crate) runtime: Embedded<Busybox, Wires>,
}

/// The program that is a shim; `cargo nextest run` and `cargo test` build it with the tests.
fn shim_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples/shim");
    assert!(path.exists(), "{} is missing: `cargo build -p node --examples`", path.display());
    path
}

/// None with a message when the machine can't run these tests.
pub(crate) async fn world(name: &str) -> Option<World> {
    world_with(name, |_| ()).await
}

/// The same with other options.
pub(crate) async fn world_with(name: &str, change: impl FnOnce(&mut Options)) -> Option<World> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: running containers needs root");
        return None;
    }
    assert!(Path::new("/usr/bin/busybox").exists(), "install busybox-static");
    let dir = tempfile::Builder::new().prefix("everynode-test-").tempdir().unwrap();
    unpack(dir.path());
    let instance = format!("test{}{name}", std::process::id());
    let mut options = Options::new(shim_program(), &instance, "n", dir.path());
    options.shim_args = Vec::new();
    options.run_dir = dir.path().join("run");
    options.log_links = dir.path().join("links");
    change(&mut options);
    let wires = Wires::default();
    let pins = Arc::default();
    let runtime = open(&options, dir.path(), &wires, &pins).await.unwrap();
    Some(World { dir, options, wires, pins, runtime })
}

async fn open(
    options: &Options,
    dir: &Path,
    wires: &Wires,
    pins: &Arc<Mutex<BTreeMap<String, String>>>,
) -> std::io::Result<Embedded<Busybox, Wires>> {
    let images = Busybox { layers: vec![dir.join("image/top"), dir.join("image/base")], pins: pins.clone() };
    Embedded::open(options.clone(), images, wires.clone()).await
}

fn unpack(dir: &Path) {
    let base = dir.join("image/base");
    let top = dir.join("image/top");
    for sub in ["bin", "etc", "tmp", "root"] {
        std::fs::create_dir_all(base.join(sub)).unwrap();
    }
    std::fs::create_dir_all(top.join("etc")).unwrap();
    std::fs::copy("/usr/bin/busybox", base.join("bin/busybox")).unwrap();
    for tool in [
        "sh", "sleep", "cat", "echo", "ls", "id", "seq", "kill", "true", "false", "hostname", "touch", "mount", "head",
        "dd", "yes", "ps", "stty", "tty", "trap", "wget", "nc", "mknod", "grep", "env",
    ] {
        symlink("busybox", base.join("bin").join(tool)).unwrap();
    }
    std::fs::write(base.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    std::fs::write(base.join("etc/group"), "root:x:0:\n").unwrap();
    std::fs::write(top.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/tmp:\n").unwrap();
    std::fs::write(top.join("etc/motd"), "hello\n").unwrap();
}

impl World {
    pub(crate) fn sandbox_config(&self) -> SandboxConfig {
        let uid = uuid::Uuid::new_v4().to_string();
        SandboxConfig {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            attempt: 0,
            hostname: "web".to_owned(),
            log_directory: self.dir.path().join(format!("logs/default_web_{uid}")),
            pid: NamespaceMode::Container,
            uid,
            ..SandboxConfig::default()
        }
    }

    pub(crate) async fn sandbox(&self) -> SandboxId {
        let status = self.runtime.run_pod_sandbox(self.sandbox_config()).await.unwrap();
        assert!(status.ready);
        status.id
    }

    pub(crate) fn container(&self, script: &str) -> ContainerConfig {
        ContainerConfig {
            name: "main".to_owned(),
            image_id: "busybox".to_owned(),
            image: "busybox:latest".to_owned(),
            command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            log_path: "main/0.log".into(),
            ..ContainerConfig::default()
        }
    }

    pub(crate) async fn start(&self, sandbox: &SandboxId, config: ContainerConfig) -> ContainerId {
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    /// Runs a script to its end.
    pub(crate) async fn run(&self, config: ContainerConfig) -> (ContainerStatus, String) {
        let sandbox = self.sandbox().await;
        let id = self.start(&sandbox, config).await;
        let status = self.wait_for(&id, ContainerState::Exited).await;
        let log = self.log(&status);
        self.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
        (status, log)
    }

    /// Waits by events, as the agent does.
    pub(crate) async fn wait_for(&self, id: &ContainerId, state: ContainerState) -> ContainerStatus {
        let mut events = self.runtime.events();
        let began = Instant::now();
        loop {
            let status = self.runtime.container_status(id).await.unwrap();
            if status.state == state {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{status:?}");
            let _ = tokio::time::timeout(PATIENCE, events.recv()).await;
        }
    }

    /// Waits until it has written a line.
    pub(crate) async fn wait_for_line(&self, id: &ContainerId, line: &str) {
        let began = Instant::now();
        let status = self.runtime.container_status(id).await.unwrap();
        while !self.log(&status).contains(line) {
            assert!(began.elapsed() < PATIENCE, "no line {line:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it wrote, without times: `stdout F text`.
    pub(crate) fn log(&self, status: &ContainerStatus) -> String {
        let text = std::fs::read_to_string(&status.log_path).unwrap();
        text.lines().map(|line| format!("{}\n", line.split_once(' ').unwrap().1)).collect()
    }

    /// A new agent in place of the old one.
    pub(crate) async fn restart(&mut self) {
        self.try_restart().await.unwrap();
    }

    /// The same; the old one stays where the new one can't be.
    pub(crate) async fn try_restart(&mut self) -> std::io::Result<()> {
        self.runtime = open(&self.options, self.dir.path(), &self.wires, &self.pins).await?;
        Ok(())
    }

    /// Where the files of a sandbox are.
    pub(crate) fn pod_dir(&self, sandbox: &SandboxId) -> PathBuf {
        self.options.run_dir.join("pods").join(&sandbox.0)
    }

    /// Nothing of any pod is left on the machine but logs.
    pub(crate) async fn end(self) {
        self.runtime.clear().await.unwrap();
        let root = self.dir.path().to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(root), "{mounts}");
        let group = self.options.cgroup.parent().unwrap().strip_prefix("/").unwrap().to_owned();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(Result::ok) {
            assert!(!hierarchy.path().join(&group).exists(), "{:?}", hierarchy.path().join(&group));
        }
        assert!(!self.options.run_dir.exists());
        assert_eq!(std::fs::read_dir(self.options.data_dir.join("containers")).map_or(0, Iterator::count), 0);
        assert_eq!(std::fs::read_dir(&self.options.log_links).map_or(0, Iterator::count), 0);
        assert!(self.wires.0.lock().unwrap().is_empty());
        assert!(self.pins.lock().unwrap().is_empty());
        assert_eq!(shims_in(root), Vec::<i32>::new());
    }
}

/// A test that fails leaves nothing either.
impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for pid in shims_in(self.dir.path().to_str().unwrap_or("/nowhere")) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let group = self.options.cgroup.parent().unwrap().strip_prefix("/").unwrap();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().filter_map(Result::ok) {
            kill_group(&hierarchy.path().join(group));
        }
        kill_group(&Path::new("/sys/fs/cgroup").join(group));
        let _ = nix::mount::umount2(&self.options.run_dir, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn kill_group(dir: &Path) {
    for child in std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_group(&child.path());
        }
    }
    for pid in std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap_or(i32::MAX));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    for _ in 0..100 {
        if !dir.exists() || std::fs::remove_dir(dir).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The shims of one runtime: the processes whose command line names `dir`.
pub(crate) fn shims_in(dir: &str) -> Vec<i32> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(dir) {
            pids.push(pid);
        }
    }
    pids
}
