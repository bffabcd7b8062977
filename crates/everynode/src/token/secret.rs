//! A token as the server keeps it: a Secret of the type `bootstrap.kubernetes.io/token`.
//!
//! # Absent
//! I/O.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::join::token::JoinToken;

/// The type of the secrets.
pub(super) const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group that may ask for a node's certificate; the server binds it to the roles for that.
const GROUPS: &str = "system:bootstrappers:everynode:nodes";

/// The name of a token's secret.
pub(super) fn name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// A new token's secret.
pub(super) fn of(token: &JoinToken, description: &str, until: Option<Timestamp>) -> Secret {
    let mut data = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(data.insert(key.to_owned(), value));
    put("token-id", token.id.clone());
    put("token-secret", token.secret.clone());
    put("usage-bootstrap-authentication", "true".to_owned());
    // So that kubeadm, and whoever else knows the token alone, can check what cluster-info says.
    put("usage-bootstrap-signing", "true".to_owned());
    put("auth-extra-groups", GROUPS.to_owned());
    if !description.is_empty() {
        put("description", description.to_owned());
    }
    if let Some(until) = until {
        put("expiration", format!("{until:.0}"));
    }
    Secret {
        metadata: ObjectMeta { name: Some(name(&token.id)), ..ObjectMeta::default() },
        type_: Some(TYPE.to_owned()),
        string_data: Some(data),
        ..Secret::default()
    }
}

/// What a list shows of a token.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) description: String,
    until: Until,
}

#[derive(Debug, PartialEq)]
enum Until {
    Never,
    At(Timestamp),
    /// What can't be read counts as over, as it does for the server.
    Unreadable,
}

impl Shown {
    /// In how long it expires.
    pub(super) fn expires(&self, now: Timestamp) -> String {
        match self.until {
            Until::Never => "never".to_owned(),
            Until::At(at) if at > now => in_words(at.duration_since(now).as_secs()),
            Until::At(_) | Until::Unreadable => "expired".to_owned(),
        }
    }
}

fn in_words(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// A token of a secret; None for other secrets.
pub(super) fn read(secret: &Secret) -> Option<Shown> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| data.get(key).map(|v| String::from_utf8_lossy(&v.0).into_owned());
    let until = match text("expiration").filter(|t| !t.is_empty()) {
        None => Until::Never,
        Some(text) => text.parse().map_or(Until::Unreadable, Until::At),
    };
    Some(Shown { id: text("token-id")?, description: text("description").unwrap_or_default(), until })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn stored(until: Option<Timestamp>) -> Secret {
        let token = format!("abcdef.0123456789abcdef.sha256:{}", "0".repeat(64)).parse().unwrap();
        let mut secret = of(&token, "rack 7", until);
        let text = secret.string_data.take().unwrap_or_default();
        secret.data = Some(text.into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))).collect());
        secret
    }

    #[test]
    fn what_is_made_can_be_listed() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let after = |seconds: i64| now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        for (until, want) in [
            (None, "never"),
            (Some(after(-1)), "expired"),
            (Some(after(91)), "1m"),
            (Some(after(24 * 3600 + 1)), "24h"),
            (Some(after(72 * 3600 + 1)), "3d"),
        ] {
            let shown = read(&stored(until)).unwrap();
            assert_eq!((shown.id.as_str(), shown.description.as_str()), ("abcdef", "rack 7"));
            assert_eq!(shown.expires(now), want);
        }
        assert_eq!(read(&Secret::default()), None);
    }
}
