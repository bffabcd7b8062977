//! Where an API server is, and who one is there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use kube::client::ConfigExt;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// An API server as a kubeconfig names it. Client certificates and tokens that stand in it are used, nothing else.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) name: ServerName<'static>,
    pub(crate) host: String,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Target {
    /// Reads a kubeconfig.
    pub(crate) async fn read(kubeconfig: &Path) -> Result<Target> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let host = config.cluster_url.host().context("the cluster's URL has no host")?.to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let address = tokio::net::lookup_host((host.as_str(), port)).await?.next().context("no such host")?;
        let mut tls = config.rustls_client_config()?;
        if config.auth_info.token.is_some() || config.auth_info.exec.is_some() {
            bail!("only client certificates are understood");
        }
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Target { address, name: ServerName::try_from(host.clone())?, host, tls: Arc::new(tls) })
    }
}
