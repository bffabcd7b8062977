//! A real etcd in a temporary directory, for tests: Debian's etcd-server, which tests/install puts beside other tools.
#![allow(dead_code)] // Tests of other crates use this file too, each a part of it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use store::etcd::{Address, Etcd, Options, TlsFiles};

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Another one.
fn other_port(than: u16) -> u16 {
    std::iter::repeat_with(free_port).find(|port| *port != than).unwrap()
}

/// The program, or a failure that says how to get it.
pub(crate) fn program(name: &str) -> PathBuf {
    let tools = std::env::var("EVERYNODE_TEST_TOOLS").unwrap_or_else(|_| "/opt/everynode-test-tools".into());
    let unpacked = Path::new(&tools).join("etcd/usr/bin").join(name);
    if unpacked.exists() {
        return unpacked;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("{name} is not there, and these tests need a real etcd: run tests/install"))
}

/// Files for TLS between etcd and its clients.
pub(crate) struct Certificates {
    pub(crate) dir: PathBuf,
}

impl Certificates {
    /// An authority with a certificate for etcd and one for its clients.
    pub(crate) fn make(dir: &Path) -> Certificates {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(dir.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        for (name, usage) in [
            ("etcd", rcgen::ExtendedKeyUsagePurpose::ServerAuth),
            ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
            params.extended_key_usages = vec![usage];
            if name == "etcd" {
                // etcd's own gateway to itself shows it as a client.
                params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
            }
            std::fs::write(dir.join(format!("{name}.crt")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
            std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Certificates { dir: dir.to_owned() }
    }

    pub(crate) fn client(&self) -> TlsFiles {
        let file = |name: &str| Some(self.dir.join(name));
        TlsFiles { ca: file("ca.crt"), cert: file("client.crt"), key: file("client.key") }
    }
}

/// One running etcd.
pub(crate) struct EtcdProcess {
    child: Option<Child>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    arguments: Vec<String>,
    pub(crate) tls: Option<Certificates>,
}

impl EtcdProcess {
    pub(crate) async fn start() -> EtcdProcess {
        EtcdProcess::start_with(&[], false).await
    }

    pub(crate) async fn start_with(arguments: &[&str], tls: bool) -> EtcdProcess {
        // In memory where there is such a place: these tests kill processes, not machines.
        let parent = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("etcd-test-").tempdir_in(parent).unwrap();
        let tls = tls.then(|| Certificates::make(dir.path()));
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut etcd = EtcdProcess { child: None, dir, port: free_port(), arguments, tls };
        etcd.run(etcd.port).await;
        etcd
    }

    /// Starts it on the data that is there, on a port, and waits until it answers.
    pub(crate) async fn run(&mut self, port: u16) {
        // A port that was free a moment ago may be another test's by now.
        for _ in 0..5 {
            match self.try_run(port).await {
                Ok(()) => return,
                Err(log) if log.contains("address already in use") => {}
                Err(log) => panic!("etcd does not come up\n{log}"),
            }
        }
        panic!("no port is free for etcd");
    }

    /// What it logged, if it does not come up.
    async fn try_run(&mut self, port: u16) -> Result<(), String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let (client, peer) = (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", other_port(port)));
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new(program("etcd"));
        command.args(["--name", "test", "--data-dir", &file("data")]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("test={peer}"), "--logger", "zap"]);
        if self.tls.is_some() {
            command.args(["--cert-file", &file("etcd.crt"), "--key-file", &file("etcd.key")]);
            command.args(["--trusted-ca-file", &file("ca.crt"), "--client-cert-auth"]);
        }
        let log = std::fs::File::create(file("log")).unwrap();
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let options = Options { compact_every: None, ..Options::new(self.address_at(port, "/ready")) };
        for _ in 0..10 {
            if Etcd::open(options.clone()).await.is_ok() {
                return Ok(());
            }
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                break;
            }
        }
        Err(std::fs::read_to_string(file("log")).unwrap_or_default())
    }

    fn address_at(&self, port: u16, prefix: &str) -> Address {
        let files = self.tls.as_ref().map(Certificates::client).unwrap_or_default();
        Address::parse(&format!("etcd://127.0.0.1:{port}{prefix}"), files).unwrap()
    }

    /// Where it is.
    pub(crate) fn address(&self, prefix: &str) -> Address {
        self.address_at(self.port, prefix)
    }

    /// A handle on the keys below a prefix, which compacts nothing by itself.
    pub(crate) async fn store(&self, prefix: &str) -> Etcd {
        let options = Options { compact_every: None, ..Options::new(self.address(prefix)) };
        Etcd::open(options).await.unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGKILL, and up again on the same data and port.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill();
        self.run(self.port).await;
    }

    /// Runs etcdctl, which has to succeed.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let mut command = Command::new(program("etcdctl"));
        let output = command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// One number of its metrics.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let line =
            text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().trim().parse().unwrap()
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Long enough for anything that has to happen; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what has to happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} does not happen"))
}
