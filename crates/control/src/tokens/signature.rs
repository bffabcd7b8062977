//! Signatures of texts by tokens: JSON Web Signatures (RFC 7515) with HMAC-SHA-256, without the text that is signed (its
//! appendix F). The key is the secret half of the token, the key's id the token's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// The signature of a text, as `HEADER..SIGNATURE`.
pub(super) fn detached(text: &str, id: &str, secret: &str) -> String {
    // An id has letters and digits only, so that nothing in it needs an escape.
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{header}.{}", URL_SAFE_NO_PAD.encode(text)).as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_gets_the_same() {
        // By Python's hmac, hashlib and base64.
        let want = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..vH_kT4yiol-nrAWgjfCYqvum5wsKETXe0S7OOp1VgnE";
        assert_eq!(detached("apiVersion: v1\nkind: Config\n", "abcdef", "0123456789abcdef"), want);
    }
}
