//! Taints, tolerations, gates and preemption.

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::{label_key, label_value};

/// The effect of a taint, or of a toleration where it may be left out.
pub(in super::super) fn taint_effect(effect: &At<'_>, optional: bool, errors: &mut Errors) {
    if effect.text().is_empty() {
        if !optional {
            errors.push(effect.required(""));
        }
        return;
    }
    effect.optional_one_of(&["NoSchedule", "PreferNoSchedule", "NoExecute"], errors);
}

/// Whether pods may push others off a node.
pub(in super::super) fn preemption_policy(policy: &At<'_>, errors: &mut Errors) {
    if policy.is_set() {
        policy.one_of(&["PreemptLowerPriority", "Never"], errors);
    }
}

/// Names of what holds a pod back, each once.
pub(super) fn gates(gates: &At<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for gate in gates.items() {
        let name = gate.child("name").text();
        errors.extend(label_key(name).into_iter().map(|detail| gate.invalid_value(name, detail)));
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&gate.path, name));
        }
        seen.push(name);
    }
}

/// The tolerations of a pod.
pub(super) fn tolerations(list: &At<'_>, errors: &mut Errors) {
    for toleration in list.items() {
        let [key, operator, value, effect, seconds] =
            ["key", "operator", "value", "effect", "tolerationSeconds"].map(|field| toleration.child(field));
        if key.text().is_empty() {
            if operator.text() != "Exists" {
                let detail =
                    "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                errors.push(operator.invalid_value(operator.text(), detail));
            }
        } else {
            key.content(label_key, errors);
        }
        if seconds.is_set() && effect.text() != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(effect.invalid_value(effect.text(), detail));
        }
        match operator.text() {
            "" | "Equal" => {
                let sentences = label_value(value.text());
                if !sentences.is_empty() {
                    errors.push(operator.invalid_value(value.text(), sentences.join(";")));
                }
            }
            "Exists" => {
                if !value.text().is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.push(operator.invalid_value(value.text(), detail));
                }
            }
            "Lt" | "Gt" => errors.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
            _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
        }
        taint_effect(&effect, true, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check as check_pod;
    use serde_json::{Value, json};

    #[test]
    fn tolerations() {
        fn check(toleration: Value, expect: &[&str]) {
            let expect: Vec<String> = expect.iter().map(|text| format!("spec.tolerations[0].{text}")).collect();
            let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
            check_pod(json!({"tolerations": [toleration]}), &expect);
        }
        check(json!({"operator": "Exists"}), &[]);
        check(json!({"key": "a", "value": "b", "effect": "NoSchedule"}), &[]);
        check(
            json!({}),
            &[
                "operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values \
               and all keys\"",
            ],
        );
        check(
            json!({"key": "a", "operator": "Exists", "value": "b"}),
            &["operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'"],
        );
        check(
            json!({"key": "a", "operator": "Near"}),
            &["operator: Unsupported value: \"Near\": supported values: \"Equal\", \"Exists\""],
        );
        check(
            json!({"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}),
            &["effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"],
        );
        check(
            json!({"key": "a", "effect": "Odd"}),
            &[
                "effect: Unsupported value: \"Odd\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        );
    }

    #[test]
    fn gates() {
        check_pod(
            json!({"schedulingGates": [{"name": "a"}, {"name": "a"}]}),
            &["spec.schedulingGates[1]: Duplicate value: \"a\""],
        );
    }
}
