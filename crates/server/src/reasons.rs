//! `daemonsets/NAME/reasons`: why nodes run a daemon, wait for one or have none.
//!
//! # Invariants
//! Who may get the subresource gets the answer, whatever else they may read: it is computed with rights of its own.
//!
//! # Absent
//! The answer: whoever starts the server gives it a [`Reasons`] that finds out. Without one there is no such path.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use api::kinds::Kind;
use api::status::{self, Status};
use http::StatusCode;
use serde_json::Value;
use store::Store;
use tokio::sync::Semaphore;

use crate::app::{App, Ask, Place};
use crate::limits::{REASONS_AT_ONCE, REASONS_WAIT};
use crate::negotiate;
use crate::reply::{self, Reply};
use crate::request::Verb;
use crate::shape;

/// The subresource in paths and in rules of roles (`daemonsets/reasons`).
pub(crate) const SEGMENT: &str = "reasons";

/// What is asked of a [`Reasons`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasonsAsked {
    /// Namespace of the DaemonSet.
    pub namespace: String,
    /// Name of the DaemonSet.
    pub name: String,
    /// This node only.
    pub node: Option<String>,
    /// Nodes with such labels only.
    pub label_selector: Option<String>,
    /// Counts and causes without each node.
    pub summary: bool,
}

/// A document, or the Status that the client gets instead.
pub type ReasonsAnswer = Pin<Box<dyn Future<Output = Result<Value, Value>> + Send>>;

/// Finds out why nodes run a daemon.
pub trait Reasons: Send + Sync + 'static {
    /// Answers one question. The future may be dropped at any time.
    fn answer(&self, asked: ReasonsAsked) -> ReasonsAnswer;
}

/// The place for a [`Reasons`], and the permits for its work.
pub(crate) struct Desk {
    reasons: OnceLock<Arc<dyn Reasons>>,
    work: Semaphore,
}

impl Default for Desk {
    fn default() -> Self {
        Desk { reasons: OnceLock::new(), work: Semaphore::new(REASONS_AT_ONCE) }
    }
}

impl Desk {
    /// Gives the place to `reasons`; the first one stays.
    pub(crate) fn open(&self, reasons: Arc<dyn Reasons>) {
        let _ = self.reasons.set(reasons);
    }

    /// Whether a path with this last part is answered here.
    pub(crate) fn serves(&self, kind: &Kind, segment: &str) -> bool {
        segment == SEGMENT && (kind.group, kind.plural) == ("apps", "daemonsets") && self.reasons.get().is_some()
    }
}

/// Answers a request for `NAME/reasons`.
pub(crate) async fn answer<S: Store>(app: &App<S>, ask: Ask, verb: Verb, place: Place<'_>) -> Reply {
    let Some(reasons) = app.reasons.reasons.get() else { return Err(status::no_such_resource()) };
    if verb != Verb::Get {
        return Err(status::method_not_allowed(place.kind.group, place.kind.plural, verb.as_str()));
    }
    let form = negotiate::accept(&ask.headers)?;
    let asked = ReasonsAsked {
        namespace: place.namespace.unwrap_or_default().to_owned(),
        name: place.name.to_owned(),
        node: ask.query.get("node").map(str::to_owned),
        label_selector: ask.query.get("labelSelector").map(str::to_owned),
        summary: ask.query.flag("summary"),
    };
    let _turn = match tokio::time::timeout(REASONS_WAIT, app.reasons.work.acquire()).await {
        Ok(Ok(turn)) => turn,
        Ok(Err(_)) | Err(_) => {
            return Err(status::too_many_requests("Too many requests, please try again later.", 1));
        }
    };
    let document = reasons.answer(asked).await.map_err(of_body)?;
    Ok(reply::with_type(StatusCode::OK, shape::media(form), reply::full(shape::text(form, &document)?)))
}

fn of_body(body: Value) -> Status {
    let code = body["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
    let mut status = status::internal("");
    status.code = code;
    status.body = body;
    status
}
