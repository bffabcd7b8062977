//! The pod network of one node: a bridge in the node's namespace, a veth pair and an address for each sandbox; or what the
//! plugins of a CNI configuration make. Ports of the node lead to pods.
//!
//! # Invariants
//! - All calls are idempotent, and may be repeated after a kill -9 at any step.
//! - A link's name and a hardware address follow from the sandbox and its address, so nothing has to be remembered.
//!
//! # Absent
//! Network policies; IPv6 without IPv4.

mod addresses;
mod choice;
pub(crate) mod cni;
mod conntrack;
mod error;
mod host_port_rules;
mod host_ports;
pub(crate) mod links;
pub(crate) mod masquerade;
pub(crate) mod netns;
mod nft;
mod pods;
#[cfg(test)]
mod tests;

pub use choice::{CniOptions, Mode, Network};
pub use error::NetworkError;
pub use netns::enter;
pub use pods::{Options, PodNetwork};
