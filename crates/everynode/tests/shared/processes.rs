//! Servers and controllers as processes of their own, with what they say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::etcd_process::{Certificates, EtcdProcess, free_port, soon};

/// Pause between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(50);

/// One everynode.
pub(crate) struct Process {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
}

impl Process {
    /// Starts one with a directory of its own.
    pub(crate) fn start(dir: tempfile::TempDir, arguments: &[&str]) -> Process {
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_everynode"));
        let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Process { child, dir }
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.said().contains(text)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Its end by itself: whether it succeeded.
    pub(crate) async fn ended(&mut self) -> bool {
        until("the end of the process", async || self.child.try_wait().unwrap()).await.success()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("data/admin.kubeconfig")
    }

    /// A client with the administrator's kubeconfig and connections of its own.
    pub(crate) async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the keys of one server to the directory of another that has not started.
pub(crate) fn copy_keys(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("data/pki")).unwrap();
    for name in ["ca.crt", "ca.key", "sa.key"] {
        std::fs::copy(from.join("data/pki").join(name), to.join("data/pki").join(name)).unwrap();
    }
}

/// Starts a server on an etcd, with the keys of another one, without waiting.
pub(crate) fn server_on(etcd: &EtcdProcess, keys: Option<&Process>, more: &[&str]) -> Process {
    let dir = tempfile::tempdir().unwrap();
    if let Some(other) = keys {
        copy_keys(other.dir.path(), dir.path());
    }
    let data = dir.path().join("data").display().to_string();
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port())).to_string();
    let store = format!("etcd://127.0.0.1:{}/x", etcd.port);
    let mut arguments = vec!["server", "--data-dir", &data, "--listen", &listen, "--store", &store];
    let files = etcd.tls.as_ref().map(Certificates::client).unwrap_or_default();
    let files = [("--store-ca", files.ca), ("--store-cert", files.cert), ("--store-key", files.key)];
    let files: Vec<(&str, String)> =
        files.into_iter().filter_map(|(flag, file)| Some((flag, file?.display().to_string()))).collect();
    arguments.extend(files.iter().flat_map(|(flag, file)| [*flag, file]));
    arguments.extend(more);
    Process::start(dir, &arguments)
}

/// Waits until a server is ready.
pub(crate) async fn ready(server: &mut Process) {
    until("the server is ready", async || {
        if let Some(status) = server.child.try_wait().unwrap() {
            panic!("the server ended: {status}: {}", server.said());
        }
        if !server.kubeconfig().exists() {
            return None;
        }
        let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
        server.client().await.request_text(request).await.ok()
    })
    .await;
}

/// Looks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    soon(what, looking).await
}
