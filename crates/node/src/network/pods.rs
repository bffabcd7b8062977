//! Joins sandboxes to the node's bridge and takes them off it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};

use super::addresses::Addresses;
use super::error::NetworkError;
use super::links::{Link, Links, Peer, ROUTE_PROTOCOL, mac_of};
use super::{masquerade, netns, nft};

/// Name of the link inside a pod.
const POD_LINK: &str = "eth0";
/// The bridges' own address takes one, each pod one, network and broadcast two: less than this leaves no pod.
const POD_PREFIX_MAX: u8 = 29;
/// The same for IPv6.
const POD_PREFIX6_MAX: u8 = 125;
/// Longest name of a link in Linux (IFNAMSIZ without the NUL).
const LINK_NAME_MAX: usize = 15;

/// How one node's pod network is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the bridge, unique in the node's network namespace (at most 15 bytes).
    pub bridge: String,
    /// Addresses of this node's pods; the first is the bridge's.
    pub pod_cidr: Ipv4Net,
    /// IPv6 addresses beside them, the first is the bridge's; None for none.
    pub pod_cidr6: Option<Ipv6Net>,
    /// Where to note which sandbox has which address. A reboot must lose it: under /run.
    pub state_dir: PathBuf,
}

/// One node's pod network, in the namespace of the process. All methods need a tokio runtime.
#[derive(Debug)]
pub struct PodNetwork {
    options: Options,
    gateway: Ipv4Addr,
    addresses: Mutex<Addresses>,
    six: Option<Six>,
    /// Networks that packets go to without source NAT, as last told to the kernel.
    direct: tokio::sync::Mutex<Option<Vec<Ipv4Net>>>,
}

/// The IPv6 side of it.
#[derive(Debug)]
struct Six {
    gateway: Ipv6Addr,
    cidr: Ipv6Net,
    addresses: Mutex<Addresses>,
}

impl PodNetwork {
    /// Reads which addresses are given out; changes nothing in the kernel.
    ///
    /// # Errors
    /// [`NetworkError::Invalid`] for options that can't work, [`NetworkError::Kernel`] when the state can't be read.
    pub fn new(options: Options) -> Result<Self, NetworkError> {
        if options.bridge.is_empty() || options.bridge.len() > LINK_NAME_MAX {
            return Err(NetworkError::Invalid(format!("bridge name {:?} has not 1 to 15 bytes", options.bridge)));
        }
        if options.pod_cidr.prefix_len() > POD_PREFIX_MAX {
            return Err(NetworkError::Invalid(format!("pod network {} is narrower than /29", options.pod_cidr)));
        }
        let options = Options { pod_cidr: options.pod_cidr.trunc(), ..options };
        let addresses = Mutex::new(Addresses::open(&options.state_dir, options.pod_cidr.into())?);
        let direct = tokio::sync::Mutex::new(None);
        let (IpAddr::V4(gateway), six) = (Addresses::gateway(options.pod_cidr.into()), Six::open(&options)?) else {
            return Err(NetworkError::Invalid(format!("{} has no IPv4 address", options.pod_cidr)));
        };
        Ok(Self { gateway, options, addresses, six, direct })
    }

    /// Joins the sandbox whose network namespace is bound to `netns`: loopback, eth0 with an address, a default route.
    /// Returns its addresses. Safe to repeat; what works already is not touched.
    ///
    /// # Errors
    /// [`NetworkError`]; call again, or [`PodNetwork::detach`].
    pub async fn attach(&self, sandbox_uid: &str, netns: &Path) -> Result<Vec<IpAddr>, NetworkError> {
        let IpAddr::V4(address) = with(&self.addresses, |addresses| addresses.take(sandbox_uid))? else {
            return Err(NetworkError::Exhausted(self.options.pod_cidr.into()));
        };
        let node = Links::here()?;
        let bridge = self.ensure_bridge(&node).await?;
        let pod = Links::inside(netns)?;
        let port = port_name(sandbox_uid);
        if !self.is_joined(&node, &bridge, &port, &pod).await? {
            node.delete(&port).await?;
            pod.delete(POD_LINK).await?;
            let peer = Peer { name: POD_LINK, netns, mac: mac_of(address) };
            node.add_veth(&port, &bridge, &peer).await?;
        }
        pod.ensure_up(&pod.get("lo").await?).await?;
        let link = pod.get(POD_LINK).await?;
        let address_net = self.net(address)?;
        pod.ensure_address(&link, address_net.into()).await?;
        pod.ensure_up(&link).await?;
        pod.ensure_route(Ipv4Net::default(), self.gateway).await?;
        let mut ips = vec![IpAddr::V4(address)];
        if let Some(six) = &self.six {
            ips.push(six.attach(sandbox_uid, netns, &pod, &link).await?);
        }
        Ok(ips)
    }

