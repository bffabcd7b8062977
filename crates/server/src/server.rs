//! Starting and running a server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use store::AnyStore;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

use crate::app::App;
use crate::auth::accounts::Issuer;
use crate::auth::{Tokens, User, certificates};
use crate::backend::StoreConfig;
use crate::error::ServerError;
use crate::placing::Placer;
use crate::reasons::Reasons;
use crate::service::{Api, Local};
use crate::services::{self, ServiceRange};
use crate::{backend, bootstrap, event_expiry, listen, pki};

/// How long events are kept unless said otherwise: an hour, as by kube-apiserver.
pub const EVENT_TTL: Duration = Duration::from_secs(3600);

/// The longest life of a node's client certificate unless said otherwise: a year, as by kube-controller-manager.
pub const NODE_CERTIFICATE_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Further names and addresses for the server's certificate.
    pub san: Vec<String>,
    /// A file of bearer tokens in Kubernetes' form.
    pub token_auth_file: Option<PathBuf>,
    /// How long events are kept after they were last written; zero keeps them for good.
    pub event_ttl: Duration,
    /// The addresses that Services are given.
    pub service_range: ServiceRange,
    /// The longest life of a node's client certificate.
    pub node_certificate_ttl: Duration,
    /// Where objects are kept.
    pub store: StoreConfig,
}

impl Config {
    /// What nobody has said otherwise.
    pub fn new(data_dir: PathBuf, listen: SocketAddr) -> Config {
        Config {
            data_dir,
            listen,
            san: Vec::new(),
            token_auth_file: None,
            event_ttl: EVENT_TTL,
            service_range: ServiceRange::default(),
            node_certificate_ttl: NODE_CERTIFICATE_TTL,
            store: StoreConfig::Embedded,
        }
    }
}

/// A server that has its port and its store, and answers clients in this process.
pub struct Server {
    api: Api<AnyStore>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    address: SocketAddr,
    url: String,
    /// Ends what runs beside requests when the server goes without ever having served.
    _ends: DropGuard,
}

impl Server {
    /// Takes the port and the data directory, makes what is missing, writes the administrator's kubeconfig.
    ///
    /// # Errors
    /// Each says in one line what is wrong and what to do. The port is taken first, so a second start changes nothing.
    pub async fn start(config: Config) -> Result<Server, ServerError> {
        let tokens = match &config.token_auth_file {
            Some(path) => Tokens::read(path)?,
            None => Tokens::default(),
        };
        let listener = listen::bind(config.listen).await?;
        let address = listener.local_addr().map_err(|source| ServerError::Listen { addr: config.listen, source })?;
        let opened = backend::open(&config.store, &config.data_dir).await?;
        let mut san = config.san;
        san.push(config.service_range.first().to_string());
        let serving = pki::prepare(&config.data_dir, config.listen, &san)?;
        let acceptor = listen::acceptor(&serving)?;
        let url = url(address);
        let key = pki::AccountKey::open(&config.data_dir)?;
        let store = backend::join(opened, &config.data_dir, &serving.authority_pem, &key).await?;
        let issuer = Issuer { key, url: url.clone() };
        pki::admin_kubeconfig(&config.data_dir, &url)?;
        let mut app = App::new(store, tokens, issuer, CancellationToken::new());
        app.service_range = config.service_range;
        app.advertised = Some(services::own::reachable(address));
        app.authority_pem = Some(serving.authority_pem);
        let app = Arc::new(app);
        bootstrap::run(&app).await.map_err(|status| ServerError::Bootstrap(status.to_string()))?;
        services::start(&app);
        event_expiry::start(&app, config.event_ttl);
        certificates::start(&app, pki::Authority::open(&config.data_dir)?, config.node_certificate_ttl);
        let ends = app.shutdown.clone().drop_guard();
        Ok(Server { api: Api(app), listener, acceptor, address, url, _ends: ends })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL in the administrator's kubeconfig.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client that speaks to this server without a socket, as a user who may do everything.
    pub fn client(&self, user: &str) -> kube::Client {
        kube::Client::new(Local::new(self.api.clone(), User::master(user)), "default")
    }

    /// Has `reasons` answer for `daemonsets/NAME/reasons`, which is not there before. The first one stays.
    pub fn answer_reasons(&self, reasons: Arc<dyn Reasons>) {
        self.api.0.reasons.open(reasons);
    }

    /// Has `placer` give new pods of DaemonSets their nodes. The first one stays.
    pub fn place_pods(&self, placer: Arc<dyn Placer>) {
        self.api.0.placing.open(placer);
    }

    /// Answers requests until `shutdown`; then ends watches, lets requests finish, and closes the store.
    ///
    /// # Errors
    /// None today; a listener that breaks later would be one.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        info!(address = %self.address, "serving");
        let ends = self.api.0.shutdown.clone();
        let stop = shutdown.clone();
        let watches = tokio::spawn({
            let ends = ends.clone();
            async move {
                stop.cancelled().await;
                ends.cancel();
            }
        });
        let tasks = self.api.0.tasks.clone();
        listen::serve(self.listener, self.acceptor, self.api, shutdown).await;
        watches.abort();
        ends.cancel();
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

fn url(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("https://{}:{}", IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        IpAddr::V4(ip) => format!("https://{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("https://[{ip}]:{}", address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_can_be_reached() {
        for (address, want) in [
            ("0.0.0.0:6443", "https://127.0.0.1:6443"),
            ("[::]:6443", "https://127.0.0.1:6443"),
            ("10.0.0.1:1", "https://10.0.0.1:1"),
            ("[fd00::1]:1", "https://[fd00::1]:1"),
        ] {
            assert_eq!(url(address.parse().unwrap()), want);
        }
    }
}
