//! Pods and pod templates.

mod affinity;
mod container;
mod env;
mod mounts;
mod probe;
mod resize;
mod resources;
mod scheduling;
mod security;
mod spec;
mod update;
mod volume;

use serde_json::Value;

use super::at::{At, Errors};
use super::metadata;

pub(super) use resize::resize;
pub(super) use resources::{container_name as container_resource_name, resource_amount};
pub(super) use scheduling::{preemption_policy, taint_effect};
pub(super) use update::{ephemeral_containers as update_ephemeral_containers, status as update_status, update};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod, be it new or changed.
pub(super) fn object(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    mirror(obj, &spec, errors);
    spec::rules(&spec, true, errors);
    if spec.child("serviceAccountName").text().is_empty() {
        for volume in spec.child("volumes").items() {
            for source in volume.child("projected").child("sources").items() {
                let token = source.child("serviceAccountToken");
                if token.is_set() {
                    errors.push(token.forbidden("must not be specified when serviceAccountName is not set"));
                }
            }
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            let image = container.child("image");
            if image.text().trim() != image.text() {
                errors.push(image.invalid("must not have leading or trailing whitespace"));
            }
        }
    }
}

fn mirror(obj: &Value, spec: &At<'_>, errors: &mut Errors) {
    let annotations = At::root(obj, "metadata").child("annotations");
    if let Some(value) = annotations.value().get(MIRROR)
        && spec.child("nodeName").text().is_empty()
    {
        let at = At::new(Some(value), annotations.path.key(MIRROR));
        errors.push(at.invalid("must set spec.nodeName if mirror pod annotation is set"));
    }
}

/// What only a new pod may not have.
pub(super) fn create(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    let ephemeral = spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("cannot be set on create"));
    }
    let node = spec.child("nodeName");
    if !node.text().is_empty() && !spec.child("schedulingGates").is_empty() {
        errors.push(node.forbidden("cannot be set until all schedulingGates have been cleared"));
    }
}

/// The template of a pod.
pub(super) fn template(template: &At<'_>, errors: &mut Errors) {
    let of = template.child("metadata");
    let at = |key: &str| At::new(Some(of.child(key).value()), template.path.child(key));
    metadata::labels(&at("labels"), errors);
    metadata::annotations(&at("annotations"), errors);
    let spec = template.child("spec");
    spec::rules(&spec, false, errors);
    let ephemeral = spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("ephemeral containers not allowed in pod template"));
    }
}

/// The request that binds a pod to a node.
pub(super) fn binding(binding: &Value, errors: &mut Errors) {
    let target = At::root(binding, "target");
    let (kind, name) = (target.child("kind"), target.child("name"));
    if !matches!(kind.text(), "" | "Node") {
        errors.push(super::FieldError::not_supported(&kind.path, kind.text(), &["Node", "<empty>"]));
    }
    if name.text().is_empty() {
        errors.push(name.required(""));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::create_errors;
    use super::*;
    use crate::{defaults, kinds};
    use serde_json::json;

    /// A sound pod with the given fields of its spec.
    pub(in super::super) fn pod(spec: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            obj["spec"][key] = value.clone();
        }
        defaults::apply(kinds::by_kind("v1", "Pod").expect("Pod"), &mut obj);
        obj
    }

    /// The errors of a new pod with these fields in its spec.
    pub(in super::super) fn check(spec: Value, expect: &[&str]) {
        assert_eq!(create_errors("v1", "Pod", pod(spec)), expect);
    }

    /// The errors of a new pod whose only container has these fields too.
    pub(in super::super) fn check_container(fields: Value, expect: &[&str]) {
        let mut container = json!({"name": "c", "image": "i:1"});
        for (key, value) in fields.as_object().into_iter().flatten() {
            container[key] = value.clone();
        }
        check(json!({"containers": [container]}), expect);
    }

    #[test]
    fn pods() {
        check(json!({}), &[]);
        check(
            json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
            &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        );
        check(
            json!({"nodeName": "n", "schedulingGates": [{"name": "a.b/c"}]}),
            &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        );
        check_container(
            json!({"image": " i"}),
            &["spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace"],
        );
        let token = json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "p"}}]}}]);
        check(
            json!({"volumes": token}),
            &["spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when \
               serviceAccountName is not set"],
        );
    }

    #[test]
    fn bindings() {
        let mut errors = Errors::new();
        binding(&json!({"target": {"kind": "Pod"}}), &mut errors);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let expect = [
            "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
            "target.name: Required value",
        ];
        assert_eq!(errors, expect);
    }
}
