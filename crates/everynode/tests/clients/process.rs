//! A server as its own process, which can be killed and started again in the same place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// Far above what any step takes on a slow machine: only a broken step reaches it.
const WAIT: Duration = Duration::from_secs(90);
/// Pause between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Process {
    child: Child,
    dir: tempfile::TempDir,
    listen: SocketAddr,
}

impl Process {
    /// Starts one on a free port and waits until it is ready.
    pub(crate) async fn start() -> Process {
        let dir = tempfile::tempdir().unwrap();
        let child = spawn(dir.path().to_owned(), "127.0.0.1:0".parse().unwrap());
        let mut process = Process { child, dir, listen: "127.0.0.1:0".parse().unwrap() };
        let url = until("a kubeconfig", async || process.url()).await;
        process.listen = url.strip_prefix("https://").unwrap().parse().unwrap();
        process.ready().await;
        process
    }

    /// Kills it as a lost machine would, and starts it again where it was.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.dir.path().to_owned(), self.listen);
        self.ready().await;
    }

    /// A client with the administrator's kubeconfig and connections of its own.
    pub(crate) async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.dir.path().join("admin.kubeconfig")).unwrap();
        client_of(kubeconfig).await
    }

    async fn ready(&self) {
        let client = self.client().await;
        until("the server is ready", async || {
            client.request_text(http::Request::get("/readyz").body(Vec::new()).unwrap()).await.ok()
        })
        .await;
    }

    fn url(&self) -> Option<String> {
        let kubeconfig = Kubeconfig::read_from(self.dir.path().join("admin.kubeconfig")).ok()?;
        kubeconfig.clusters.first()?.cluster.clone()?.server
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: PathBuf, listen: SocketAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_everynode"))
        .args(["server", "--no-controllers", "--data-dir"])
        .arg(dir)
        .args(["--listen", &listen.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A client of what a kubeconfig names.
pub(crate) async fn client_of(kubeconfig: Kubeconfig) -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
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
    match tokio::time::timeout(WAIT, looking).await {
        Ok(found) => found,
        Err(_) => panic!("{what}: not within {WAIT:?}"),
    }
}
