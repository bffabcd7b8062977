//! What a pod's sandbox is made from.

use k8s_openapi::api::core::v1::{Container, Pod, PodDNSConfig, PodSpec};

use super::ports::ports;
use super::{Options, resources};
use crate::runtime::{NamespaceMode, SandboxConfig};

/// Longest host name the kernel takes.
const HOSTNAME_MAX: usize = 63;

/// Name inside the pod.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let chosen = spec.and_then(|s| s.hostname_override.clone().or_else(|| s.hostname.clone()));
    let mut name = chosen.filter(|h| !h.is_empty()).or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    if name.len() > HOSTNAME_MAX {
        let cut = (0..=HOSTNAME_MAX).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        name.truncate(cut);
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    name
}

/// The whole name of a pod that wants it as its host name.
pub(super) fn fqdn(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let domain = spec.subdomain.as_ref().filter(|domain| !domain.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let wanted = spec.set_hostname_as_fqdn == Some(true) && spec.hostname_override.is_none();
    wanted.then(|| format!("{}.{domain}.{namespace}.svc.cluster.local", hostname(pod)))
}

/// The sandbox of a pod; `machine_resolv_conf` is the node's /etc/resolv.conf where [`adds_to_resolv_conf`] asks for it.
pub(crate) fn sandbox(options: &Options, pod: &Pod, attempt: u32, machine_resolv_conf: &str) -> SandboxConfig {
    let meta = &pod.metadata;
    let blank = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&blank);
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let (namespace, name, uid) = (text(&meta.namespace), text(&meta.name), text(&meta.uid));
    let node_or = |node: Option<bool>, other| if node == Some(true) { NamespaceMode::Node } else { other };
    let network = node_or(spec.host_network, NamespaceMode::Pod);
    let pid = if spec.share_process_namespace == Some(true) { NamespaceMode::Pod } else { NamespaceMode::Container };
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    SandboxConfig {
        log_directory: options.log_directory(&namespace, &name, &uid),
        attempt,
        hostname: if network == NamespaceMode::Node {
            String::new()
        } else {
            fqdn(pod).unwrap_or_else(|| hostname(pod))
        },
        resolv_conf: resolv_conf(spec.dns_policy.as_deref(), spec.dns_config.as_ref(), machine_resolv_conf),
        network,
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod),
        sysctls: sysctls.map(|one| (one.name.clone(), one.value.clone())).collect(),
        privileged: containers(pod).any(|c| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true)),
        pids_max: options.pod_pids_max,
        resources: resources::of_pod(pod),
        ports: ports(pod),
        labels: meta.labels.clone().unwrap_or_default(),
        namespace,
        name,
        uid,
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
}

/// Whether the pod has the node's /etc/resolv.conf with something of its own in it.
pub(super) fn adds_to_resolv_conf(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.dns_config.is_some() && spec.dns_policy.as_deref() != Some("None"))
}

/// None leaves the node's own. There is no cluster DNS, so ClusterFirst is Default, as Kubernetes falls back too.
fn resolv_conf(policy: Option<&str>, config: Option<&PodDNSConfig>, machine: &str) -> Option<String> {
    let none = policy == Some("None");
    if !none && config.is_none() {
        return None;
    }
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if !none {
        for line in machine.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => servers.extend(words.take(1)),
                Some("search") => searches = words.collect(),
                Some("options") => options.extend(words),
                _ => {}
            }
        }
    }
    if let Some(config) = config {
        servers.extend(config.nameservers.iter().flatten().cloned());
        searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            options.retain(|o: &String| o.split(':').next() != Some(name.as_str()));
            options.push(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
        }
    }
    let mut text: String = servers.iter().map(|s| format!("nameserver {s}\n")).collect();
    for (what, list) in [("search", searches), ("options", options)] {
        if !list.is_empty() {
            text.push_str(&format!("{what} {}\n", list.join(" ")));
        }
    }
    Some(text)
}

/// /etc/hosts of the pod, with its aliases. `machine_hosts` is the node's own, for pods on the node's network.
pub(crate) fn hosts(pod: &Pod, ips: &[String], machine_hosts: &str) -> String {
    let spec = pod.spec.as_ref();
    let mut text = String::new();
    if spec.is_some_and(|spec| spec.host_network == Some(true)) {
        text.push_str(machine_hosts);
    } else {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n");
        text.push_str("ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
        let name = hostname(pod);
        let domain = spec.and_then(|spec| spec.subdomain.as_ref()).filter(|s| !s.is_empty());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        for ip in ips {
            let line = match domain {
                Some(domain) => format!("{ip}\t{name}.{domain}.{namespace}.svc.cluster.local\t{name}\n"),
                None => format!("{ip}\t{name}\n"),
            };
            text.push_str(&line);
        }
    }
    for alias in spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten()) {
        let names = alias.hostnames.as_deref().unwrap_or_default();
        text.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfigOption};

    #[test]
    fn dns() {
        let config = PodDNSConfig {
            nameservers: Some(vec!["9.9.9.9".to_owned()]),
            searches: Some(vec!["x.y".to_owned()]),
            options: Some(vec![PodDNSConfigOption { name: Some("ndots".to_owned()), value: Some("2".to_owned()) }]),
        };
        let machine = "nameserver 1.1.1.1\nsearch lan\noptions ndots:5 edns0\n";
        for (policy, config, expect) in [
            (Some("ClusterFirst"), None, None),
            (Some("None"), Some(&config), Some("nameserver 9.9.9.9\nsearch x.y\noptions ndots:2\n")),
            (
                Some("Default"),
                Some(&config),
                Some("nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch lan x.y\noptions edns0 ndots:2\n"),
            ),
        ] {
            assert_eq!(resolv_conf(policy, config, machine).as_deref(), expect, "{policy:?}");
        }
    }

    #[test]
    fn names_and_aliases() {
        let mut pod = Pod::default();
        pod.metadata.name = Some(format!("{}-b", "a".repeat(62)));
        assert_eq!(hostname(&pod), "a".repeat(62));
        pod.metadata.name = Some("p".to_owned());
        let alias = HostAlias { ip: "1.2.3.4".to_owned(), hostnames: Some(vec!["x".to_owned(), "y".to_owned()]) };
        pod.spec = Some(PodSpec { host_aliases: Some(vec![alias]), ..Default::default() });
        let text = hosts(&pod, &["10.42.0.2".to_owned()], "");
        assert!(text.ends_with("10.42.0.2\tp\n1.2.3.4\tx\ty\n"), "{text}");
        pod.spec.as_mut().unwrap().host_network = Some(true);
        assert_eq!(hosts(&pod, &[], "127.0.0.1 me\n"), "127.0.0.1 me\n1.2.3.4\tx\ty\n");
    }
}
