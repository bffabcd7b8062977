//! `everynode token`: the tokens by which machines join.
//!
//! # Invariants
//! A token is shown whole once, when it is made; lists show its id.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Endpoints, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rand::Rng as _;

use crate::flags::DataDir;
use crate::join::address::Address;
use crate::join::token::{ID_LETTERS, JoinToken, Pin, SECRET_LETTERS};

mod secret;

/// Where the secrets are.
const NAMESPACE: &str = "kube-system";

#[derive(Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it, and what to run on the machine that joins
    Create {
        /// How long it is good for; 0 for good
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = cli::parse_duration)]
        ttl: Duration,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        #[command(flatten)]
        access: Access,
    },
    /// List the tokens
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Delete tokens: no machine joins by them any more, those that have joined stay
    Delete {
        /// Ids, or whole tokens
        #[arg(required = true, value_name = "ID")]
        tokens: Vec<String>,
        #[command(flatten)]
        access: Access,
    },
}

#[derive(Args)]
struct Access {
    #[command(flatten)]
    data: DataDir,
    /// Access to the server as an administrator [default: DATA_DIR/admin.kubeconfig]
    #[arg(id = "token-kubeconfig", long = "kubeconfig", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Runs one of its commands.
pub(crate) fn run(args: TokenArgs) -> Result<()> {
    crate::runtime(1)?.block_on(async {
        match args.command {
            TokenCommand::Create { ttl, description, access } => create(&access, ttl, &description).await,
            TokenCommand::List { access } => list(&access).await,
            TokenCommand::Delete { tokens, access } => delete(&access, &tokens).await,
        }
    })
}

async fn create(access: &Access, ttl: Duration, description: &str) -> Result<()> {
    let (config, path) = access.config().await?;
    let pin = pin(&config, &path)?;
    let server = config.cluster_url.clone();
    let client = Client::try_from(config)?;
    let token = JoinToken { id: letters(ID_LETTERS), secret: letters(SECRET_LETTERS), pin };
    let until = match ttl.is_zero() {
        true => None,
        false => Some(Timestamp::now().checked_add(ttl).context("--ttl")?),
    };
    let made = secret::of(&token, description, until);
    Api::<Secret>::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &made).await?;
    let server = reachable(&client, &server).await;
    println!("{token}");
    // Apart from the token, so that a script can take that alone.
    eprintln!("\nJoin a machine, as root on it:\n\n  everynode agent --server {server} --token {token}");
    Ok(())
}

async fn list(access: &Access) -> Result<()> {
    let client = access.client().await?;
    let selector = ListParams::default().fields(&format!("type={}", secret::TYPE));
    let found = Api::<Secret>::namespaced(client, NAMESPACE).list(&selector).await?;
    let now = Timestamp::now();
    println!("{:<8} {:<12} DESCRIPTION", "ID", "EXPIRES");
    for token in found.items.iter().filter_map(secret::read) {
        println!("{:<8} {:<12} {}", token.id, token.expires(now), token.description);
    }
    Ok(())
}

async fn delete(access: &Access, tokens: &[String]) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(access.client().await?, NAMESPACE);
    for token in tokens {
        let id = token.split('.').next().unwrap_or_default();
        match secrets.delete(&secret::name(id), &DeleteParams::default()).await {
            Ok(_) => println!("deleted {id}"),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                bail!("there is no token {id}: `everynode token list` shows those there are")
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Access {
    async fn config(&self) -> Result<(Config, PathBuf)> {
        let path = self.kubeconfig.clone().unwrap_or_else(|| self.data.data_dir.join("admin.kubeconfig"));
        if let Err(error) = std::fs::File::open(&path) {
            bail!("{}: {error}; run it on the server as root, or give --kubeconfig", path.display());
        }
        let file = Kubeconfig::read_from(&path)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Ok((config.with_context(|| path.display().to_string())?, path))
    }

    async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?.0)?)
    }
}

/// The pin of the authority that a kubeconfig trusts.
fn pin(config: &Config, path: &Path) -> Result<Pin> {
    let Some(der) = config.root_cert.iter().flatten().next() else {
        bail!("{} names no certificate-authority, which the token has to name", path.display());
    };
    Pin::of(der).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
}

/// Where other machines reach the server: as the kubeconfig says, unless that is this machine's own loopback.
async fn reachable(client: &Client, server: &http::Uri) -> String {
    let own = server.to_string().trim_end_matches('/').to_owned();
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let loops = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loops {
        return own;
    }
    let found = Api::<Endpoints>::namespaced(client.clone(), "default").get_opt("kubernetes").await.ok().flatten();
    found.and_then(|e| advertised(&e)).map_or(own, |address| address.to_string())
}

fn advertised(endpoints: &Endpoints) -> Option<Address> {
    let subset = endpoints.subsets.as_ref()?.first()?;
    let ip: std::net::IpAddr = subset.addresses.as_ref()?.first()?.ip.parse().ok()?;
    let port = u16::try_from(subset.ports.as_ref()?.first()?.port).ok()?;
    format!("https://{}", std::net::SocketAddr::new(ip, port)).parse().ok()
}

fn letters(count: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..count).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_the_letters_they_may_have() {
        let pin = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let token = JoinToken { id: letters(ID_LETTERS), secret: letters(SECRET_LETTERS), pin };
        assert_eq!(token.to_string().parse::<JoinToken>(), Ok(token));
        assert_ne!(letters(SECRET_LETTERS), letters(SECRET_LETTERS));
    }

    #[test]
    fn a_server_says_where_it_is() {
        let endpoints = |ip: &str| {
            serde_json::from_value::<Endpoints>(
                serde_json::json!({"subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 6443}]}]}),
            )
            .unwrap()
        };
        assert_eq!(advertised(&endpoints("10.0.0.1")).unwrap().to_string(), "https://10.0.0.1:6443");
        assert_eq!(advertised(&endpoints("fd00::1")).unwrap().to_string(), "https://[fd00::1]:6443");
        assert_eq!(advertised(&Endpoints::default()), None);
    }
}
