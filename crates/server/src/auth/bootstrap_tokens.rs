//! Bootstrap tokens: secrets of `kube-system` by which new nodes ask for their first certificate.
//!
//! # Invariants
//! The secret half of a token is compared by its hash, so the time a comparison takes says nothing about it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::Store;

use super::{BOOTSTRAPPERS as GROUP, User};
use crate::app::App;
use crate::object::{self, meta};

/// The type of the secrets.
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// Letters of a token's id and of its secret half.
const ID_LETTERS: usize = 6;
const SECRET_LETTERS: usize = 16;

/// Whom a bootstrap token speaks for; None for other texts, and for tokens that are not known or not good any more.
pub(super) async fn check<S: Store>(app: &App<S>, token: &str) -> Option<User> {
    let (id, secret) = split(token)?;
    let kind = api::kinds::find("", "v1", "secrets")?;
    let entry = app.lookup(kind, Some("kube-system"), &format!("bootstrap-token-{id}")).await.ok()??;
    user(&object::decode(&entry).ok()?, id, secret, jiff::Timestamp::now())
}

/// The two halves of a text that has the form of a token.
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let good = id.len() == ID_LETTERS && secret.len() == SECRET_LETTERS && plain(id) && plain(secret);
    good.then_some((id, secret))
}

fn user(object: &Value, id: &str, secret: &str, now: jiff::Timestamp) -> Option<User> {
    let data = |key: &str| {
        let bytes = STANDARD.decode(object["data"][key].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let same = Sha256::digest(data("token-secret")) == Sha256::digest(secret);
    let expiration = data("expiration");
    // An end that can't be read has come.
    let lasts = expiration.is_empty() || expiration.parse::<jiff::Timestamp>().is_ok_and(|end| end > now);
    let good = object["type"] == TYPE
        && meta(object, "deletionTimestamp").is_empty()
        && same
        && data("token-id") == id
        && lasts
        && data("usage-bootstrap-authentication") == "true";
    if !good {
        return None;
    }
    let extra = data("auth-extra-groups");
    let mut groups = vec![GROUP.to_owned()];
    for group in extra.split(',').map(str::trim).filter(|g| !g.is_empty()) {
        if group.strip_prefix(GROUP).is_none_or(|rest| !rest.starts_with(':')) {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(User::known(format!("system:bootstrap:{id}"), String::new(), groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(change: &[(&str, &str)], expect: Option<&[&str]>) {
        let mut data = json!({});
        let plain =
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
        for (key, value) in plain.iter().chain(change) {
            data[*key] = STANDARD.encode(value).into();
        }
        let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": TYPE, "data": data});
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let found = user(&secret, "abcdef", "0123456789abcdef", now);
        let groups = found.as_ref().map(|u| u.groups.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(groups.as_deref(), expect, "{change:?}");
        assert!(found.is_none_or(|u| u.name == "system:bootstrap:abcdef"));
    }

    #[test]
    fn secrets() {
        check(&[], Some(&["system:bootstrappers", "system:authenticated"]));
        check(&[("token-secret", "fedcba9876543210")], None);
        check(&[("token-id", "ghijkl")], None);
        check(&[("usage-bootstrap-authentication", "false")], None);
        check(&[("expiration", "2025-12-31T00:00:00Z")], None);
        check(&[("expiration", "soon")], None);
        check(&[("expiration", "2026-01-02T00:00:00Z")], Some(&["system:bootstrappers", "system:authenticated"]));
        check(
            &[("auth-extra-groups", "system:bootstrappers:a")],
            Some(&["system:bootstrappers", "system:bootstrappers:a", "system:authenticated"]),
        );
        check(&[("auth-extra-groups", "system:masters")], None);
        check(&[("auth-extra-groups", "system:bootstrappersx")], None);
    }

    #[test]
    fn forms() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for other in ["abcdef", "abcde.0123456789abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "a.b.c"]
        {
            assert_eq!(split(other), None, "{other}");
        }
    }
}
