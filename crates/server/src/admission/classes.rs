//! Classes that objects name, or that one gets as the default.

use api::admission::use_runtime_class;
use api::status::Status;
use serde_json::Value;
use store::Store;

use crate::app::{App, Place, failure};
use crate::object::{self, meta};

/// Kinds of classes with a default: where it is marked, and how its users name it.
struct Defaulted {
    group: &'static str,
    plural: &'static str,
    marks: &'static [&'static str],
    field: &'static str,
    /// The annotation that named it before there was a field.
    annotation: &'static str,
}

const STORAGE: Defaulted = Defaulted {
    group: "storage.k8s.io",
    plural: "storageclasses",
    marks: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
    field: "storageClassName",
    annotation: "volume.beta.kubernetes.io/storage-class",
};

const INGRESS: Defaulted = Defaulted {
    group: "networking.k8s.io",
    plural: "ingressclasses",
    marks: &["ingressclass.kubernetes.io/is-default-class"],
    field: "ingressClassName",
    annotation: "kubernetes.io/ingress.class",
};

/// Gives a claim that names no storage class the default one.
pub(super) async fn of_claim<S: Store>(app: &App<S>, claim: &mut Value) -> Result<(), Status> {
    by_default(app, &STORAGE, claim).await
}

/// Gives an ingress that names no class the default one.
pub(super) async fn of_ingress<S: Store>(app: &App<S>, ingress: &mut Value) -> Result<(), Status> {
    by_default(app, &INGRESS, ingress).await
}

async fn by_default<S: Store>(app: &App<S>, class: &Defaulted, object: &mut Value) -> Result<(), Status> {
    let named = object["spec"].get(class.field).is_some_and(Value::is_string)
        || object["metadata"]["annotations"].get(class.annotation).is_some();
    let Some(kind) = api::kinds::find(class.group, "v1", class.plural) else { return Ok(()) };
    if named {
        return Ok(());
    }
    let page = app.store.list(object::prefix(kind, None).as_bytes(), b"", 0, None).await.map_err(failure)?;
    let mut best: Option<(String, String)> = None;
    for entry in &page.entries {
        let found = object::decode(entry)?;
        let annotations = &found["metadata"]["annotations"];
        let since = meta(&found, "creationTimestamp").to_owned();
        // The newest wins; classes come by name, so of two that are as old the first by name does.
        if class.marks.iter().any(|mark| annotations[*mark] == "true")
            && best.as_ref().is_none_or(|(newest, _)| since > *newest)
        {
            best = Some((since, meta(&found, "name").to_owned()));
        }
    }
    if let Some((_, name)) = best {
        object["spec"][class.field] = name.into();
    }
    Ok(())
}

/// Applies the runtime class that a pod names.
pub(super) async fn of_pod<S: Store>(app: &App<S>, place: Place<'_>, pod: &mut Value) -> Result<(), Status> {
    let Some(kind) = api::kinds::find("node.k8s.io", "v1", "runtimeclasses") else { return Ok(()) };
    let class = match pod["spec"]["runtimeClassName"].as_str() {
        Some(name) => app.lookup(kind, None, name).await?.map(|entry| object::decode(&entry)).transpose()?,
        None => None,
    };
    use_runtime_class(pod, class.as_ref()).map_err(|refused| place.forbidden(&refused.0))
}

/// Refuses a second priority class that is the default.
pub(super) async fn one_default<S: Store>(app: &App<S>, place: Place<'_>, new: &Value) -> Result<(), Status> {
    if new["globalDefault"] != true {
        return Ok(());
    }
    let page = app.store.list(object::prefix(place.kind, None).as_bytes(), b"", 0, None).await.map_err(failure)?;
    for entry in &page.entries {
        let other = object::decode(entry)?;
        if other["globalDefault"] == true && meta(&other, "name") != place.name {
            let name = meta(&other, "name");
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            return Err(place.forbidden(&why));
        }
    }
    Ok(())
}