    /// Takes the sandbox off the network and gives its address back. Nothing happens if it never was on it.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn detach(&self, sandbox_uid: &str) -> Result<(), NetworkError> {
        Links::here()?.delete(&port_name(sandbox_uid)).await?;
        if let Some(six) = &self.six {
            with(&six.addresses, |addresses| addresses.release(sandbox_uid))?;
        }
        with(&self.addresses, |addresses| addresses.release(sandbox_uid))
    }

    /// Takes off what belongs to no live sandbox: what a killed agent left.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn reconcile(&self, live: &BTreeSet<String>) -> Result<(), NetworkError> {
        let node = Links::here()?;
        if let Some(bridge) = node.find(&self.options.bridge).await? {
            let wanted: BTreeSet<String> = live.iter().map(|uid| port_name(uid)).collect();
            for link in node.all().await? {
                if link.controller == Some(bridge.index) && !wanted.contains(&link.name) {
                    node.delete(&link.name).await?;
                }
            }
        }
        for all in std::iter::once(&self.addresses).chain(self.six.iter().map(|six| &six.addresses)) {
            for sandbox in with(all, |addresses| Ok(addresses.stale(live)))? {
                with(all, |addresses| addresses.release(&sandbox))?;
            }
        }
        Ok(())
    }

    /// Routes the pod networks of other nodes by their addresses, and takes away routes made here earlier that are no
    /// longer in the list.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn sync_routes(&self, routes: Vec<(Ipv4Net, Ipv4Addr)>) -> Result<(), NetworkError> {
        let node = Links::here()?;
        let wanted: BTreeMap<Ipv4Net, Ipv4Addr> = routes
            .into_iter()
            .map(|(cidr, by)| (cidr.trunc(), by))
            .filter(|(cidr, _)| *cidr != self.options.pod_cidr)
            .collect();
        let mut there = BTreeSet::new();
        for route in node.routes().await? {
            if route.protocol != ROUTE_PROTOCOL {
                continue;
            }
            if wanted.get(&route.destination) == route.gateway.as_ref() {
                there.insert(route.destination);
            } else {
                node.delete_route(&route).await?;
            }
        }
        for (destination, by) in wanted.iter().filter(|(destination, _)| !there.contains(destination)) {
            node.ensure_route(*destination, *by).await?;
        }
        self.masquerade(Some(wanted.into_keys().collect())).await;
        Ok(())
    }

    /// Takes the bridge away with all that is joined to it, and gives every address back.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn remove(&self) -> Result<(), NetworkError> {
        self.reconcile(&BTreeSet::new()).await?;
        let table = self.table();
        // Where there is no nft, there is no table.
        drop(tokio::task::spawn_blocking(move || masquerade::remove(&table)).await);
        Links::here()?.delete(&self.options.bridge).await
    }

    /// Takes the bridge away when nothing is joined to it; says whether it was there and went.
    ///
    /// # Errors
    /// [`NetworkError::Kernel`]; call again.
    pub async fn remove_unused(&self) -> Result<bool, NetworkError> {
        let node = Links::here()?;
        let Some(bridge) = node.find(&self.options.bridge).await? else { return Ok(false) };
        if node.all().await?.iter().any(|link| link.controller == Some(bridge.index)) {
            return Ok(false);
        }
        self.remove().await?;
        Ok(true)
    }

    /// Gives packets that leave for the world the node's address. None: whatever was told last, at least once.
    async fn masquerade(&self, direct: Option<Vec<Ipv4Net>>) {
        let mut told = self.direct.lock().await;
        let wanted = match (&*told, direct) {
            (Some(_), None) => return,
            (None, None) => Vec::new(),
            (Some(told), Some(direct)) if *told == direct => return,
            (_, Some(direct)) => direct,
        };
        let (table, source, link) = (self.table(), self.options.pod_cidr, self.options.bridge.clone());
        let list: Vec<IpNet> = wanted.iter().copied().map(IpNet::V4).collect();
        let six = self.options.pod_cidr6;
        let work = move || {
            masquerade::set(&table, source.into(), &link, &list)?;
            six.map_or(Ok(()), |cidr| masquerade::set(&table, cidr.into(), &link, &[]))
        };
        let set = tokio::task::spawn_blocking(work).await;
        if let Ok(Err(error)) = set {
            tracing::warn!(%error, "pods don't reach beyond the cluster");
        }
        // Also after a failure: without nft it would fail for every pod.
        *told = Some(wanted);
    }

    fn table(&self) -> String {
        nft::table_name("everynode_pods", &self.options.bridge)
    }

    async fn ensure_bridge(&self, node: &Links) -> Result<Link, NetworkError> {
        let link = node.ensure_bridge(&self.options.bridge, self.net(self.gateway)?).await?;
        if let Some(six) = &self.six {
            six.ensure_bridge(node, &link).await?;
        }
        forward("/proc/sys/net/ipv4/ip_forward")?;
        self.masquerade(None).await;
        Ok(link)
    }

    /// Whether both ends are there and the near one is a port of the bridge.
    async fn is_joined(&self, node: &Links, bridge: &Link, port: &str, pod: &Links) -> Result<bool, NetworkError> {
        let near = node.find(port).await?.is_some_and(|link| link.controller == Some(bridge.index) && link.up);
        Ok(near && pod.find(POD_LINK).await?.is_some())
    }

    fn net(&self, address: Ipv4Addr) -> Result<Ipv4Net, NetworkError> {
        Ipv4Net::new(address, self.options.pod_cidr.prefix_len())
            .map_err(|error| NetworkError::Invalid(format!("{address}: {error}")))
    }
}

