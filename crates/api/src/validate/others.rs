//! Leases, priority classes, RBAC, budgets, storage classes.

use serde_json::{Value, json};

use super::FieldError;
use super::at::{At, Errors};
use super::content::{self, label_key};
use super::labels;
use super::pod::preemption_policy;
use super::workload::int_or_percent;

const RBAC: &str = "rbac.authorization.k8s.io";
/// Priorities above this are the system's.
const USER_PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(super) fn lease(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    let duration = spec.child("leaseDurationSeconds");
    if duration.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    spec.child("leaseTransitions").not_negative(errors);
    let (holder, strategy) = (spec.child("preferredHolder"), spec.child("strategy"));
    if !holder.text().is_empty() && strategy.text().is_empty() {
        errors.push(holder.forbidden("may only be specified if `strategy` is defined"));
    }
}

pub(super) fn priority_class(obj: &Value, errors: &mut Errors) {
    let name = At::root(obj, "metadata").child("name");
    let value = At::root(obj, "value");
    if name.text().starts_with("system-") {
        if let Some(problem) = reserved_class(name.text(), value.number(), At::root(obj, "globalDefault").is_true()) {
            errors.push(name.forbidden(format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            )));
        }
    } else if value.number() > USER_PRIORITY_MAX {
        errors
            .push(value.forbidden(format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}")));
    }
    preemption_policy(&At::root(obj, "preemptionPolicy"), errors);
}

fn reserved_class(name: &str, value: i64, default: bool) -> Option<String> {
    let Some((_, known)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *known {
        Some(format!("value of {name} PriorityClass must be {known}"))
    } else if default {
        Some(format!("globalDefault of {name} PriorityClass must be false"))
    } else {
        None
    }
}

pub(super) fn update_priority_class(new: &Value, old: &Value, errors: &mut Errors) {
    let value = At::root(new, "value");
    if value.number() != At::root(old, "value").number() {
        errors.push(value.forbidden("may not be changed in an update."));
    }
    At::root(new, "preemptionPolicy").immutable(&At::root(old, "preemptionPolicy"), errors);
}

pub(super) fn role(namespaced: bool, obj: &Value, errors: &mut Errors) {
    for rule in At::root(obj, "rules").items() {
        let [verbs, paths, groups, resources] =
            ["verbs", "nonResourceURLs", "apiGroups", "resources"].map(|key| rule.child(key));
        if verbs.is_empty() {
            errors.push(verbs.required("verbs must contain at least one value"));
        }
        if !paths.is_empty() {
            if namespaced {
                errors.push(paths.invalid("namespaced rules cannot apply to non-resource URLs"));
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.child("resourceNames").is_empty() {
                errors.push(paths.invalid("rules cannot apply to both regular resources and non-resource URLs"));
            }
            continue;
        }
        if groups.is_empty() {
            errors.push(groups.required("resource rules must supply at least one api group"));
        }
        if resources.is_empty() {
            errors.push(resources.required("resource rules must supply at least one resource"));
        }
    }
    let aggregation = At::root(obj, "aggregationRule");
    if aggregation.is_set() {
        let selectors = aggregation.child("clusterRoleSelectors");
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(selectors.required(detail));
        }
        selectors.items().for_each(|selector| labels::selector(&selector, errors));
    }
}

pub(super) fn role_binding(namespaced: bool, obj: &Value, errors: &mut Errors) {
    let role = At::root(obj, "roleRef");
    let (group, kind, name) = (role.child("apiGroup"), role.child("kind"), role.child("name"));
    if group.text() != RBAC {
        errors.push(FieldError::not_supported(&group.path, group.text(), &[RBAC]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&kind.text()) {
        errors.push(FieldError::not_supported(&kind.path, kind.text(), kinds));
    }
    name.required_content(content::path_segment, errors);
    At::root(obj, "subjects").items().for_each(|subject| role_subject(namespaced, &subject, errors));
}

fn role_subject(namespaced: bool, subject: &At<'_>, errors: &mut Errors) {
    let [name, kind, group, namespace] = ["name", "kind", "apiGroup", "namespace"].map(|key| subject.child(key));
    if name.text().is_empty() {
        errors.push(name.required(""));
    }
    match kind.text() {
        "ServiceAccount" => {
            if !name.text().is_empty() {
                name.content(content::dns1123_subdomain, errors);
            }
            if !group.text().is_empty() {
                errors.push(group.not_supported(&[""]));
            }
            if !namespaced && namespace.text().is_empty() {
                errors.push(namespace.required(""));
            }
        }
        "User" | "Group" => {
            if group.text() != RBAC {
                errors.push(FieldError::not_supported(&group.path, group.text(), &[RBAC]));
            }
        }
        _ => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&kind.path, kind.text(), &kinds));
        }
    }
}

