//! Flags of every verb: which server, as whom, in which namespace.

use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::failure::{Failure, Result, message};

/// Where `everynode up` and `everynode server` write their administrator's access.
const SERVER_KUBECONFIG: &str = "/var/lib/everynode/admin.kubeconfig";

/// Flags of every verb; they may stand before or after it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct GlobalArgs {
    /// Access to the server [default: $KUBECONFIG, then ~/.kube/config, then /var/lib/everynode/admin.kubeconfig]
    #[arg(id = "cli-kubeconfig", long = "kubeconfig", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(id = "cli-context", long = "context", value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig to use
    #[arg(id = "cli-cluster", long = "cluster", value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig to use
    #[arg(id = "cli-user", long = "user", value_name = "NAME")]
    pub user: Option<String>,
    /// The namespace to work in
    #[arg(id = "cli-namespace", long = "namespace", short = 'n', value_name = "NAME")]
    pub namespace: Option<String>,
    /// Address of the API server
    #[arg(id = "cli-server", long = "server", short = 's', value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token for the API server
    #[arg(id = "cli-token", long = "token", value_name = "TOKEN")]
    pub token: Option<String>,
    /// User to act as
    #[arg(id = "cli-as", long = "as", value_name = "NAME")]
    pub impersonate: Option<String>,
    /// Don't check the server's certificate
    #[arg(id = "cli-insecure", long = "insecure-skip-tls-verify")]
    pub insecure: bool,
}

impl GlobalArgs {
    /// These flags where they are given, `other`'s where not.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            kubeconfig: self.kubeconfig.or(other.kubeconfig),
            context: self.context.or(other.context),
            cluster: self.cluster.or(other.cluster),
            user: self.user.or(other.user),
            namespace: self.namespace.or(other.namespace),
            server: self.server.or(other.server),
            token: self.token.or(other.token),
            impersonate: self.impersonate.or(other.impersonate),
            insecure: self.insecure || other.insecure,
        }
    }

    /// How to reach the server.
    pub(crate) async fn config(&self) -> Result<Config> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let mut config = match self.read_kubeconfig()? {
            Some(found) => Config::from_custom_kubeconfig(found, &options).await.map_err(|e| chain(&e))?,
            None => match &self.server {
                Some(server) => Config::new(server.parse().map_err(|e| format!("--server {server}: {e}"))?),
                None => {
                    return message(format!(
                        "no kubeconfig found: give --kubeconfig FILE or set KUBECONFIG (looked for ~/.kube/config and {SERVER_KUBECONFIG})"
                    ));
                }
            },
        };
        if let Some(server) = &self.server {
            config.cluster_url = server.parse().map_err(|e| format!("--server {server}: {e}"))?;
        }
        if let Some(namespace) = &self.namespace {
            config.default_namespace = namespace.clone();
        }
        if let Some(token) = &self.token {
            config.auth_info.token = Some(token.clone().into());
        }
        config.auth_info.impersonate = self.impersonate.clone().or(config.auth_info.impersonate);
        config.accept_invalid_certs |= self.insecure;
        // Watches and `logs -f` live as long as the user wants.
        config.read_timeout = None;
        // A refusal is the answer; whoever asked may ask again.
        config.default_retry = false;
        Ok(config)
    }

    fn read_kubeconfig(&self) -> Result<Option<Kubeconfig>> {
        if let Some(file) = &self.kubeconfig {
            return read(file).map(Some);
        }
        if let Some(found) = Kubeconfig::from_env().map_err(|e| chain(&e))? {
            return Ok(Some(found));
        }
        let home = std::env::home_dir().map(|home| home.join(".kube/config"));
        let candidates = home.into_iter().chain([PathBuf::from(SERVER_KUBECONFIG)]);
        candidates.into_iter().find(|file| file.exists()).map(|file| read(&file)).transpose()
    }
}

fn read(file: &Path) -> Result<Kubeconfig> {
    Kubeconfig::read_from(file).map_err(|e| match file.try_exists() {
        Ok(false) => Failure::Message(format!("stat {}: no such file or directory", file.display())),
        _ => chain(&e),
    })
}

/// An error with its causes, those that it does not tell itself.
pub(crate) fn chain(error: &dyn std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    Failure::Message(text)
}
