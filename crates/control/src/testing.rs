//! An API server for tests that says what the test wants, and notes what it is asked.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::Options;
use crate::hub::Hub;
use crate::record::Recorder;

/// What the server answers to a method and a path: code and body.
pub(crate) type Answers = fn(&str, &str) -> (u16, Value);

/// Requests as `METHOD path`, with their bodies.
pub(crate) type Requests = Arc<Mutex<Vec<(String, Value)>>>;

/// A hub whose requests are answered so, and what it asked.
pub(crate) fn hub(answer: Answers) -> (Arc<Hub>, Requests) {
    let requests = Requests::default();
    let seen = requests.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let line = format!("{} {}", parts.method, parts.uri.path());
            seen.lock().unwrap().push((line, serde_json::from_slice(&body).unwrap_or_default()));
            let (code, body) = answer(parts.method.as_str(), parts.uri.path());
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    let (recorder, _) = Recorder::new();
    (Hub::new(Client::new(service, "default"), Options::default(), recorder), requests)
}

/// The requests so far, without their bodies.
pub(crate) fn lines(requests: &Requests) -> Vec<String> {
    requests.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
}

/// A refusal.
pub(crate) fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "no"})
}
