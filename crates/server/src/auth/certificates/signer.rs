//! Approves agents' requests for their own client certificates, and signs what was approved.
//!
//! # Invariants
//! - The authority's key stays in this process and this file: see docs/adr/0006-the-server-signs.md.
//! - A request is signed once; one that its signer may not grant fails, and stays so.
//! - Who comes with a bootstrap token gets no certificate of a node that is Ready: it is another machine's.

use std::sync::Arc;
use std::time::Duration;

use api::rbac::Asked;
use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use store::{Entry, Expect, Revision, Store, StoreError, Watch};
use tracing::warn;

use super::{GROUP, add_condition, condition, has, pem};
use crate::app::App;
use crate::auth::{BOOTSTRAPPERS, User};
use crate::limits::FOLLOW_RETRY;
use crate::object;
use crate::pki::Authority;
use crate::pki::request::{CLIENT, CLIENT_KUBELET, KUBELET_SERVING, LIFE_MAX, Wanted, grantable, life, read};

/// The prefix of the keys of requests.
const PREFIX: &str = "/registry/certificates.k8s.io/certificatesigningrequests/";

/// Begins to sign; certificates of nodes live for `node_ttl` at most.
pub(crate) fn start<S: Store>(app: &Arc<App<S>>, authority: Authority, node_ttl: Duration) {
    let signing = app.clone();
    let authority = Signer { authority, node_ttl };
    app.tasks.spawn(async move {
        let stop = signing.shutdown.clone();
        stop.run_until_cancelled(run(&signing, &authority)).await;
    });
}

struct Signer {
    authority: Authority,
    node_ttl: Duration,
}

/// Looks at all requests, then at each that changes; begins anew when the watch breaks.
async fn run<S: Store>(app: &App<S>, authority: &Signer) {
    loop {
        match all(app, authority).await {
            Ok(()) => return,
            Err(error) => warn!(%error, "certificate requests can't be watched; listing anew"),
        }
        tokio::time::sleep(FOLLOW_RETRY).await;
    }
}

async fn all<S: Store>(app: &App<S>, authority: &Signer) -> Result<(), StoreError> {
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
async fn look<S: Store>(app: &App<S>, authority: &Signer, entry: &Entry) {
    let next = match object::decode(entry) {
        Ok(request) => next(app, authority, request).await,
        Err(error) => Err(error),
    };
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
async fn next<S: Store>(app: &App<S>, with: &Signer, mut request: Value) -> Result<Option<Value>, Status> {
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default().to_owned();
    let ours = matches!(signer.as_str(), CLIENT | CLIENT_KUBELET | KUBELET_SERVING);
    let settled = has(&request, "Denied") || has(&request, "Failed") || request["status"]["certificate"].is_string();
    if !ours || settled {
        return Ok(None);
    }
    let text = pem(&request);
    let usages: Vec<String> = request["spec"]["usages"].as_array().into_iter().flatten().map(text_of).collect();
    let usages: Vec<&str> = usages.iter().map(String::as_str).collect();
    let Ok(wanted) = read(&text) else { return Ok(None) };
    let granted = grantable(&signer, &wanted, &usages);
    if !has(&request, "Approved") {
        let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
        if signer != CLIENT_KUBELET || granted.is_err() || !approves_itself(app, &request, &wanted) {
            return Ok(None);
        }
        let settled = match of_another_machine(app, &request, &wanted).await? {
            true => condition("Denied", "NodeIsReady", "a node of this name is Ready: another machine has it"),
            false => condition("Approved", "AutoApproved", message),
        };
        add_condition(&mut request, settled);
        return Ok(Some(request));
    }
    let longest = if signer == CLIENT_KUBELET { with.node_ttl } else { LIFE_MAX };
    let asked = request["spec"]["expirationSeconds"].as_u64().map(Duration::from_secs);
    match granted.and_then(|()| with.authority.sign_request(&text, &usages, life(asked, longest))) {
        Ok(certificate) => request["status"]["certificate"] = STANDARD.encode(certificate).into(),
        Err(why) => add_condition(&mut request, condition("Failed", "SignerValidationFailure", &why)),
    }
    Ok(Some(request))
}

/// Whether a group is that of bootstrap tokens, or of some of them.
fn is_bootstrappers(group: &str) -> bool {
    group.strip_prefix(BOOTSTRAPPERS).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Whether someone with a bootstrap token asks for the certificate of a node that is Ready. One that is not may be the
/// machine that asks, come back without its certificate.
async fn of_another_machine<S: Store>(app: &App<S>, request: &Value, wanted: &Wanted) -> Result<bool, Status> {
    let groups = request["spec"]["groups"].as_array();
    let joins = groups.is_some_and(|all| all.iter().filter_map(Value::as_str).any(is_bootstrappers));
    let (Some(node), Some(kind)) = (wanted.user.strip_prefix("system:node:"), api::kinds::find("", "v1", "nodes"))
    else {
        return Ok(false);
    };
    if !joins {
        return Ok(false);
    }
    let Some(entry) = app.lookup(kind, None, node).await? else { return Ok(false) };
    let node = object::decode(&entry)?;
    let conditions = node["status"]["conditions"].as_array();
    Ok(conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")))
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
