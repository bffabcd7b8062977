//! Switching a client's connection over: which protocol it gets, and the answer that says so.

use api::status::{self, Status};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::app::Ask;
use crate::reply::{self, Body};

/// Channels with a way to say that a channel has ended.
pub(super) const V5: &str = "v5.channel.k8s.io";
/// Channels without.
pub(super) const V4: &str = "v4.channel.k8s.io";
/// SPDY inside of a websocket.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Ports over SPDY.
const PORTS: &str = "portforward.k8s.io";
/// The header in which SPDY clients name what they speak inside of it.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// What is spoken for one purpose, best first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    websocket: &'static [&'static str],
    spdy: &'static str,
}

/// Exec and attach.
pub(super) const REMOTE_COMMAND: Offer = Offer { websocket: &[V5, V4], spdy: V4 };
/// Port-forward.
pub(super) const PORT_FORWARD: Offer = Offer { websocket: &[TUNNEL, V5, V4], spdy: PORTS };

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A websocket with this subprotocol.
    WebSocket(&'static str),
    /// SPDY/3.1.
    Spdy,
}

/// A switch that only needs to be said yes to.
#[derive(Debug)]
pub(super) struct Handshake {
    upgrade: OnUpgrade,
    way: Way,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// Reads what the client asks for.
///
/// # Errors
/// 400 when it asks for no switch, or for none that we can make.
pub(super) fn read(ask: &Ask, offer: Offer) -> Result<Handshake, Status> {
    let (way, headers) = agree(&ask.headers, offer)?;
    // Taken out of the request by the caller's end: a connection can be switched once.
    let upgrade = ask.upgrade.clone().ok_or_else(|| status::bad_request("Upgrade request required"))?;
    Ok(Handshake { upgrade, way, headers })
}

impl Handshake {
    /// What was agreed on.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// The answer, and what follows it.
    pub(super) fn accept(self) -> (Response<Body>, OnUpgrade, Way) {
        let mut response = Response::new(reply::full(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        (response, self.upgrade, self.way)
    }
}

type Agreed = (Way, Vec<(header::HeaderName, HeaderValue)>);

fn agree(headers: &HeaderMap, offer: Offer) -> Result<Agreed, Status> {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if upgrade.eq_ignore_ascii_case("websocket") {
        let wanted = words(headers, header::SEC_WEBSOCKET_PROTOCOL.as_str());
        let protocol = chosen(&wanted, offer.websocket)?;
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        let key = key.ok_or_else(|| status::bad_request("a websocket needs the header Sec-WebSocket-Key"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(status::internal)?;
        let answer = vec![
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
            (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol)),
        ];
        return Ok((Way::WebSocket(protocol), answer));
    }
    if upgrade.eq_ignore_ascii_case("SPDY/3.1") {
        let protocol = chosen(&words(headers, STREAM_PROTOCOL), &[offer.spdy])?;
        let answer = vec![
            (header::UPGRADE, HeaderValue::from_static("SPDY/3.1")),
            (header::HeaderName::from_static(STREAM_PROTOCOL), HeaderValue::from_static(protocol)),
        ];
        return Ok((Way::Spdy, answer));
    }
    Err(status::bad_request("Upgrade request required"))
}

/// The words of all headers of the name, which may hold several with commas.
fn words(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect()
}

fn chosen(wanted: &[String], ours: &[&'static str]) -> Result<&'static str, Status> {
    let found = wanted.iter().find_map(|word| ours.iter().find(|our| *our == word));
    found.copied().ok_or_else(|| {
        status::bad_request(format!(
            "unable to negotiate protocol: client supports [{}], server supports [{}]",
            wanted.join(" "),
            ours.join(" ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_first_protocol_that_both_know() {
        let websocket = |protocols| {
            headers(&[("upgrade", "WebSocket"), ("sec-websocket-key", "x"), ("sec-websocket-protocol", protocols)])
        };
        let spdy = |a, b| headers(&[("upgrade", "SPDY/3.1"), (STREAM_PROTOCOL, a), (STREAM_PROTOCOL, b)]);
        for (headers, offer, want) in [
            (websocket("v5.channel.k8s.io"), REMOTE_COMMAND, Some(Way::WebSocket(V5))),
            (websocket("v4.channel.k8s.io,v5.channel.k8s.io"), REMOTE_COMMAND, Some(Way::WebSocket(V4))),
            (websocket("base64.channel.k8s.io"), REMOTE_COMMAND, None),
            (websocket("SPDY/3.1+portforward.k8s.io"), PORT_FORWARD, Some(Way::WebSocket(TUNNEL))),
            (websocket("v4.channel.k8s.io"), PORT_FORWARD, Some(Way::WebSocket(V4))),
            (spdy("v4.channel.k8s.io", "v3.channel.k8s.io"), REMOTE_COMMAND, Some(Way::Spdy)),
            (spdy("v3.channel.k8s.io", "channel.k8s.io"), REMOTE_COMMAND, None),
            (spdy("portforward.k8s.io", ""), PORT_FORWARD, Some(Way::Spdy)),
            (self::headers(&[("upgrade", "h2c")]), PORT_FORWARD, None),
            (self::headers(&[]), REMOTE_COMMAND, None),
        ] {
            assert_eq!(agree(&headers, offer).ok().map(|(way, _)| way), want, "{headers:?}");
        }
    }
}
