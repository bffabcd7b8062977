//! The way to the servers: one at a time, the next when it is gone, and with the certificate that is good now.
//!
//! # Invariants
//! - A request that could not be brought to one server is brought to the next: it was not begun anywhere.
//! - A new certificate is shown on new connections; requests that are open stay on theirs.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};

use anyhow::Result;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Client;
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use node::agent::Clients;
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

use super::chooser::Chooser;
use super::identity::Identity;
use crate::client::{AGENT, PING_EVERY};
use crate::connect::{Connector, bounded, tcp};

/// The servers, and connections to one of them.
pub(crate) struct Link {
    identity: RwLock<Arc<Connections>>,
    chooser: Mutex<Chooser>,
}

/// What one certificate has opened.
struct Connections {
    servers: Vec<super::address::Address>,
    /// One connection for all requests and watches.
    shared: Http<Connector, Body>,
    /// A connection a request, which alone can be upgraded.
    own: Http<Connector, Body>,
}

impl Link {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When the identity is not whole.
    pub(crate) fn new(identity: &Identity) -> Result<Arc<Self>> {
        let chooser = Mutex::new(Chooser::new(identity.servers.len()));
        Ok(Arc::new(Self { identity: RwLock::new(Arc::new(Connections::new(identity)?)), chooser }))
    }

    /// Goes on with another certificate.
    ///
    /// # Errors
    /// When the identity is not whole; the old one stays then.
    pub(crate) fn show(&self, identity: &Identity) -> Result<()> {
        let new = Arc::new(Connections::new(identity)?);
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// A client for requests and watches.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(RetryPolicy::server_retry()))
            .service(Way { link: self.clone(), upgrades: false });
        Client::new(service, "default")
    }

    /// What an agent needs.
    pub(crate) fn clients(self: &Arc<Self>) -> Clients {
        let tunnel = Client::new(Way { link: self.clone(), upgrades: true }, "default");
        Clients { api: self.client(), tunnel: Some(tunnel) }
    }

    fn connections(&self) -> Arc<Connections> {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn at(&self) -> usize {
        self.chooser.lock().unwrap_or_else(PoisonError::into_inner).at()
    }

    fn failed(&self, at: usize) -> Option<usize> {
        self.chooser.lock().unwrap_or_else(PoisonError::into_inner).failed(at)
    }

    async fn send(&self, mut request: Request<Body>, upgrades: bool) -> Result<Response<Incoming>, BoxError> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let (parts, mut body) = request.into_parts();
        let connections = self.connections();
        let http = if upgrades { &connections.own } else { &connections.shared };
        let mut tries = connections.servers.len();
        loop {
            tries -= 1;
            let at = self.at();
            let server = &connections.servers[at];
            let again = body.try_clone().filter(|_| tries > 0);
            let mut request = Request::from_parts(parts.clone(), body);
            *request.uri_mut() = server.with(&parts.uri)?;
            match http.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_connect() => {
                    if let Some(next) = self.failed(at) {
                        tracing::warn!("{server} can't be reached, going on with {}", connections.servers[next]);
                    }
                    match again {
                        Some(copy) => body = copy,
                        None => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Connections {
    fn new(identity: &Identity) -> Result<Self> {
        let tls = identity.tls()?;
        let shared = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_only().enable_http2();
        let own = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
        let shared = Http::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_only(true)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY)
            .build(bounded(shared.wrap_connector(tcp())));
        let own = Http::builder(TokioExecutor::new()).build(bounded(own.wrap_connector(tcp())));
        Ok(Self { servers: identity.servers.clone(), shared, own })
    }
}

/// The link as kube's clients take it.
#[derive(Clone)]
struct Way {
    link: Arc<Link>,
    upgrades: bool,
}

impl Service<Request<Body>> for Way {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let way = self.clone();
        Box::pin(async move { way.link.send(request, way.upgrades).await })
    }
}
