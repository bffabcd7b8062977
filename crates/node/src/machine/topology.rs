//! Brings the bridge, the namespaces and the veth pairs to be, and takes them away.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;

use super::plan::{NodeNet, bridge_name, check_subnet, choose, gateway, node_address, pod_cidr, port_prefix};
use super::state::{RunLock, State};
use crate::network::links::{Link, Links, Peer, mac_of};
use crate::network::{NetworkError, masquerade, netns};

/// Where the instances of this machine note what a reboot takes away.
const RUN_DIR: &str = "/run/everynode";
/// Name of a node's link in its namespace.
const NODE_LINK: &str = "eth0";
/// Whether the machine passes packets on.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// One instance's nodes on this machine. All methods need a tokio runtime whose threads are in the machine's own
/// network namespace, and root.
#[derive(Debug)]
pub struct Machine {
    instance: String,
    state: State,
    subnet: Ipv4Net,
}

impl Machine {
    /// Finds the subnet of the instance (8 hex digits), or chooses it: `subnet` (a /16), or a free one. Makes no link.
    ///
    /// # Errors
    /// [`NetworkError::Invalid`] when `subnet` can't be, or is not the one the instance has; [`NetworkError::Kernel`].
    pub async fn open(instance: &str, subnet: Option<Ipv4Net>) -> Result<Self, NetworkError> {
        Self::open_at(Path::new(RUN_DIR), instance, subnet).await
    }

