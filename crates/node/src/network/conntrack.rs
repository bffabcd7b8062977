//! Flows that the kernel remembers: those that go where a port no longer leads are forgotten.
//!
//! A program that keeps sending UDP from one socket keeps its flow alive, and the flow keeps its destination: after a rolling
//! update of the daemon behind a host port it would send to the old pod's address for good.
//!
//! # Invariants
//! Only flows of the ports that changed are touched.
//!
//! # Absent
//! TCP and SCTP: their connections end with the pod, and new ones ask anew.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Subsystem of connection tracking, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// Attributes.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;
/// Attributes of a tuple, of its addresses and of its protocol.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PORT_TO: u16 = 3;
/// The flags in an attribute's type.
const TYPE_MASK: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

const HEADER: usize = 16;
/// With what follows a header here: family, version, resource.
const BODY: usize = HEADER + 4;
/// Bytes of one answer: what the kernel sends at once.
const ANSWER_MAX: usize = 64 * 1024;
/// Flows looked at in one go: a busy machine has some hundred thousand, and a look must end.
const FLOWS_MAX: usize = 1 << 20;
/// How long the kernel may be silent.
const PATIENCE_SECONDS: i64 = 5;

/// A flow of UDP, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    to: IpAddr,
    to_port: u16,
    answers_from: IpAddr,
    /// The attributes that name it to the kernel.
    name: Vec<u8>,
}

/// Forgets UDP flows to these ports of the node that do not go to one of `targets`.
///
/// # Errors
/// What the kernel says; without connection tracking there is nothing to forget.
pub(super) fn forget(ports: &[u16], targets: &[IpAddr]) -> io::Result<()> {
    let astray = |flow: &Flow| {
        ports.contains(&flow.to_port)
            && !targets.contains(&flow.answers_from)
            // Only an address of this machine can be bound to; other flows to such a port are not ours.
            && UdpSocket::bind((flow.to, 0)).is_ok()
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).unwrap_or_default();
        let socket = open()?;
        for flow in flows(&socket, family)?.iter().filter(|flow| astray(flow)) {
            send(socket.as_raw_fd(), &message(DELETE, REQUEST | ACK, family, &flow.name), MsgFlags::empty())?;
            // One that has ended meanwhile is as good.
            let _ = recv(socket.as_raw_fd(), &mut [0; ANSWER_MAX], MsgFlags::empty());
        }
    }
    Ok(())
}

fn open() -> io::Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
    Ok(socket)
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(BODY + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence, and whose it is: the kernel's to fill in.
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn flows(socket: &OwnedFd, family: u8) -> io::Result<Vec<Flow>> {
    send(socket.as_raw_fd(), &message(GET, REQUEST | DUMP, family, &[]), MsgFlags::empty())?;
    let (mut found, mut seen, mut buffer) = (Vec::new(), 0, vec![0; ANSWER_MAX]);
    loop {
        let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..count).unwrap_or_default();
        while let Some((kind, body, next)) = split_message(rest) {
            match kind {
                DONE => return Ok(found),
                ERROR => return Err(io::Error::other("the kernel does not list its flows")),
                NEW => found.extend(read(body)),
                _ => {}
            }
            (rest, seen) = (next, seen + 1);
        }
        if count == 0 || seen >= FLOWS_MAX {
            return Ok(found);
        }
    }
}

/// Type and body of the first message, and what comes after it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(aligned(length)..).unwrap_or_default()))
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

/// Type, value and whole of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let (value, whole) = (bytes.get(4..length)?, bytes.get(..length)?);
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value, whole))
    })
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, ..)| *kind == wanted).map(|(_, value, _)| value)
}

/// The flow in a message, if it is one of UDP.
fn read(body: &[u8]) -> Option<Flow> {
    let body = body.get(4..)?;
    let original = attribute(body, TUPLE_ORIGINAL)?;
    let reply = attribute(body, TUPLE_REPLY)?;
    let protocol = attribute(original, TUPLE_PROTO)?;
    let number = attribute(protocol, 1)?.first().copied()?;
    if i32::from(number) != libc::IPPROTO_UDP {
        return None;
    }
    let mut name = Vec::new();
    for (kind, _, whole) in attributes(body).filter(|(kind, ..)| matches!(*kind, TUPLE_ORIGINAL | ZONE)) {
        let start = name.len();
        name.extend_from_slice(whole);
        if kind == TUPLE_ORIGINAL
            && let Some(word) = name.get_mut(start + 2..start + 4)
        {
            word.copy_from_slice(&(kind | NESTED).to_ne_bytes());
        }
        name.resize(aligned(name.len()), 0);
    }
    Some(Flow {
        to: address(attribute(original, TUPLE_IP)?, 2)?,
        to_port: u16::from_be_bytes(attribute(protocol, PORT_TO)?.try_into().ok()?),
        answers_from: address(attribute(reply, TUPLE_IP)?, 1)?,
        name,
    })
}

/// Source (1) or destination (2) of a tuple.
fn address(ip: &[u8], which: u16) -> Option<IpAddr> {
    if let Some(bytes) = attribute(ip, which) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
    }
    let bytes = attribute(ip, which + 2)?;
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4], protocol: u8, port: u16) -> Vec<u8> {
        let ip = make(TUPLE_IP | NESTED, &[make(1, &from), make(2, &to)].concat());
        let proto =
            [make(1, &[protocol]), make(2, &999_u16.to_be_bytes()), make(PORT_TO, &port.to_be_bytes())].concat();
        make(kind | NESTED, &[ip, make(TUPLE_PROTO | NESTED, &proto)].concat())
    }

    #[test]
    fn flows_are_read() {
        let (me, node, pod) = ([127, 0, 0, 1], [127, 0, 0, 2], [10, 42, 0, 5]);
        let body = |protocol| {
            let original = tuple(TUPLE_ORIGINAL, me, node, protocol, 8125);
            [vec![2, 0, 0, 0], original, tuple(TUPLE_REPLY, pod, me, protocol, 999), make(ZONE, &[0, 7])].concat()
        };
        let flow = read(&body(17)).unwrap();
        assert_eq!((flow.to, flow.to_port, flow.answers_from), (node.into(), 8125, pod.into()));
        assert_eq!(flow.name, [tuple(TUPLE_ORIGINAL, me, node, 17, 8125), make(ZONE, &[0, 7])].concat());
        assert_eq!(read(&body(6)), None, "TCP");
        assert_eq!(read(&body(17)[..20]), None, "cut");
    }

    #[test]
    fn messages_are_split() {
        let both = [message(NEW, 0, 2, &make(9, &[1])), message(DONE, 0, 2, &[])].concat();
        let (kind, body, rest) = split_message(&both).unwrap();
        assert_eq!((kind, body.len()), (NEW, 12));
        assert_eq!(split_message(rest).map(|(kind, ..)| kind), Some(DONE));
        assert_eq!(split_message(&both[..10]), None);
    }
}
