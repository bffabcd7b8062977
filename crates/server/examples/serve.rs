//! Serves the API on a loopback port from a data directory: `serve [PORT] [DATA_DIR]`.

use std::net::{Ipv4Addr, SocketAddr};

use server::{Config, Server};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), server::ServerError> {
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|p| p.parse().ok()).unwrap_or(6443);
    let data_dir = args.next().map_or_else(|| std::env::temp_dir().join("everynode-serve"), Into::into);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::start(Config::new(data_dir.clone(), listen)).await?;
    println!("export KUBECONFIG={}", data_dir.join("admin.kubeconfig").display());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    server.serve(shutdown).await
}
