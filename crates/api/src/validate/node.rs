//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Errors};
use super::content::{label_key, label_value};
use super::pod::{resource_amount, taint_effect};
use super::{FieldError, Path};

/// The field that Kubernetes names for taints, which are in the spec.
fn taints_at(obj: &Value) -> At<'_> {
    At::new(obj.pointer("/spec/taints"), Path::root("metadata").child("taints"))
}

pub(super) fn object(obj: &Value, errors: &mut Errors) {
    taints(&taints_at(obj), errors);
    resources(obj, errors);
    let ranges = At::root(obj, "spec").child("podCIDRs");
    ranges.items().for_each(|range| range.cidr(errors));
    if ranges.len() > 1 {
        let families: BTreeSet<bool> = ranges.items().map(|range| range.text().contains(':')).collect();
        if families.len() != 2 || ranges.len() > 2 {
            errors.push(ranges.invalid("may specify no more than one CIDR for each IP family"));
        }
    }
}

fn taints(list: &At<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for taint in list.items() {
        let (key, value, effect) = (taint.child("key"), taint.child("value"), taint.child("effect"));
        key.content(label_key, errors);
        let sentences = label_value(value.text());
        if !sentences.is_empty() {
            errors.push(value.invalid_value(value.text(), sentences.join(";")));
        }
        taint_effect(&effect, false, errors);
        if !seen.insert((effect.text(), key.text())) {
            let mut error = taint.duplicate();
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
}

fn resources(obj: &Value, errors: &mut Errors) {
    let status = At::root(obj, "status");
    for list in ["capacity", "allocatable"] {
        let list = status.child(list);
        for (name, amount) in list.entries() {
            resource_amount(name, &At::new(Some(amount.value()), list.path.child(name)), errors);
        }
    }
}

/// What may not change in a node, be it written as a whole or by its status.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    resources(new, errors);
    let mut seen: Vec<&Value> = Vec::new();
    for address in At::root(new, "status").child("addresses").items() {
        if seen.contains(&address.value()) {
            errors.push(address.duplicate());
        }
        seen.push(address.value());
    }
    let (spec, before) = (At::root(new, "spec"), At::root(old, "spec"));
    let fixed = |field: &str, shown: &str, errors: &mut Errors| {
        if !before.child(field).is_empty() && !spec.child(field).same(&before.child(field)) {
            let detail = format!("node updates may not change {shown} except from \"\" to valid");
            errors.push(FieldError::forbidden(&spec.child(field).path, detail));
        }
    };
    fixed("podCIDRs", "podCIDR", errors);
    fixed("providerID", "providerID", errors);
    taints(&taints_at(new), errors);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create_errors, update_errors};
    use serde_json::{Value, json};

    fn node(spec: Value) -> Value {
        json!({"metadata": {"name": "n"}, "spec": spec})
    }

    #[test]
    fn created() {
        fn check(spec: Value, expect: &[&str]) {
            assert_eq!(create_errors("v1", "Node", node(spec)), expect);
        }
        check(json!({"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]}), &[]);
        check(
            json!({"taints": [{"key": "a", "effect": "Nope"}]}),
            &["metadata.taints[0].effect: Unsupported value: \"Nope\": supported values: \"NoSchedule\", \
               \"PreferNoSchedule\", \"NoExecute\""],
        );
        check(
            json!({"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]}),
            &[
                "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\",\"value\":\"b\"}: taints must \
               be unique by key and effect pair",
            ],
        );
        check(
            json!({"podCIDRs": ["10.0.0.0/33"]}),
            &["spec.podCIDRs[0]: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or \
               2001:db8::/64)"],
        );
        check(json!({"podCIDRs": ["10.0.0.0/24", "fd00::/64"]}), &[]);
    }

    #[test]
    fn updated() {
        fn check(new: Value, old: Value, expect: &[&str]) {
            assert_eq!(update_errors("v1", "Node", node(new), node(old)), expect);
        }
        check(json!({"podCIDRs": ["10.0.0.0/24"], "unschedulable": true}), json!({}), &[]);
        check(
            json!({"podCIDRs": ["10.0.1.0/24"]}),
            json!({"podCIDRs": ["10.0.0.0/24"]}),
            &["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"],
        );
    }

    #[test]
    fn bad_label() {
        let mut new = node(json!({}));
        new["metadata"]["labels"] = json!({"bad label": "x"});
        let expect = "metadata.labels: Invalid value: \"bad label\": name part must consist of alphanumeric characters, \
                      '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or \
                      'my.name',  or '123-abc', regex used for validation is \
                      '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        assert_eq!(update_errors("v1", "Node", new, node(json!({}))), [expect]);
    }
}
