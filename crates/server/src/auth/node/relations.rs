//! Whether what a node asks for has to do with it: its own Node, the pods bound to it, and what those pods name.
//!
//! # Invariants
//! It is asked of the store as it stands, so a pod counts from the moment that it is bound.

use api::quote::quoted;
use api::references::refers;
use api::selector::Fields;
use serde_json::Value;
use store::Store;

use crate::app::App;
use crate::auth::Attributes;
use crate::object;

/// Whether what the rules for nodes allow has to do with `node`.
///
/// # Errors
/// Why not, in Kubernetes' words.
pub(crate) async fn check<S: Store>(
    app: &App<S>,
    node: &str,
    attributes: &Attributes<'_>,
    selector: &str,
) -> Result<(), String> {
    let Attributes::Resource { asked, namespace } = attributes else { return Ok(()) };
    let reads = matches!(asked.verb, "get" | "list" | "watch");
    match (asked.group, asked.resource, asked.subresource) {
        ("", "nodes", "") if reads && asked.name.is_empty() => {
            Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "nodes", _) if reads && asked.name != node => {
            Err(format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
        }
        ("", "pods", "") if matches!(asked.verb, "list" | "watch") => match selects(selector, node) {
            true => Ok(()),
            false => Err("can only list/watch pods with spec.nodeName field selector".to_owned()),
        },
        ("", "pods", sub) if !(asked.verb == "create" && sub.is_empty()) => {
            runs(app, node, namespace, asked.name, asked.verb, sub).await
        }
        ("", "secrets" | "configmaps" | "persistentvolumeclaims", "") | ("", "serviceaccounts", "") => {
            if asked.name.is_empty() || namespace.is_empty() {
                return Err("No Object name found".to_owned());
            }
            related(app, node, namespace, asked.resource, asked.name).await
        }
        ("", "persistentvolumes", "") => {
            let claim = field(app, "", "persistentvolumes", asked.name, "/spec/claimRef").await?;
            let text = |f: &str| claim[f].as_str().unwrap_or_default();
            related(app, node, text("namespace"), "persistentvolumeclaims", text("name")).await
        }
        ("storage.k8s.io", "volumeattachments", "") => {
            match field(app, "storage.k8s.io", "volumeattachments", asked.name, "/spec/nodeName").await? == node {
                true => Ok(()),
                false => Err(unrelated(node)),
            }
        }
        _ => Ok(()),
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

/// Whether a field selector narrows pods to those of `node`.
fn selects(selector: &str, node: &str) -> bool {
    let Ok(fields) = Fields::parse(selector) else { return false };
    fields.exact("spec.nodeName") == Some(node)
}

/// A part of an object of the whole cluster; null when there is none.
async fn field<S: Store>(app: &App<S>, group: &str, plural: &str, name: &str, path: &str) -> Result<Value, String> {
    let kind = api::kinds::find(group, "v1", plural).ok_or("no such kind")?;
    let Some(entry) = app.lookup(kind, None, name).await.map_err(|e| e.to_string())? else { return Ok(Value::Null) };
    let mut found = object::decode(&entry).map_err(|e| e.to_string())?;
    Ok(found.pointer_mut(path).map(Value::take).unwrap_or_default())
}

/// Whether a pod is bound to `node`. One that is not there is: the answer is 404 then.
async fn runs<S: Store>(
    app: &App<S>,
    node: &str,
    namespace: &str,
    name: &str,
    verb: &str,
    subresource: &str,
) -> Result<(), String> {
    let kind = api::kinds::find("", "v1", "pods").ok_or("no such kind")?;
    let Some(entry) = app.lookup(kind, Some(namespace), name).await.map_err(|e| e.to_string())? else {
        return Ok(());
    };
    let pod = object::decode(&entry).map_err(|e| e.to_string())?;
    if pod["spec"]["nodeName"] == node {
        return Ok(());
    }
    let what = match (verb, subresource) {
        ("delete", _) => "delete pods with spec.nodeName set to itself",
        (_, "eviction") => "evict pods with spec.nodeName set to itself",
        ("update" | "patch", "status") => "update pod status for pods with spec.nodeName set to itself",
        _ => return Err(unrelated(node)),
    };
    Err(format!("node {} can only {what}", quoted(node)))
}

/// Whether a pod that is bound to `node` names an object of its namespace.
async fn related<S: Store>(app: &App<S>, node: &str, namespace: &str, plural: &str, name: &str) -> Result<(), String> {
    if names(app, node, namespace, plural, name).await? {
        return Ok(());
    }
    // The index may not have seen the pod that was just bound.
    let newest = app.store.revision().await.map_err(|e| e.to_string())?;
    app.node_pods.sees(newest).await;
    match names(app, node, namespace, plural, name).await? {
        true => Ok(()),
        false => Err(unrelated(node)),
    }
}

async fn names<S: Store>(app: &App<S>, node: &str, namespace: &str, plural: &str, name: &str) -> Result<bool, String> {
    let kind = api::kinds::find("", "v1", "pods").ok_or("no such kind")?;
    let prefix = object::prefix(kind, Some(namespace));
    let (keys, _) = app.node_pods.keys(node);
    for key in keys.iter().filter(|key| key.starts_with(prefix.as_bytes())) {
        let Some(entry) = app.store.get(key).await.map_err(|e| e.to_string())?.0 else { continue };
        let pod = object::decode(&entry).map_err(|e| e.to_string())?;
        if pod["spec"]["nodeName"] == node && refers(&pod, plural, name) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_pods() {
        for (selector, expect) in [
            ("spec.nodeName=n-1", true),
            ("spec.nodeName==n-1,status.phase!=Failed", true),
            ("spec.nodeName=n-2", false),
            ("spec.nodeName!=n-1", false),
            ("metadata.name=n-1", false),
            ("", false),
        ] {
            assert_eq!(selects(selector, "n-1"), expect, "{selector}");
        }
    }
}
