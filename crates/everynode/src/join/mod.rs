//! How an agent gets into a cluster with nothing but an address and a token, and how it stays in.
//!
//! 1. [`discover`]: the server tells its authority to everyone; the token says which one is right.
//! 2. [`request`]: the node makes a key and, by the token, asks for a certificate of its own.
//! 3. [`identity`]: both are kept; later starts need no token.
//! 4. [`link`] and [`chooser`]: all requests go to one of the servers, the next when it is gone.
//! 5. [`renew`]: before the certificate ends, the node asks for another by the old one.
//!
//! # Absent
//! Who may have which certificate: the server decides that.

use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

pub(crate) mod address;
mod chooser;
mod discover;
mod identity;
mod link;
mod renew;
mod request;
pub(crate) mod token;

use address::Address;
use identity::{Folder, Identity};
use link::Link;
use token::JoinToken;

/// A node that is in the cluster.
pub(crate) struct Member {
    folder: Folder,
    identity: Identity,
    link: std::sync::Arc<Link>,
}

impl Member {
    /// The clients of its agent.
    pub(crate) fn clients(&self) -> node::agent::Clients {
        self.link.clients()
    }

    /// What pods are told of the server.
    pub(crate) fn server_url(&self) -> String {
        self.identity.servers[0].to_string()
    }

    /// Renews its certificate until shutdown.
    pub(crate) async fn stay(self, shutdown: tokio_util::sync::CancellationToken) {
        renew::keep(self.folder, self.identity, self.link, shutdown).await;
    }
}

/// Enters by what is kept, or by the token.
///
/// # Errors
/// One line that says what to do.
pub(crate) async fn enter(
    data_dir: &Path,
    node: &str,
    servers: &[Address],
    token: Option<&JoinToken>,
) -> Result<Member> {
    check_name(node)?;
    let folder = Folder::new(data_dir, node);
    let identity = match kept(&folder, token)? {
        Some(identity) => with_servers(&folder, identity, servers)?,
        None => {
            let identity = join(&folder, servers, token).await?;
            folder.write(&identity)?;
            tracing::info!("node {node} has joined; its certificate ends {}", identity.life.until);
            identity
        }
    };
    let link = Link::new(&identity)?;
    Ok(Member { folder, identity, link })
}

/// What an earlier start kept, if it is good.
fn kept(folder: &Folder, token: Option<&JoinToken>) -> Result<Option<Identity>> {
    let found = match folder.read() {
        Ok(found) => found,
        Err(error) if token.is_none() => return Err(error),
        Err(error) => {
            tracing::warn!("{error:#}; joining anew");
            None
        }
    };
    let Some(identity) = found else { return Ok(None) };
    match (identity.life.has_ended(Timestamp::now()), token) {
        (true, None) => bail!("{}", folder.expired(identity.life)),
        (true, Some(_)) => {
            tracing::info!("the certificate of node {} ended {}; joining anew", folder.node(), identity.life.until);
            Ok(None)
        }
        (false, Some(_)) => {
            tracing::info!("node {} has joined before: --token is not needed any more", folder.node());
            Ok(Some(identity))
        }
        (false, None) => Ok(Some(identity)),
    }
}

/// Takes note of other servers than those that were kept.
fn with_servers(folder: &Folder, mut identity: Identity, servers: &[Address]) -> Result<Identity> {
    if !servers.is_empty() && servers != identity.servers {
        identity.servers = servers.to_vec();
        folder.write(&identity)?;
    }
    Ok(identity)
}

async fn join(folder: &Folder, servers: &[Address], token: Option<&JoinToken>) -> Result<Identity> {
    let (false, Some(token)) = (servers.is_empty(), token) else {
        bail!(
            "node {} has not joined yet: give --server and --token (`everynode token create` on the server prints both), or \
             --kubeconfig",
            folder.node()
        );
    };
    let (authority_pem, server) = discover::authority(servers, token).await?;
    let client = discover::client(&server, &authority_pem, token)?;
    let name = folder.node();
    let asked = async {
        request::name_is_free(&client, name).await?;
        request::pair(&client, name).await
    };
    let pair = asked.await.map_err(|error| said(error, &server, token))?;
    Identity::new(servers.to_vec(), authority_pem, pair).context("the certificate that the server gave")
}

/// An error of a server in words that say what to do.
fn said(error: anyhow::Error, server: &Address, token: &JoinToken) -> anyhow::Error {
    let Some(found) = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>()) else { return error };
    match found {
        kube::Error::Api(status) if status.code == 401 => anyhow::anyhow!(
            "{server} does not know the token {} or it has expired: make a new one with `everynode token create` on the server",
            token.id
        ),
        kube::Error::Api(status) if status.code == 403 => anyhow::anyhow!(
            "the token {} may not join machines ({}): make one with `everynode token create` on the server",
            token.id,
            status.message
        ),
        kube::Error::Api(status) => anyhow::anyhow!("{server}: {}", status.message),
        other => {
            let cause = discover::root_cause(other);
            let hint = if cause.contains("not valid for name") { "; start the server with --tls-san HOST" } else { "" };
            anyhow::anyhow!("{server}: {cause}{hint}")
        }
    }
}

/// Node names are those of Kubernetes: certificates are made out to them.
fn check_name(name: &str) -> Result<()> {
    let letters = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |p: &str| {
        !p.is_empty() && p.bytes().all(|c| letters(c) || c == b'-') && !p.starts_with('-') && !p.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(part) {
        return Ok(());
    }
    bail!("{name:?} is no name for a node: give --node-name, lower-case letters, digits, '-' and '.'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["n", "node-1", "a.example", "10-0-0-1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", "../x", "a/b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_node_that_has_nothing_says_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let servers = ["https://a:1".parse().unwrap()];
        for servers in [&[][..], &servers] {
            let error = enter(dir.path(), "n", servers, None).await.err().unwrap().to_string();
            assert!(error.contains("give --server and --token"), "{error}");
        }
    }
}
