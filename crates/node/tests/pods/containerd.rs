//! The machine with containerd: one of its own for each test, with all it has below the test's directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use node::runtime::Runtime as _;
use node::runtime::cri::{Cri, Options};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::{Machine, PATIENCE, TOOLS};

/// Image of the sandboxes: it only waits.
const PAUSE: &str = "example.test/pause:1";

pub(crate) struct Containerd {
    dir: PathBuf,
    bin: PathBuf,
    daemon: Child,
    options: Options,
}

/// Where `tests/install` unpacks it, or the machine's own.
fn found() -> Option<PathBuf> {
    let tools = std::env::var("EVERYNODE_TEST_TOOLS").unwrap_or_else(|_| "/opt/everynode-test-tools".to_owned());
    let beside = Path::new(&tools).join("containerd/usr/bin");
    [beside, "/usr/bin".into()].into_iter().find(|dir| dir.join("containerd").exists() && dir.join("ctr").exists())
}

fn configuration(dir: &Path, bin: &Path) -> String {
    let runc = [bin.join("../sbin/runc"), bin.join("runc"), "/usr/sbin/runc".into()];
    let runc = runc.iter().find(|path| path.exists()).expect("runc is beside containerd");
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{dir}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Where this process may not lower it, a container's oom_score_adj is what it may be.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{dir}/cni"
"#,
        runc = runc.display()
    )
}

/// A network without anything that stays on the machine; tests at once have different ranges.
fn network(dir: &Path) -> Value {
    let range = format!("10.{}.{}.0/24", 200 + std::process::id() / 250 % 50, std::process::id() % 250);
    json!({"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "ptp",
        "ipam": {"type": "host-local", "dataDir": dir.join("ipam"), "ranges": [[{"subnet": range}]]}}]})
}

/// An archive as `docker save` writes it: busybox, and under another name what waits.
fn archive(dir: &Path) -> PathBuf {
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_path_with_name("/usr/bin/busybox", "bin/busybox").unwrap();
    for tool in TOOLS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{tool}"), "busybox").unwrap();
    }
    for (name, mode, text) in [
        ("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\n"),
        ("etc/group", 0o644, "root:x:0:\n"),
        ("tmp/", 0o1777, ""),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_size(text.len() as u64);
        header.set_mode(mode);
        layer.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digest = hex(&layer);
    let path = dir.join("images.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path).unwrap());
    let mut append = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    append(&format!("{digest}/layer.tar"), &layer);
    let mut manifest = Vec::new();
    for (tag, command) in [("docker.io/library/busybox:1", json!(["sh"])), (PAUSE, json!(["/bin/sleep", "1000000"]))] {
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}});
        let config = config.to_string();
        let name = format!("{}.json", hex(config.as_bytes()));
        append(&name, config.as_bytes());
        manifest.push(json!({"Config": name, "RepoTags": [tag], "Layers": [format!("{digest}/layer.tar")]}));
    }
    append("manifest.json", Value::Array(manifest).to_string().as_bytes());
    archive.finish().unwrap();
    path
}

impl Containerd {
    fn start(dir: &Path, bin: &Path) -> Child {
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let path = format!("{}:{}/../sbin:/usr/sbin:/usr/bin:/sbin:/bin", bin.display(), bin.display());
        Command::new(bin.join("containerd"))
            .arg("--config")
            .arg(dir.join("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn ctr(&self, words: &[&str]) -> String {
        let out = Command::new(self.bin.join("ctr"))
            .args(["-a", &self.options.socket.display().to_string(), "-n", "k8s.io"])
            .args(words)
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn kill_daemon(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // A test that failed leaves containers.
        for task in self.ctr(&["tasks", "ls", "-q"]).lines() {
            self.ctr(&["tasks", "kill", "-s", "SIGKILL", task]);
        }
        self.kill_daemon();
    }
}

impl Machine for Containerd {
    type Runtime = Cri;

    fn name() -> &'static str {
        "containerd"
    }

    async fn new(dir: &Path, name: &str) -> Option<Self> {
        let Some(bin) = found() else {
            println!("skipped: containerd is not here; tests/install fetches it");
            return None;
        };
        if !Path::new("/usr/lib/cni/ptp").exists() {
            println!("skipped: /usr/lib/cni/ptp is not here; tests/install fetches it");
            return None;
        }
        let dir = dir.join("containerd");
        fs::create_dir_all(dir.join("cni")).unwrap();
        fs::write(dir.join("config.toml"), configuration(&dir, &bin)).unwrap();
        fs::write(dir.join("cni/10-test.conflist"), network(&dir).to_string()).unwrap();
        let daemon = Self::start(&dir, &bin);
        let instance = format!("pods{}{name}", std::process::id());
        let mut options = Options::new(dir.join("c.sock"), &instance, "n-1");
        options.log_links = dir.join("links");
        let made = Self { dir, bin, daemon, options };
        let runtime = made.open().await;
        made.ctr(&["images", "import", &archive(&made.dir).display().to_string()]);
        for image in ["busybox:1", PAUSE] {
            let end = tokio::time::Instant::now() + PATIENCE;
            while runtime.image_status(image).await.unwrap().is_none() {
                assert!(tokio::time::Instant::now() < end, "{image} does not come: {}", made.ctr(&["images", "ls"]));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Some(made)
    }

    async fn open(&self) -> Arc<Cri> {
        let opened = Cri::open(self.options.clone()).await;
        let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        Arc::new(opened.unwrap_or_else(|error| panic!("{error}\n{}", log())))
    }

    async fn clear(&self, runtime: &Cri) {
        assert!(runtime.list_containers().await.unwrap().is_empty());
        let links = fs::read_dir(&self.options.log_links).map(|links| links.count()).unwrap_or_default();
        assert_eq!(links, 0, "links to logs stay");
        assert_eq!(self.ctr(&["containers", "ls", "-q"]), "");
    }
}

impl Containerd {
    /// Ends containerd as a crash does, and starts it again.
    pub(crate) fn crash(&mut self) {
        self.kill_daemon();
        self.daemon = Self::start(&self.dir, &self.bin);
    }

    /// Logs are turned over when they have so many bytes, at most three files each.
    pub(crate) fn turn_logs_at(&mut self, bytes: u64) {
        self.options.log_bytes_max = bytes;
        self.options.log_files_max = 3;
        self.options.log_look_every = Duration::from_millis(1100);
    }

    /// How it is reached.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}
