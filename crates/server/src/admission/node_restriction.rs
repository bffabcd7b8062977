//! What agents may write about their own node and pods, beyond what they may ask for at all.
//!
//! # Invariants
//! A node can't give itself labels by which pods are kept on trusted nodes, nor take taints away, nor make pods that read
//! what others keep secret.

use api::quote::quoted;
use api::references;
use api::status::Status;
use serde_json::Value;

use crate::app::Place;
use crate::auth::User;
use crate::object::meta;

/// Labels below this prefix say whom an administrator trusts.
const RESTRICTED: &str = "node-restriction.kubernetes.io/";
/// Marks pods that a node shows without the control plane having made them.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Checks a new object.
///
/// # Errors
/// 403 for what a node may not make.
pub(super) fn create(user: &User, place: Place<'_>, object: &Value) -> Result<(), Status> {
    let Some(node) = user.node() else { return Ok(()) };
    let refuse = |why: String| Err(place.forbidden(&why));
    match (place.kind.group, place.kind.plural) {
        ("", "nodes") if meta(object, "name") != node => {
            refuse(format!("node {} is not allowed to modify node {}", quoted(node), quoted(meta(object, "name"))))
        }
        ("", "nodes") => labels(node, place, object, &Value::Null),
        ("coordination.k8s.io", "leases") if meta(object, "name") != node => {
            refuse("can only access node lease with the same name as the requesting node".to_owned())
        }
        ("", "pods") => {
            let node_text = quoted(node);
            if !object["metadata"]["annotations"][MIRROR].is_string() {
                let text = format!(
                    "pod does not have {} annotation, node {node_text} can only create mirror pods",
                    quoted(MIRROR)
                );
                return refuse(text);
            }
            if object["spec"]["nodeName"] != node {
                return refuse(format!("node {node_text} can only create pods with spec.nodeName set to itself"));
            }
            if let Some(what) = references::first(object) {
                return refuse(format!("node {node_text} can not create pods that reference {what}"));
            }
            owned(node, object).or_else(refuse)
        }
        _ => Ok(()),
    }
}

/// A mirror pod goes with its node, so it has that for its only owner. The UID is not looked at: an owner of another one
/// is gone, and the pod goes with it.
fn owned(node: &str, pod: &Value) -> Result<(), String> {
    let node_text = quoted(node);
    let itself = |what: &str| Err(format!("node {node_text} can only create pods with {what} set to itself"));
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [owner] = owners else {
        return itself(if owners.is_empty() { "an owner reference" } else { "a single owner reference" });
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return itself("an owner reference");
    }
    if owner["controller"] != true {
        return itself("a controller owner reference");
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node_text} must not set blockOwnerDeletion on an owner reference"));
    }
    Ok(())
}

/// Checks what takes the place of `old`.
///
/// # Errors
/// 403 for what a node may not change.
pub(super) fn update(user: &User, place: Place<'_>, new: &Value, old: &Value) -> Result<(), Status> {
    let Some(node) = user.node() else { return Ok(()) };
    match (place.kind.group, place.kind.plural) {
        ("", "nodes") => {
            if new["spec"]["taints"] != old["spec"]["taints"] {
                return Err(place.forbidden(&format!("node {} is not allowed to modify taints", quoted(node))));
            }
            labels(node, place, new, old)
        }
        ("", "pods") if new["metadata"]["labels"] != old["metadata"]["labels"] => {
            Err(place.forbidden(&format!("node {} cannot update labels through pod status", quoted(node))))
        }
        _ => Ok(()),
    }
}

