//! Ports of the node that lead to pods: destination NAT by nftables, from the node's addresses and from its loopback.
//!
//! # Invariants
//! - What is to be forwarded is in a file for each sandbox, written before the rules and removed before them, so a kill at
//!   any moment is repaired by [`HostPorts::retain`] at the next start.
//! - All rules are in two tables (IPv4, IPv6), replaced in one transaction: the ports of other pods never miss a packet.
//! - No two sandboxes have the same port of the same address.
//!
//! # Absent
//! Processes of the node that listen on the same port: a forwarded port is not theirs while the pod lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::conntrack;
use super::error::NetworkError;
use super::host_port_rules::script;
use super::nft;
use crate::runtime::{PortMapping, Protocol};

/// Ports of one sandbox, and where they lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forward {
    /// NAMESPACE/NAME of the pod, for messages.
    pub(crate) pod: String,
    /// Addresses of the pod with the length of their network: neighbours there come with a source of ours, or their
    /// answers would take a shorter way back.
    pub(crate) addresses: Vec<IpNet>,
    /// Link of the node behind which the pod is, where it is known: needed from the loopback address.
    pub(crate) link: Option<String>,
    /// The ports.
    pub(crate) ports: Vec<PortMapping>,
}

/// All ports of one node. The methods need a tokio runtime.
#[derive(Debug)]
pub(crate) struct HostPorts {
    dir: PathBuf,
    table: String,
    /// Held while rules are replaced: those of an older list must not come last.
    forwards: tokio::sync::Mutex<BTreeMap<String, Forward>>,
}

impl HostPorts {
    /// Reads what is forwarded; changes nothing in the kernel.
    pub(crate) fn open(dir: &Path, owner: &str) -> Result<Self, NetworkError> {
        let failed = |error| NetworkError::kernel(dir.display().to_string())(error);
        fs::create_dir_all(dir).map_err(failed)?;
        let mut forwards = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let sandbox = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"));
            // One that is not whole was never forwarded.
            if let Some((sandbox, forward)) =
                sandbox.and_then(|name| Some((name.to_owned(), serde_json::from_slice(&fs::read(&path).ok()?).ok()?)))
            {
                forwards.insert(sandbox, forward);
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            table: nft::table_name("everynode_ports", owner),
            forwards: tokio::sync::Mutex::new(forwards),
        })
    }

    /// Forwards the ports to the sandbox.
    ///
    /// # Errors
    /// [`NetworkError::PortTaken`] while another pod has one of them, [`NetworkError::Kernel`].
    pub(crate) async fn take(&self, sandbox: &str, forward: Forward) -> Result<(), NetworkError> {
        let mut forwards = self.forwards.lock().await;
        for (_, other) in forwards.iter().filter(|(id, _)| *id != sandbox) {
            if let Some(port) = forward.ports.iter().find(|port| other.ports.iter().any(|taken| clash(taken, port))) {
                return Err(NetworkError::PortTaken { port: words(port), by: other.pod.clone() });
            }
        }
        if forward.addresses.iter().any(|address| address.addr().is_ipv4())
            && let Some(link) = forward.link.clone()
        {
            let set = tokio::task::spawn_blocking(move || route_localnet(&link)).await;
            if let Ok(Err(error)) = set {
                tracing::warn!(%error, "host ports do not answer on the loopback address");
            }
        }
        write(&self.path(sandbox), &forward)?;
        forwards.insert(sandbox.to_owned(), forward);
        if let Err(error) = self.apply(&forwards).await {
            forwards.remove(sandbox);
            remove(&self.path(sandbox))?;
            return Err(error);
        }
        if let Some(forward) = forwards.get(sandbox) {
            forget_flows(forward, true).await;
        }
        Ok(())
    }

    /// Forwards nothing more to the sandbox.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub(crate) async fn release(&self, sandbox: &str) -> Result<(), NetworkError> {
        let mut forwards = self.forwards.lock().await;
        if !forwards.contains_key(sandbox) {
            return Ok(());
        }
        let mut left = forwards.clone();
        left.remove(sandbox);
        self.apply(&left).await?;
        remove(&self.path(sandbox))?;
        if let Some(forward) = forwards.get(sandbox) {
            forget_flows(forward, false).await;
        }
        *forwards = left;
        Ok(())
    }

    /// Forwards nothing to sandboxes that are not in `live`, and writes all other rules anew: somebody may have flushed
    /// them.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub(crate) async fn retain(&self, live: &BTreeSet<String>) -> Result<(), NetworkError> {
        let mut forwards = self.forwards.lock().await;
        if forwards.is_empty() {
            return Ok(());
        }
        let mut left = forwards.clone();
        left.retain(|sandbox, _| live.contains(sandbox));
        self.apply(&left).await?;
        for sandbox in forwards.keys().filter(|sandbox| !left.contains_key(*sandbox)) {
            remove(&self.path(sandbox))?;
        }
        *forwards = left;
        Ok(())
    }

    async fn apply(&self, forwards: &BTreeMap<String, Forward>) -> Result<(), NetworkError> {
        let text = script(&self.table, forwards.values());
        let done = tokio::task::spawn_blocking(move || nft::run(&text)).await;
        done.map_err(io::Error::other).and_then(|result| result).map_err(NetworkError::kernel("forward host ports"))
    }

    fn path(&self, sandbox: &str) -> PathBuf {
        self.dir.join(format!("{sandbox}.json"))
    }
}

