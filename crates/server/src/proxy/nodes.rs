//! Requests to a node's agent, over its tunnel.

use std::sync::Arc;

use api::status;
use http::{HeaderValue, Method, Request, Response, header};
use store::Store;

use super::Target;
use crate::app::{App, Ask, Place};
use crate::reply::{self, Reply};

/// The port under which Kubernetes knows an agent.
const AGENT_PORT: &str = "10250";

/// Passes a question on. What changes something has paths of its own, with rights of their own.
pub(super) async fn proxy<S: Store>(
    app: &Arc<App<S>>,
    ask: Ask,
    place: Place<'_>,
    target: &Target<'_>,
    rest: &str,
) -> Reply {
    app.entry(place).await?;
    if !matches!(target.port, "" | AGENT_PORT) {
        let why = format!("node {:?} has no port {} here, only that of its agent", target.name, target.port);
        return Err(status::service_unavailable(&format!("error trying to reach service: {why}")));
    }
    if !matches!(ask.method, Method::GET | Method::HEAD) {
        let verb = ask.method.as_str().to_ascii_lowercase();
        return Err(status::method_not_allowed(place.kind.group, place.kind.plural, &verb));
    }
    let query = ask.uri.query().unwrap_or_default().to_owned();
    let mark = if query.is_empty() { "" } else { "?" };
    let uri = format!("http://node{}{mark}{query}", if rest.is_empty() { "/" } else { rest });
    let request = Request::get(uri).body(reply::full("")).map_err(|e| status::bad_request(e.to_string()))?;
    let answer = app.nodes.send(target.name, request).await?;
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let code = answer.status();
    let mut response = Response::new(answer.into_body());
    *response.status_mut() = code;
    let kind = kind.unwrap_or(HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
