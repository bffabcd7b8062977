//! The addresses that Services are given.
//!
//! # Invariants
//! The first address is the network's and the last its broadcast; neither is given.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Shortest and longest prefixes, as kube-apiserver takes them.
const BITS: std::ops::RangeInclusive<u8> = 12..=30;

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRange {
    base: u32,
    bits: u8,
}

/// What is wrong with a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range for Services: give an IPv4 network with a prefix of 12 to 30 bits, such as 10.96.0.0/12")]
pub struct RangeError(String);

impl Default for ServiceRange {
    /// Kubernetes' own default of kubeadm.
    fn default() -> Self {
        ServiceRange { base: u32::from(Ipv4Addr::new(10, 96, 0, 0)), bits: 12 }
    }
}

impl FromStr for ServiceRange {
    type Err = RangeError;
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let bad = || RangeError(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(bad)?;
        let (address, bits): (Ipv4Addr, u8) = (address.parse().map_err(|_| bad())?, bits.parse().map_err(|_| bad())?);
        if !BITS.contains(&bits) {
            return Err(bad());
        }
        let base = u32::from(address);
        if base & (u32::MAX >> bits) != 0 {
            return Err(bad());
        }
        Ok(ServiceRange { base, bits })
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

impl ServiceRange {
    /// How many addresses can be given.
    pub(crate) fn size(self) -> u32 {
        (1u32 << (32 - u32::from(self.bits))) - 2
    }

    /// The address at a place from 0 on.
    pub(crate) fn nth(self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1 + place % self.size())
    }

    /// The address of the API server's own Service.
    pub fn first(self) -> Ipv4Addr {
        self.nth(0)
    }

    /// Whether an address can be given.
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address).checked_sub(self.base + 1).is_some_and(|place| place < self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range: ServiceRange = "10.43.0.0/30".parse().unwrap();
        assert_eq!((range.size(), range.first(), range.nth(1)), (2, [10, 43, 0, 1].into(), [10, 43, 0, 2].into()));
        for (address, within) in
            [([10, 43, 0, 0], false), ([10, 43, 0, 1], true), ([10, 43, 0, 2], true), ([10, 43, 0, 3], false)]
        {
            assert_eq!(range.contains(address.into()), within, "{address:?}");
        }
        assert_eq!(ServiceRange::default(), "10.96.0.0/12".parse().unwrap());
        assert_eq!(ServiceRange::default().to_string(), "10.96.0.0/12");
        for bad in ["", "10.0.0.0", "10.0.0.0/8", "10.0.0.1/24", "10.0.0.0/31", "fd00::/108", "x/24"] {
            assert!(bad.parse::<ServiceRange>().is_err(), "{bad}");
        }
    }
}
