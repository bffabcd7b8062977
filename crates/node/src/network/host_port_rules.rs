//! The rules of host ports, as a script for nft.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use super::host_ports::Forward;
use super::nft;
use crate::runtime::Protocol;

/// What differs between the two families.
struct Family {
    name: &'static str,
    loopback: &'static str,
}

const V4: Family = Family { name: "ip", loopback: "127.0.0.0/8" };
const V6: Family = Family { name: "ip6", loopback: "::1" };

/// Replaces both tables; without anything to forward both go.
pub(crate) fn script<'a>(table: &str, forwards: impl Iterator<Item = &'a Forward> + Clone) -> String {
    let mut text = String::new();
    for family in [V4, V6] {
        text.push_str(&nft::without(family.name, table));
        family.table(table, forwards.clone(), &mut text);
    }
    text
}

impl Family {
    fn has(&self, address: IpAddr) -> bool {
        address.is_ipv4() == (self.name == "ip")
    }

    fn table<'a>(&self, table: &str, forwards: impl Iterator<Item = &'a Forward>, out: &mut String) {
        let (mut rules, mut neighbours, mut links) = (String::new(), BTreeSet::new(), BTreeSet::new());
        for forward in forwards {
            let Some(to) = forward.addresses.iter().find(|net| self.has(net.addr())) else { continue };
            neighbours.insert(to.trunc().to_string());
            links.extend(forward.link.as_deref());
            for port in &forward.ports {
                if port.host_ip.is_some_and(|ip| !self.has(ip)) {
                    continue;
                }
                let at = port.host_ip.map(|ip| format!("{} daddr {ip} ", self.name)).unwrap_or_default();
                let protocol = match port.protocol {
                    Protocol::Tcp => "tcp",
                    Protocol::Udp => "udp",
                    Protocol::Sctp => "sctp",
                };
                let target = std::net::SocketAddr::new(to.addr(), port.container_port);
                // Writing to a String can't fail.
                let _ = writeln!(rules, "    {at}{protocol} dport {} dnat to {target}", port.host_port);
            }
        }
        if rules.is_empty() {
            return;
        }
        let name = self.name;
        let _ = write!(out, "table {name} {table} {{\n  chain ports {{\n{rules}  }}\n");
        // Only what is for the node itself: packets that pass through keep their destination.
        for hook in ["prerouting", "output"] {
            let _ = write!(
                out,
                "  chain {hook} {{\n    type nat hook {hook} priority -100; policy accept;\n    \
                 fib daddr type local jump ports\n  }}\n"
            );
        }
        let sources: Vec<String> = neighbours.into_iter().chain([self.loopback.to_owned()]).collect();
        let _ = write!(
            out,
            "  chain postrouting {{\n    type nat hook postrouting priority 100; policy accept;\n    \
             ct status dnat {name} saddr {{ {} }} masquerade\n  }}\n",
            sources.join(", ")
        );
        self.keep_out(&links, out);
        out.push_str("}\n");
    }

    /// Packets that come from a pod for the node's loopback address: without our setting the kernel drops them, with it
    /// they would reach programs that trust their machine.
    fn keep_out(&self, links: &BTreeSet<&str>, out: &mut String) {
        if self.name != "ip" || links.is_empty() {
            return;
        }
        let list: Vec<String> = links.iter().map(|link| format!("\"{link}\"")).collect();
        let _ = write!(
            out,
            "  chain loopback {{\n    type filter hook prerouting priority -300; policy accept;\n    \
             iifname {{ {} }} ip daddr {} drop\n  }}\n",
            list.join(", "),
            self.loopback
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::PortMapping;

    fn forward(addresses: &[&str], ports: &[(u16, Option<&str>, Protocol)]) -> Forward {
        Forward {
            pod: "default/web".to_owned(),
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            link: Some("br0".to_owned()),
            ports: ports
                .iter()
                .map(|(number, ip, protocol)| PortMapping {
                    protocol: *protocol,
                    host_port: *number,
                    container_port: 80,
                    host_ip: ip.map(|ip| ip.parse().unwrap()),
                })
                .collect(),
        }
    }

    #[test]
    fn each_family_has_its_own_ports() {
        let web = forward(
            &["10.42.0.5/24", "fd00::5/64"],
            &[
                (8080, None, Protocol::Tcp),
                (53, Some("10.0.0.1"), Protocol::Udp),
                (53, Some("fd01::1"), Protocol::Sctp),
            ],
        );
        let text = script("t", [&web].into_iter());
        let (v4, v6) = text.split_once("add table ip6 t").unwrap();
        assert!(v4.contains("    tcp dport 8080 dnat to 10.42.0.5:80\n"), "{v4}");
        assert!(v4.contains("    ip daddr 10.0.0.1 udp dport 53 dnat to 10.42.0.5:80\n"), "{v4}");
        assert!(!v4.contains("sctp") && v4.contains("ct status dnat ip saddr { 10.42.0.0/24, 127.0.0.0/8 }"), "{v4}");
        assert!(v4.contains("iifname { \"br0\" } ip daddr 127.0.0.0/8 drop"), "{v4}");
        assert!(v6.contains("    ip6 daddr fd01::1 sctp dport 53 dnat to [fd00::5]:80\n"), "{v6}");
        assert!(v6.contains("    tcp dport 8080 dnat to [fd00::5]:80\n") && !v6.contains("udp"), "{v6}");
    }

    #[test]
    fn without_ports_there_are_no_tables() {
        let want = "add table ip t\ndelete table ip t\nadd table ip6 t\ndelete table ip6 t\n";
        assert_eq!(script("t", std::iter::empty()), want);
        let v4_only = forward(&["10.42.0.5/24"], &[(1, None, Protocol::Tcp)]);
        assert!(script("t", [&v4_only].into_iter()).ends_with("add table ip6 t\ndelete table ip6 t\n"));
    }
}
