//! Whether the server lives and is ready.

use std::sync::Arc;

use http::StatusCode;
use store::Store;

use crate::app::App;
use crate::reply::{self, Reply};
use crate::request::Query;

/// What is checked: each has a name and whether it is well.
async fn checks<S: Store>(app: &App<S>) -> [(&'static str, bool); 3] {
    [("ping", true), ("store", app.store.revision().await.is_ok()), ("poststarthook/bootstrap", app.is_ready())]
}

/// Answers `/healthz`, `/livez`, `/readyz`, with or without the name of one check behind.
pub(super) async fn check<S: Store>(app: &Arc<App<S>>, query: &Query, parts: &[&str]) -> Reply {
    let endpoint = parts.first().copied().unwrap_or_default();
    let wanted = parts.get(1..).map(|rest| rest.join("/")).unwrap_or_default();
    let mut checks = checks(app).await.to_vec();
    if endpoint == "readyz" {
        checks.push(("shutdown", !app.shutdown.is_cancelled()));
    }
    if !wanted.is_empty() {
        checks.retain(|(name, _)| *name == wanted);
        if checks.is_empty() {
            return Ok(reply::text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
    }
    checks.retain(|(name, _)| !query.all("exclude").any(|excluded| excluded == *name));
    let well = checks.iter().all(|(_, well)| *well);
    let code = if well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    if well && !query.flag("verbose") {
        return Ok(reply::text(code, "ok"));
    }
    let mut text = String::new();
    for (name, well) in &checks {
        text.push_str(&match well {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: reason withheld\n"),
        });
    }
    text.push_str(&format!("{endpoint} check {}\n", if well { "passed" } else { "failed" }));
    Ok(reply::text(code, text))
}
