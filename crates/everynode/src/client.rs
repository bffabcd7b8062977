//! Clients of an API server.
//!
//! # Invariants
//! All requests and watches of a multiplexed client share one connection: a server that has thousands of nodes holds one
//! for each, and not one for each watch.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use http::header::{HeaderValue, USER_AGENT};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt as _;
use kube::client::retry::RetryPolicy;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use crate::connect::{bounded, tcp};

/// What we call ourselves; managers of fields are named after it.
pub(crate) const AGENT: &str = concat!("everynode/", env!("CARGO_PKG_VERSION"));
/// A server that went away silently is noticed within twice this, so that its successor gets our heartbeats in time.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(10);

async fn config(kubeconfig: &Path) -> Result<Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Ok(config)
}

/// A client as a kubeconfig describes it.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client> {
    Ok(Client::try_from(config(kubeconfig).await?)?)
}

/// A client that holds one connection (HTTP/2). It can't upgrade one: tunnels and streams need [`client`].
pub(crate) async fn multiplexed(kubeconfig: &Path) -> Result<Client> {
    let config = config(kubeconfig).await?;
    if config.cluster_url.scheme_str() != Some("https") {
        return Ok(Client::try_from(config)?);
    }
    let tls = config.rustls_client_config().context("the certificates in the kubeconfig")?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
    let connector = match config.tls_server_name.clone() {
        Some(name) => {
            let name = name.try_into().context("tls-server-name in the kubeconfig")?;
            connector.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
        }
        None => connector,
    };
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(true)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_EVERY)
        .build(bounded(connector.enable_http2().wrap_connector(tcp())));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace))
}
