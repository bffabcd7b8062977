//! What a token says, and how it is written: a JSON Web Token signed by ES256.
//!
//! # Invariants
//! Only tokens by this server's key and algorithm are read; a token can't choose how it is checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::limits::TOKEN_BYTES_MAX;
use crate::pki::AccountKey;

/// One object that a token names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

/// What Kubernetes adds to a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kubernetes {
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
    /// From when on its use is worth a warning, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// All that a token says. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) kubernetes: Kubernetes,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// Writes and signs a token; None only when the system has no randomness to give.
pub(crate) fn encode(key: &AccountKey, claims: &Claims) -> Option<String> {
    let header = json!({"alg": "ES256", "kid": key.id()}).to_string();
    let payload = serde_json::to_vec(claims).ok()?;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())?);
    Some(format!("{signed}.{signature}"))
}

/// What a token says if it is signed by `key`; None for any other text.
pub(crate) fn decode(key: &AccountKey, token: &str) -> Option<Claims> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header["alg"] != "ES256" {
        return None;
    }
    if !key.verifies(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let reference = |name: &str| Reference { name: name.into(), uid: format!("{name}-uid") };
        Claims {
            aud: vec!["x".into()],
            exp: 9,
            iat: 1,
            iss: "i".into(),
            jti: "j".into(),
            kubernetes: Kubernetes {
                namespace: "a".into(),
                node: None,
                pod: Some(reference("p")),
                secret: None,
                serviceaccount: reference("s"),
                warnafter: None,
            },
            nbf: 1,
            sub: "system:serviceaccount:a:s".into(),
        }
    }

    #[test]
    fn only_what_was_signed_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let key = AccountKey::open(dir.path()).unwrap();
        let token = encode(&key, &claims()).unwrap();
        assert_eq!(decode(&key, &token), Some(claims()));
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let other = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Claims { exp: 99, ..claims() }).unwrap());
        for forged in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{other}.{}", parts[0], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}x"),
            "x".repeat(TOKEN_BYTES_MAX + 1),
            String::new(),
        ] {
            assert_eq!(decode(&key, &forged), None, "{forged}");
        }
    }
}