/// # Errors
/// 403 when restricted labels differ.
fn labels(node: &str, place: Place<'_>, new: &Value, old: &Value) -> Result<(), Status> {
    let restricted = |object: &Value| -> Vec<(String, Value)> {
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        labels.filter(|(key, _)| key.contains(RESTRICTED)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let (new, old) = (restricted(new), restricted(old));
    let changed: Vec<&str> = new
        .iter()
        .filter(|label| !old.contains(label))
        .chain(old.iter().filter(|(key, _)| !new.iter().any(|(k, _)| k == key)))
        .map(|(key, _)| key.as_str())
        .collect();
    match changed.is_empty() {
        true => Ok(()),
        false => {
            let verb = if old.is_empty() { "set" } else { "modify" };
            let why = format!("node {} is not allowed to {verb} labels: {}", quoted(node), changed.join(", "));
            Err(place.forbidden(&why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(plural: &str, new: Value, old: Option<Value>, expect: Option<&str>) {
        let user = User::known("system:node:n-1".into(), String::new(), vec!["system:nodes".into()]);
        let kind = api::kinds::find("", "v1", plural).unwrap();
        let place = Place { kind, namespace: None, name: "x" };
        let result = match &old {
            Some(old) => update(&user, place, &new, old),
            None => create(&user, place, &new),
        };
        match (result, expect) {
            (Ok(()), None) => {}
            (Err(status), Some(want)) => assert!(status.message().ends_with(want), "{status}"),
            (result, expect) => panic!("{new} {old:?}: {result:?} {expect:?}"),
        }
        assert!(create(&User::master("a"), place, &new).is_ok());
    }

    #[test]
    fn what_nodes_may_write() {
        let node = |name: &str, labels: Value, taints: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        let plain = node("n-1", json!({"a": "b"}), json!([]));
        check("nodes", plain.clone(), None, None);
        check(
            "nodes",
            node("n-2", json!({}), json!([])),
            None,
            Some(r#"node "n-1" is not allowed to modify node "n-2""#),
        );
        let trusted = node("n-1", json!({"node-restriction.kubernetes.io/x": "y"}), json!([]));
        let set = r#"node "n-1" is not allowed to set labels: node-restriction.kubernetes.io/x"#;
        check("nodes", trusted.clone(), None, Some(set));
        check("nodes", trusted.clone(), Some(plain.clone()), Some(set));
        check("nodes", plain.clone(), Some(trusted.clone()), Some("modify labels: node-restriction.kubernetes.io/x"));
        check("nodes", trusted.clone(), Some(trusted), None);
        let tainted = node("n-1", json!({"a": "c"}), json!([{"key": "k"}]));
        check("nodes", plain, Some(tainted), Some("is not allowed to modify taints"));
        let pod = |annotations: Value, spec: Value| json!({"metadata": {"name": "p", "annotations": annotations}, "spec": spec});
        let mirror = json!({"kubernetes.io/config.mirror": "x"});
        check("pods", pod(json!({}), json!({"nodeName": "n-1"})), None, Some("can only create mirror pods"));
        check("pods", pod(mirror.clone(), json!({"nodeName": "n-2"})), None, Some("with spec.nodeName set to itself"));
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n-1", "uid": "7", "controller": true});
        let with = |change: Value| {
            let mut owner = owner.clone();
            owner.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            owner
        };
        for (owners, expect) in [
            (json!([owner]), None),
            (json!(null), Some("can only create pods with an owner reference set to itself")),
            (json!([owner, owner]), Some("can only create pods with a single owner reference set to itself")),
            (json!([with(json!({"name": "n-2"}))]), Some("can only create pods with an owner reference set to itself")),
            (json!([with(json!({"kind": "Pod"}))]), Some("can only create pods with an owner reference set to itself")),
            (
                json!([with(json!({"controller": false}))]),
                Some("can only create pods with a controller owner reference set to itself"),
            ),
            (
                json!([with(json!({"blockOwnerDeletion": true}))]),
                Some("must not set blockOwnerDeletion on an owner reference"),
            ),
        ] {
            let mut owned = pod(mirror.clone(), json!({"nodeName": "n-1"}));
            owned["metadata"]["ownerReferences"] = owners;
            check("pods", owned, None, expect);
        }
        let reads = json!({"nodeName": "n-1", "volumes": [{"name": "v", "secret": {"secretName": "s"}}]});
        check("pods", pod(mirror, reads), None, Some("can not create pods that reference secrets"));
        let labelled = |label: &str| json!({"metadata": {"labels": {"a": label}}});
        check("pods", labelled("x"), Some(labelled("y")), Some("cannot update labels through pod status"));
    }
}
