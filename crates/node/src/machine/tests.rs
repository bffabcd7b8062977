//! Machines and pod networks for real, each test inside a network namespace of its own.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::topology::Machine;
use crate::images::testing::is_root;
use crate::network::links::{Links, Peer, mac_of};
use crate::network::{Options, PodNetwork, netns};

/// Runs `work` as if the machine had nothing but a loopback. The directory is for namespaces and state.
pub(crate) fn on_empty_machine<F: Future<Output = ()>>(test: &str, work: impl FnOnce(PathBuf) -> F + Send + 'static) {
    if !is_root(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let machine = dir.path().join("machine");
    netns::create(&machine).unwrap();
    let run = dir.path().join("run");
    let result = netns::run_inside(&machine, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work(run));
        Ok(())
    });
    netns::remove(&machine).unwrap();
    result.expect("see the panic above");
}

/// Whether a process in `from` reaches a process in `to` at this address.
fn reaches(from: &Path, to: &Path, address: IpAddr) -> bool {
    let listener = netns::run_inside(to, move || TcpListener::bind((address, 0))).unwrap();
    let target: SocketAddr = listener.local_addr().unwrap();
    let connected = netns::run_inside(from, move || TcpStream::connect_timeout(&target, Duration::from_secs(5)));
    let Ok(mut stream) = connected else { return false };
    stream.write_all(b"x").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.read_exact(&mut [0]).is_ok()
}

async fn pods(run: &Path, cidr: &str) -> PodNetwork {
    PodNetwork::new(Options {
        bridge: "evpods".into(),
        pod_cidr: cidr.parse().unwrap(),
        pod_cidr6: None,
        state_dir: run.join("addresses"),
    })
    .unwrap()
}

#[test]
fn pods_get_addresses_and_reach_each_other() {
    on_empty_machine("pods_get_addresses_and_reach_each_other", |run| async move {
        let [a, b] = ["a", "b"].map(|name| run.join(name));
        for path in [&a, &b] {
            netns::create(path).unwrap();
        }
        let network = pods(&run, "10.42.0.0/24").await;
        let begin = Instant::now();
        let ip_a = network.attach("uid-a", &a).await.unwrap()[0];
        println!("first attach, with the bridge: {:?}", begin.elapsed());
        let begin = Instant::now();
        let ip_b = network.attach("uid-b", &b).await.unwrap()[0];
        println!("second attach: {:?}", begin.elapsed());
        assert_eq!([ip_a, ip_b].map(|ip| ip.to_string()), ["10.42.0.2", "10.42.0.3"]);
        let here = PathBuf::from(format!("/proc/self/task/{}/ns/net", rustix::thread::gettid().as_raw_nonzero()));
        assert!(reaches(&a, &b, ip_b) && reaches(&b, &a, ip_a), "pod to pod");
        assert!(reaches(&here, &a, ip_a), "node to pod");
        assert!(reaches(&a, &here, "10.42.0.1".parse().unwrap()), "pod to node");
        assert!(reaches(&a, &a, ip_a) && reaches(&a, &a, Ipv4Addr::LOCALHOST.into()), "pod to itself");
        // Repeated, also by an agent that starts anew, it is the same and nothing breaks.
        let again = pods(&run, "10.42.0.0/24").await;
        let open = netns::run_inside(&b, move || TcpListener::bind((ip_b, 0))).unwrap();
        let target = open.local_addr().unwrap();
        let stream = netns::run_inside(&a, move || TcpStream::connect(target)).unwrap();
        assert_eq!(again.attach("uid-a", &a).await.unwrap(), [ip_a]);
        (&stream).write_all(b"still").unwrap();
        open.accept().unwrap().0.read_exact(&mut [0; 5]).unwrap();
        // What is not live goes.
        again.reconcile(&BTreeSet::from(["uid-b".to_owned()])).await.unwrap();
        let inside = Links::inside(&a).unwrap();
        assert!(inside.find("eth0").await.unwrap().is_none());
        again.detach("uid-a").await.unwrap();
        assert_eq!(again.attach("uid-a", &a).await.unwrap()[0].to_string(), "10.42.0.4", "addresses go round");
        again.remove().await.unwrap();
        let left: Vec<String> = Links::here().unwrap().all().await.unwrap().into_iter().map(|link| link.name).collect();
        assert_eq!(left, ["lo"]);
        for path in [&a, &b] {
            netns::remove(path).unwrap();
        }
    });
}

