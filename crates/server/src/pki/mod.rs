//! The cluster's certificates: one authority, the server's certificate, client certificates inside kubeconfigs.
//!
//! # Invariants
//! - Private keys are in files with mode 0600, and appear by rename: a crash leaves the old file or the new one.
//! - The authority is made once and never replaced: agents keep trusting it.
//! - Certificates are renewed at start when they near their end, or when the server got a name they lack.
//!
//! # Absent
//! Revocation.

mod account_key;
mod authority;
mod files;
mod kubeconfig;
pub(crate) mod request;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub(crate) use account_key::AccountKey;
pub use authority::Subject;
pub(crate) use authority::{Authority, Pair, common_name_and_organizations};
pub use kubeconfig::{admin_kubeconfig, node_kubeconfig};

use crate::error::ServerError;

/// The directory of the pki inside a data directory.
pub(crate) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("pki")
}

/// The names and addresses a server answers to.
pub(crate) fn server_names(listen: SocketAddr, extra: &[String]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.96.0.1",
    ]
    .map(String::from)
    .into();
    names.insert(IpAddr::V4(Ipv4Addr::LOCALHOST).to_string());
    names.insert(IpAddr::V6(Ipv6Addr::LOCALHOST).to_string());
    names.extend(extra.iter().filter(|n| !n.is_empty()).cloned());
    if listen.ip().is_unspecified() {
        names.extend(local_addresses().iter().map(IpAddr::to_string));
    } else {
        names.insert(listen.ip().to_string());
    }
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        let host = host.trim().to_ascii_lowercase();
        if !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            names.insert(host);
        }
    }
    names
}

/// Addresses of this machine's interfaces.
fn local_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut found: Vec<IpAddr> = interfaces
        .filter_map(|i| i.address)
        .filter_map(|a| {
            a.as_sockaddr_in()
                .map(|v4| IpAddr::V4(v4.ip()))
                .or_else(|| a.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// What the listener needs.
pub(crate) struct ServingPki {
    /// The server's certificate and key.
    pub(crate) serving: Pair,
    /// The authority's certificate, PEM.
    pub(crate) authority_pem: String,
}

/// Makes or renews all that the server needs below `data_dir/pki`. Idempotent.
///
/// # Errors
/// When a file can't be written or one that is there is broken.
pub(crate) fn prepare(data_dir: &Path, listen: SocketAddr, san: &[String]) -> Result<ServingPki, ServerError> {
    let authority = Authority::open(data_dir)?;
    let serving = authority.serving(&server_names(listen, san))?;
    Ok(ServingPki { serving, authority_pem: authority.pem().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cover_loopback_and_the_service() {
        let names = server_names("0.0.0.0:6443".parse().unwrap(), &["api.example".into()]);
        for want in ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc", "10.96.0.1", "api.example"] {
            assert!(names.contains(want), "{want} missing in {names:?}");
        }
    }

    #[test]
    fn a_second_start_keeps_the_files_and_a_new_name_renews_only_the_serving_one() {
        let dir = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:6443".parse().unwrap();
        let first = prepare(dir.path(), listen, &[]).unwrap();
        let again = prepare(dir.path(), listen, &[]).unwrap();
        assert_eq!(first.serving.certificate_pem, again.serving.certificate_pem);
        let renamed = prepare(dir.path(), listen, &["other.example".into()]).unwrap();
        assert_ne!(first.serving.certificate_pem, renamed.serving.certificate_pem);
        assert_eq!(first.authority_pem, renamed.authority_pem);
    }

    #[test]
    fn keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), "127.0.0.1:6443".parse().unwrap(), &[]).unwrap();
        for name in ["ca.key", "serving.key"] {
            let mode = std::fs::metadata(directory(dir.path()).join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
