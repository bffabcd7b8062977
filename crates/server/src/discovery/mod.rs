//! What there is to ask for: groups, versions, kinds, health, version, metrics.
//!
//! # Invariants
//! Everything here is a view of the table of kinds and of the custom kinds that are served.

mod aggregated;
mod groups;
mod health;
mod openapi;

use std::sync::Arc;

use api::status;
use http::StatusCode;
use serde_json::json;
use store::Store;

use crate::app::{App, Ask, failure};
use crate::limits::WATCHES_MAX;
use crate::negotiate;
use crate::reply::{self, Reply};
use crate::tunnel;

pub(crate) use openapi::Documents;

/// Answers a request that is not about objects.
///
/// # Errors
/// 404 for paths that mean nothing, 405 for other methods than GET.
pub(crate) async fn handle<S: Store>(app: &Arc<App<S>>, ask: Ask) -> Reply {
    let path = ask.path.trim_end_matches('/').to_owned();
    if ask.method != http::Method::GET && ask.method != http::Method::HEAD {
        return Err(match known(&path) {
            true => status::method_not_allowed("", "", ask.method.as_str()),
            false => status::no_such_resource(),
        });
    }
    if let Some(node) = tunnel::node_of(&path) {
        let node = node.to_owned();
        return tunnel::open(app, ask, &node);
    }
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => health::check(app, &ask.query, &parts).await,
        ["version"] => Ok(reply::json(StatusCode::OK, &version())),
        ["metrics"] => {
            let revision = app.store.revision().await.map_err(failure)?.0;
            let watches = WATCHES_MAX - app.watches.available_permits();
            let text = app.metrics.text(watches, app.nodes.count(), revision);
            Ok(reply::with_type(StatusCode::OK, "text/plain; version=0.0.4", reply::full(text)))
        }
        [".well-known", "openid-configuration"] => app.issuer.configuration(),
        ["openid", "v1", "jwks"] => app.issuer.keys(),
        ["openapi", "v2"] => openapi::v2(app, &ask),
        ["openapi", "v3"] => openapi::v3_index(app, &ask),
        ["openapi", "v3", rest @ ..] => openapi::v3(app, &ask, &rest.join("/")),
        ["api"] => match aggregated::answer(&ask, &[], true) {
            Some(answer) => Ok(answer),
            None => document(&ask, groups::core_versions(&ask)),
        },
        ["apis"] => match aggregated::answer(&ask, &app.customs.kinds(), false) {
            Some(answer) => Ok(answer),
            None => document(&ask, groups::all(&app.customs.kinds())),
        },
        ["api", version] => document(&ask, groups::resources(&[], "", version).ok_or_else(status::no_such_resource)?),
        ["apis", group] => {
            document(&ask, groups::one(&app.customs.kinds(), group).ok_or_else(status::no_such_resource)?)
        }
        ["apis", group, version] => {
            let customs = app.customs.kinds();
            document(&ask, groups::resources(&customs, group, version).ok_or_else(status::no_such_resource)?)
        }
        [""] | [] => document(&ask, groups::paths(&app.customs.kinds())),
        _ => Err(status::no_such_resource()),
    }
}

fn known(path: &str) -> bool {
    ["/api", "/apis", "/version", "/openapi", "/healthz", "/livez", "/readyz", "/metrics"]
        .iter()
        .any(|p| path.starts_with(p))
}

fn document(ask: &Ask, value: impl serde::Serialize) -> Reply {
    let bytes = serde_json::to_vec(&value).map_err(status::internal)?;
    Ok(reply::maybe_gzip(reply::JSON, bytes.into(), negotiate::accepts_gzip(&ask.headers)))
}

/// The answer of /version.
fn version() -> serde_json::Value {
    let mut numbers = api::KUBERNETES_VERSION.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next().unwrap_or_default(),
        "minor": numbers.next().unwrap_or_default(),
        "gitVersion": api::KUBERNETES_VERSION,
        "gitCommit": "",
        "gitTreeState": concat!("everynode-", env!("CARGO_PKG_VERSION")),
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    })
}

/// The processor as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
