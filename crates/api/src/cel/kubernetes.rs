//! Libraries that Kubernetes adds: amounts, addresses, URLs.
//!
//! Invariants: what is no amount, address or URL is an error of the function that reads it, never a wrong value.
//! Absent: the authorizer, formats by name.

use std::net::IpAddr;
use std::sync::Arc;

use super::eval::{Fault, Outcome};
use super::value::{Special, Val};
use crate::quantity::Quantity;

/// A function of a library of this name.
pub(super) fn of_library<'a>(library: &str, name: &str, args: &[Val<'a>]) -> Outcome<'a> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match (library, name, args) {
        ("ip", "isCanonical", [Val::Text(text)]) => {
            let ip = address(text).ok_or_else(|| Fault::other(format!("IP Address '{text}' parse error")))?;
            Ok(Val::Bool(ip.to_string() == **text))
        }
        ("base64", "encode", [Val::Bytes(bytes)]) => Ok(Val::text(STANDARD.encode(bytes))),
        ("base64", "decode", [Val::Text(text)]) => match STANDARD.decode(text.as_bytes()) {
            Ok(bytes) => Ok(Val::Bytes(bytes.into())),
            Err(error) => Err(Fault::other(error.to_string())),
        },
        _ => Err(Fault::NoOverload),
    }
}

/// A function on texts.
pub(super) fn call_on_text<'a>(name: &str, text: &str, rest: &[Val<'a>]) -> Outcome<'a> {
    let mut args = vec![Val::text(text)];
    args.extend(rest.iter().cloned());
    call(name, &args)
}

/// A function, or a method of its first argument.
pub(super) fn call<'a>(name: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let special = |special: Special| Ok(Val::Special(special));
    match (name, args) {
        ("quantity", [Val::Text(text)]) => match Quantity::parse(text) {
            Ok(quantity) => special(Special::Quantity(quantity)),
            Err(error) => Err(Fault::other(error.to_string())),
        },
        ("isQuantity", [Val::Text(text)]) => Ok(Val::Bool(Quantity::parse(text).is_ok())),
        ("ip", [Val::Text(text)]) => match address(text) {
            Some(ip) => special(Special::Ip(ip)),
            None => Err(Fault::other(format!("IP Address '{text}' parse error during conversion from string"))),
        },
        ("isIP", [Val::Text(text)]) => Ok(Val::Bool(address(text).is_some())),
        ("cidr", [Val::Text(text)]) => match range(text) {
            Some((ip, bits)) => special(Special::Cidr(ip, bits)),
            None => Err(Fault::other(format!("network address parse error during conversion from string: {text}"))),
        },
        ("isCIDR", [Val::Text(text)]) => Ok(Val::Bool(range(text).is_some())),
        ("url", [Val::Text(text)]) => match split_url(text) {
            Some(_) => special(Special::Url(text.clone())),
            None => Err(Fault::other(format!("URL parse error during conversion from string: {text}"))),
        },
        ("isURL", [Val::Text(text)]) => Ok(Val::Bool(split_url(text).is_some())),
        (_, [Val::Special(Special::Quantity(quantity)), rest @ ..]) => of_quantity(name, quantity, rest),
        (_, [Val::Special(Special::Ip(ip))]) => of_address(name, ip),
        (_, [Val::Special(Special::Cidr(ip, bits)), rest @ ..]) => of_range(name, *ip, *bits, rest),
        (_, [Val::Special(Special::Url(url))]) => of_url(name, url),
        _ => Err(Fault::NoOverload),
    }
}

fn of_quantity<'a>(name: &str, quantity: &Quantity, rest: &[Val<'a>]) -> Outcome<'a> {
    let other = match rest {
        [Val::Special(Special::Quantity(other))] => Some(other.clone()),
        [Val::Int(number)] => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    };
    match (name, other) {
        ("isGreaterThan", Some(other)) => Ok(Val::Bool(*quantity > other)),
        ("isLessThan", Some(other)) => Ok(Val::Bool(*quantity < other)),
        ("compareTo", Some(other)) => Ok(Val::Int(quantity.cmp(&other) as i64)),
        ("add", Some(other)) => Ok(Val::Special(Special::Quantity(quantity.clone() + &other))),
        ("sub", Some(other)) => Ok(Val::Special(Special::Quantity(quantity.clone() - &other))),
        ("sign", None) => Ok(Val::Int(match (quantity.is_zero(), quantity.is_negative()) {
            (true, _) => 0,
            (_, true) => -1,
            _ => 1,
        })),
        ("isInteger", None) => Ok(Val::Bool(quantity.is_whole())),
        ("asInteger", None) if quantity.is_whole() => Ok(Val::Int(quantity.units())),
        ("asInteger", None) => Err(Fault::other("cannot convert value to integer")),
        ("asApproximateFloat", None) => Ok(Val::Double(quantity.milli() as f64 / 1000.0)),
        _ => Err(Fault::NoOverload),
    }
}

