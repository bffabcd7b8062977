//! Host ports and plugins for real, each test inside a network namespace of its own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::links::Links;
use super::{CniOptions, Mode, Network, Options, netns, nft};
use crate::machine::tests::on_empty_machine;
use crate::runtime::embedded::Joining;
use crate::runtime::{PortMapping, Protocol};

/// What a loaded machine may need to pass one packet on.
const PATIENCE: Duration = Duration::from_secs(20);

fn network(run: &Path, mode: Mode) -> Network {
    network_of(run, mode, None)
}

fn network_of(run: &Path, mode: Mode, pod_cidr6: Option<&str>) -> Network {
    network_with(run, mode, pod_cidr6, vec![run.join("bin"), "/usr/lib/cni".into()])
}

fn network_with(run: &Path, mode: Mode, pod_cidr6: Option<&str>, bin_dirs: Vec<PathBuf>) -> Network {
    let bridge = Options {
        bridge: "evpods".into(),
        pod_cidr: "10.42.0.0/24".parse().unwrap(),
        pod_cidr6: pod_cidr6.map(|cidr| cidr.parse().unwrap()),
        state_dir: run.join("addresses"),
    };
    let cni = CniOptions { mode, config_dir: run.join("net.d"), bin_dirs, cache_dir: run.join("cni") };
    Network::new(bridge, cni).unwrap()
}

fn pod(run: &Path, name: &str, ports: &[PortMapping]) -> Joining {
    let netns = run.join(name);
    netns::create(&netns).unwrap();
    Joining {
        sandbox: format!("sandbox-{name}"),
        netns,
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        ports: ports.to_vec(),
    }
}

fn port(protocol: Protocol, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol, host_port, container_port, host_ip: None }
}

/// The network namespace of this test's machine.
fn here() -> PathBuf {
    PathBuf::from(format!("/proc/self/task/{}/ns/net", rustix::thread::gettid().as_raw_nonzero()))
}

