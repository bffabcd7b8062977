//! Tokens of service accounts: made on request, signed, checked against what is stored.
//!
//! # Invariants
//! - A token ends with its time, with its account, and with the object that it is bound to.
//! - What is signed is never stored: a token can be told by its signature alone.
//!
//! # Absent
//! Tokens in secrets (`kubernetes.io/service-account-token`), which Kubernetes no longer makes by itself.

mod check;
mod claims;
mod issue;

use http::StatusCode;
use serde_json::json;

pub(crate) use check::check;
pub(crate) use claims::{Claims, Reference, decode, encode};
pub(crate) use issue::issue;

use crate::pki::AccountKey;
use crate::reply::{self, Reply};

/// Who issues tokens and, for lack of others, whom they are for: Kubernetes' own default.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Signs tokens.
pub(crate) struct Issuer {
    pub(crate) key: AccountKey,
    /// Where others find this server, for the address of its keys.
    pub(crate) url: String,
}

impl Issuer {
    /// The discovery document.
    pub(crate) fn configuration(&self) -> Reply {
        let document = json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{}/openid/v1/jwks", self.url),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        Ok(reply::json(StatusCode::OK, &document))
    }

    /// The keys that tokens are signed with.
    pub(crate) fn keys(&self) -> Reply {
        let document = json!({"keys": [self.key.public_jwk()]}).to_string();
        Ok(reply::with_type(StatusCode::OK, "application/jwk-set+json", reply::full(document)))
    }
}
