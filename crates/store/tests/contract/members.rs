//! An etcd of three members, of which one at a time is killed or halted, its leader too.

use std::process::{Child, Command, Stdio};

use store::Store;
use store::cached::{Cached, Options};
use store::etcd::{self, Address, Etcd, TlsFiles};

use crate::etcd_process::{free_port, program, soon};
use crate::faults::{TASKS, a_write, all_seen, count};

const MEMBERS: usize = 3;

struct Three {
    dir: tempfile::TempDir,
    clients: Vec<u16>,
    peers: Vec<u16>,
    running: Vec<Option<Child>>,
}

impl Three {
    fn start() -> Three {
        let mut ports = std::collections::BTreeSet::new();
        while ports.len() < 2 * MEMBERS {
            ports.insert(free_port());
        }
        let ports: Vec<u16> = ports.into_iter().collect();
        let dir = tempfile::tempdir().unwrap();
        let (clients, peers) = (ports[..MEMBERS].to_vec(), ports[MEMBERS..].to_vec());
        let mut three = Three { dir, clients, peers, running: Vec::new() };
        three.running.resize_with(MEMBERS, || None);
        (0..MEMBERS).for_each(|member| three.run(member));
        three
    }

    fn run(&mut self, member: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(self.clients[member]), url(self.peers[member]));
        let all: Vec<String> = self.peers.iter().enumerate().map(|(n, port)| format!("m{n}={}", url(*port))).collect();
        let data = self.dir.path().join(format!("m{member}"));
        let log = std::fs::File::options().create(true).append(true).open(data.with_extension("log")).unwrap();
        let mut command = Command::new(program("etcd"));
        command.args(["--name", &format!("m{member}"), "--data-dir"]).arg(data);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(","), "--logger", "zap"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.running[member] = Some(child);
    }

    fn kill(&mut self, member: usize) {
        let mut child = self.running[member].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn signal(&self, member: usize, signal: &str) {
        let pid = self.running[member].as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn address(&self) -> Address {
        let hosts: Vec<String> = self.clients.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Address::parse(&format!("etcd://{}/x", hosts.join(",")), TlsFiles::default()).unwrap()
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_any_member_loses_and_doubles_nothing() {
    let mut three = Three::start();
    let options = etcd::Options { compact_every: None, ..etcd::Options::new(three.address()) };
    let opened = async {
        loop {
            if let Ok(etcd) = Etcd::open(options.clone()).await {
                return etcd;
            }
        }
    };
    let store = Cached::open(soon("an etcd of three", opened).await, Options::default()).await.unwrap();
    let mut watch = store.watch(b"/task/", store.seen()).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(count(store.clone(), task, stop.clone()))).collect();
    for member in 0..MEMBERS {
        a_write(&store, &format!("/before/{member}")).await;
        three.kill(member);
        a_write(&store, &format!("/without/{member}")).await;
        three.run(member);
        a_write(&store, &format!("/again/{member}")).await;
        three.signal(member, "-STOP");
        a_write(&store, &format!("/halted/{member}")).await;
        three.signal(member, "-CONT");
    }
    stop.cancel();
    let mut last = Vec::new();
    for task in tasks {
        last.push(soon("the end of a writer", task).await.unwrap());
    }
    all_seen(&mut watch, &last).await;
    assert!(last.iter().all(|count| *count > 0), "{last:?}");
}
