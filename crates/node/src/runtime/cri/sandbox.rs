//! Sandboxes in the interface's words, there and back.
//!
//! # Invariants
//! - Pure: the same configuration gives the same message.
//! - What a sandbox was made from is kept in an annotation of it, so that a later agent finds it there.

use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;

use super::proto::Pairs;
use super::proto::container::{ProfileType, SecurityProfile};
use super::proto::sandbox as cri;
use crate::runtime::{NamespaceMode, PortMapping, Protocol, SandboxConfig, SandboxId, SandboxStatus};

/// Whose sandbox or container it is: instance and node. Others may use the same runtime, and theirs are not touched.
pub(super) const OWNER: &str = "everynode.dev/owner";
/// Annotation: the sandbox's configuration, as JSON.
const CONFIG: &str = "everynode.dev/sandbox-config";
/// Label, as Kubernetes' own agent writes it: tools of runtimes and collectors of metrics go by it.
pub(super) const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: see [`POD_NAME`].
pub(super) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: see [`POD_NAME`].
pub(super) const POD_UID: &str = "io.kubernetes.pod.uid";

/// The labels that every sandbox and container of a pod has.
pub(super) fn labels(owner: &str, config: &SandboxConfig) -> Pairs {
    [(OWNER, owner), (POD_NAME, &config.name), (POD_NAMESPACE, &config.namespace), (POD_UID, &config.uid)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// What a sandbox is made from. `cgroup_parent` is the pod's group in the words of the runtime's cgroup driver.
pub(super) fn config(owner: &str, config: &SandboxConfig, cgroup_parent: &str) -> cri::PodSandboxConfig {
    let mut labels = labels(owner, config);
    labels.extend(config.labels.iter().filter(|(key, _)| **key != *OWNER).map(|(k, v)| (k.clone(), v.clone())));
    let kept = serde_json::to_string(config).unwrap_or_default();
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: config.name.clone(),
            uid: config.uid.clone(),
            namespace: config.namespace.clone(),
            attempt: config.attempt,
        }),
        hostname: config.hostname.clone(),
        log_directory: text(&config.log_directory),
        dns: config.resolv_conf.as_deref().map(dns),
        ports: config.ports.iter().map(port).collect(),
        labels,
        annotations: [(CONFIG.to_owned(), kept)].into(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            security_context: Some(cri::SandboxSecurityContext {
                namespaces: Some(namespaces(config)),
                // Whether some container of it may be privileged: the sandbox itself runs nothing of the pod.
                privileged: config.privileged,
                seccomp: Some(SecurityProfile { kind: ProfileType::RuntimeDefault.into(), ..Default::default() }),
            }),
            sysctls: config.sysctls.clone(),
        }),
    }
}

/// Which namespaces containers of the sandbox share.
pub(super) fn namespaces(config: &SandboxConfig) -> cri::NamespaceOption {
    let mode = |mode| -> i32 {
        match mode {
            NamespaceMode::Pod => cri::NamespaceMode::Pod,
            NamespaceMode::Container => cri::NamespaceMode::Container,
            NamespaceMode::Node => cri::NamespaceMode::Node,
        }
        .into()
    };
    cri::NamespaceOption {
        network: mode(config.network),
        pid: mode(config.pid),
        ipc: mode(config.ipc),
        target_id: String::new(),
    }
}

