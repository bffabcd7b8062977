//! Approves agents' requests for their own client certificates, and signs what was approved.
//!
//! # Invariants
//! - The authority's key stays in this process and this file: see docs/adr/0006-the-server-signs.md.
//! - A request is signed once; one that its signer may not grant fails, and stays so.

use std::sync::Arc;

use api::rbac::Asked;
use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use store::{Entry, Expect, Revision, Store, StoreError, Watch};
use tracing::warn;

use super::{GROUP, add_condition, condition, has, pem};
use crate::app::App;
use crate::auth::User;
use crate::limits::FOLLOW_RETRY;
use crate::object;
use crate::pki::Authority;
use crate::pki::request::{CLIENT, CLIENT_KUBELET, KUBELET_SERVING, Wanted, grantable, read};

/// The prefix of the keys of requests.
const PREFIX: &str = "/registry/certificates.k8s.io/certificatesigningrequests/";

/// Begins to sign.
pub(crate) fn start<S: Store>(app: &Arc<App<S>>, authority: Authority) {
    let signing = app.clone();
    app.tasks.spawn(async move {
        let stop = signing.shutdown.clone();
        stop.run_until_cancelled(run(&signing, &authority)).await;
    });
}

/// Looks at all requests, then at each that changes; begins anew when the watch breaks.
async fn run<S: Store>(app: &App<S>, authority: &Authority) {
    loop {
        match all(app, authority).await {
            Ok(()) => return,
            Err(error) => warn!(%error, "certificate requests can't be watched; listing anew"),
        }
        tokio::time::sleep(FOLLOW_RETRY).await;
    }
}

async fn all<S: Store>(app: &App<S>, authority: &Authority) -> Result<(), StoreError> {
    let page = app.store.list(PREFIX.as_bytes(), b"", 0, None).await?;
    for entry in &page.entries {
        look(app, authority, entry).await;
    }
    let mut watch = app.store.watch(PREFIX.as_bytes(), page.revision).await?;
    while let Some(event) = watch.next().await? {
        if let Some(entry) = &event.current {
            look(app, authority, entry).await;
        }
    }
    Ok(())
}

/// Does what is next for one request. A conflict means that it changed, and its change is seen in turn.
async fn look<S: Store>(app: &App<S>, authority: &Authority, entry: &Entry) {
    let next = object::decode(entry).map(|request| next(app, authority, request));
    let key = String::from_utf8_lossy(&entry.key);
    let done = match next {
        Ok(None) => return,
        Ok(Some(changed)) => store(app, &key, entry.mod_revision, &changed).await,
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        warn!(%key, %error, "a certificate request can't be answered");
    }
}

async fn store<S: Store>(app: &App<S>, key: &str, at: Revision, changed: &Value) -> Result<(), Status> {
    // None is a conflict.
    app.put(key, Expect::At(at), object::encode(changed)?).await.map(|_| ())
}

/// The request as it should be next; None when there is nothing to do.
fn next<S: Store>(app: &App<S>, authority: &Authority, mut request: Value) -> Option<Value> {
    let signer = request["spec"]["signerName"].as_str()?.to_owned();
    let ours = matches!(signer.as_str(), CLIENT | CLIENT_KUBELET | KUBELET_SERVING);
    let settled = has(&request, "Denied") || has(&request, "Failed") || request["status"]["certificate"].is_string();
    if !ours || settled {
        return None;
    }
    let text = pem(&request);
    let usages: Vec<String> = request["spec"]["usages"].as_array().into_iter().flatten().map(text_of).collect();
    let usages: Vec<&str> = usages.iter().map(String::as_str).collect();
    let wanted = read(&text).ok()?;
    let granted = grantable(&signer, &wanted, &usages);
    if !has(&request, "Approved") {
        let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
        if signer != CLIENT_KUBELET || granted.is_err() || !approves_itself(app, &request, &wanted) {
            return None;
        }
        add_condition(&mut request, condition("Approved", "AutoApproved", message));
        return Some(request);
    }
    let seconds = request["spec"]["expirationSeconds"].as_i64();
    match granted.and_then(|()| authority.sign_request(&text, &usages, seconds)) {
        Ok(certificate) => request["status"]["certificate"] = STANDARD.encode(certificate).into(),
        Err(why) => add_condition(&mut request, condition("Failed", "SignerValidationFailure", &why)),
    }
    Some(request)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether who asks may have a node's client certificate without being looked at: its own anew, or any.
fn approves_itself<S: Store>(app: &App<S>, request: &Value, wanted: &Wanted) -> bool {
    let spec = &request["spec"];
    let groups = spec["groups"].as_array().into_iter().flatten().map(text_of).collect();
    let user = User::known(text_of(&spec["username"]), text_of(&spec["uid"]), groups);
    let may = |subresource| {
        let resource = "certificatesigningrequests";
        app.access.may(&user, Asked { verb: "create", group: GROUP, resource, subresource, name: "" }, "")
    };
    (user.name == wanted.user && may("selfnodeclient")) || may("nodeclient")
}
