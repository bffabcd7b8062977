//! Which network a pod gets: the built-in bridge, or the plugins of a CNI configuration.
//!
//! # Invariants
//! - A pod is taken off the network it was joined to, whatever is configured by then.
//! - A configuration that comes or goes touches no pod that runs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::cni::{self, Cni};
use super::error::NetworkError;
use super::host_ports::{Forward, HostPorts};
use super::pods::{Options, PodNetwork};
use crate::runtime::embedded::Joining;

/// Who makes pod networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The plugins of a CNI configuration where there is one, else the built-in bridge.
    #[default]
    Auto,
    /// The built-in bridge.
    Builtin,
    /// The plugins; without a configuration the network is not ready.
    Cni,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Builtin => "builtin",
            Self::Cni => "cni",
        })
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "builtin" => Ok(Self::Builtin),
            "cni" => Ok(Self::Cni),
            _ => Err("it is auto, builtin or cni".to_owned()),
        }
    }
}

/// Where plugins and their configurations are.
#[derive(Debug, Clone)]
pub struct CniOptions {
    /// Who makes pod networks.
    pub mode: Mode,
    /// /etc/cni/net.d.
    pub config_dir: PathBuf,
    /// /opt/cni/bin and others.
    pub bin_dirs: Vec<PathBuf>,
    /// Where to note what plugins were asked for; over reboots, so not under /run.
    pub cache_dir: PathBuf,
}

/// The networks of one node's pods.
#[derive(Debug)]
pub struct Network {
    bridge: PodNetwork,
    link: String,
    subnets: Vec<IpNet>,
    cni: Cni,
    mode: Mode,
    ports: HostPorts,
}

impl Network {
    /// Reads what is given out; changes nothing in the kernel.
    ///
    /// # Errors
    /// As [`PodNetwork::new`].
    pub fn new(bridge: Options, cni: CniOptions) -> Result<Self, NetworkError> {
        let link = bridge.bridge.clone();
        let subnets = [Some(IpNet::V4(bridge.pod_cidr)), bridge.pod_cidr6.map(IpNet::V6)];
        let ports = HostPorts::open(&bridge.state_dir.with_file_name("host-ports"), &bridge.bridge)?;
        Ok(Self {
            bridge: PodNetwork::new(bridge)?,
            link,
            subnets: subnets.into_iter().flatten().collect(),
            mode: cni.mode,
            cni: Cni::new(cni.config_dir, cni.bin_dirs, cni.cache_dir),
            ports,
        })
    }

    /// Joins a sandbox, and lets its host ports lead to it. Returns its addresses.
    ///
    /// # Errors
    /// [`NetworkError`]; [`Network::detach`] takes away what was made.
    pub async fn attach(&self, pod: &Joining) -> Result<Vec<IpAddr>, NetworkError> {
        let list = if self.mode == Mode::Builtin { None } else { self.cni.configuration() };
        let (addresses, link) = match list {
            Some(list) => {
                self.loopback_up(pod).await?;
                let added = self.cni.add(list, pod).await?;
                if added.forwards_ports {
                    return Ok(cni::ips(&added.addresses));
                }
                (added.addresses, None)
            }
            None if self.mode == Mode::Cni => return Err(NetworkError::NotReady),
            None => {
                let ips = self.bridge.attach(&pod.sandbox, &pod.netns).await?;
                let net = |ip: IpAddr| self.subnets.iter().find(|net| net.contains(&ip)).map(IpNet::prefix_len);
                let nets = ips.into_iter().filter_map(|ip| IpNet::new(ip, net(ip)?).ok()).collect();
                (nets, Some(self.link.clone()))
            }
        };
        let ips = cni::ips(&addresses);
        if !pod.ports.is_empty() {
            let name = format!("{}/{}", pod.namespace, pod.name);
            let forward = Forward { pod: name, addresses, link, ports: pod.ports.clone() };
            self.ports.take(&pod.sandbox, forward).await?;
        }
        Ok(ips)
    }

    /// Takes a sandbox off its network. Nothing happens if it never was on one.
    ///
    /// # Errors
    /// [`NetworkError`]; call again.
    pub async fn detach(&self, sandbox: &str) -> Result<(), NetworkError> {
        self.ports.release(sandbox).await?;
        if self.cni.has(sandbox) {
            return self.cni.del(sandbox).await;
        }
        self.bridge.detach(sandbox).await
    }

    /// Takes off what belongs to no live sandbox: what a killed agent left.
    ///
    /// # Errors
    /// [`NetworkError`]; call again.
    pub async fn reconcile(&self, live: &BTreeSet<String>) -> Result<(), NetworkError> {
        self.cni.retain(live.clone());
        self.ports.retain(live).await?;
        self.bridge.reconcile(live).await
    }

    /// Takes the bridge away when no pod is on it; says whether it was there and went.
    ///
    /// # Errors
    /// [`NetworkError`]; call again.
    pub async fn remove_unused(&self) -> Result<bool, NetworkError> {
        self.bridge.remove_unused().await
    }

    /// Whether pods with a network of their own can be made.
    ///
    /// # Errors
    /// [`NetworkError::NotReady`].
    pub fn ready(&self) -> Result<(), NetworkError> {
        if self.mode == Mode::Cni && self.cni.configuration().is_none() {
            return Err(NetworkError::NotReady);
        }
        Ok(())
    }

    /// Plugins make the pod's own link; its loopback is the runtime's business.
    async fn loopback_up(&self, pod: &Joining) -> Result<(), NetworkError> {
        let inside = super::links::Links::inside(&pod.netns)?;
        inside.ensure_up(&inside.get("lo").await?).await
    }
}
