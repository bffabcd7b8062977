//! Deletes certificate requests that have had their time, every now and then.
//!
//! Invariants: a request is deleted as it was when it was looked at, or not at all: one that was answered meanwhile stays.
//! What can't be deleted now is tried again with the next look.
//!
//! Absent: any decision (`decide::certificate_requests`); approving and signing, which the API server does.

use std::sync::Arc;

use decide::certificate_requests::removal;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::ListParams;
use tokio_util::sync::CancellationToken;
use x509_parser::pem::parse_x509_pem;

use crate::hub::Hub;
use crate::key::Key;
use crate::limits::{CSR_CLEAN_PERIOD, CSR_PAGE};
use crate::wire::{self, Deletion};

/// Deletes requests until shutdown.
pub(crate) async fn run(hub: Arc<Hub>, shutdown: CancellationToken) {
    loop {
        let look = async {
            if let Err(error) = clean(&hub).await
                && !hub.rights.tell(&error)
            {
                tracing::warn!(%error, "certificate requests could not be looked at; they are again in an hour");
            }
            tokio::time::sleep(CSR_CLEAN_PERIOD).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = look => {}
        }
    }
}

async fn clean(hub: &Hub) -> kube::Result<()> {
    let api: Api<CertificateSigningRequest> = Api::all(hub.client.clone());
    let mut page = ListParams::default().limit(CSR_PAGE);
    loop {
        let list = api.list(&page).await?;
        for request in &list.items {
            clean_one(hub, request, Timestamp::now()).await?;
        }
        match list.metadata.continue_.filter(|rest| !rest.is_empty()) {
            Some(rest) => page = page.continue_token(&rest),
            None => return Ok(()),
        }
    }
}

async fn clean_one(hub: &Hub, request: &CertificateSigningRequest, now: Timestamp) -> kube::Result<()> {
    let Some(why) = removal(request, not_after(request), now) else { return Ok(()) };
    let (uid, resource_version) = (request.metadata.uid.as_deref(), request.metadata.resource_version.as_deref());
    let how = Deletion { uid, resource_version, ..Deletion::default() };
    let key = Key::of(&request.metadata);
    match wire::delete(&hub.client, wire::certificate_requests(), &key, &how).await {
        Ok(()) => tracing::debug!(%key, ?why, "a certificate request is deleted"),
        Err(error) if wire::is_gone(&error) || wire::code(&error) == 409 => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// When the certificate in a request ends; None for one that has none, or none that can be read.
fn not_after(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let pem = &request.status.as_ref()?.certificate.as_ref()?.0;
    let (_, pem) = parse_x509_pem(pem).ok()?;
    let end = pem.parse_x509().ok()?.validity().not_after.timestamp();
    Timestamp::from_second(end).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, lines, status};
    use serde_json::{Value, json};

    fn request(name: &str, created: &str, status: &Value) -> Value {
        json!({"metadata": {"name": name, "uid": name, "resourceVersion": "7", "creationTimestamp": created},
            "spec": {"request": "", "signerName": "x"}, "status": status})
    }

    #[tokio::test]
    async fn all_pages_are_looked_at() {
        fn answer(method: &str, path: &str) -> (u16, Value) {
            let old = "2020-01-01T00:00:00Z";
            match (method, path) {
                ("GET", _) => (
                    200,
                    json!({"metadata": {}, "items": [
                        request("waited", old, &json!({})),
                        request("new", "9999-01-01T00:00:00Z", &json!({})),
                        request("denied", old, &json!({"conditions": [{"type": "Denied", "status": "True", "lastUpdateTime": old}]})),
                    ]}),
                ),
                _ => (409, status(409, "Conflict")),
            }
        }
        let (hub, requests) = testing::hub(answer);
        clean(&hub).await.unwrap();
        let at = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        assert_eq!(
            lines(&requests),
            [format!("GET {at}"), format!("DELETE {at}/waited"), format!("DELETE {at}/denied")]
        );
        assert_eq!(requests.lock().unwrap()[1].1["preconditions"], json!({"uid": "waited", "resourceVersion": "7"}));
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let issued = |pem: &[u8]| {
            let status = json!({"certificate": k8s_openapi::ByteString(pem.to_vec())});
            not_after(&serde_json::from_value(request("r", "2026-01-01T00:00:00Z", &status)).unwrap())
        };
        let mut params = rcgen::CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        assert_eq!(issued(pem.as_bytes()), Some("2026-01-02T00:00:00Z".parse().unwrap()));
        assert_eq!(issued(b"none"), None);
    }
}