pub(super) fn update_role_binding(new: &Value, old: &Value, errors: &mut Errors) {
    let role = At::root(new, "roleRef");
    if !role.same(&At::root(old, "roleRef")) {
        let field = |key: &str| role.child(key).text().to_owned();
        let shown = json!({"APIGroup": field("apiGroup"), "Kind": field("kind"), "Name": field("name")});
        errors.push(role.invalid_value(shown, "cannot change roleRef"));
    }
}

pub(super) fn pod_disruption_budget(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    let (available, unavailable) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if available.is_set() && unavailable.is_set() {
        errors.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for bound in [&available, &unavailable].into_iter().filter(|bound| bound.is_set()) {
        int_or_percent(bound, errors);
    }
    labels::selector(&spec.child("selector"), errors);
    spec.child("unhealthyPodEvictionPolicy").optional_one_of(&["AlwaysAllow", "IfHealthyBudget"], errors);
}

pub(super) fn storage_class(obj: &Value, errors: &mut Errors) {
    let provisioner = At::root(obj, "provisioner");
    if provisioner.text().is_empty() {
        errors.push(provisioner.required(""));
    } else {
        let sentences = label_key(&provisioner.text().to_lowercase());
        errors.extend(sentences.into_iter().map(|detail| provisioner.invalid(detail)));
    }
    At::root(obj, "reclaimPolicy").optional_one_of(&["Delete", "Retain"], errors);
    At::root(obj, "volumeBindingMode").optional_one_of(&["Immediate", "WaitForFirstConsumer"], errors);
}

pub(super) fn update_storage_class(new: &Value, old: &Value, errors: &mut Errors) {
    let fixed = ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"];
    for key in fixed {
        let field = At::root(new, key);
        if field.same(&At::root(old, key)) {
            continue;
        }
        match key {
            "parameters" | "provisioner" => {
                errors.push(field.forbidden("updates to ".to_owned() + key + " are forbidden."))
            }
            _ => errors.push(field.invalid("field is immutable")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create_errors, update_errors};
    use super::*;

    const RBAC_V1: &str = "rbac.authorization.k8s.io/v1";

    fn named(mut obj: Value, namespaced: bool) -> Value {
        obj["metadata"] = json!({"name": "a"});
        if namespaced {
            obj["metadata"]["namespace"] = json!("n");
        }
        obj
    }

    #[test]
    fn priority_classes() {
        fn check(obj: Value, expect: &[&str]) {
            let mut obj = named(obj, false);
            obj["preemptionPolicy"] = json!("Never");
            assert_eq!(create_errors("scheduling.k8s.io/v1", "PriorityClass", obj), expect);
        }
        check(json!({"value": 1_000_000_000}), &[]);
        check(
            json!({"value": 1_000_000_001}),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        let updated = update_errors(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            named(json!({"value": 2}), false),
            named(json!({"value": 1}), false),
        );
        assert_eq!(updated, ["value: Forbidden: may not be changed in an update."]);
    }

    #[test]
    fn roles_and_bindings() {
        fn check(kind: &str, obj: Value, expect: &[&str]) {
            let namespaced = !kind.starts_with("Cluster");
            assert_eq!(create_errors(RBAC_V1, kind, named(obj, namespaced)), expect);
        }
        check("Role", json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}), &[]);
        check(
            "Role",
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
            &["rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"],
        );
        check(
            "ClusterRole",
            json!({"rules": [{}]}),
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        );
        check(
            "ClusterRoleBinding",
            json!({"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
            &[
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
                "subjects[0].namespace: Required value",
            ],
        );
        let binding = |name: &str| named(json!({"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name}}), true);
        let expect = r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"b"}: cannot change roleRef"#;
        assert_eq!(update_errors(RBAC_V1, "RoleBinding", binding("b"), binding("a")), [expect]);
    }

    #[test]
    fn leases() {
        let lease = named(json!({"spec": {"leaseDurationSeconds": 0}}), true);
        let expect = "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0";
        assert_eq!(create_errors("coordination.k8s.io/v1", "Lease", lease), [expect]);
    }
}
