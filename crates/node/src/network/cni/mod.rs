//! Pod networks of others: plugins of the Container Network Interface, as a configuration in a directory names them.
//!
//! # Invariants
//! - What an ADD was made with is on disk before the first plugin runs, and goes after the last plugin of a DEL: whatever
//!   died, the DEL comes, with the configuration of the ADD, also when the directory holds another one by now, and after a
//!   reboot.
//! - The directory is read for each pod: what a daemon installs counts at once.
//!
//! # Absent
//! Verbs STATUS and GC; capabilities but `portMappings`.

mod cache;
mod config;
mod plugin;
mod result;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Value, json};

use self::cache::{Attachment, Cache};
use self::config::List;
use self::plugin::{Call, Command};
use super::error::NetworkError;
use crate::runtime::embedded::Joining;

/// Name of the link inside a pod.
const POD_LINK: &str = "eth0";
/// The capability of forwarding host ports.
const PORT_MAPPINGS: &str = "portMappings";
/// How often a DEL that an earlier agent left to do is tried before the next start tries again.
const LEFT_TRIES: u32 = 3;

/// Plugins and what they were asked for.
#[derive(Debug, Clone)]
pub(crate) struct Cni {
    config_dir: PathBuf,
    bin_dirs: Vec<PathBuf>,
    cache: Cache,
}

/// What an ADD gave.
#[derive(Debug)]
pub(crate) struct Added {
    /// Addresses of the pod with the length of their network.
    pub(crate) addresses: Vec<IpNet>,
    /// Whether a plugin forwards the host ports.
    pub(crate) forwards_ports: bool,
}

impl Cni {
    /// `cache_dir` is where what was asked for is kept, over reboots too.
    pub(crate) fn new(config_dir: PathBuf, bin_dirs: Vec<PathBuf>, cache_dir: PathBuf) -> Self {
        Self { config_dir, bin_dirs, cache: Cache::new(cache_dir) }
    }

    /// The configuration that is there now.
    pub(crate) fn configuration(&self) -> Option<List> {
        config::load(&self.config_dir)
    }

    /// Whether the sandbox was given to plugins.
    pub(crate) fn has(&self, sandbox: &str) -> bool {
        self.cache.has(sandbox)
    }

    /// Joins the sandbox.
    pub(crate) async fn add(&self, list: List, pod: &Joining) -> Result<Added, NetworkError> {
        let forwards_ports = list.plugins.iter().any(|plugin| has_capability(plugin, PORT_MAPPINGS));
        let mut attachment = Attachment {
            list,
            sandbox: pod.sandbox.clone(),
            netns: pod.netns.clone(),
            bin_dirs: self.bin_dirs.clone(),
            args: arguments(pod),
            ports: pod.ports.iter().map(port_value).collect(),
            result: None,
        };
        self.cache.write(&attachment)?;
        let mut result = None;
        for index in 0..attachment.list.plugins.len() {
            let answer = self.call(&attachment, Command::Add, index, result.as_ref()).await?;
            result = Some(answer.ok_or_else(|| NetworkError::Plugin("a plugin answered ADD with nothing".into()))?);
        }
        let result = result.unwrap_or_default();
        let addresses = result::addresses(&result).map_err(NetworkError::Plugin)?;
        attachment.result = Some(result);
        self.cache.write(&attachment)?;
        Ok(Added { addresses, forwards_ports })
    }

    /// Takes the sandbox off, by the configuration it was joined with.
    pub(crate) async fn del(&self, sandbox: &str) -> Result<(), NetworkError> {
        let Some(attachment) = self.cache.read(sandbox)? else { return Ok(()) };
        for index in (0..attachment.list.plugins.len()).rev() {
            self.call(&attachment, Command::Del, index, attachment.result.as_ref()).await?;
        }
        self.cache.forget(sandbox)
    }

    /// Asks whether the sandbox still is as the ADD left it.
    async fn check(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        if attachment.result.is_none() || !attachment.list.may_check() {
            return Ok(());
        }
        for index in 0..attachment.list.plugins.len() {
            self.call(attachment, Command::Check, index, attachment.result.as_ref()).await?;
        }
        Ok(())
    }

    /// Takes off, in the background, the sandboxes that are not in `live`; looks at the others, and only tells.
    pub(crate) fn retain(&self, live: BTreeSet<String>) {
        let known = self.cache.all();
        if known.is_empty() {
            return;
        }
        let own = self.clone();
        tokio::spawn(async move {
            for sandbox in known {
                if live.contains(&sandbox) {
                    let found = own.cache.read(&sandbox).ok().flatten();
                    if let Some(attachment) = found
                        && let Err(error) = own.check(&attachment).await
                    {
                        tracing::warn!(%sandbox, %error, "the network of a pod is not as its plugins left it; the pod goes on");
                    }
                    continue;
                }
                for turn in 1..=LEFT_TRIES {
                    match own.del(&sandbox).await {
                        Ok(()) => break,
                        Err(error) if turn == LEFT_TRIES => {
                            tracing::warn!(%sandbox, %error, "what plugins hold for a pod that is gone stays until the next start");
                        }
                        Err(_) => {}
                    }
                }
            }
        });
    }

    async fn call(
        &self,
        attachment: &Attachment,
        command: Command,
        index: usize,
        previous: Option<&Value>,
    ) -> Result<Option<Value>, NetworkError> {
        let Some(plugin) = attachment.list.plugins.get(index) else { return Ok(None) };
        let mut stdin = plugin.clone();
        stdin["name"] = json!(attachment.list.name);
        stdin["cniVersion"] = json!(attachment.list.version);
        if let Some(previous) = previous.filter(|_| command == Command::Add || attachment.list.remembers()) {
            stdin["prevResult"] = previous.clone();
        }
        if has_capability(plugin, PORT_MAPPINGS) && !attachment.ports.is_empty() {
            stdin["runtimeConfig"] = json!({PORT_MAPPINGS: attachment.ports});
        }
        if let Some(map) = stdin.as_object_mut() {
            map.remove("capabilities");
        }
        let then = attachment.bin_dirs.iter().filter(|dir| !self.bin_dirs.contains(dir));
        let bin_dirs: Vec<PathBuf> = self.bin_dirs.iter().chain(then).cloned().collect();
        let call = Call {
            command,
            plugin: plugin["type"].as_str().unwrap_or_default(),
            container: &attachment.sandbox,
            netns: &attachment.netns,
            link: POD_LINK,
            args: &attachment.args,
            bin_dirs: &bin_dirs,
            stdin: &stdin,
        };
        call.run().await
    }
}

/// Addresses alone.
pub(crate) fn ips(nets: &[IpNet]) -> Vec<IpAddr> {
    nets.iter().map(IpNet::addr).collect()
}

fn has_capability(plugin: &Value, name: &str) -> bool {
    plugin["capabilities"][name] == true
}

/// CNI_ARGS as kubelets' runtimes give them.
fn arguments(pod: &Joining) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        pod.namespace, pod.name, pod.sandbox, pod.uid
    )
}

fn port_value(port: &crate::runtime::PortMapping) -> Value {
    use crate::runtime::Protocol;
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
    json!({"hostPort": port.host_port, "containerPort": port.container_port, "protocol": protocol, "hostIP": ip})
}