    pub(crate) async fn open_at(run: &Path, instance: &str, wanted: Option<Ipv4Net>) -> Result<Self, NetworkError> {
        let state = State::new(run, instance)?;
        let wanted = wanted.map(check_subnet).transpose()?;
        let machine = |subnet| Self { instance: instance.to_owned(), state: state.clone(), subnet };
        let lock = state.lock()?;
        if let Some(has) = state.subnet()? {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != has) {
                let cause = format!("this instance runs on {has}: take it down before it gets {wanted}");
                return Err(NetworkError::Invalid(cause));
            }
            return Ok(machine(has));
        }
        let mut taken = state.other_subnets(&lock)?;
        taken.extend(Links::here()?.routes().await?.into_iter().map(|route| route.destination));
        let subnet = match wanted {
            Some(subnet) => subnet,
            None => choose(&taken)?,
        };
        state.set_subnet(&lock, subnet)?;
        Ok(machine(subnet))
    }

    /// The subnet of nodes and pods.
    #[must_use]
    pub fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    /// The bridge of the nodes; returns the machine's address on it. Lets the machine pass packets of the nodes on, to
    /// the world too where nftables are there.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn ensure_bridge(&self) -> Result<Ipv4Addr, NetworkError> {
        let links = Links::here()?;
        self.bridge(&links).await?;
        self.start_forwarding(&self.state.lock()?)?;
        let (table, bridge, subnet) = (self.table(), bridge_name(&self.instance), self.subnet);
        let result =
            tokio::task::spawn_blocking(move || masquerade::set(&table, subnet.into(), &bridge, &[subnet.into()]))
                .await;
        if let Ok(Err(error)) = result {
            tracing::warn!(%error, "nodes and pods don't reach beyond this machine");
        }
        Ok(gateway(self.subnet)?.addr())
    }

    /// A node with its namespace, link and addresses. Each node has an index of its own, below 240.
    ///
    /// # Errors
    /// [`NetworkError::Invalid`] for a name or index that can't be, [`NetworkError::Kernel`]; call again.
    pub async fn ensure_node(&self, name: &str, index: u8) -> Result<NodeNet, NetworkError> {
        let node = self.node_net(name, index)?;
        let known = self.state.nodes()?;
        if let Some((other, _)) = known.iter().find(|(other, at)| (*other == name) != (**at == index)) {
            return Err(NetworkError::Invalid(format!("node {other} has another name or index than {name}, {index}")));
        }
        self.state.add_node(name, index)?;
        let links = Links::here()?;
        let bridge = self.bridge(&links).await?;
        netns::create(&node.netns_path).map_err(NetworkError::kernel(node.netns_path.display().to_string()))?;
        let inside = Links::inside(&node.netns_path)?;
        let port = format!("{}{index}", port_prefix(&self.instance));
        if !is_joined(&links, &bridge, &port, &inside).await? {
            links.delete(&port).await?;
            inside.delete(NODE_LINK).await?;
            let peer = Peer { name: NODE_LINK, netns: &node.netns_path, mac: mac_of(node.address) };
            links.add_veth(&port, &bridge, &peer).await?;
        }
        inside.ensure_up(&inside.get("lo").await?).await?;
        let link = inside.get(NODE_LINK).await?;
        inside.ensure_address(&link, node_address(self.subnet, index)?.into()).await?;
        inside.ensure_up(&link).await?;
        inside.ensure_route(Ipv4Net::default(), node.gateway).await?;
        links.ensure_route(node.pod_cidr, node.address).await?;
        Ok(node)
    }

    /// Nodes that were made and not removed, by an earlier process too.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`] when the notes can't be read.
    pub fn nodes(&self) -> Result<BTreeMap<String, NodeNet>, NetworkError> {
        let nodes = self.state.nodes()?;
        nodes.into_iter().map(|(name, index)| Ok((name.clone(), self.node_net(&name, index)?))).collect()
    }

    /// Takes a node's link and namespace away; its processes must have ended. Nothing happens if it is not there.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn remove_node(&self, name: &str) -> Result<(), NetworkError> {
        check_name(name)?;
        if let Some(index) = self.state.nodes()?.get(name) {
            let links = Links::here()?;
            links.delete(&format!("{}{index}", port_prefix(&self.instance))).await?;
            let pods = pod_cidr(self.subnet, *index)?;
            for route in links.routes().await?.iter().filter(|route| route.destination == pods) {
                links.delete_route(route).await?;
            }
        }
        let path = self.state.netns(name);
        netns::remove(&path).map_err(NetworkError::kernel(path.display().to_string()))?;
        self.state.remove_node(name)
    }

    /// Takes away all that this instance made on the machine, whether or not it was noted.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn remove_all(self) -> Result<(), NetworkError> {
        let links = Links::here()?;
        let (bridge, ports) = (bridge_name(&self.instance), port_prefix(&self.instance));
        for link in links.all().await? {
            if link.name.strip_prefix(&ports).is_some_and(|index| index.parse::<u8>().is_ok()) {
                links.delete(&link.name).await?;
            }
        }
        links.delete(&bridge).await?;
        for name in self.state.namespaces()? {
            let path = self.state.netns(&name);
            netns::remove(&path).map_err(NetworkError::kernel(path.display().to_string()))?;
        }
        let table = self.table();
        // Where there is no nft, there is no table.
        drop(tokio::task::spawn_blocking(move || masquerade::remove(&table)).await);
        let lock = self.state.lock()?;
        if self.state.forwarding_may_end(&lock)? {
            fs::write(IP_FORWARD, "0").map_err(NetworkError::kernel(IP_FORWARD))?;
            self.state.forget_forwarding(&lock)?;
        }
        self.state.remove(&lock)
    }

    fn node_net(&self, name: &str, index: u8) -> Result<NodeNet, NetworkError> {
        check_name(name)?;
        Ok(NodeNet {
            netns_path: self.state.netns(name),
            address: node_address(self.subnet, index)?.addr(),
            pod_cidr: pod_cidr(self.subnet, index)?,
            gateway: gateway(self.subnet)?.addr(),
        })
    }

    async fn bridge(&self, links: &Links) -> Result<Link, NetworkError> {
        links.ensure_bridge(&bridge_name(&self.instance), gateway(self.subnet)?).await
    }

    fn start_forwarding(&self, lock: &RunLock) -> Result<(), NetworkError> {
        let now = fs::read_to_string(IP_FORWARD).map_err(NetworkError::kernel(IP_FORWARD))?;
        if now.trim() == "0" {
            self.state.note_forwarding_off(lock)?;
            fs::write(IP_FORWARD, "1").map_err(NetworkError::kernel(IP_FORWARD))?;
        }
        Ok(())
    }

    fn table(&self) -> String {
        format!("everynode_{}", self.instance)
    }
}

async fn is_joined(links: &Links, bridge: &Link, port: &str, inside: &Links) -> Result<bool, NetworkError> {
    let near = links.find(port).await?.is_some_and(|link| link.controller == Some(bridge.index) && link.up);
    Ok(near && inside.find(NODE_LINK).await?.is_some())
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if name.is_empty() || name.starts_with('.') || !fits {
        return Err(NetworkError::Invalid(format!("{name:?} can't be the name of a node")));
    }
    Ok(())
}