impl Six {
    fn open(options: &Options) -> Result<Option<Self>, NetworkError> {
        let Some(cidr) = options.pod_cidr6.map(|cidr| cidr.trunc()) else { return Ok(None) };
        if cidr.prefix_len() > POD_PREFIX6_MAX {
            return Err(NetworkError::Invalid(format!("pod network {cidr} is narrower than /{POD_PREFIX6_MAX}")));
        }
        let IpAddr::V6(gateway) = Addresses::gateway(cidr.into()) else { return Ok(None) };
        let dir = options.state_dir.with_file_name("network6");
        Ok(Some(Self { gateway, cidr, addresses: Mutex::new(Addresses::open(&dir, cidr.into())?) }))
    }

    fn net(&self, address: Ipv6Addr) -> Result<IpNet, NetworkError> {
        IpNet::new(IpAddr::V6(address), self.cidr.prefix_len())
            .map_err(|error| NetworkError::Invalid(format!("{address}: {error}")))
    }

    async fn ensure_bridge(&self, node: &Links, bridge: &Link) -> Result<(), NetworkError> {
        set_if_there(&format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", bridge.name), "0")?;
        node.ensure_address(bridge, self.net(self.gateway)?).await?;
        keep_advertised_routes()?;
        forward("/proc/sys/net/ipv6/conf/all/forwarding")
    }

    async fn attach(&self, sandbox: &str, netns: &Path, pod: &Links, link: &Link) -> Result<IpAddr, NetworkError> {
        let address = with(&self.addresses, |addresses| addresses.take(sandbox))?;
        let IpAddr::V6(six) = address else { return Err(NetworkError::Exhausted(self.cidr.into())) };
        let inside = netns.to_owned();
        let work = move || {
            netns::run_inside(&inside, || {
                let conf = format!("/proc/sys/net/ipv6/conf/{POD_LINK}");
                // Routes are told by us, not by whoever advertises some on the bridge.
                for (file, value) in [("disable_ipv6", "0"), ("accept_ra", "0")] {
                    fs::write(format!("{conf}/{file}"), value)?;
                }
                Ok(())
            })
        };
        let set = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        set.map_err(NetworkError::kernel("switch IPv6 on in the pod: does the kernel have it?"))?;
        pod.ensure_address(link, self.net(six)?).await?;
        pod.ensure_default_route6(self.gateway).await?;
        Ok(address)
    }
}

fn with<T>(
    addresses: &Mutex<Addresses>,
    work: impl FnOnce(&mut Addresses) -> Result<T, NetworkError>,
) -> Result<T, NetworkError> {
    // A panic in between leaves the map as it was: its files are written first.
    work(&mut addresses.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Lets the node pass packets on between its links.
fn forward(path: &str) -> Result<(), NetworkError> {
    let now = fs::read_to_string(path).map_err(NetworkError::kernel(path))?;
    if now.trim() == "1" {
        return Ok(());
    }
    fs::write(path, "1").map_err(NetworkError::kernel(path))
}

/// A machine that passes packets on no longer listens to routers, unless told to: it would lose its way to the world.
fn keep_advertised_routes() -> Result<(), NetworkError> {
    let conf = "/proc/sys/net/ipv6/conf";
    for entry in fs::read_dir(conf).map_err(NetworkError::kernel(conf))?.filter_map(Result::ok) {
        let path = entry.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|now| now.trim() == "1") {
            fs::write(&path, "2").map_err(NetworkError::kernel(path.display().to_string()))?;
        }
    }
    Ok(())
}

fn set_if_there(path: &str, value: &str) -> Result<(), NetworkError> {
    if Path::new(path).exists() { fs::write(path, value).map_err(NetworkError::kernel(path)) } else { Ok(()) }
}

/// The link of a sandbox on the node.
fn port_name(sandbox_uid: &str) -> String {
    let digest = Sha256::digest(sandbox_uid.as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("evp{hex}")
}
