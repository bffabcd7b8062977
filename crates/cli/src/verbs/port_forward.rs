//! `port-forward`: ports of a pod on this machine.
//!
//! # Invariants
//! - Each connection has a websocket of its own: one that nobody reads does not stop the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;

use super::pod;
use crate::client::{Api, Query, Socket};
use crate::failure::{Failure, Result, message};
use crate::streams::{CLOSE, V4, V5};

/// Connections at once: a browser opens a handful.
const CONNECTIONS_MAX: usize = 128;
/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// A server that can't be told that no more comes from here may still answer; it gets this long.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Flags of `port-forward`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// POD or TYPE/NAME
    #[arg(value_name = "POD")]
    pod: String,
    /// [LOCAL:]REMOTE, or :REMOTE for any free local port
    #[arg(value_name = "PORTS", required = true)]
    ports: Vec<String>,
    /// Addresses to listen on
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "localhost")]
    address: Vec<String>,
}

/// Forwards until it is interrupted.
pub(crate) async fn run(api: &Api, args: &Args) -> Result<()> {
    let ports = args.ports.iter().map(|word| read_ports(word)).collect::<Result<Vec<_>>>()?;
    let found = pod::find(api, &args.pod).await?;
    let phase = found["status"]["phase"].as_str().unwrap_or_default();
    if phase != "Running" {
        return message(format!("unable to forward port because pod is not running. Current status={phase}"));
    }
    let path = pod::path(&found, "portforward");
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut listening = Vec::new();
    for (local, remote) in ports {
        for (listener, local) in listen(&args.address, local, remote).await? {
            listening.push(serve(api.clone(), path.clone(), listener, local, remote, room.clone()));
        }
    }
    futures::future::join_all(listening).await;
    Ok(())
}

/// `8080:80`, `80`, `:80`.
fn read_ports(word: &str) -> Result<(u16, u16)> {
    let number = |text: &str| text.parse::<u16>();
    let read = match word.split_once(':') {
        None => number(word).map(|port| (port, port)),
        Some(("", remote)) => number(remote).map(|remote| (0, remote)),
        Some((local, remote)) => number(local).and_then(|local| Ok((local, number(remote)?))),
    };
    match read {
        Ok((local, remote)) if remote > 0 => Ok((local, remote)),
        _ => message(format!("invalid port format '{word}'")),
    }
}

/// Where it listens; `localhost` is both versions of it, of which one is enough.
async fn listen(addresses: &[String], local: u16, remote: u16) -> Result<Vec<(TcpListener, u16)>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let both = address == "localhost";
        let ips: Vec<IpAddr> = match both {
            true => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            false => vec![address.parse().map_err(|_| Failure::Message(format!("{address} is not a valid IP")))?],
        };
        // A free port that the first got is the second's too.
        let mut port = local;
        let mut failure = None;
        let before = listeners.len();
        for ip in ips {
            match TcpListener::bind(SocketAddr::new(ip, port)).await.and_then(|l| Ok((l.local_addr()?, l))) {
                Ok((at, listener)) => {
                    port = at.port();
                    println!("Forwarding from {at} -> {remote}");
                    listeners.push((listener, port));
                }
                Err(error) => failure = Some(format!("unable to listen on port {port}: {error}")),
            }
        }
        if let Some(text) = failure.filter(|_| listeners.len() == before) {
            return message(text);
        }
    }
    Ok(listeners)
}

async fn serve(api: Api, path: String, listener: TcpListener, local: u16, remote: u16, room: Arc<Semaphore>) {
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // All file descriptors are in use; some will be free again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        println!("Handling connection for {local}");
        let (api, path) = (api.clone(), path.clone());
        tokio::spawn(async move {
            let query = Query::new().with("ports", remote.to_string());
            let done = match api.websocket(&path, &query, &[V5, V4]).await {
                Ok((socket, protocol)) => copy(socket, stream, protocol == V5).await,
                Err(failure) => Err(failure.text()),
            };
            if let Err(text) = done {
                eprintln!("an error occurred forwarding {local} -> {remote}: {text}");
            }
            drop(permit);
        });
    }
}

/// Copies both ways; the error is the server's text.
async fn copy(socket: Socket, stream: TcpStream, closes: bool) -> std::result::Result<(), String> {
    let (mut sink, mut messages) = socket.split();
    let (mut from, mut to) = stream.into_split();
    let up = async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            if sink.send(Message::binary([&[0], &chunk[..count]].concat())).await.is_err() {
                return;
            }
        }
        if closes && sink.send(Message::binary(vec![CLOSE, 0])).await.is_ok() {
            std::future::pending().await
        }
        tokio::time::sleep(ANSWER_MAX).await;
    };
    let down = async move {
        // The first message of a channel is its port.
        let mut begun = [false; 2];
        while let Some(Ok(message)) = messages.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Close(_) => break,
                _ => continue,
            };
            let Some((channel, bytes)) = bytes.split_first() else { continue };
            match begun.get_mut(usize::from(*channel)) {
                Some(begun) if !*begun => *begun = true,
                Some(_) if *channel == 1 => return Err(String::from_utf8_lossy(bytes).into_owned()),
                Some(_) => {
                    let written = to.write_all(bytes).await;
                    if written.is_err() {
                        break;
                    }
                }
                None => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        done = down => done,
        () = up => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (word, want) in [("80", (80, 80)), ("8080:80", (8080, 80)), (":80", (0, 80))] {
            assert_eq!(read_ports(word).unwrap(), want);
        }
        for word in ["", "0", "http", "1:2:3", "80:", "70000"] {
            assert!(read_ports(word).is_err(), "{word}");
        }
    }
}