/// Has the kernel forget flows that go elsewhere: than to the pod, or, after it, to whoever had the port.
async fn forget_flows(forward: &Forward, to_pod: bool) {
    let udp = forward.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let ports: Vec<u16> = udp.map(|port| port.host_port).collect();
    if ports.is_empty() {
        return;
    }
    let targets = if to_pod { forward.addresses.iter().map(IpNet::addr).collect() } else { Vec::new() };
    let done = tokio::task::spawn_blocking(move || conntrack::forget(&ports, &targets)).await;
    if let Ok(Err(error)) = done {
        tracing::debug!(%error, "UDP flows to a host port go where they went until they rest for 30 seconds");
    }
}

/// Whether both can't be had at once.
fn clash(a: &PortMapping, b: &PortMapping) -> bool {
    let same_address = match (a.host_ip, b.host_ip) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    (a.protocol, a.host_port) == (b.protocol, b.host_port) && same_address
}

fn words(port: &PortMapping) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    };
    match port.host_ip {
        None => format!("{}/{protocol}", port.host_port),
        Some(IpAddr::V4(ip)) => format!("{ip}:{}/{protocol}", port.host_port),
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{}/{protocol}", port.host_port),
    }
}

/// Lets packets from the loopback address leave by the link, once their destination is a pod.
fn route_localnet(link: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
    if fs::read_to_string(&path)?.trim() == "1" {
        return Ok(());
    }
    fs::write(&path, "1")
}

fn write(path: &Path, forward: &Forward) -> Result<(), NetworkError> {
    let failed = |error| NetworkError::kernel(path.display().to_string())(error);
    let bytes = serde_json::to_vec(forward).map_err(|error| failed(error.into()))?;
    let unnamed = path.with_extension("new");
    fs::write(&unnamed, bytes).and_then(|()| fs::rename(&unnamed, path)).map_err(failed)
}

fn remove(path: &Path) -> Result<(), NetworkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(NetworkError::kernel(path.display().to_string())(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16, ip: Option<&str>, protocol: Protocol) -> PortMapping {
        let host_ip = ip.map(|ip| ip.parse().unwrap());
        PortMapping { protocol, host_port: number, container_port: 80, host_ip }
    }

    #[test]
    fn a_port_is_taken_on_one_address_or_on_all() {
        for (a, b, expect) in [
            (port(1, None, Protocol::Tcp), port(1, None, Protocol::Tcp), true),
            (port(1, None, Protocol::Tcp), port(1, Some("10.0.0.1"), Protocol::Tcp), true),
            (port(1, Some("10.0.0.2"), Protocol::Tcp), port(1, Some("10.0.0.1"), Protocol::Tcp), false),
            (port(1, None, Protocol::Tcp), port(1, None, Protocol::Udp), false),
            (port(1, None, Protocol::Tcp), port(2, None, Protocol::Tcp), false),
        ] {
            assert_eq!(clash(&a, &b), expect, "{a:?} {b:?}");
            assert_eq!(clash(&b, &a), expect);
        }
    }

    #[test]
    fn ports_in_words() {
        assert_eq!(words(&port(80, None, Protocol::Sctp)), "80/SCTP");
        assert_eq!(words(&port(80, Some("::1"), Protocol::Udp)), "[::1]:80/UDP");
    }
}
