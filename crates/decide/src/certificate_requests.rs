//! Which certificate requests have been there long enough to be removed.
//!
//! # Invariants
//! - A request that somebody may still act on stays for [`PENDING_KEPT`].
//! - An answer stays for [`ANSWERED_KEPT`], so that whoever asked can fetch it; longer only where no certificate came of it.
//!
//! # Absent
//! Reading certificates: the caller says when the one that was issued ends.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How long a request is kept that was approved, denied or has failed. Kubernetes' figure.
pub const ANSWERED_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// How long one is kept that waits for approval, or for its certificate. Kubernetes' figure.
pub const PENDING_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Why a request is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody approved or denied it.
    Waited,
    /// It was approved, and no certificate came.
    Unissued,
    /// Its certificate is there for whoever asked.
    Issued,
    /// Its certificate has ended.
    Ended,
    /// It was denied.
    Denied,
    /// It could not be signed.
    Failed,
}

/// Why this request is removed, if it is. `not_after` is the end of the certificate in it.
#[must_use]
pub fn removal(request: &CertificateSigningRequest, not_after: Option<Timestamp>, now: Timestamp) -> Option<Why> {
    let status = request.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    if conditions.is_empty() {
        let created = request.metadata.creation_timestamp.as_ref();
        return is_older(created, PENDING_KEPT, now).then_some(Why::Waited);
    }
    let is_issued = status.and_then(|s| s.certificate.as_ref()).is_some_and(|c| !c.0.is_empty());
    conditions.iter().find_map(|condition| {
        let is_older = |kept| is_older(condition.last_update_time.as_ref(), kept, now);
        match kind(condition) {
            Kind::Approved if is_issued && not_after.is_some_and(|end| now > end) => Some(Why::Ended),
            Kind::Approved if is_issued => is_older(ANSWERED_KEPT).then_some(Why::Issued),
            Kind::Approved => is_older(PENDING_KEPT).then_some(Why::Unissued),
            Kind::Denied => is_older(ANSWERED_KEPT).then_some(Why::Denied),
            Kind::Failed => is_older(ANSWERED_KEPT).then_some(Why::Failed),
            Kind::Other => None,
        }
    })
}

enum Kind {
    Approved,
    Denied,
    Failed,
    Other,
}

fn kind(condition: &CertificateSigningRequestCondition) -> Kind {
    match condition.type_.as_str() {
        "Approved" => Kind::Approved,
        "Denied" => Kind::Denied,
        "Failed" => Kind::Failed,
        _ => Kind::Other,
    }
}

fn is_older(since: Option<&Time>, kept: SignedDuration, now: Timestamp) -> bool {
    since.is_some_and(|since| now.duration_since(since.0) > kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestStatus;

    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(10_000_000 + second).unwrap()
    }

    /// A request that is made at second 0 and gets each condition at its time.
    fn request(conditions: &[(&str, Option<i64>)], certificate: &str) -> CertificateSigningRequest {
        let conditions = conditions.iter().map(|(type_, updated)| CertificateSigningRequestCondition {
            type_: (*type_).to_owned(),
            last_update_time: updated.map(|second| Time(at(second))),
            ..CertificateSigningRequestCondition::default()
        });
        let mut request = CertificateSigningRequest {
            status: Some(CertificateSigningRequestStatus {
                conditions: Some(conditions.collect()),
                certificate: Some(ByteString(certificate.as_bytes().to_vec())),
            }),
            ..CertificateSigningRequest::default()
        };
        request.metadata.creation_timestamp = Some(Time(at(0)));
        request
    }

    #[test]
    fn each_kind_has_its_time() {
        // Its conditions, its certificate, the end of that, and from which second on (inclusive) it is removed, and why.
        let approved = [("Approved", Some(10))];
        let cases = [
            ("waits", request(&[], ""), None, Some((24 * HOUR + 1, Why::Waited))),
            ("issued", request(&approved, "pem"), Some(at(9 * HOUR)), Some((HOUR + 11, Why::Issued))),
            ("issued for minutes", request(&approved, "pem"), Some(at(600)), Some((601, Why::Ended))),
            ("approved for another signer", request(&approved, ""), None, Some((24 * HOUR + 11, Why::Unissued))),
            ("denied", request(&[("Denied", Some(20))], ""), None, Some((HOUR + 21, Why::Denied))),
            (
                "approved and failed",
                request(&[("Approved", Some(10)), ("Failed", Some(30))], ""),
                None,
                Some((HOUR + 31, Why::Failed)),
            ),
            ("answered nobody knows when", request(&[("Denied", None)], ""), None, None),
            ("something else", request(&[("Odd", Some(0))], ""), None, None),
        ];
        for (what, request, end, want) in cases {
            let found = |second| removal(&request, end, at(second));
            match want {
                None => assert_eq!(found(1000 * HOUR), None, "{what}"),
                Some((second, why)) => {
                    assert_eq!((found(second - 1), found(second)), (None, Some(why)), "{what}");
                }
            }
        }
        assert_eq!(removal(&CertificateSigningRequest::default(), None, at(0)), None, "nobody knows since when");
    }
}