/// A resolv.conf in parts.
fn dns(text: &str) -> cri::DnsConfig {
    let mut dns = cri::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.servers.extend(words.take(1)),
            Some("search") => dns.searches = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

fn port(port: &PortMapping) -> cri::PortMapping {
    let protocol = match port.protocol {
        Protocol::Tcp => cri::Protocol::Tcp,
        Protocol::Udp => cri::Protocol::Udp,
        Protocol::Sctp => cri::Protocol::Sctp,
    };
    cri::PortMapping {
        protocol: protocol.into(),
        container_port: port.container_port.into(),
        host_port: port.host_port.into(),
        host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

/// A listed sandbox, without its addresses.
pub(super) fn status(listed: &cri::PodSandbox) -> SandboxStatus {
    let kept = listed.annotations.get(CONFIG).and_then(|text| serde_json::from_str::<SandboxConfig>(text).ok());
    let metadata = listed.metadata.clone().unwrap_or_default();
    // Another version may have kept it in words that this one does not know; whose it is stands beside it.
    let mut config = kept.unwrap_or_default();
    config.name = metadata.name;
    config.namespace = metadata.namespace;
    config.uid = metadata.uid;
    config.attempt = metadata.attempt;
    SandboxStatus {
        id: SandboxId(listed.id.clone()),
        config,
        ready: listed.state == i32::from(cri::State::Ready),
        created_at: time(listed.created_at).unwrap_or_default(),
        ips: Vec::new(),
    }
}

/// The addresses of a sandbox; those of a sandbox on the node's network are not its own.
pub(super) fn addresses(config: &SandboxConfig, status: &cri::PodSandboxStatus) -> Vec<IpAddr> {
    let Some(network) = status.network.as_ref().filter(|_| config.network != NamespaceMode::Node) else {
        return Vec::new();
    };
    let all = std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|more| &more.ip));
    all.filter_map(|ip| ip.parse().ok()).collect()
}

/// Nanoseconds since 1970; 0 stands for never.
pub(super) fn time(nanos: i64) -> Option<Timestamp> {
    if nanos == 0 { None } else { Timestamp::from_nanosecond(nanos.into()).ok() }
}

/// A path as text: those of the agent are made of names that are.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> SandboxConfig {
        SandboxConfig {
            namespace: "ns".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
            attempt: 2,
            hostname: "box".to_owned(),
            log_directory: "/var/log/pods/ns_p_u".into(),
            resolv_conf: Some("nameserver 1.1.1.1\nsearch a b\noptions ndots:2\n".to_owned()),
            pid: NamespaceMode::Container,
            ipc: NamespaceMode::Node,
            labels: [("app".to_owned(), "x".to_owned()), (OWNER.to_owned(), "someone else".to_owned())].into(),
            ports: vec![PortMapping {
                protocol: Protocol::Udp,
                host_port: 53,
                container_port: 5353,
                host_ip: Some("127.0.0.1".parse().unwrap()),
            }],
            ..SandboxConfig::default()
        }
    }

    #[test]
    fn a_sandbox_is_told_and_found_again() {
        let made = config("i/n", &example(), "/e/n/podu");
        assert_eq!(
            (made.labels[OWNER].as_str(), made.labels[POD_UID].as_str(), made.labels["app"].as_str()),
            ("i/n", "u", "x")
        );
        let dns = made.dns.unwrap();
        assert_eq!(
            (dns.servers.join(" "), dns.searches.join(" "), dns.options.join(" ")),
            ("1.1.1.1".into(), "a b".into(), "ndots:2".into())
        );
        let linux = made.linux.unwrap();
        let namespaces = linux.security_context.unwrap().namespaces.unwrap();
        assert_eq!((namespaces.network, namespaces.pid, namespaces.ipc), (0, 1, 2));
        assert_eq!((linux.cgroup_parent.as_str(), made.ports[0].host_ip.as_str()), ("/e/n/podu", "127.0.0.1"));
        let listed = cri::PodSandbox {
            id: "s".to_owned(),
            metadata: made.metadata,
            state: 1,
            created_at: 1_000_000_000,
            annotations: made.annotations,
        };
        let found = status(&listed);
        assert_eq!(serde_json::to_value(&found.config).unwrap(), serde_json::to_value(example()).unwrap());
        assert_eq!((found.ready, found.created_at.as_second()), (false, 1));
        // Without what an agent kept, it is still known whose it is.
        let found = status(&cri::PodSandbox { annotations: Pairs::new(), state: 0, ..listed });
        assert_eq!((found.config.uid.as_str(), found.config.attempt, found.ready), ("u", 2, true));
    }

    #[test]
    fn addresses_are_the_pods_own() {
        let network = cri::NetworkStatus {
            ip: "10.0.0.2".to_owned(),
            additional_ips: vec![cri::PodIp { ip: "fd00::2".to_owned() }],
        };
        let status = cri::PodSandboxStatus { network: Some(network), ..Default::default() };
        let texts =
            |config: &SandboxConfig| addresses(config, &status).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&example()), ["10.0.0.2", "fd00::2"]);
        let on_node = SandboxConfig { network: NamespaceMode::Node, ..example() };
        assert!(texts(&on_node).is_empty());
    }
}
