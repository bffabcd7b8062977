//! Who a token speaks for, as things stand now.

use std::collections::BTreeMap;

use store::Store;

use super::{Claims, ISSUER, Reference, decode};
use crate::app::App;
use crate::auth::User;
use crate::object::{self, meta};

/// Clocks of issuers and of this server may differ by this, and what was deleted counts for as long.
const LEEWAY_S: i64 = 60;

/// Why a token that is ours counts no more, in Kubernetes' words.
const INVALIDATED: &str = "service account token has been invalidated";

/// Whom a token of ours speaks for and which of `audiences` it is for; None for texts that are no such token.
///
/// # Errors
/// Why it counts no more, or not for these audiences.
pub(crate) async fn check<S: Store>(
    app: &App<S>,
    token: &str,
    audiences: &[String],
) -> Option<Result<(User, Vec<String>), String>> {
    let claims = decode(&app.issuer.key, token).filter(|claims| claims.iss == ISSUER)?;
    Some(checked(app, claims, audiences).await)
}

async fn checked<S: Store>(app: &App<S>, claims: Claims, audiences: &[String]) -> Result<(User, Vec<String>), String> {
    let now = jiff::Timestamp::now().as_second();
    in_time(&claims, now)?;
    let shared: Vec<String> = claims.aud.iter().filter(|aud| audiences.contains(aud)).cloned().collect();
    if shared.is_empty() {
        return Err(format!("token audiences {:?} is invalid for the target audiences {audiences:?}", claims.aud));
    }
    let kubernetes = &claims.kubernetes;
    let namespace = Some(kubernetes.namespace.as_str());
    let account = &kubernetes.serviceaccount;
    must_be_there(app, "serviceaccounts", namespace, account, now).await?;
    let mut extra = BTreeMap::new();
    let mut tell = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    tell("credential-id", &format!("JTI={}", claims.jti));
    if let Some(secret) = &kubernetes.secret {
        must_be_there(app, "secrets", namespace, secret, now).await.map_err(|_| INVALIDATED.to_owned())?;
    }
    if let Some(pod) = &kubernetes.pod {
        must_be_there(app, "pods", namespace, pod, now).await.map_err(|_| INVALIDATED.to_owned())?;
        tell("pod-name", &pod.name);
        tell("pod-uid", &pod.uid);
    }
    if let Some(node) = &kubernetes.node {
        // The node of a pod is told, but the token is bound to the pod.
        if kubernetes.pod.is_none() {
            must_be_there(app, "nodes", None, node, now).await.map_err(|_| INVALIDATED.to_owned())?;
        }
        tell("node-name", &node.name);
        tell("node-uid", &node.uid);
    }
    let groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{}", kubernetes.namespace)];
    let name = format!("system:serviceaccount:{}:{}", kubernetes.namespace, account.name);
    let user = User { extra, ..User::known(name, account.uid.clone(), groups) };
    Ok((user, shared))
}

fn in_time(claims: &Claims, now: i64) -> Result<(), String> {
    if now > claims.exp + LEEWAY_S {
        return Err("service account token has expired".to_owned());
    }
    if now < claims.nbf - LEEWAY_S {
        return Err("service account token is not valid yet".to_owned());
    }
    Ok(())
}

/// # Errors
/// Unless the object is there, is the same, and was not deleted a while ago.
async fn must_be_there<S: Store>(
    app: &App<S>,
    plural: &str,
    namespace: Option<&str>,
    wanted: &Reference,
    now: i64,
) -> Result<(), String> {
    let kind = api::kinds::find("", "v1", plural).ok_or("no such kind")?;
    let entry = app.lookup(kind, namespace, &wanted.name).await.map_err(|e| e.to_string())?;
    let entry = entry.ok_or_else(|| format!("{plural} {:?} not found", wanted.name))?;
    let found = object::decode(&entry).map_err(|e| e.to_string())?;
    if meta(&found, "uid") != wanted.uid {
        let kind = if plural == "serviceaccounts" { "service account" } else { kind.singular };
        return Err(format!("{kind} UID ({}) does not match claim ({})", meta(&found, "uid"), wanted.uid));
    }
    let deleted: Option<jiff::Timestamp> = meta(&found, "deletionTimestamp").parse().ok();
    if deleted.is_some_and(|at| at.as_second() < now - LEEWAY_S) {
        return Err(format!("{} {:?} has been deleted", kind.singular, wanted.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time() {
        let claims = Claims {
            aud: vec![],
            exp: 1000,
            iat: 500,
            iss: String::new(),
            jti: String::new(),
            kubernetes: serde_json::from_value(serde_json::json!({"namespace": "a", "serviceaccount": {"name": "s"}}))
                .unwrap(),
            nbf: 500,
            sub: String::new(),
        };
        for (now, good) in [(439, false), (440, true), (1000, true), (1060, true), (1061, false)] {
            assert_eq!(in_time(&claims, now).is_ok(), good, "{now}");
        }
    }
}
