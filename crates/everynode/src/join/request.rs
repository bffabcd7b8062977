//! Asking a server for a node's certificate.
//!
//! # Invariants
//! The key is made here and leaves the machine never: the server sees a request that the key has signed.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

/// Who signs certificates of nodes as clients.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// A request that is signed by itself is signed within this; after it, it waits for a person.
const BY_ITSELF: Duration = Duration::from_secs(15);
/// How long a person may take: a request that nobody approves in this time was overlooked.
const BY_A_PERSON: Duration = Duration::from_secs(15 * 60);

/// A new key and its certificate for a node, PEM.
///
/// # Errors
/// When the server grants none; the words say what to do.
pub(super) async fn pair(client: &Client, node: &str) -> Result<String> {
    let key = KeyPair::generate().context("make a key")?;
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let made = requests.create(&PostParams::default(), &request(&key, node)?).await?;
    let name = made.name_any();
    let settled = |found: Option<&CertificateSigningRequest>| found.is_none_or(|r| outcome(r).is_some());
    let waiting = await_condition(requests, &name, settled);
    tokio::pin!(waiting);
    let found = match tokio::time::timeout(BY_ITSELF, &mut waiting).await {
        Ok(found) => found?,
        Err(_) => {
            tracing::warn!("the request {name} waits for approval: `kubectl certificate approve {name}`");
            let late = tokio::time::timeout(BY_A_PERSON, waiting).await;
            late.with_context(|| format!("nobody approved the request {name} within {BY_A_PERSON:?}"))??
        }
    };
    match found.as_ref().and_then(outcome) {
        Some(Ok(certificate)) => Ok(format!("{certificate}{}", key.serialize_pem())),
        Some(Err(why)) => bail!("{why}"),
        None => bail!("the request {name} was deleted before it was signed: start the agent again"),
    }
}

fn request(key: &KeyPair, node: &str) -> Result<CertificateSigningRequest> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    let pem = params.serialize_request(key)?.pem()?;
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("node-csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(["digital signature", "client auth"].map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}

/// The certificate, or why there is none; None while that is open.
fn outcome(request: &CertificateSigningRequest) -> Option<Result<String, String>> {
    let status = request.status.as_ref()?;
    if let Some(certificate) = &status.certificate {
        return Some(Ok(String::from_utf8_lossy(&certificate.0).into_owned()));
    }
    let conditions = status.conditions.iter().flatten();
    let refused = conditions.into_iter().find(|c| matches!(c.type_.as_str(), "Denied" | "Failed"))?;
    let said = refused.message.clone().or_else(|| refused.reason.clone()).unwrap_or_default();
    let verb = if refused.type_ == "Denied" { "was denied" } else { "failed" };
    Some(Err(format!("the request {verb}: {said}")))
}

/// Fails when another machine is this node now.
///
/// # Errors
/// One line that says what to do.
pub(super) async fn name_is_free(client: &Client, node: &str) -> Result<()> {
    let found = match Api::<Node>::all(client.clone()).get_opt(node).await {
        Ok(found) => found,
        // Elsewhere than on our own server tokens may not see nodes.
        Err(kube::Error::Api(status)) if status.code == 403 => None,
        Err(error) => return Err(error.into()),
    };
    let conditions = found.and_then(|n| n.status?.conditions).unwrap_or_default();
    if conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") {
        bail!(
            "node {node} is in the cluster and Ready, so another machine has the name: choose one with --node-name; if this \
             machine takes its place, stop the other agent and try again when the node is NotReady"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: serde_json::Value, want: Option<Result<&str, &str>>) {
        let key = KeyPair::generate().unwrap();
        let mut request = request(&key, "n-1").unwrap();
        request.status = serde_json::from_value(status.clone()).unwrap();
        let found = outcome(&request);
        let found = found.as_ref().map(|r| r.as_deref().map_err(String::as_str));
        assert_eq!(found, want, "{status}");
    }

    #[test]
    fn outcomes() {
        let condition = |kind: &str| serde_json::json!([{"type": kind, "status": "True", "message": "M"}]);
        check(serde_json::json!(null), None);
        check(serde_json::json!({"conditions": condition("Approved")}), None);
        check(serde_json::json!({"conditions": condition("Approved"), "certificate": "UEVN"}), Some(Ok("PEM")));
        check(serde_json::json!({"conditions": condition("Denied")}), Some(Err("the request was denied: M")));
        check(serde_json::json!({"conditions": condition("Failed")}), Some(Err("the request failed: M")));
    }
}
