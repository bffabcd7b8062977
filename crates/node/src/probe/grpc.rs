//! grpc: the standard health service, asked over plain HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Outcome;
use super::tcp::{address, words};

/// Bytes of an answer: it is a message with one number.
const BODY_MAX: usize = 4096;
/// `grpc.health.v1.HealthCheckResponse.SERVING`, field 1 as protobuf writes it.
const SERVING: [u8; 2] = [0x08, 1];

pub(super) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, ask(host, port, service)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let at = address(host, port);
            Outcome::Failure(format!("timeout: health rpc to \"{at}\" did not complete within {}s", timeout.as_secs()))
        }
    }
}

/// A length-prefixed message whose field 1 is the service's name.
fn message(service: &str) -> Option<Bytes> {
    let length = u8::try_from(service.len()).ok().filter(|l| *l < 0x80)?;
    let mut body = Vec::new();
    if length > 0 {
        body.extend([0x0a, length]);
        body.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend(u32::try_from(body.len()).ok()?.to_be_bytes());
    framed.extend(body);
    Some(framed.into())
}

async fn ask(host: &str, port: u16, service: &str) -> Outcome {
    let at = address(host, port);
    let Some(body) = message(service) else { return Outcome::Error("the service's name is too long".to_owned()) };
    let stream = match TcpStream::connect((host, port)).await {
        Ok(stream) => stream,
        Err(error) => {
            return Outcome::Failure(format!("error: failed to connect to \"{at}\": {}", words(&error)));
        }
    };
    match exchange(stream, &at, body).await {
        Ok((0, answer)) if answer.get(5..) == Some(&SERVING) => Outcome::Success,
        Ok((0, _)) => Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        Ok((12, _)) => Outcome::Failure(
            "this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned(),
        ),
        Ok((code, _)) => Outcome::Failure(format!("error: health rpc failed: code {code}")),
        Err(error) => Outcome::Failure(format!("error: health rpc failed: {error}")),
    }
}

/// The status of the call and its message.
async fn exchange(stream: TcpStream, at: &str, body: Bytes) -> Result<(u32, Bytes), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|e| text(&e))?;
    let driver = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body))
        .map_err(|e| text(&e))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| text(&e))?;
        let code = |headers: &http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse::<u32>().ok();
        let early = code(response.headers());
        let collected = Limited::new(response.into_body(), BODY_MAX).collect().await.map_err(|e| e.to_string())?;
        let late = collected.trailers().and_then(code);
        let status = early.or(late).ok_or_else(|| "the answer is no gRPC".to_owned())?;
        Ok((status, collected.to_bytes()))
    };
    let result = answer.await;
    driver.abort();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(message("").unwrap().as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab").unwrap().as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(message(&"x".repeat(200)), None);
    }
}
