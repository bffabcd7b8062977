//! Source NAT for what leaves a private network.
//!
//! # Invariants
//! - One table for each owner, replaced in one transaction: never a moment without rules, never rules twice.
//! - Without nft, or without nftables in the kernel, all else works: only the way out of the machine is missing.

use std::io;

use ipnet::IpNet;

use super::nft;

/// Replaces the table `name`: packets from `source` that leave by another link than `link`, and not to `direct`,
/// carry the address of the link they leave by.
pub(crate) fn set(name: &str, source: IpNet, link: &str, direct: &[IpNet]) -> io::Result<()> {
    nft::run(&script(name, source, link, direct))
}

/// Takes the table away.
pub(crate) fn remove(name: &str) -> io::Result<()> {
    nft::run(&format!("{}{}", nft::without("ip", name), nft::without("ip6", name)))
}

fn script(name: &str, source: IpNet, link: &str, direct: &[IpNet]) -> String {
    let family = if source.addr().is_ipv4() { "ip" } else { "ip6" };
    let exceptions = if direct.is_empty() {
        String::new()
    } else {
        let list: Vec<String> = direct.iter().map(ToString::to_string).collect();
        format!("    {family} daddr {{ {} }} return\n", list.join(", "))
    };
    format!(
        "{}table {family} {name} {{\n  chain postrouting {{\n    type nat hook postrouting priority 100; policy accept;\n\
         {exceptions}    {family} saddr {source} oifname != \"{link}\" masquerade\n  }}\n}}\n",
        nft::without(family, name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_as_a_whole() {
        let net = |text: &str| text.parse().unwrap();
        let want = "add table ip t\ndelete table ip t\ntable ip t {\n  chain postrouting {\n    type nat hook \
                    postrouting priority 100; policy accept;\n    ip daddr { 10.1.0.0/24, 10.2.0.0/24 } return\n    \
                    ip saddr 10.0.0.0/24 oifname != \"br\" masquerade\n  }\n}\n";
        assert_eq!(script("t", net("10.0.0.0/24"), "br", &[net("10.1.0.0/24"), net("10.2.0.0/24")]), want);
        assert!(!script("t", net("10.0.0.0/24"), "br", &[]).contains("return"));
        let six = script("t", net("fd00::/64"), "br", &[]);
        assert!(six.contains("delete table ip6 t") && six.contains("ip6 saddr fd00::/64 oifname"), "{six}");
    }
}
