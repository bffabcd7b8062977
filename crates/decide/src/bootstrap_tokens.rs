//! Bootstrap tokens: when one is over, and by which of them `kube-public/cluster-info` is signed.
//!
//! A machine that joins with a token and nothing else knows by the signature that whoever told it the cluster's authority
//! knows the token too.
//!
//! # Invariants
//! - A time that can't be read has come, as it has for whoever lets tokens in.
//! - A signature stays only while its token is good for signing and the text is the one that was signed.
//!
//! # Absent
//! How a signature is made: the caller brings that.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

/// The type of the secrets that tokens are.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// Their namespace.
pub const NAMESPACE: &str = "kube-system";
/// Where the authority is told, and its namespace.
pub const CLUSTER_INFO: &str = "cluster-info";
/// See [`CLUSTER_INFO`].
pub const CLUSTER_INFO_NAMESPACE: &str = "kube-public";

/// What is signed.
const TEXT: &str = "kubeconfig";
/// Begins the name of a signature; the token's id follows.
const SIGNATURE: &str = "jws-kubeconfig-";
/// Begins the name of a token's secret; its id follows.
const NAME: &str = "bootstrap-token-";
/// Letters of a token's id.
const ID_LETTERS: usize = 6;

/// How long a token lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// For ever.
    Endless,
    /// Until then.
    Until(Timestamp),
    /// It is over.
    Over,
}

/// How long a token lasts from `now` on.
#[must_use]
pub fn life(secret: &Secret, now: Timestamp) -> Life {
    match text(secret, "expiration") {
        "" => Life::Endless,
        end => match end.parse() {
            Ok(end) if end > now => Life::Until(end),
            _ => Life::Over,
        },
    }
}

/// The signatures that `info` has to get (`Some`) and to lose (`None`), by name; empty when it is as it should be.
/// `sign` makes the signature of a text by a token, of which it gets the id and the secret half.
#[must_use]
pub fn signatures<'a>(
    info: &ConfigMap,
    tokens: impl Iterator<Item = &'a Secret>,
    now: Timestamp,
    sign: impl Fn(&str, &str, &str) -> String,
) -> BTreeMap<String, Option<String>> {
    let told = |key: &str| info.data.as_ref().and_then(|data| data.get(key));
    let Some(content) = told(TEXT) else { return BTreeMap::new() };
    let signers = tokens.filter_map(|secret| signer(secret, now));
    let wanted: BTreeMap<String, String> =
        signers.map(|(id, secret)| (format!("{SIGNATURE}{id}"), sign(content, id, secret))).collect();
    let there = info.data.iter().flatten().map(|(key, _)| key).filter(|key| key.starts_with(SIGNATURE));
    let lost: Vec<_> = there.filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), None)).collect();
    let news = wanted.into_iter().filter(|(key, value)| told(key) != Some(value));
    news.map(|(key, value)| (key, Some(value))).chain(lost).collect()
}

/// The id and the secret half of a token that is good for signing.
fn signer(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let id = secret.metadata.name.as_deref()?.strip_prefix(NAME)?;
    let is_plain = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let half = text(secret, "token-secret");
    let good = is_plain
        && id.len() == ID_LETTERS
        && text(secret, "token-id") == id
        && !half.is_empty()
        && text(secret, "usage-bootstrap-signing") == "true"
        && secret.metadata.deletion_timestamp.is_none()
        && life(secret, now) != Life::Over;
    good.then_some((id, half))
}

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn token(name: &str, data: &[(&str, &str)]) -> Secret {
        let mut secret = Secret { type_: Some(TYPE.to_owned()), ..Secret::default() };
        secret.metadata.name = Some(name.to_owned());
        let bytes = |(key, value): &(&str, &str)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()));
        secret.data = Some(data.iter().map(bytes).collect());
        secret
    }

    fn info(data: &[(&str, &str)]) -> ConfigMap {
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn lives() {
        let now: Timestamp = NOW.parse().unwrap();
        for (end, want) in [
            ("", Life::Endless),
            ("2025-12-31T23:59:59Z", Life::Over),
            (NOW, Life::Over),
            ("2026-01-01T00:00:01Z", Life::Until("2026-01-01T00:00:01Z".parse().unwrap())),
            ("2026-01-01T01:00:00+02:00", Life::Over),
            ("tomorrow", Life::Over),
        ] {
            assert_eq!(life(&token("bootstrap-token-abcdef", &[("expiration", end)]), now), want, "{end}");
        }
        assert_eq!(life(&Secret::default(), now), Life::Endless);
    }

    fn check(what: &str, info: &ConfigMap, tokens: &[Secret], want: &[(&str, Option<&str>)]) {
        let sign = |content: &str, id: &str, secret: &str| format!("{content} by {id} with {secret}");
        let found = signatures(info, tokens.iter(), NOW.parse().unwrap(), sign);
        let want = want.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        assert_eq!(found, want, "{what}");
    }

    #[test]
    fn each_token_that_may_sign_does_so_once() {
        let good = [("token-id", "abcdef"), ("token-secret", "x"), ("usage-bootstrap-signing", "true")];
        let name = "bootstrap-token-abcdef";
        let with = |name: &str, more: &[(&str, &str)]| token(name, &[&good[..], more].concat());
        let bare = info(&[("kubeconfig", "K"), ("other", "o")]);
        let signed = info(&[("kubeconfig", "K"), ("jws-kubeconfig-abcdef", "K by abcdef with x")]);
        let (key, signature) = ("jws-kubeconfig-abcdef", Some("K by abcdef with x"));
        check("a token", &bare, &[with(name, &[])], &[(key, signature)]);
        check("signed already", &signed, &[with(name, &[])], &[]);
        check(
            "an old signature",
            &info(&[("kubeconfig", "K"), (key, "J by")]),
            &[with(name, &[])],
            &[(key, signature)],
        );
        check("no tokens", &signed, &[], &[(key, None)]);
        check("nothing to sign", &info(&[(key, "x")]), &[with(name, &[])], &[]);
        check("lasts", &signed, &[with(name, &[("expiration", "2026-01-02T00:00:00Z")])], &[]);
        for (what, token) in [
            ("over", with(name, &[("expiration", NOW)])),
            ("not for signing", with(name, &[("usage-bootstrap-signing", "yes")])),
            ("no secret half", with(name, &[("token-secret", "")])),
            ("another id", with(name, &[("token-id", "ghijkl")])),
            ("another name", with("abcdef", &[])),
            ("a name that is too long", with("bootstrap-token-abcdefg", &[("token-id", "abcdefg")])),
            ("capitals", with("bootstrap-token-ABCDEF", &[("token-id", "ABCDEF")])),
        ] {
            check(what, &bare, std::slice::from_ref(&token), &[]);
            check(what, &signed, &[token], &[(key, None)]);
        }
        let mut going = with(name, &[]);
        going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::MIN));
        check("on its way out", &bare, &[going], &[]);
    }
}
