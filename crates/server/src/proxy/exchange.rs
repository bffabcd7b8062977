//! One request and its answer over a connection into a pod.

use std::sync::Arc;
use std::time::Duration;

use api::status::{self, Status};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::insecure;
use super::places::Pod;
use crate::app::{App, Ask};
use crate::reply::{self, Body, Reply};
use crate::streams;

/// A connection into a pod is there by then, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers that are about one connection, not about the request.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a request is passed on to.
pub(super) struct To {
    pub(super) pod: Pod,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) rest: String,
}

/// Passes a request on and its answer back.
pub(super) async fn pass<S: Store>(app: &Arc<App<S>>, ask: Ask, to: To) -> Reply {
    let unreachable = |why: String| status::service_unavailable(&format!("error trying to reach service: {why}"));
    let upgrade = ask.upgrade.clone().filter(|_| ask.headers.contains_key(header::UPGRADE));
    let request = request(ask, &to, upgrade.is_some())?;
    let connect = async {
        let stream = streams::into_pod(app, &to.pod.node, &to.pod.namespace, &to.pod.name, to.port).await?;
        match to.tls {
            false => send(stream, request).await,
            true => send(insecure::wrap(stream, &to.pod.ip).await?, request).await,
        }
    };
    let answer = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
    let answer = answer.map_err(|_| unreachable("no answer in time".to_owned()))?.map_err(unreachable)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switched(answer, upgrade, app.shutdown.clone())
            .ok_or_else(|| unreachable("it switched protocols".to_owned()));
    }
    let (mut parts, body) = answer.into_parts();
    drop_hop_by_hop(&mut parts.headers);
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    Ok(response)
}

/// The request as the pod gets it.
fn request(ask: Ask, to: &To, upgrades: bool) -> Result<Request<Body>, Status> {
    let query = ask.uri.query().unwrap_or_default().to_owned();
    let mark = if query.is_empty() { "" } else { "?" };
    let path = if to.rest.is_empty() { "/" } else { &to.rest };
    let mut headers = ask.headers;
    let asked_upgrade = headers.get(header::UPGRADE).cloned();
    let host = headers.get(header::HOST).cloned();
    drop_hop_by_hop(&mut headers);
    headers.remove(header::AUTHORIZATION);
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    impersonation.iter().for_each(|name| {
        headers.remove(name);
    });
    if let (true, Some(protocol)) = (upgrades, asked_upgrade) {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("host", &format!("{}:{}", to.pod.ip, to.port));
    set("x-forwarded-uri", &ask.path);
    set("x-forwarded-proto", "https");
    if let Some(host) = host.as_ref().and_then(|host| host.to_str().ok()) {
        set("x-forwarded-host", host);
    }
    let body = if upgrades { reply::full("") } else { ask.body };
    let mut request = Request::builder()
        .method(ask.method)
        .uri(format!("{path}{mark}{query}"))
        .body(body)
        .map_err(|error| status::bad_request(error.to_string()))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    // What `Connection` names is about the connection, too.
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

async fn send<T>(stream: T, request: Request<Body>) -> Result<Response<Incoming>, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the answer's body, or when the client goes and drops it.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// Joins both connections once both ends speak the new protocol. None when the client did not ask for that.
fn switched(
    mut answer: Response<Incoming>,
    upgrade: Option<OnUpgrade>,
    shutdown: CancellationToken,
) -> Option<Response<Body>> {
    let client = upgrade?;
    let pod = hyper::upgrade::on(&mut answer);
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    tokio::spawn(async move {
        let (Ok(client), Ok(pod)) = tokio::join!(client, pod) else { return };
        let (mut client, mut pod) = (TokioIo::new(client), TokioIo::new(pod));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut pod) => {}
            () = shutdown.cancelled() => {}
        }
    });
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_stay_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Own"), ("x-own", "1"), ("te", "trailers"), ("accept", "a")] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        drop_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
