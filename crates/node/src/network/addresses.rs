//! Which sandbox has which address of the node's pod network: a file for each address that is given out.
//!
//! # Invariants
//! - An address is given out only after its file is there, and is free only after its file is gone, so a kill at any
//!   moment loses or doubles none.
//! - Addresses go round: one that was just given back is taken last, while others may still remember its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::error::NetworkError;

/// Addresses of a network that are given out at most: more than pods of any node, few enough to look through. An IPv6
/// network has more than anybody could.
const ADDRESSES_MAX: u128 = 1 << 16;

/// Addresses of one node's pods, of one family.
#[derive(Debug)]
pub(crate) struct Addresses {
    dir: PathBuf,
    pod_cidr: IpNet,
    owners: BTreeMap<IpAddr, String>,
    last: u128,
}

impl Addresses {
    /// Reads what is given out already.
    pub(crate) fn open(dir: &Path, pod_cidr: IpNet) -> Result<Self, NetworkError> {
        let what = || dir.display().to_string();
        fs::create_dir_all(dir).map_err(NetworkError::kernel(what()))?;
        let mut owners = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(NetworkError::kernel(what()))? {
            let path = entry.map_err(NetworkError::kernel(what()))?.path();
            match path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<IpAddr>().ok()) {
                Some(address) => {
                    let owner = fs::read_to_string(&path).map_err(NetworkError::kernel(path.display().to_string()))?;
                    owners.insert(address, owner);
                }
                // A file that a killed process had not yet given its name.
                None => fs::remove_file(&path).map_err(NetworkError::kernel(path.display().to_string()))?,
            }
        }
        let last = owners.keys().next_back().map_or(0, |address| number(*address));
        Ok(Self { dir: dir.to_path_buf(), pod_cidr, owners, last })
    }

    /// The address of the bridge: the first one.
    pub(crate) fn gateway(pod_cidr: IpNet) -> IpAddr {
        address(pod_cidr, number(pod_cidr.network()) + 1)
    }

    /// The address that the sandbox has.
    pub(crate) fn of(&self, sandbox: &str) -> Option<IpAddr> {
        self.owners.iter().find(|(_, owner)| *owner == sandbox).map(|(address, _)| *address)
    }

    /// An address for the sandbox; the one it has, if it has one.
    pub(crate) fn take(&mut self, sandbox: &str) -> Result<IpAddr, NetworkError> {
        if let Some(address) = self.of(sandbox) {
            return Ok(address);
        }
        let network = number(self.pod_cidr.network());
        // The last one of an IPv4 network means all of it.
        let (first, end) = (network + 2, number(self.pod_cidr.broadcast()).min(network + ADDRESSES_MAX));
        let start = if (first..end).contains(&(self.last + 1)) { self.last + 1 } else { first };
        let free = (start..end)
            .chain(first..start)
            .map(|one| address(self.pod_cidr, one))
            .find(|one| !self.owners.contains_key(one));
        let address = free.ok_or(NetworkError::Exhausted(self.pod_cidr))?;
        let path = self.dir.join(address.to_string());
        let unnamed = self.dir.join(".new");
        fs::write(&unnamed, sandbox)
            .and_then(|()| fs::rename(&unnamed, &path))
            .map_err(NetworkError::kernel(path.display().to_string()))?;
        self.owners.insert(address, sandbox.to_owned());
        self.last = number(address);
        Ok(address)
    }

    /// Gives the sandbox's address back.
    pub(crate) fn release(&mut self, sandbox: &str) -> Result<(), NetworkError> {
        while let Some(address) = self.of(sandbox) {
            let path = self.dir.join(address.to_string());
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(NetworkError::kernel(path.display().to_string())(error));
                }
                _ => self.owners.remove(&address),
            };
        }
        Ok(())
    }

    /// Sandboxes that have an address and are not in `live`.
    pub(crate) fn stale(&self, live: &BTreeSet<String>) -> Vec<String> {
        self.owners.values().filter(|owner| !live.contains(*owner)).cloned().collect()
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of this number, in the family of the network.
fn address(network: IpNet, number: u128) -> IpAddr {
    match network {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Addresses {
        Addresses::open(dir, "10.1.2.0/29".parse().unwrap()).unwrap()
    }

    #[test]
    fn addresses_are_kept_and_go_round() {
        let dir = tempfile::tempdir().unwrap();
        let mut addresses = open(dir.path());
        let taken: Vec<String> =
            ["a", "b", "a", "c"].iter().map(|uid| addresses.take(uid).unwrap().to_string()).collect();
        assert_eq!(taken, ["10.1.2.2", "10.1.2.3", "10.1.2.2", "10.1.2.4"]);
        addresses.release("a").unwrap();
        addresses.release("a").unwrap();
        assert_eq!(addresses.take("d").unwrap().to_string(), "10.1.2.5", "not the one just given back");
        assert_eq!(addresses.take("e").unwrap().to_string(), "10.1.2.6");
        assert_eq!(addresses.take("f").unwrap().to_string(), "10.1.2.2", "now it is its turn");
        let full = addresses.take("g").unwrap_err().to_string();
        assert!(full.starts_with("no free address in 10.1.2.0/29"), "{full}");
    }

    #[test]
    fn both_families_begin_after_the_bridge() {
        let dir = tempfile::tempdir().unwrap();
        let six: IpNet = "fd00:42::/64".parse().unwrap();
        assert_eq!(Addresses::gateway(six).to_string(), "fd00:42::1");
        let mut addresses = Addresses::open(dir.path(), six).unwrap();
        assert_eq!(addresses.take("a").unwrap().to_string(), "fd00:42::2");
        let mut again = Addresses::open(dir.path(), six).unwrap();
        assert_eq!(again.take("b").unwrap().to_string(), "fd00:42::3");
        assert_eq!(again.take("a").unwrap().to_string(), "fd00:42::2");
    }

    #[test]
    fn a_restart_finds_them_again() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).take("a").unwrap();
        fs::write(dir.path().join(".new"), "cut").unwrap();
        let mut again = open(dir.path());
        assert_eq!(again.take("a").unwrap().to_string(), "10.1.2.2");
        assert_eq!(again.stale(&BTreeSet::new()), ["a"]);
        assert!(again.stale(&BTreeSet::from(["a".to_owned()])).is_empty());
        assert!(!dir.path().join(".new").exists());
    }
}