#[test]
fn a_half_made_attachment_is_finished() {
    on_empty_machine("a_half_made_attachment_is_finished", |run| async move {
        let a = run.join("a");
        netns::create(&a).unwrap();
        let network = pods(&run, "10.42.0.0/24").await;
        let ip = network.attach("uid", &a).await.unwrap();
        // As if killed before the port joined the bridge, and with the pod's end bare.
        let links = Links::here().unwrap();
        let port =
            links.all().await.unwrap().into_iter().find(|link| link.name.starts_with("evp") && link.name != "evpods");
        links.delete(&port.unwrap().name).await.unwrap();
        assert_eq!(network.attach("uid", &a).await.unwrap(), ip);
        let inside = Links::inside(&a).unwrap();
        let here = PathBuf::from(format!("/proc/self/task/{}/ns/net", rustix::thread::gettid().as_raw_nonzero()));
        assert!(reaches(&here, &a, ip[0]));
        assert!(inside.routes().await.unwrap().iter().any(|route| route.destination.prefix_len() == 0));
        netns::remove(&a).unwrap();
    });
}

#[test]
fn routes_to_other_nodes_follow_the_list() {
    on_empty_machine("routes_to_other_nodes_follow_the_list", |run| async move {
        let machine = Machine::open_at(&run, "abcdef01", None).await.unwrap();
        machine.ensure_bridge().await.unwrap();
        let network = pods(&run, "10.42.0.0/24").await;
        let route = |cidr: &str, by: &str| (cidr.parse::<Ipv4Net>().unwrap(), by.parse::<Ipv4Addr>().unwrap());
        let ours = || async {
            let mut routes: Vec<String> = Links::here()
                .unwrap()
                .routes()
                .await
                .unwrap()
                .iter()
                .filter_map(|route| route.gateway.map(|by| format!("{} {by}", route.destination)))
                .collect();
            routes.sort();
            routes
        };
        let own = route("10.42.0.0/24", "10.89.0.10");
        let list = vec![own, route("10.42.1.0/24", "10.89.0.11"), route("10.42.2.0/24", "10.89.0.12")];
        network.sync_routes(list).await.unwrap();
        assert_eq!(ours().await, ["10.42.1.0/24 10.89.0.11", "10.42.2.0/24 10.89.0.12"]);
        network.sync_routes(vec![own, route("10.42.2.0/24", "10.89.0.13")]).await.unwrap();
        assert_eq!(ours().await, ["10.42.2.0/24 10.89.0.13"]);
        network.sync_routes(Vec::new()).await.unwrap();
        assert!(ours().await.is_empty());
        machine.remove_all().await.unwrap();
    });
}

#[test]
fn nodes_have_addresses_of_their_own_and_reach_each_other() {
    on_empty_machine("nodes_have_addresses_of_their_own_and_reach_each_other", |run| async move {
        // A new network namespace starts with what the machine has, which depends on what else runs on it.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let machine = Machine::open_at(&run, "abcdef01", None).await.unwrap();
        assert_eq!(machine.subnet().to_string(), "10.89.0.0/16");
        assert_eq!(machine.ensure_bridge().await.unwrap().to_string(), "10.89.0.1");
        let one = machine.ensure_node("node-1", 0).await.unwrap();
        let two = machine.ensure_node("node-2", 1).await.unwrap();
        assert_eq!((one.address.to_string(), two.pod_cidr.to_string()), ("10.89.0.10".into(), "10.89.17.0/24".into()));
        assert!(reaches(&one.netns_path, &two.netns_path, two.address.into()));
        // A second opener, as after a kill, goes on with what is there.
        let again = Machine::open_at(&run, "abcdef01", None).await.unwrap();
        assert_eq!(again.ensure_node("node-1", 0).await.unwrap(), one);
        assert_eq!(again.nodes().unwrap().into_keys().collect::<Vec<_>>(), ["node-1", "node-2"]);
        assert!(again.ensure_node("node-3", 1).await.is_err() && again.ensure_node("node-2", 5).await.is_err());
        assert!(again.ensure_node("../x", 6).await.is_err());
        let other = Machine::open_at(&run, "12345678", None).await.unwrap();
        assert_eq!(other.subnet().to_string(), "10.90.0.0/16", "no two instances share one");
        other.remove_all().await.unwrap();
        again.remove_node("node-2").await.unwrap();
        again.remove_node("node-2").await.unwrap();
        assert!(!two.netns_path.exists());
        let links = Links::here().unwrap();
        assert_eq!(links.all().await.unwrap().len(), 3, "loopback, bridge, node-1");
        again.remove_all().await.unwrap();
        assert_eq!(links.all().await.unwrap().len(), 1);
        assert!(links.routes().await.unwrap().is_empty());
        assert!(!run.join("abcdef01").exists() && !one.netns_path.exists());
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "0", "as it was before");
        // Down twice is down.
        Machine::open_at(&run, "abcdef01", None).await.unwrap().remove_all().await.unwrap();
    });
}

