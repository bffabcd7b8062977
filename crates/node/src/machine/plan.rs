//! Who has which address and name: a pure function of the instance, its subnet and a node's index.
//!
//! ```text
//! x.y.0.1           the bridge, and so the machine as the nodes see it
//! x.y.0.10 …        node 0, node 1, …
//! x.y.16.0/24 …     pods of node 0, of node 1, …
//! ```

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::network::NetworkError;

/// Nodes of one instance: after 16 /24s for the nodes themselves, a /16 has 240 for pods.
pub(crate) const NODES_MAX: u8 = 240;
/// Last byte of the first node's address.
const FIRST_NODE: u8 = 10;
/// Third byte of the first node's pod network.
const FIRST_POD_NET: u8 = 16;
/// Subnets to choose from, by their second byte: private, and not among the defaults of docker, podman, k3s, flannel.
const SUBNETS: std::ops::RangeInclusive<u8> = 89..=99;

/// Where a node is on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNet {
    /// File that the node's network namespace is bound to.
    pub netns_path: PathBuf,
    /// The node's own address.
    pub address: Ipv4Addr,
    /// Addresses of its pods.
    pub pod_cidr: Ipv4Net,
    /// The machine's address as the node sees it: where a server that listens on 0.0.0.0 is reached.
    pub gateway: Ipv4Addr,
}

/// The bridge of an instance on the machine.
pub(crate) fn bridge_name(instance: &str) -> String {
    format!("ev-{}", short(instance))
}

/// What the names of an instance's ports begin with.
pub(crate) fn port_prefix(instance: &str) -> String {
    format!("ev{}n", short(instance))
}

/// The first six digits: a link's name has at most 15 bytes.
fn short(instance: &str) -> &str {
    instance.get(..6).unwrap_or(instance)
}

/// The bridge's address, with the prefix of the subnet.
pub(crate) fn gateway(subnet: Ipv4Net) -> Result<Ipv4Net, NetworkError> {
    net(subnet, 0, 1, subnet.prefix_len())
}

/// The node's address, with a prefix that has the nodes but no pods: those are reached by a gateway.
pub(crate) fn node_address(subnet: Ipv4Net, index: u8) -> Result<Ipv4Net, NetworkError> {
    within(index)?;
    net(subnet, 0, FIRST_NODE + index, 20)
}

/// The pod network of a node.
pub(crate) fn pod_cidr(subnet: Ipv4Net, index: u8) -> Result<Ipv4Net, NetworkError> {
    within(index)?;
    net(subnet, FIRST_POD_NET + index, 0, 24)
}

/// Whether a subnet that the user gave can hold an instance.
pub(crate) fn check_subnet(subnet: Ipv4Net) -> Result<Ipv4Net, NetworkError> {
    if subnet.prefix_len() == 16 && subnet.trunc() == subnet {
        Ok(subnet)
    } else {
        Err(NetworkError::Invalid(format!("subnet {subnet} is no /16: give one like 10.89.0.0/16")))
    }
}

/// The first subnet that overlaps nothing that is taken.
pub(crate) fn choose(taken: &[Ipv4Net]) -> Result<Ipv4Net, NetworkError> {
    let free = SUBNETS.filter_map(|second| Ipv4Net::new(Ipv4Addr::new(10, second, 0, 0), 16).ok()).find(|subnet| {
        // The default route overlaps everything and takes nothing.
        !taken.iter().any(|other| other.prefix_len() > 0 && overlap(*subnet, *other))
    });
    free.ok_or_else(|| {
        NetworkError::Invalid("every network from 10.89.0.0/16 to 10.99.0.0/16 is in use: give a free /16".into())
    })
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn within(index: u8) -> Result<(), NetworkError> {
    if index < NODES_MAX {
        return Ok(());
    }
    Err(NetworkError::Invalid(format!("node {index} is too many: one machine has at most {NODES_MAX} nodes")))
}

fn net(subnet: Ipv4Net, third: u8, fourth: u8, prefix: u8) -> Result<Ipv4Net, NetworkError> {
    let [first, second, ..] = subnet.network().octets();
    Ipv4Net::new(Ipv4Addr::new(first, second, third, fourth), prefix)
        .map_err(|error| NetworkError::Invalid(format!("{subnet}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_free_subnet_is_chosen() {
        for (taken, want) in [
            (vec![], "10.89.0.0/16"),
            (vec!["0.0.0.0/0", "192.168.0.0/16"], "10.89.0.0/16"),
            (vec!["10.89.3.0/24", "10.90.0.0/15"], "10.92.0.0/16"),
        ] {
            let taken: Vec<Ipv4Net> = taken.into_iter().map(parse).collect();
            assert_eq!(choose(&taken).unwrap(), parse(want));
        }
        let error = choose(&[parse("10.0.0.0/8")]).unwrap_err().to_string();
        assert!(error.ends_with("give a free /16"), "{error}");
    }

    #[test]
    fn addresses_follow_from_the_index() {
        let subnet = parse("10.91.0.0/16");
        assert_eq!(gateway(subnet).unwrap(), parse("10.91.0.1/16"));
        for (index, node, pods) in [(0, "10.91.0.10/20", "10.91.16.0/24"), (239, "10.91.0.249/20", "10.91.255.0/24")] {
            assert_eq!(node_address(subnet, index).unwrap(), parse(node));
            assert_eq!(pod_cidr(subnet, index).unwrap(), parse(pods));
        }
        assert!(node_address(subnet, NODES_MAX).is_err());
        for wrong in ["10.91.0.0/17", "10.91.1.0/16", "10.0.0.0/8"] {
            assert!(check_subnet(parse(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_fit_the_kernel() {
        let id = "0123456789abcdef";
        assert_eq!(bridge_name(id), "ev-012345");
        assert!(format!("{}{}", port_prefix(id), NODES_MAX).len() <= 15);
    }
}
