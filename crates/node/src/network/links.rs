//! Links, addresses and routes of one network namespace, over rtnetlink.
//!
//! # Invariants
//! - What is wanted and there is left as it is; what is to go and gone is no error.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

use futures::TryStreamExt;
use ipnet::{IpNet, Ipv4Net};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

use super::error::NetworkError;
use super::netns;

/// Marks the routes that everynode makes, so that it takes away only its own (/etc/iproute2/rt_protos has no 101).
pub(crate) const ROUTE_PROTOCOL: u8 = 101;

/// A way to the kernel for one namespace.
#[derive(Debug)]
pub(crate) struct Links {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A link as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) controller: Option<u32>,
}

/// One end of a veth pair.
#[derive(Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) name: &'a str,
    pub(crate) netns: &'a Path,
    pub(crate) mac: [u8; 6],
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Net,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) protocol: u8,
    message: RouteMessage,
}

impl Links {
    /// In the namespace of the calling thread. Needs an async runtime around it.
    pub(crate) fn here() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetworkError::kernel("open netlink"))?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// In the namespace that is bound to the file.
    pub(crate) fn inside(path: &Path) -> Result<Self, NetworkError> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = netns::run_inside(path, move || {
            // A socket belongs to the namespace it was made in, whoever uses it later.
            let _guard = runtime.enter();
            rtnetlink::new_connection()
        })
        .map_err(NetworkError::kernel(format!("open netlink in {}", path.display())))?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// The link of this name.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Link>, NetworkError> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        match found {
            Ok(message) => Ok(message.map(|message| read_link(&message))),
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(failed(format!("look for link {name}"), error)),
        }
    }

    /// The link of this name, which must be there.
    pub(crate) async fn get(&self, name: &str) -> Result<Link, NetworkError> {
        self.find(name).await?.ok_or_else(|| NetworkError::Kernel {
            what: format!("look for link {name}"),
            source: io::Error::from_raw_os_error(libc::ENODEV),
        })
    }

    /// All links.
    pub(crate) async fn all(&self) -> Result<Vec<Link>, NetworkError> {
        let messages: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(|error| failed("list links", error))?;
        Ok(messages.iter().map(read_link).collect())
    }

    /// A bridge that is up and has the address.
    pub(crate) async fn ensure_bridge(&self, name: &str, address: Ipv4Net) -> Result<Link, NetworkError> {
        if self.find(name).await?.is_none() {
            let message = LinkBridge::new(name).address(mac_of(address.addr()).to_vec()).up().build();
            self.handle
                .link()
                .add(message)
                .execute()
                .await
                .or_else(unless(libc::EEXIST, &format!("add bridge {name}")))?;
        }
        let link = self.get(name).await?;
        self.ensure_address(&link, address.into()).await?;
        self.ensure_up(&link).await?;
        Ok(link)
    }

    /// A veth pair: one end here as a port of the bridge, the other in another namespace. Both are new.
    pub(crate) async fn add_veth(&self, name: &str, bridge: &Link, peer: &Peer<'_>) -> Result<(), NetworkError> {
        let what = format!("add veth {name}");
        let netns = File::open(peer.netns).map_err(NetworkError::kernel(peer.netns.display().to_string()))?;
        let other = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer.name.to_owned())
            .address(peer.mac.to_vec())
            .setns_by_fd(netns.as_raw_fd())
            .build();
        let message = LinkVeth::new(name, peer.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(other)))
            .controller(bridge.index)
            .up()
            .build();
        self.handle.link().add(message).execute().await.map_err(|error| failed(&what, error))?;
        let link = self.get(name).await?;
        let port = LinkBridgePort::new(link.index).hairpin(true).build();
        self.handle.link().set_port(port).execute().await.map_err(|error| failed(&what, error))
    }

    /// Takes a link away, and its peer with it.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), NetworkError> {
        let Some(link) = self.find(name).await? else { return Ok(()) };
        self.handle.link().del(link.index).execute().await.or_else(unless(libc::ENODEV, &format!("delete link {name}")))
    }

    /// Switches a link on.
    pub(crate) async fn ensure_up(&self, link: &Link) -> Result<(), NetworkError> {
        if link.up {
            return Ok(());
        }
        let message = LinkUnspec::new_with_index(link.index).up().build();
        let what = format!("switch on link {}", link.name);
        self.handle.link().change(message).execute().await.map_err(|error| failed(what, error))
    }

    /// Gives a link an address. One of IPv6 counts at once: nobody else can have it, so nobody is asked.
    pub(crate) async fn ensure_address(&self, link: &Link, address: IpNet) -> Result<(), NetworkError> {
        let mut request = self.handle.address().add(link.index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await.or_else(unless(libc::EEXIST, &format!("give {} the address {address}", link.name)))
    }

    /// The way to everywhere in IPv6.
    pub(crate) async fn ensure_default_route6(&self, gateway: Ipv6Addr) -> Result<(), NetworkError> {
        let message = RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(gateway)
            .protocol(RouteProtocol::from(ROUTE_PROTOCOL))
            .build();
        let what = format!("route IPv6 by {gateway}");
        self.handle.route().add(message).replace().execute().await.map_err(|error| failed(what, error))
    }

    /// A route through a gateway, in place of another to the same destination.
    pub(crate) async fn ensure_route(&self, destination: Ipv4Net, gateway: Ipv4Addr) -> Result<(), NetworkError> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())
            .gateway(gateway)
            .protocol(RouteProtocol::from(ROUTE_PROTOCOL))
            .build();
        let what = format!("route {destination} by {gateway}");
        self.handle.route().add(message).replace().execute().await.map_err(|error| failed(what, error))
    }

    /// IPv4 unicast routes of the main table.
    pub(crate) async fn routes(&self) -> Result<Vec<Route>, NetworkError> {
        let any = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages: Vec<RouteMessage> =
            self.handle.route().get(any).execute().try_collect().await.map_err(|error| failed("list routes", error))?;
        Ok(messages.into_iter().filter_map(read_route).collect())
    }

    /// Takes a route away.
    pub(crate) async fn delete_route(&self, route: &Route) -> Result<(), NetworkError> {
        let what = format!("delete route {}", route.destination);
        self.handle.route().del(route.message.clone()).execute().await.or_else(unless(libc::ESRCH, &what))
    }
}

/// The hardware address that belongs to an address: the same for every owner, so that no neighbour remembers a wrong one.
pub(crate) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

fn read_link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        controller: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            _ => {}
        }
    }
    link
}

fn read_route(message: RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    if !matches!(header.scope, RouteScope::Universe | RouteScope::Link) {
        return None;
    }
    let mut address = Ipv4Addr::UNSPECIFIED;
    let mut gateway = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = *to,
            RouteAttribute::Gateway(RouteAddress::Inet(by)) => gateway = Some(*by),
            _ => {}
        }
    }
    let destination = Ipv4Net::new(address, header.destination_prefix_length).ok()?;
    Some(Route { destination, gateway, protocol: header.protocol.into(), message })
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

fn failed(what: impl Into<String>, error: rtnetlink::Error) -> NetworkError {
    let source = match &error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    };
    NetworkError::Kernel { what: what.into(), source }
}

/// Takes one error for success.
fn unless(harmless: i32, what: &str) -> impl FnOnce(rtnetlink::Error) -> Result<(), NetworkError> + '_ {
    move |error| if errno(&error) == Some(harmless) { Ok(()) } else { Err(failed(what, error)) }
}
