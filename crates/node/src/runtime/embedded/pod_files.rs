//! The pod's own /etc/hosts, /etc/hostname and /etc/resolv.conf.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::runtime::{NamespaceMode, SandboxConfig};
use crate::shim::files::write_atomic;

/// Writes them into the sandbox's directory.
pub(crate) fn write(dir: &Path, config: &SandboxConfig, ips: &[IpAddr], machine_hostname: &str) -> io::Result<()> {
    let own = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let hosts = match config.network {
        NamespaceMode::Node => hosts_of_node(&own("/etc/hosts")),
        _ => hosts(ips, &config.hostname),
    };
    let resolv = config.resolv_conf.clone().unwrap_or_else(|| own("/etc/resolv.conf"));
    let hostname = if config.hostname.is_empty() { machine_hostname } else { &config.hostname };
    for (name, text) in [("hosts", hosts), ("resolv.conf", resolv), ("hostname", format!("{hostname}\n"))] {
        write_atomic(&dir.join(name), text.as_bytes())?;
        fs::set_permissions(dir.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    }
    Ok(())
}

fn hosts_of_node(node: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node}")
}

fn hosts(ips: &[IpAddr], hostname: &str) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
                    127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    fe00::0\tip6-mcastprefix\n\
                    fe00::1\tip6-allnodes\n\
                    fe00::2\tip6-allrouters\n"
        .to_owned();
    for ip in ips {
        text.push_str(&format!("{ip}\t{hostname}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_itself_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let config = SandboxConfig { hostname: "web-0".to_owned(), ..SandboxConfig::default() };
        write(dir.path(), &config, &["10.42.0.7".parse().unwrap()], "node").unwrap();
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read("hosts").ends_with("10.42.0.7\tweb-0\n"));
        assert_eq!(read("hostname"), "web-0\n");
        assert_eq!(read("resolv.conf"), fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    }

    #[test]
    fn with_the_nodes_network_the_nodes_files_hold() {
        let dir = tempfile::tempdir().unwrap();
        let config = SandboxConfig {
            network: NamespaceMode::Node,
            resolv_conf: Some("nameserver 1.1.1.1\n".to_owned()),
            ..SandboxConfig::default()
        };
        write(dir.path(), &config, &[], "node").unwrap();
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read("hosts").starts_with("# Kubernetes-managed hosts file (host network).\n"));
        assert_eq!(read("hostname"), "node\n");
        assert_eq!(read("resolv.conf"), "nameserver 1.1.1.1\n");
    }
}
