//! What a joined node keeps: its certificate and key, the cluster's authority, the servers.
//!
//! `DATA_DIR/nodes/NAME/pki/node.pem` (certificate and key), `pki/ca.crt`, and `kubeconfig`, which names both and the
//! servers, and serves kubectl too.
//!
//! # Invariants
//! - Certificate and key are one file, so that no crash parts them.
//! - The kubeconfig is written last: where it is, the rest is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use kube::config::Kubeconfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::address::Address;
use crate::private_file;

/// The time a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Life {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Life {
    /// Whether it is over.
    pub(crate) fn has_ended(self, now: Timestamp) -> bool {
        now >= self.until
    }
}

/// Who a node is and whom it trusts.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) servers: Vec<Address>,
    pub(crate) authority_pem: String,
    pair_pem: String,
    pub(crate) life: Life,
}

impl Identity {
    /// Of a certificate and its key in PEM.
    ///
    /// # Errors
    /// When they are none.
    pub(crate) fn new(servers: Vec<Address>, authority_pem: String, pair_pem: String) -> Result<Self> {
        let (chain, _) = parse_pair(&pair_pem)?;
        let (_, certificate) = X509Certificate::from_der(&chain[0]).context("the node's certificate")?;
        let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
        let validity = certificate.validity();
        let life = Life { from: at(validity.not_before)?, until: at(validity.not_after)? };
        Ok(Self { servers, authority_pem, pair_pem, life })
    }

    /// How connections are made: only to servers of the authority, showing the certificate.
    ///
    /// # Errors
    /// When certificate, key and authority are not what they should be.
    pub(crate) fn tls(&self) -> Result<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(&self.authority_pem)? {
            roots.add(certificate).context("the cluster's authority")?;
        }
        let (chain, key) = parse_pair(&self.pair_pem)?;
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        config.with_client_auth_cert(chain, key).context("the node's certificate and key")
    }
}

/// The certificates of a PEM text.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = rustls_pemfile::certs(&mut pem.as_bytes()).collect::<Result<_, _>>()?;
    if found.is_empty() { bail!("no certificate in it") } else { Ok(found) }
}

fn parse_pair(pem: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = rustls_pemfile::private_key(&mut pem.as_bytes())?.ok_or_else(|| anyhow!("no private key in it"))?;
    Ok((certificates(pem)?, key))
}

/// Where one node keeps what it is.
#[derive(Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    node: String,
}

impl Folder {
    /// That of a node below a data directory.
    pub(crate) fn new(data_dir: &Path, node: &str) -> Self {
        Self { root: data_dir.join("nodes").join(node), node: node.to_owned() }
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    fn pair(&self) -> PathBuf {
        self.root.join("pki/node.pem")
    }

    fn authority(&self) -> PathBuf {
        self.root.join("pki/ca.crt")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// What was kept; None for a node that has not joined.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn read(&self) -> Result<Option<Identity>> {
        // `up` writes a kubeconfig too, and no pair.
        if !self.pair().exists() || !self.kubeconfig().exists() {
            return Ok(None);
        }
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).with_context(|| format!("{}: join again with a new token", path.display()))
        };
        let damaged = |path: PathBuf| format!("{} is damaged: join again with a new token", path.display());
        let file = Kubeconfig::read_from(self.kubeconfig()).with_context(|| damaged(self.kubeconfig()))?;
        let servers = file.clusters.into_iter().filter_map(|c| c.cluster?.server);
        let servers: Vec<Address> = servers.filter_map(|s| s.parse().ok()).collect();
        if servers.is_empty() {
            bail!("{} names no server: give --server", self.kubeconfig().display());
        }
        let (authority, pair) = (read(self.authority())?, read(self.pair())?);
        certificates(&authority).with_context(|| damaged(self.authority()))?;
        Identity::new(servers, authority, pair).with_context(|| damaged(self.pair())).map(Some)
    }

    /// Keeps an identity.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn write(&self, identity: &Identity) -> Result<()> {
        private_file::write(&self.authority(), &identity.authority_pem)?;
        private_file::write(&self.pair(), &identity.pair_pem)?;
        private_file::write(&self.kubeconfig(), &self.render(&identity.servers))
    }

    /// A kubeconfig of the servers; the first one is that of its context.
    fn render(&self, servers: &[Address]) -> String {
        let name = |n: usize| if n == 0 { "everynode".to_owned() } else { format!("everynode-{}", n + 1) };
        let clusters: Vec<_> = (0..)
            .zip(servers)
            .map(|(n, server)| {
                json!({"name": name(n), "cluster": {"server": server.to_string(),
                    "certificate-authority": self.authority()}})
            })
            .collect();
        let user = format!("system:node:{}", self.node);
        let file = json!({"apiVersion": "v1", "kind": "Config", "current-context": name(0), "clusters": clusters,
            "contexts": [{"name": name(0), "context": {"cluster": name(0), "user": user}}],
            "users": [{"name": user, "user": {"client-certificate": self.pair(), "client-key": self.pair()}}]});
        // JSON is YAML.
        format!("{file:#}\n")
    }

    /// What to do when the certificate's life is over.
    pub(crate) fn expired(&self, life: Life) -> String {
        format!(
            "the certificate of node {} ended {}, so the server lets it in no more: its pods run on; make a new token with \
             `everynode token create` on the server, and start the agent with --token once",
            self.node, life.until
        )
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn identity(servers: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let pem = params.self_signed(&key).unwrap().pem();
        let servers = servers.iter().map(|s| s.parse().unwrap()).collect();
        Identity::new(servers, pem.clone(), format!("{pem}{}", key.serialize_pem())).unwrap()
    }

    #[test]
    fn it_comes_back_as_it_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), "n-1");
        assert!(folder.read().unwrap().is_none());
        let identity = identity(&["https://a:1", "https://b:2"]);
        folder.write(&identity).unwrap();
        let found = folder.read().unwrap().unwrap();
        assert_eq!((found.servers, found.pair_pem), (identity.servers.clone(), identity.pair_pem.clone()));
        assert_eq!(found.life.from, "2026-01-01T00:00:00Z".parse().unwrap());
        assert!(found.life.has_ended("2026-01-02T00:00:00Z".parse().unwrap()));
        assert!(!found.life.has_ended("2026-01-01T23:59:59Z".parse().unwrap()));
        assert!(identity.tls().is_ok());
    }

    #[test]
    fn a_damaged_one_says_what_to_do_and_a_kubeconfig_alone_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), "n-1");
        folder.write(&identity(&["https://a:1"])).unwrap();
        std::fs::write(folder.pair(), "x").unwrap();
        let error = format!("{:#}", folder.read().err().unwrap());
        assert!(error.contains("node.pem is damaged: join again"), "{error}");
        std::fs::remove_file(folder.pair()).unwrap();
        assert!(folder.read().unwrap().is_none());
    }

    #[tokio::test]
    async fn other_clients_can_use_the_kubeconfig() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), "n-1");
        folder.write(&identity(&["https://a:1"])).unwrap();
        crate::client::client(&folder.kubeconfig()).await.unwrap();
    }
}
