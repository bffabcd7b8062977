//! Join tokens: a bootstrap token of Kubernetes and, behind it, the hash by which the cluster's authority is known.
//!
//! `abcdef.0123456789abcdef.sha256:9f86d0…`: the id (6 letters), the secret half (16), and the SHA-256 of the authority's
//! public key (SubjectPublicKeyInfo, DER) in hex, which is what kubeadm calls a discovery token CA certificate hash.
//!
//! # Absent
//! I/O.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Letters of the id and of the secret half.
pub(crate) const ID_LETTERS: usize = 6;
pub(crate) const SECRET_LETTERS: usize = 16;
/// How the authority's key is hashed, as it stands before the hash.
const HASH: &str = "sha256:";
/// Hex digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// What `everynode token create` prints.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) pin: Pin,
}

/// The hash of an authority's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin(String);

impl JoinToken {
    /// What the server knows of it: a bearer token.
    pub(crate) fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.id, self.secret, self.pin)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '.');
        let (id, secret) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !plain(id, ID_LETTERS) || !plain(secret, SECRET_LETTERS) {
            return Err("is no token: `everynode token create` on the server makes one, ID.SECRET.sha256:HASH".into());
        }
        let Some(pin) = parts.next() else {
            return Err("lacks the hash of the cluster's authority: write ID.SECRET.sha256:HASH".into());
        };
        Ok(Self { id: id.to_owned(), secret: secret.to_owned(), pin: pin.parse()? })
    }
}

/// Whether a text is made of so many lower-case letters and digits.
fn plain(text: &str, letters: usize) -> bool {
    text.len() == letters && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

impl Pin {
    /// The pin of a certificate in DER.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn of(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| format!("no certificate: {e}"))?;
        let digest = Sha256::digest(certificate.public_key().raw);
        Ok(Self(digest.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH}{}", self.0)
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(HASH).map(str::to_ascii_lowercase);
        match digits.filter(|d| d.len() == HASH_DIGITS && d.bytes().all(|b| b.is_ascii_hexdigit())) {
            Some(digits) => Ok(Self(digits)),
            None => Err(format!("ends in no hash of an authority: {HASH} and {HASH_DIGITS} hex digits; copy it whole")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_written() {
        let text = format!("abcdef.0123456789abcdef.sha256:{}", "ab".repeat(32));
        let token: JoinToken = text.parse().unwrap();
        assert_eq!(token.to_string(), text);
        assert_eq!(token.bearer(), "abcdef.0123456789abcdef");
        assert!(!format!("{token:?}").contains("0123456789abcdef"), "logs don't tell the secret");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let hash = "ab".repeat(32);
        for (text, want) in [
            ("abcdef".to_owned(), "is no token"),
            (format!("ABCDEF.0123456789abcdef.sha256:{hash}"), "is no token"),
            (format!("abcdef.0123456789abcde.sha256:{hash}"), "is no token"),
            ("abcdef.0123456789abcdef".to_owned(), "lacks the hash"),
            (format!("abcdef.0123456789abcdef.{hash}"), "no hash"),
            (format!("abcdef.0123456789abcdef.sha256:{}", &hash[1..]), "no hash"),
            (format!("abcdef.0123456789abcdef.sha256:{}x", &hash[1..]), "no hash"),
        ] {
            let error = text.parse::<JoinToken>().unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_pin_is_of_the_key_and_not_of_the_certificate() {
        let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pin = |names: &[&str], key: &KeyPair| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            Pin::of(CertificateParams::new(names).unwrap().self_signed(key).unwrap().der()).unwrap()
        };
        assert_eq!(pin(&["a"], &one), pin(&["b"], &one));
        assert_ne!(pin(&["a"], &one), pin(&["a"], &two));
        assert!(Pin::of(b"x").is_err());
    }
}
