//! tcpSocket: somebody listens.

use std::time::Duration;

use tokio::net::TcpStream;

use super::Outcome;

pub(super) async fn connect(host: &str, port: u16, timeout: Duration) -> Outcome {
    let at = address(host, port);
    match tokio::time::timeout(timeout, TcpStream::connect((host.trim_matches(['[', ']']), port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(format!("dial tcp {at}: connect: {}", words(&error))),
        Err(_) => Outcome::Failure(format!("dial tcp {at}: i/o timeout")),
    }
}

pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// As people know it: without the number of the error.
pub(super) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listening_and_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let second = Duration::from_secs(1);
        assert_eq!(connect("127.0.0.1", port, second).await, Outcome::Success);
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(connect("127.0.0.1", port, second).await, Outcome::Failure(refused));
    }
}
