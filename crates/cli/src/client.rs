//! Requests to the API server: JSON in, JSON out, warnings to standard error.
//!
//! # Absent
//! Typed objects: a verb shows what the server sent, fields that we do not know included.

use bytes::Bytes;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::failure::{Failure, Result};

/// The media type of server-side tables, with plain objects where the server has none.
pub(crate) const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
const JSON: &str = "application/json";
/// Objects a page of a list has, as kubectl asks for.
pub(crate) const PAGE_OBJECTS: u32 = 500;

/// A connection that was switched over.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// A patch's media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// Operations of RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// The server, and the namespace to work in.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    /// The namespace that objects without one are in.
    pub(crate) namespace: String,
    /// Whether the user named it, so that files may not name another.
    pub(crate) namespace_given: bool,
    host: String,
}

impl Api {
    pub(crate) fn new(client: kube::Client, namespace: String, namespace_given: bool, host: String) -> Self {
        Self { client, namespace, namespace_given, host }
    }

    pub(crate) async fn get(&self, path: &str, query: &Query) -> Result<Value> {
        self.json(Method::GET, path, query, JSON, None).await
    }

    /// As a table, where the server can.
    pub(crate) async fn get_table(&self, path: &str, query: &Query) -> Result<Value> {
        self.json(Method::GET, path, query, TABLE, None).await
    }

    /// A whole list, page by page; the answer is the first page with all items (or rows) in it.
    pub(crate) async fn list(&self, path: &str, query: &Query, accept_table: bool, page: u32) -> Result<Value> {
        let mut whole: Option<Value> = None;
        let mut next = String::new();
        loop {
            let mut query = query.clone();
            if page > 0 {
                query.add("limit", page.to_string());
            }
            if !next.is_empty() {
                query.add("continue", std::mem::take(&mut next));
            }
            let answer =
                if accept_table { self.get_table(path, &query).await? } else { self.get(path, &query).await? };
            next = answer["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            whole = Some(match whole {
                None => answer,
                Some(first) => joined(first, answer),
            });
            if next.is_empty() {
                return Ok(whole.unwrap_or_default());
            }
        }
    }

    pub(crate) async fn post(&self, path: &str, query: &Query, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, query, JSON, Some((JSON, body))).await
    }

    pub(crate) async fn put(&self, path: &str, query: &Query, body: &Value) -> Result<Value> {
        self.json(Method::PUT, path, query, JSON, Some((JSON, body))).await
    }

    pub(crate) async fn delete(&self, path: &str, query: &Query, options: &Value) -> Result<Value> {
        self.json(Method::DELETE, path, query, JSON, Some((JSON, options))).await
    }

    pub(crate) async fn patch(&self, path: &str, query: &Query, kind: PatchKind, patch: &Value) -> Result<Value> {
        let media = match kind {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Apply => "application/apply-patch+yaml",
        };
        self.json(Method::PATCH, path, query, JSON, Some((media, patch))).await
    }

    /// The answer as it is, for `--raw`.
    pub(crate) async fn raw(&self, path: &str) -> Result<Bytes> {
        let response = self.send(Method::GET, path.to_owned(), JSON, None).await?;
        self.body(response).await
    }

    /// The answer's lines as they come.
    pub(crate) async fn lines(
        &self,
        path: &str,
        query: &Query,
        accept: &str,
    ) -> Result<impl futures::Stream<Item = Result<String>> + Unpin + use<>> {
        let reader = self.stream(path, query, accept).await?;
        Ok(Box::pin(reader.lines().map_err(|e| Failure::Message(e.to_string()))))
    }

    /// The answer's bytes as they come.
    pub(crate) async fn stream(
        &self,
        path: &str,
        query: &Query,
        accept: &str,
    ) -> Result<impl futures::AsyncBufRead + Unpin + use<>> {
        let response = self.send(Method::GET, query.on(path), accept, None).await?;
        if !response.status().is_success() {
            let refusal = self.body(response).await;
            return Err(refusal.err().unwrap_or(Failure::Silent));
        }
        let body = response.into_body().into_data_stream().map_err(std::io::Error::other);
        Ok(Box::pin(body).into_async_read())
    }

    /// A websocket, and the one of `protocols` that the server chose.
    pub(crate) async fn websocket(&self, path: &str, query: &Query, protocols: &[&str]) -> Result<(Socket, String)> {
        let target = query.on(path);
        let request = Request::get(&target)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key())
            .header("sec-websocket-protocol", protocols.join(", "))
            .body(Body::empty())
            .map_err(|e| Failure::Message(format!("{target}: {e}")))?;
        let response = self.client.send(request).await.map_err(|e| self.unreachable(&e))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            let bytes = response.into_body().collect().await.map_err(|e| self.unreachable(&e))?.to_bytes();
            return Err(match serde_json::from_slice::<Value>(&bytes) {
                Ok(body) if body["kind"] == "Status" => refused(status, &bytes),
                _ => Failure::Message(format!(
                    "unable to upgrade connection: {}",
                    String::from_utf8_lossy(&bytes).trim()
                )),
            });
        }
        let protocol = response.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
        let Some(protocol) = protocol.filter(|protocol| protocols.contains(protocol)).map(str::to_owned) else {
            return Err("the server switched to a protocol that it was not asked for".into());
        };
        let io = hyper::upgrade::on(response).await.map_err(|e| Failure::Message(e.to_string()))?;
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Client, None).await;
        Ok((socket, protocol))
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value> {
        let response = self.send(method, query.on(path), accept, body).await?;
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes).map_err(|e| Failure::Message(format!("the server's answer is not JSON: {e}")))
    }

    async fn send(
        &self,
        method: Method,
        target: String,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<http::Response<Body>> {
        let mut request = Request::builder().method(method).uri(&target).header("accept", accept);
        let bytes = match body {
            None => Vec::new(),
            Some((media, value)) => {
                request = request.header("content-type", media);
                value.to_string().into_bytes()
            }
        };
        let request = request.body(Body::from(bytes)).map_err(|e| Failure::Message(format!("{target}: {e}")))?;
        let response = self.client.send(request).await.map_err(|e| self.unreachable(&e))?;
        for warning in response.headers().get_all("warning") {
            if let Some(text) = warning.to_str().ok().and_then(warning_text) {
                eprintln!("Warning: {text}");
            }
        }
        Ok(response)
    }

    async fn body(&self, response: http::Response<Body>) -> Result<Bytes> {
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|e| self.unreachable(&e))?.to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes)) }
    }

    fn unreachable(&self, error: &kube::Error) -> Failure {
        let mut deepest: &dyn std::error::Error = error;
        while let Some(cause) = deepest.source() {
            deepest = cause;
        }
        if deepest.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused) {
            let host = &self.host;
            return Failure::Connection(format!(
                "The connection to the server {host} was refused - did you specify the right host or port?"
            ));
        }
        Failure::Connection(format!("Unable to connect to the server: {deepest}"))
    }
}

