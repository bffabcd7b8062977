//! The key that signs the tokens of service accounts.
//!
//! # Invariants
//! It is made once, at the first start, and kept in a file with mode 0600: tokens outlive the server's restarts.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{directory, files};
use crate::error::ServerError;

/// What stands before the point in the DER of a P-256 public key; key ids are hashes of that DER, as in Kubernetes.
const POINT_HEADER: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point: a byte that says so, and two coordinates of this length.
const COORDINATE_BYTES: usize = 32;

/// A P-256 key pair.
pub(crate) struct AccountKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

impl AccountKey {
    /// Reads the key of `data_dir`, or makes it on the first start.
    ///
    /// # Errors
    /// When it is broken, no P-256 key, or can't be written.
    pub(crate) fn open(data_dir: &Path) -> Result<AccountKey, ServerError> {
        let directory = directory(data_dir);
        files::make_directory(&directory)?;
        let path = directory.join("sa.key");
        let broken = |reason: String| ServerError::Pki { path: path.clone(), reason };
        let pem = match files::read(&path)? {
            Some(pem) => pem,
            None => {
                let pem = rcgen::KeyPair::generate().map_err(|e| broken(e.to_string()))?.serialize_pem();
                files::write(&path, &pem, 0o600)?;
                pem
            }
        };
        AccountKey::from_pem(&pem).map_err(broken)
    }

    fn from_pem(pem: &str) -> Result<AccountKey, String> {
        let der = rustls_pemfile::private_key(&mut pem.as_bytes()).map_err(|e| e.to_string())?;
        let der = der.ok_or("holds no private key")?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der(), &random)
            .map_err(|_| "is no P-256 key in PKCS#8".to_owned())?;
        let spki = [POINT_HEADER, pair.public_key().as_ref()].concat();
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(&spki));
        Ok(AccountKey { pair, random, id })
    }

    /// The key's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Signs; None only when the system has no randomness to give.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.pair.sign(&self.random, message).ok().map(|signature| signature.as_ref().to_vec())
    }

    /// Whether a signature is by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key()).verify(message, signature).is_ok()
    }

    /// The public key as a JSON Web Key.
    pub(crate) fn public_jwk(&self) -> Value {
        let coordinates = self.pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(COORDINATE_BYTES.min(coordinates.len()));
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": text(x), "y": text(y)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_stays_and_only_it_verifies() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = AccountKey::open(dir.path()).unwrap();
        let again = AccountKey::open(dir.path()).unwrap();
        assert_eq!(key.id(), again.id());
        let signature = key.sign(b"x").unwrap();
        assert!(again.verifies(b"x", &signature) && !again.verifies(b"y", &signature));
        assert!(!AccountKey::open(other.path()).unwrap().verifies(b"x", &signature));
        let mode = std::fs::metadata(dir.path().join("pki/sa.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(dir.path().join("pki/sa.key"), "x").unwrap();
        assert!(AccountKey::open(dir.path()).is_err());
    }
}