fn of_address<'a>(name: &str, ip: &IpAddr) -> Outcome<'a> {
    match name {
        "family" => Ok(Val::Int(if ip.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => Ok(Val::Bool(ip.is_unspecified())),
        "isLoopback" => Ok(Val::Bool(ip.is_loopback())),
        "isLinkLocalMulticast" => Ok(Val::Bool(match ip {
            IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        })),
        "isLinkLocalUnicast" => Ok(Val::Bool(match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
        })),
        "isGlobalUnicast" => Ok(Val::Bool(
            !(ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || matches!(ip, IpAddr::V4(ip) if ip.is_link_local() || ip.is_broadcast())),
        )),
        _ => Err(Fault::NoOverload),
    }
}

fn of_range<'a>(name: &str, ip: IpAddr, bits: u8, rest: &[Val<'a>]) -> Outcome<'a> {
    match (name, rest) {
        ("containsIP", [Val::Special(Special::Ip(other))]) => Ok(Val::Bool(is_within(*other, ip, bits))),
        ("containsIP", [Val::Text(text)]) => match address(text) {
            Some(other) => Ok(Val::Bool(is_within(other, ip, bits))),
            None => Err(Fault::other(format!("IP Address '{text}' parse error"))),
        },
        ("containsCIDR", [other]) => {
            let other = match other {
                Val::Special(Special::Cidr(ip, bits)) => Some((*ip, *bits)),
                Val::Text(text) => range(text),
                _ => None,
            };
            let (inner, inner_bits) = other.ok_or_else(|| Fault::other("network address parse error"))?;
            Ok(Val::Bool(inner_bits >= bits && is_within(inner, ip, bits)))
        }
        ("ip", []) => Ok(Val::Special(Special::Ip(ip))),
        ("prefixLength", []) => Ok(Val::Int(bits.into())),
        ("masked", []) => Ok(Val::Special(Special::Cidr(masked(ip, bits), bits))),
        _ => Err(Fault::NoOverload),
    }
}

fn of_url<'a>(name: &str, url: &str) -> Outcome<'a> {
    let Some((scheme, host, path, query)) = split_url(url) else { return Err(Fault::NoOverload) };
    let (hostname, port) = match (host.rfind(':'), host.ends_with(']')) {
        (Some(at), false) => (&host[..at], &host[at + 1..]),
        _ => (host, ""),
    };
    match name {
        "getScheme" => Ok(Val::text(scheme)),
        "getHost" => Ok(Val::text(host)),
        "getHostname" => Ok(Val::text(hostname.trim_matches(['[', ']']))),
        "getPort" => Ok(Val::text(port)),
        "getEscapedPath" => Ok(Val::text(path)),
        "getQuery" => {
            let mut pairs: Vec<(Val<'a>, Vec<Val<'a>>)> = Vec::new();
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                let key = Val::text(key);
                match pairs.iter_mut().find(|(there, _)| there.equals(&key)) {
                    Some((_, values)) => values.push(Val::text(value)),
                    None => pairs.push((key, vec![Val::text(value)])),
                }
            }
            let pairs = pairs.into_iter().map(|(key, values)| (key, Val::list(values))).collect();
            Ok(Val::Map(super::value::Table::Made(Arc::new(pairs))))
        }
        _ => Err(Fault::NoOverload),
    }
}

/// Scheme, host, path and query, as far as Go's `url.ParseRequestURI` takes a text.
fn split_url(text: &str) -> Option<(&str, &str, &str, &str)> {
    if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    if address.starts_with('/') {
        return Some(("", "", address, query));
    }
    let (scheme, rest) = address.split_once(':')?;
    let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    let rest = rest.strip_prefix("//").filter(|_| is_scheme)?;
    let at = rest.find('/').unwrap_or(rest.len());
    Some((scheme, &rest[..at], &rest[at..], query))
}

/// An address without a zone, and not of one family written as of the other.
fn address(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    match ip {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = text.split_once('/')?;
    let ip = address(ip)?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, bits))
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into()),
    }
}

fn is_within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    ip.is_ipv4() == network.is_ipv4() && masked(ip, bits) == masked(network, bits)
}

/// As text.
pub(super) fn shown(special: &Special) -> String {
    match special {
        Special::Quantity(quantity) => quantity.to_string(),
        Special::Ip(ip) => ip.to_string(),
        Special::Cidr(ip, bits) => format!("{ip}/{bits}"),
        Special::Url(url) => url.to_string(),
    }
}