/// What an answer that is not a success says.
fn refused(status: StatusCode, bytes: &[u8]) -> Failure {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && value["kind"] == "Status"
    {
        return Failure::Status(Box::new(value));
    }
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        _ => "InternalError",
    };
    let said = String::from_utf8_lossy(bytes);
    let message = match status {
        StatusCode::NOT_FOUND => "the server could not find the requested resource".to_owned(),
        _ if said.trim().is_empty() => format!("the server answered {status}"),
        _ => said.trim().to_owned(),
    };
    Failure::Status(Box::new(json!({"kind": "Status", "reason": reason, "message": message, "code": status.as_u16()})))
}

/// The text in `299 - "text"`.
fn warning_text(header: &str) -> Option<String> {
    let quoted = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
}

fn joined(mut first: Value, mut more: Value) -> Value {
    for part in ["items", "rows"] {
        if let (Some(all), Some(new)) = (first[part].as_array_mut(), more[part].as_array_mut()) {
            all.append(new);
        }
    }
    if let Some(metadata) = first["metadata"].as_object_mut() {
        metadata.remove("continue");
        metadata.remove("remainingItemCount");
    }
    first
}

/// Parameters of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With one more.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.add(name, value);
        self
    }

    /// With one more, if there is a value.
    pub(crate) fn with_some(mut self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }

    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    fn on(&self, path: &str) -> String {
        let mut target = path.to_owned();
        for (place, (name, value)) in self.0.iter().enumerate() {
            let sign = if place == 0 && !path.contains('?') { '?' } else { '&' };
            target.push(sign);
            target.push_str(name);
            target.push('=');
            target.push_str(&escaped(value));
        }
        target
    }
}

/// Percent-encoded for a path segment or a parameter.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_targets() {
        let query = Query::new().with("labelSelector", "a in (b,c)").with_some("limit", None::<String>);
        assert_eq!(query.on("/api/v1/pods"), "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29");
        assert_eq!(Query::new().with("b", "1").with("c", "2").on("/x?a=0"), "/x?a=0&b=1&c=2");
    }

    #[test]
    fn reads_warnings_and_plain_refusals() {
        assert_eq!(warning_text(r#"299 - "say \"no\"""#).as_deref(), Some("say \"no\""));
        assert_eq!(warning_text("299"), None);
        let plain = refused(StatusCode::NOT_FOUND, b"404 page not found");
        assert_eq!(plain.text(), "Error from server (NotFound): the server could not find the requested resource");
        let status = refused(StatusCode::CONFLICT, br#"{"kind":"Status","reason":"Conflict","message":"m"}"#);
        assert_eq!(status.text(), "Error from server (Conflict): m");
    }
}
