//! What wakes whoever keeps the tokens that new nodes join by.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::lost;
use crate::hub::{Hub, lock};
use crate::key::Key;
use crate::tokens::info_key;
use crate::watch::Seen;

pub(super) fn seen(hub: &Hub, seen: Seen<Secret>) {
    match seen {
        Seen::Applied(secret) => {
            let key = Key::of(&secret.metadata);
            lock(&hub.joining).tokens.insert(key.clone(), (*secret).into());
            hub.tokens.add(key);
        }
        Seen::Gone(key) => drop(lock(&hub.joining).tokens.remove(&key)),
        Seen::Listed(names, _) => drop(lost(&mut lock(&hub.joining).tokens, &names)),
    }
    hub.signatures.add(info_key());
}

pub(super) fn info_seen(hub: &Hub, seen: Seen<ConfigMap>) {
    match seen {
        Seen::Applied(info) => lock(&hub.joining).info = Some((*info).into()),
        Seen::Gone(_) => lock(&hub.joining).info = None,
        Seen::Listed(names, _) if names.is_empty() => lock(&hub.joining).info = None,
        Seen::Listed(..) => {}
    }
    hub.signatures.add(info_key());
}