/// Whether a connection from `from` to `dial` ends at a program in `to` that listens on `listen`.
fn leads(from: &Path, dial: &str, to: &Path, listen: SocketAddr) -> bool {
    let dial: SocketAddr = dial.parse().unwrap();
    let listener = netns::run_inside(to, move || TcpListener::bind(listen)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let connected = netns::run_inside(from, move || TcpStream::connect_timeout(&dial, PATIENCE));
    let Ok(mut stream) = connected else { return false };
    stream.write_all(b"x").unwrap();
    // The handshake is over, so that it is there at once if it is there at all.
    let Ok((mut accepted, _)) = listener.accept() else { return false };
    accepted.set_nonblocking(false).unwrap();
    accepted.read_exact(&mut [0]).is_ok()
}

#[test]
fn host_ports_lead_to_the_pod_while_it_lives() {
    on_empty_machine("host_ports_lead_to_the_pod_while_it_lives", |run| async move {
        let links = Links::here().unwrap();
        links.ensure_up(&links.get("lo").await.unwrap()).await.unwrap();
        let ports = [port(Protocol::Tcp, 8080, 80), port(Protocol::Udp, 5353, 53)];
        let (a, b, node) = (pod(&run, "a", &ports), pod(&run, "b", &[]), here());
        let pods = network(&run, Mode::Builtin);
        let ip = pods.attach(&a).await.unwrap()[0];
        pods.attach(&b).await.unwrap();
        let listen = SocketAddr::new(ip, 80);
        assert!(leads(&node, "127.0.0.1:8080", &a.netns, listen), "from the node's loopback");
        assert!(leads(&node, "10.42.0.1:8080", &a.netns, listen), "from the node's address");
        assert!(leads(&b.netns, "10.42.0.1:8080", &a.netns, listen), "from a neighbour");
        assert!(leads(&a.netns, "10.42.0.1:8080", &a.netns, listen), "from the pod itself");
        let socket = netns::run_inside(&a.netns, move || UdpSocket::bind((ip, 53))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"query", "127.0.0.1:5353").unwrap();
        assert_eq!(socket.recv_from(&mut [0; 16]).unwrap().0, 5, "UDP");
        // Another pod can't have it, and may try again.
        let rival = pod(&run, "rival", &[port(Protocol::Tcp, 8080, 81)]);
        let taken = pods.attach(&rival).await.unwrap_err().to_string();
        assert_eq!(taken, "host port 8080/TCP is taken by pod default/a");
        pods.detach(&rival.sandbox).await.unwrap();
        // An agent that starts anew puts back what somebody flushed, and takes away what belongs to no pod.
        nft::run("flush ruleset").unwrap();
        let again = network(&run, Mode::Builtin);
        again.reconcile(&BTreeSet::from([a.sandbox.clone(), b.sandbox.clone()])).await.unwrap();
        assert!(leads(&node, "127.0.0.1:8080", &a.netns, listen), "after a restart");
        again.reconcile(&BTreeSet::from([b.sandbox.clone()])).await.unwrap();
        assert!(TcpStream::connect("127.0.0.1:8080").is_err(), "after the pod");
        again.attach(&rival).await.unwrap();
        again.detach(&rival.sandbox).await.unwrap();
        // Who keeps sending UDP reaches the pod of today, not that of the day before.
        let next = pod(&run, "next", &ports);
        drop(sender.send_to(b"lost", "127.0.0.1:5353"));
        let ip = again.attach(&next).await.unwrap()[0];
        let socket = netns::run_inside(&next.netns, move || UdpSocket::bind((ip, 53))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = (0..2).any(|_| sender.send_to(b"today", "127.0.0.1:5353").is_ok());
        assert!(sent && socket.recv_from(&mut [0; 16]).unwrap().0 == 5, "the same flow, another pod");
        again.detach(&next.sandbox).await.unwrap();
        netns::remove(&next.netns).unwrap();
        assert_eq!(std::fs::read_dir(run.join("host-ports")).unwrap().count(), 0);
        for pod in [&a, &b, &rival] {
            netns::remove(&pod.netns).unwrap();
        }
    });
}

#[test]
fn pods_have_both_families_where_the_node_has() {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        println!("skipped: this kernel has no IPv6");
        return;
    }
    on_empty_machine("pods_have_both_families_where_the_node_has", |run| async move {
        let links = Links::here().unwrap();
        links.ensure_up(&links.get("lo").await.unwrap()).await.unwrap();
        let (a, b) = (pod(&run, "a", &[port(Protocol::Tcp, 8080, 80)]), pod(&run, "b", &[]));
        let pods = network_of(&run, Mode::Builtin, Some("fd00:42::/64"));
        let ips = pods.attach(&a).await.unwrap();
        assert_eq!(ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.42.0.2", "fd00:42::2"]);
        pods.attach(&b).await.unwrap();
        for (index, gateway) in [(0, "10.42.0.1"), (1, "[fd00:42::1]")] {
            let listen = SocketAddr::new(ips[index], 80);
            assert!(leads(&b.netns, &listen.to_string(), &a.netns, listen), "pod to pod, {listen}");
            assert!(leads(&here(), &listen.to_string(), &a.netns, listen), "node to pod, {listen}");
            let at = format!("{gateway}:8080");
            assert!(leads(&here(), &at, &a.netns, listen), "host port, {at}");
            assert!(leads(&b.netns, &at, &a.netns, listen), "host port from a neighbour, {at}");
        }
        assert_eq!(pods.attach(&a).await.unwrap(), ips, "the same again");
        for one in [&a, &b] {
            pods.detach(&one.sandbox).await.unwrap();
            netns::remove(&one.netns).unwrap();
        }
        assert_eq!(std::fs::read_dir(run.join("network6")).unwrap().count(), 0);
    });
}

/// A plugin that notes how it was called, answers ADD with an address and fails when a file says so.
const PLUGIN: &str = r#"#!/bin/sh
dir=$(dirname "$0")
{ echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS"; cat; echo; } >> "$dir/calls"
[ -e "$dir/fail" ] && { echo '{"cniVersion":"1.0.0","code":11,"msg":"try later","details":"no range"}'; exit 1; }
[ "$CNI_COMMAND" = ADD ] && echo "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"$CNI_NETNS\"}],
\"ips\":[{\"address\":\"10.9.0.7/16\",\"interface\":0}]}"
exit 0
"#;

fn install(run: &Path) {
    let (bin, config) = (run.join("bin"), run.join("net.d"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(&config).unwrap();
    for name in ["first", "second"] {
        std::fs::write(bin.join(name), PLUGIN).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let list = r#"{"cniVersion":"1.0.0","name":"overlay","plugins":[{"type":"first","mtu":1400},
        {"type":"second","capabilities":{"portMappings":true}}]}"#;
    std::fs::write(config.join("10-overlay.conflist"), list).unwrap();
}

/// How the plugins were called: the line of the environment, and the standard input.
fn calls(run: &Path) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(run.join("bin/calls")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    // A call that is being noted is passed over.
    let whole = |pair: &[&str]| Some((pair.first()?.to_string(), serde_json::from_str(pair.get(1)?).ok()?));
    lines.chunks(2).filter_map(whole).collect()
}

#[test]
fn plugins_make_the_network_once_they_are_there() {
    on_empty_machine("plugins_make_the_network_once_they_are_there", |run| async move {
        let a = pod(&run, "a", &[port(Protocol::Tcp, 8080, 80)]);
        let pods = network(&run, Mode::Cni);
        let want = "Network plugin returns error: cni plugin not initialized";
        assert_eq!(pods.ready().unwrap_err().to_string(), want);
        assert_eq!(pods.attach(&a).await.unwrap_err().to_string(), want);
        install(&run);
        pods.ready().unwrap();
        let ips = pods.attach(&a).await.unwrap();
        assert_eq!(ips, ["10.9.0.7".parse::<IpAddr>().unwrap()]);
        let made = calls(&run);
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;\
                         K8S_POD_INFRA_CONTAINER_ID=sandbox-a;K8S_POD_UID=uid-a";
        assert_eq!(
            made.iter().map(|call| call.0.as_str()).collect::<Vec<_>>(),
            [format!("ADD sandbox-a eth0 {arguments}"), format!("ADD sandbox-a eth0 {arguments}")]
        );
        let (first, second) = (&made[0].1, &made[1].1);
        assert_eq!((&first["type"], &first["mtu"], &first["name"]), (&"first".into(), &1400.into(), &"overlay".into()));
        assert!(first["prevResult"].is_null() && first["runtimeConfig"].is_null());
        assert_eq!(second["prevResult"]["ips"][0]["address"], "10.9.0.7/16");
        let mapping = &second["runtimeConfig"]["portMappings"][0];
        assert_eq!((&mapping["hostPort"], &mapping["protocol"]), (&8080.into(), &"tcp".into()));
        assert!(second["capabilities"].is_null());
        // The DEL comes by what was added, in the other order, also from one that knows neither the file nor
        // where the plugins are.
        std::fs::remove_file(run.join("net.d/10-overlay.conflist")).unwrap();
        let again = network_with(&run, Mode::Auto, None, Vec::new());
        again.detach(&a.sandbox).await.unwrap();
        let ended = calls(&run).split_off(2);
        assert_eq!(ended.iter().map(|call| call.1["type"].as_str().unwrap()).collect::<Vec<_>>(), ["second", "first"]);
        assert!(ended.iter().all(|call| call.0.starts_with("DEL sandbox-a") && call.1["prevResult"].is_object()));
        again.detach(&a.sandbox).await.unwrap();
        assert_eq!(calls(&run).len(), 4, "once is enough");
        netns::remove(&a.netns).unwrap();
    });
}

#[test]
fn a_plugin_that_fails_is_quoted_and_what_it_left_is_taken_off() {
    on_empty_machine("a_plugin_that_fails_is_quoted_and_what_it_left_is_taken_off", |run| async move {
        let a = pod(&run, "a", &[]);
        install(&run);
        std::fs::write(run.join("bin/fail"), "").unwrap();
        let pods = network(&run, Mode::Auto);
        let error = pods.attach(&a).await.unwrap_err().to_string();
        assert_eq!(error, "plugin type=\"first\" failed (add): try later; no range");
        let error = pods.detach(&a.sandbox).await.unwrap_err().to_string();
        assert_eq!(error, "plugin type=\"second\" failed (delete): try later; no range");
        std::fs::remove_file(run.join("bin/fail")).unwrap();
        // What an agent did not get to do, the next one does; the sandbox that lives is only looked at.
        let b = pod(&run, "b", &[]);
        pods.attach(&b).await.unwrap();
        std::fs::remove_file(run.join("bin/calls")).unwrap();
        network(&run, Mode::Auto).reconcile(&BTreeSet::from([b.sandbox.clone()])).await.unwrap();
        let wanted = ["CHECK sandbox-b", "CHECK sandbox-b", "DEL sandbox-a", "DEL sandbox-a"];
        let end = std::time::Instant::now() + PATIENCE;
        let seen = loop {
            let mut seen: Vec<String> =
                calls(&run).iter().map(|call| call.0.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
            seen.sort();
            if seen == wanted || std::time::Instant::now() > end {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(seen, wanted);
        std::fs::remove_dir_all(run.join("bin")).unwrap();
        let error = pods.attach(&a).await.unwrap_err().to_string();
        assert!(error.contains("failed to find plugin \"first\" in path ["), "{error}");
        for pod in [&a, &b] {
            netns::remove(&pod.netns).unwrap();
        }
    });
}

#[test]
fn debians_plugins_make_a_network() {
    if !Path::new("/usr/lib/cni/bridge").exists() {
        println!("skipped: containernetworking-plugins are not installed");
        return;
    }
    on_empty_machine("debians_plugins_make_a_network", |run| async move {
        std::fs::create_dir_all(run.join("net.d")).unwrap();
        let list = format!(
            r#"{{"cniVersion":"0.4.0","name":"debian","plugins":[{{"type":"bridge","bridge":"cni0","isGateway":true,
            "ipam":{{"type":"host-local","subnet":"10.77.0.0/24","dataDir":"{}"}}}}]}}"#,
            run.join("leases").display()
        );
        std::fs::write(run.join("net.d/10-debian.conflist"), list).unwrap();
        let links = Links::here().unwrap();
        links.ensure_up(&links.get("lo").await.unwrap()).await.unwrap();
        let pods = network(&run, Mode::Auto);
        let a = pod(&run, "a", &[port(Protocol::Tcp, 8080, 80)]);
        let ip = pods.attach(&a).await.unwrap()[0];
        assert!(ip.to_string().starts_with("10.77.0."), "{ip}");
        assert!(leads(&here(), &format!("{ip}:80"), &a.netns, SocketAddr::new(ip, 80)), "node to pod");
        // No plugin of the list forwards ports, so the built-in rules do.
        assert!(leads(&here(), "10.77.0.1:8080", &a.netns, SocketAddr::new(ip, 80)), "host port");
        pods.detach(&a.sandbox).await.unwrap();
        let leases = std::fs::read_dir(run.join("leases/debian")).unwrap().flatten();
        assert_eq!(leases.filter(|lease| lease.file_name().to_string_lossy().starts_with("10.")).count(), 0);
        netns::remove(&a.netns).unwrap();
    });
}