#[test]
fn pods_of_two_nodes_reach_each_other() {
    on_empty_machine("pods_of_two_nodes_reach_each_other", |run| async move {
        let machine = Machine::open_at(&run, "abcdef01", None).await.unwrap();
        machine.ensure_bridge().await.unwrap();
        let mut ends = Vec::new();
        for index in 0..2 {
            let node = machine.ensure_node(&format!("node-{index}"), index).await.unwrap();
            let pod = run.join(format!("pod-{index}"));
            netns::create(&pod).unwrap();
            let (netns_path, cidr, state) =
                (node.netns_path.clone(), node.pod_cidr.to_string(), run.join(index.to_string()));
            let inside = pod.clone();
            let ips = netns::run_inside(&netns_path, move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                Ok(runtime.block_on(async { pods(&state, &cidr).await.attach("uid", &inside).await.unwrap() }))
            })
            .unwrap();
            ends.push((pod, ips[0]));
        }
        assert!(reaches(&ends[0].0, &ends[1].0, ends[1].1));
        for (pod, _) in &ends {
            netns::remove(pod).unwrap();
        }
        machine.remove_all().await.unwrap();
    });
}

#[test]
fn pods_and_nodes_reach_the_world_with_the_machines_address() {
    if std::process::Command::new("nft").arg("--version").output().is_err() {
        eprintln!("skipped: nft is not installed (apt-get install nftables)");
        return;
    }
    on_empty_machine("pods_and_nodes_reach_the_world_with_the_machines_address", |run| async move {
        // A world that has no way back to nodes and pods.
        let world = run.join("world");
        let pod = run.join("pod");
        netns::create(&world).unwrap();
        netns::create(&pod).unwrap();
        let links = Links::here().unwrap();
        let uplink = links.ensure_bridge("uplink", "192.0.2.1/24".parse().unwrap()).await.unwrap();
        let peer = Peer { name: "eth0", netns: &world, mac: mac_of("192.0.2.2".parse().unwrap()) };
        links.add_veth("to-world", &uplink, &peer).await.unwrap();
        let there = Links::inside(&world).unwrap();
        let eth0 = there.get("eth0").await.unwrap();
        there.ensure_address(&eth0, "192.0.2.2/24".parse().unwrap()).await.unwrap();
        there.ensure_up(&eth0).await.unwrap();
        let machine = Machine::open_at(&run, "abcdef01", None).await.unwrap();
        machine.ensure_bridge().await.unwrap();
        let node = machine.ensure_node("node-1", 0).await.unwrap();
        let (state, cidr, inside) = (run.join("state"), node.pod_cidr.to_string(), pod.clone());
        netns::run_inside(&node.netns_path, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { pods(&state, &cidr).await.attach("uid", &inside).await.unwrap() });
            Ok(())
        })
        .unwrap();
        let outside: IpAddr = "192.0.2.2".parse().unwrap();
        assert!(reaches(&node.netns_path, &world, outside), "node to world");
        assert!(reaches(&pod, &world, outside), "pod to world");
        machine.remove_all().await.unwrap();
        let rules = std::process::Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&rules.stdout), "", "no rules are left");
        for path in [&world, &pod] {
            netns::remove(path).unwrap();
        }
    });
}
