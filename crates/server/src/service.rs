//! The one way in: a request to its response, over a socket or inside of the process.
//!
//! # Invariants
//! Every request is identified, allowed, counted and answered here, wherever it comes from.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use api::rbac::Asked;
use api::status::{self, Attempt, Status};
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use store::Store;
use tokio::sync::SemaphorePermit;

use crate::app::{App, Ask};
use crate::auth::{self, Attributes, Decision, Peer, User};
use crate::body;
use crate::discovery;
use crate::limits::{BODY_BYTES_MAX, BODY_TIMEOUT};
use crate::listen::Handler;
use crate::reply::{self, Body, BoxError, Reply};
use crate::request::{Query, Target, target};
use crate::verbs;

/// The API as a service. Cheap to clone.
pub(crate) struct Api<S>(pub(crate) Arc<App<S>>);

impl<S> Clone for Api<S> {
    fn clone(&self) -> Self {
        Api(self.0.clone())
    }
}

impl<S: Store> Handler for Api<S> {
    async fn handle(&self, mut request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query());
        let target = target(&parts.method, parts.uri.path(), &query);
        let method = parts.method.clone();
        let identity = parts.extensions.get::<User>().cloned();
        let peer = parts.extensions.get::<Peer>();
        let user = match identity {
            Some(user) => Some(user),
            None => auth::identify(&self.0, peer, &parts.headers).await,
        };
        let answer = match user
            .ok_or_else(status::unauthorized)
            .and_then(|u| auth::impersonate(&self.0.access, u, &parts.headers))
        {
            Err(status) => Err(status),
            Ok(user) => {
                let path = parts.uri.path().to_owned();
                let uri = parts.uri;
                let ask = Ask { method: parts.method, path, query, uri, headers: parts.headers, user, body, upgrade };
                auth::acting(ask.user.clone(), self.answer(ask, &target)).await
            }
        };
        let mut response = answer.unwrap_or_else(|status| reply::failure(&status));
        if method == http::Method::HEAD {
            *response.body_mut() = reply::full("");
        }
        let (verb, resource) = self.labels(&target);
        self.0.metrics.answered(verb, resource, response.status().as_u16(), started.elapsed());
        response
    }
}

impl<S: Store> Api<S> {
    async fn answer(&self, ask: Ask, target: &Target) -> Reply {
        let method = ask.method.as_str().to_ascii_lowercase();
        let (user, path, query) = (ask.user.clone(), ask.path.clone(), ask.query.clone());
        let attributes = match target {
            Target::Resource(path) => Attributes::of(path, &query),
            Target::Other => Attributes::Path { path: &path, verb: &method },
        };
        self.allow(&user, &attributes, query.get("fieldSelector").unwrap_or_default()).await?;
        let _room = self.room_for(ask.body.size_hint().upper()).await?;
        match target {
            Target::Resource(path) => verbs::handle(&self.0, ask, path).await,
            Target::Other => discovery::handle(&self.0, ask).await,
        }
    }

    /// What a request counts as.
    fn labels(&self, target: &Target) -> (&'static str, &'static str) {
        match target {
            Target::Resource(path) => {
                (path.verb.as_str(), self.0.customs.kind(path).map_or("other", |kind| kind.plural))
            }
            Target::Other => ("other", "other"),
        }
    }

    /// Room for a body of some length, the largest if unknown, while it is worked on; None for none.
    ///
    /// # Errors
    /// 413 for a body that says that it is too large, 429 when others take all the room for too long.
    async fn room_for(&self, length: Option<u64>) -> Result<Option<SemaphorePermit<'_>>, Status> {
        let bytes = length.unwrap_or(BODY_BYTES_MAX as u64);
        if bytes == 0 {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes as usize <= BODY_BYTES_MAX);
        let bytes = bytes.ok_or_else(body::too_large)?;
        match tokio::time::timeout(BODY_TIMEOUT, self.0.bodies.acquire_many(bytes)).await {
            Ok(Ok(room)) => Ok(Some(room)),
            Ok(Err(_)) | Err(_) => Err(status::too_many_requests("Too many requests, please try again later.", 1)),
        }
    }

    async fn allow(&self, user: &User, attributes: &Attributes<'_>, selector: &str) -> Result<(), Status> {
        let Decision::Deny(why) = auth::decide(&self.0, user, attributes, selector).await else { return Ok(()) };
        let user = &user.name;
        Err(match *attributes {
            Attributes::Path { path, verb } => status::denied_path(user, verb, path),
            Attributes::Resource { asked, namespace } => {
                let Asked { verb, group, resource, subresource, name } = asked;
                status::denied(&Attempt { user, verb, group, resource, subresource, namespace, name }, &why)
            }
        })
    }
}

/// The API for a client in this process, which acts as one fixed user.
pub(crate) struct Local<S> {
    api: Api<S>,
    user: User,
}

impl<S> Clone for Local<S> {
    fn clone(&self) -> Self {
        Local { api: self.api.clone(), user: self.user.clone() }
    }
}

impl<S> Local<S> {
    pub(crate) fn new(api: Api<S>, user: User) -> Local<S> {
        Local { api, user }
    }
}

impl<S, B> tower::Service<Request<B>> for Local<S>
where
    S: Store,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let api = self.api.clone();
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        if let Ok(name) = HeaderValue::from_str(&self.user.name) {
            // What it writes is accounted to its user, unless the client calls itself something.
            request.headers_mut().entry(USER_AGENT).or_insert(name);
        }
        request.extensions_mut().insert(self.user.clone());
        Box::pin(async move { Ok(api.handle(request).await) })
    }
}
