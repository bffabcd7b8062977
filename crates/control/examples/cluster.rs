//! A control plane without nodes on a loopback port: `cluster [PORT] [DATA_DIR]`.

use std::net::{Ipv4Addr, SocketAddr};

use server::{Config, Server};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|p| p.parse().ok()).unwrap_or(6443);
    let data_dir = args.next().map_or_else(|| std::env::temp_dir().join("everynode-cluster"), Into::into);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::start(Config::new(data_dir.clone(), listen)).await?;
    println!("export KUBECONFIG={}", data_dir.join("admin.kubeconfig").display());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    let ca_pem = std::fs::read_to_string(data_dir.join("pki/ca.crt")).ok();
    let client = server.client("everynode-controllers");
    let controllers = tokio::spawn(control::run(
        client,
        control::Options { ca_pem, ..control::Options::default() },
        shutdown.clone(),
    ));
    server.serve(shutdown).await?;
    controllers.await??;
    Ok(())
}
