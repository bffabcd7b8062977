//! What new pods get: priority, service account, tolerations.

use api::admission::{Account, PriorityClass, default_toleration_seconds, resolve_priority, use_service_account};
use api::status::{self, Status};
use memchr::memmem;
use serde_json::Value;
use store::Store;

use crate::app::{App, Place, failure};
use crate::object;
use crate::verbs::created_name;

/// The account of pods that name none.
const DEFAULT_ACCOUNT: &str = "default";

/// Admits a new pod.
pub(super) async fn admit<S: Store>(app: &App<S>, place: Place<'_>, pod: &mut Value) -> Result<(), Status> {
    let class = class_of(app, pod["spec"]["priorityClassName"].as_str().unwrap_or_default()).await?;
    resolve_priority(pod, class.as_ref()).map_err(|refused| place.forbidden(&refused.0))?;
    default_toleration_seconds(pod);
    account(app, place, pod).await
}

/// The class of this name, or without a name the global default.
async fn class_of<S: Store>(app: &App<S>, name: &str) -> Result<Option<PriorityClass>, Status> {
    let Some(kind) = api::kinds::find("scheduling.k8s.io", "v1", "priorityclasses") else { return Ok(None) };
    if !name.is_empty() {
        let Some(entry) = app.lookup(kind, None, name).await? else { return Ok(None) };
        return Ok(PriorityClass::from_json(&object::decode(&entry)?));
    }
    let page = app.store.list(object::prefix(kind, None).as_bytes(), b"", 0, None).await.map_err(failure)?;
    let mut best: Option<PriorityClass> = None;
    // Two classes are always there, and neither is a default.
    for entry in page.entries.iter().filter(|entry| memmem::find(&entry.value, br#""globalDefault":true"#).is_some()) {
        let class = object::decode(entry)?;
        if class["globalDefault"] == true
            && let Some(class) = PriorityClass::from_json(&class)
            && best.as_ref().is_none_or(|b| class.value < b.value)
        {
            best = Some(class);
        }
    }
    Ok(best)
}

/// The pod's service account. The default one need not be there yet: its controller may still be on the way.
async fn account<S: Store>(app: &App<S>, place: Place<'_>, pod: &mut Value) -> Result<(), Status> {
    let mirror = pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string();
    let Some(kind) = api::kinds::find("", "v1", "serviceaccounts") else { return Ok(()) };
    if mirror {
        return Ok(());
    }
    let named = pod["spec"]["serviceAccountName"].as_str().filter(|n| !n.is_empty());
    let name = named.unwrap_or(DEFAULT_ACCOUNT).to_owned();
    let entry = app.lookup(kind, place.namespace, &name).await?;
    let account = match entry {
        Some(entry) => Account::from_json(&object::decode(&entry)?),
        None if name == DEFAULT_ACCOUNT => Account::default(),
        None => {
            let namespace = place.namespace.unwrap_or_default();
            let missing = status::not_found("", "serviceaccounts", &name);
            let missing = missing.message().replacen("serviceaccounts", "serviceaccount", 1);
            return Err(place.forbidden(&format!("error looking up service account {namespace}/{name}: {missing}")));
        }
    };
    use_service_account(pod, &name, &account, &created_name(""));
    Ok(())
}
