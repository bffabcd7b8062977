//! What a write to the `resize` subresource may change: CPU and memory of containers that a node can resize.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::{FieldError, Path};
use crate::resources::qos_class;

/// Resources that may change.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

pub(in super::super) fn resize(new: &Value, old: &Value, errors: &mut Errors) {
    super::object(new, errors);
    let (spec, before) = (At::root(new, "spec"), At::root(old, "spec"));
    if old.pointer("/metadata/annotations").is_some_and(|all| all.get(super::MIRROR).is_some()) {
        *errors = vec![FieldError::forbidden(&Path::none(), "static pods cannot be resized")];
        return;
    }
    let class = At::root(old, "status").child("qosClass");
    if !class.text().is_empty() && class.text() != qos_class(spec.value()) {
        errors.push(FieldError::invalid(
            &spec.path,
            class.text(),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    if !node_can_resize(old) {
        errors.push(spec.forbidden("Pod running on node without support for resize"));
    }
    for list in ["containers", "initContainers"] {
        let (now, then) = (spec.child(list), before.child(list));
        if now.len() != then.len() {
            errors.push(now.forbidden(format!("{list} may not be added or removed on resize")));
            return;
        }
        for (now, then) in now.items().zip(then.items()) {
            container(list, &spec, &now, &then, errors);
        }
    }
}

/// A node that can resize tells the resources of running containers.
fn node_can_resize(pod: &Value) -> bool {
    let all = At::root(pod, "status").child("containerStatuses");
    let running = all.items().find(|container| container.child("state").child("running").is_set());
    running.is_none_or(|container| container.child("resources").is_set())
}

fn container(list: &str, spec: &At<'_>, now: &At<'_>, then: &At<'_>, errors: &mut Errors) {
    if now.child("name").text() != then.child("name").text() {
        errors.push(now.child("name").forbidden(format!("{list} may not be renamed or reordered on resize")));
        return;
    }
    let (resources, before) = (now.child("resources"), then.child("resources"));
    for (which, called) in [("requests", "requests"), ("limits", "limits")] {
        let gone = before.child(which).entries().any(|(name, _)| resources.child(which).value().get(name).is_none());
        if gone {
            errors.push(resources.child(which).forbidden(format!("resource {called} cannot be removed")));
        }
    }
    let fixed = |at: &At<'_>| {
        let mut value = at.value().clone();
        for which in ["requests", "limits"] {
            if let Some(map) = value.get_mut(which).and_then(Value::as_object_mut) {
                map.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
            }
            if value.get(which).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
                && let Some(map) = value.as_object_mut()
            {
                map.remove(which);
            }
        }
        value
    };
    if fixed(&resources) != fixed(&before) {
        errors.push(spec.forbidden("only cpu and memory resources are mutable"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod;
    use super::*;
    use serde_json::json;

    #[test]
    fn resizes() {
        fn check(now: Value, then: Value, expect: &[&str]) {
            let with = |resources: Value| {
                let mut pod = pod(json!({"containers": [{"name": "c", "image": "i:1", "resources": resources}]}));
                pod["status"] = json!({"qosClass": "Burstable"});
                pod
            };
            let mut errors = Errors::new();
            resize(&with(now), &with(then), &mut errors);
            let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(got, expect);
        }
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        check(cpu("2"), cpu("1"), &[]);
        check(
            json!({}),
            cpu("1"),
            &[
                "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ],
        );
        check(
            json!({"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}),
            cpu("1"),
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        );
    }

    #[test]
    fn running_containers_tell_whether_their_node_can() {
        let status = |resources: Value| json!({"status": {"containerStatuses": [{"state": {"running": {}}, "resources": resources}]}});
        assert!(node_can_resize(&json!({})) && node_can_resize(&status(json!({}))));
        assert!(!node_can_resize(&status(Value::Null)));
    }
}
