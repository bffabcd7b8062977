//! The tokens that new nodes join by: deletes those that have ended, and signs `kube-public/cluster-info` by the others.
//!
//! Invariants: a token is deleted as it was when it was looked at, or not at all: one that was given more time stays.
//!
//! Absent: any decision (`decide::bootstrap_tokens`); making tokens, and letting them in.

mod signature;

use std::collections::BTreeMap;
use std::sync::Arc;

use decide::bootstrap_tokens::{CLUSTER_INFO, CLUSTER_INFO_NAMESPACE, Life, life, signatures};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::Sync;
use crate::hub::{Hub, lock, until};
use crate::key::Key;
use crate::limits::TOKEN_LOOK_MAX;
use crate::wire::{self, Deletion};

/// What new nodes join by.
#[derive(Default)]
pub(crate) struct Joining {
    pub(crate) tokens: BTreeMap<Key, Arc<Secret>>,
    pub(crate) info: Option<Arc<ConfigMap>>,
}

/// The name of what is signed.
pub(crate) fn info_key() -> Key {
    Key::new(CLUSTER_INFO_NAMESPACE, CLUSTER_INFO)
}

/// Deletes one token if it has ended.
pub(crate) async fn clean(hub: Arc<Hub>, key: Key) -> Sync {
    let Some(token) = lock(&hub.joining).tokens.get(&key).cloned() else { return Ok(()) };
    match life(&token, Timestamp::now()) {
        Life::Endless => return Ok(()),
        Life::Until(end) => {
            hub.tokens.add_after(key, until(end).min(TOKEN_LOOK_MAX));
            return Ok(());
        }
        Life::Over => {}
    }
    let (uid, resource_version) = (token.metadata.uid.as_deref(), token.metadata.resource_version.as_deref());
    let how = Deletion { uid, resource_version, ..Deletion::default() };
    match wire::delete(&hub.client, wire::secrets(), &key, &how).await {
        Ok(()) => tracing::info!(%key, "a token for joining has ended and is deleted"),
        // Gone, or changed meanwhile: the watch tells.
        Err(error) if wire::is_gone(&error) || wire::code(&error) == 409 => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Puts the signatures of all tokens that may sign beside what they sign.
pub(crate) async fn sign(hub: Arc<Hub>, key: Key) -> Sync {
    let now = Timestamp::now();
    let (info, wanted) = {
        let joining = lock(&hub.joining);
        // A token that ends is no signer any more, whether or not somebody deletes it.
        let ends = joining.tokens.values().filter_map(|token| match life(token, now) {
            Life::Until(end) => Some(end),
            Life::Endless | Life::Over => None,
        });
        if let Some(end) = ends.min() {
            hub.signatures.add_after(key.clone(), until(end).min(TOKEN_LOOK_MAX));
        }
        let Some(info) = joining.info.clone() else { return Ok(()) };
        let wanted = signatures(&info, joining.tokens.values().map(AsRef::as_ref), now, signature::detached);
        (info, wanted)
    };
    if wanted.is_empty() {
        return Ok(());
    }
    let mut info = info.as_ref().clone();
    let data = info.data.get_or_insert_default();
    for (name, signature) in wanted {
        match signature {
            Some(signature) => drop(data.insert(name, signature)),
            None => drop(data.remove(&name)),
        }
    }
    match wire::replace(&hub.client, wire::config_maps(), &key, "", &info).await {
        Err(error) if wire::is_gone(&error) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, lines, status};
    use k8s_openapi::ByteString;
    use serde_json::json;

    fn token(end: &str) -> Secret {
        let data =
            [("token-id", "abcdef"), ("token-secret", "s"), ("usage-bootstrap-signing", "true"), ("expiration", end)];
        let mut secret = Secret::default();
        secret.metadata.name = Some("bootstrap-token-abcdef".to_owned());
        secret.metadata.namespace = Some("kube-system".to_owned());
        secret.metadata.uid = Some("u".to_owned());
        secret.metadata.resource_version = Some("7".to_owned());
        secret.data = Some(data.map(|(k, v)| (k.to_owned(), ByteString(v.into()))).into());
        secret
    }

    #[tokio::test]
    async fn only_what_has_ended_is_deleted_as_it_was_seen() {
        for (end, deleted) in [("", false), ("9999-01-01T00:00:00Z", false), ("2020-01-01T00:00:00Z", true)] {
            let (hub, requests) = testing::hub(|_, _| (409, status(409, "Conflict")));
            let secret = token(end);
            let key = Key::of(&secret.metadata);
            lock(&hub.joining).tokens.insert(key.clone(), secret.into());
            clean(hub, key).await.unwrap();
            let seen = requests.lock().unwrap();
            let wanted = ["DELETE /api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef"];
            assert_eq!(
                seen.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(),
                if deleted { &wanted[..] } else { &[] }
            );
            if deleted {
                assert_eq!(seen[0].1["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
            }
        }
    }

    #[tokio::test]
    async fn what_is_signed_is_replaced_as_it_was_seen() {
        let (hub, requests) = testing::hub(|_, _| (200, json!({"metadata": {}})));
        let secret = token("");
        let mut info =
            ConfigMap { data: Some([("kubeconfig".to_owned(), "K".to_owned())].into()), ..ConfigMap::default() };
        info.metadata.resource_version = Some("8".to_owned());
        sign(hub.clone(), info_key()).await.unwrap();
        {
            let mut joining = lock(&hub.joining);
            joining.tokens.insert(Key::of(&secret.metadata), secret.into());
            joining.info = Some(info.into());
        }
        sign(hub, info_key()).await.unwrap();
        assert_eq!(lines(&requests), ["PUT /api/v1/namespaces/kube-public/configmaps/cluster-info"]);
        let body = &requests.lock().unwrap()[0].1;
        assert_eq!(body["metadata"]["resourceVersion"], "8");
        assert_eq!(body["data"]["kubeconfig"], "K");
        assert_eq!(body["data"]["jws-kubeconfig-abcdef"], signature::detached("K", "abcdef", "s"));
    }
}
