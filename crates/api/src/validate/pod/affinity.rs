//! Affinity to nodes and to other pods, and spreading.

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::{dns1123_label, dns1123_subdomain, label_key, label_value};
use super::super::labels::{self, operator_values};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The `affinity` of a pod.
pub(super) fn rules(affinity: &At<'_>, errors: &mut Errors) {
    let node = affinity.child("nodeAffinity");
    let required = node.child(REQUIRED);
    if required.is_set() {
        let terms = required.child("nodeSelectorTerms");
        if terms.is_empty() {
            errors.push(terms.required("must have at least one node selector term"));
        }
        terms.items().for_each(|term| node_term(&term, true, errors));
    }
    for preferred in node.child(PREFERRED).items() {
        weight(&preferred, errors);
        node_term(&preferred.child("preference"), false, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.child(kind);
        pods.child(REQUIRED).items().for_each(|term| pod_term(&term, errors));
        for preferred in pods.child(PREFERRED).items() {
            weight(&preferred, errors);
            pod_term(&preferred.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(preferred: &At<'_>, errors: &mut Errors) {
    let weight = preferred.child("weight");
    if !(1..=100).contains(&weight.number()) {
        errors.push(weight.invalid_value(weight.number(), "must be in the range 1-100"));
    }
}

/// A term about nodes; preferences may name values that no label can have.
fn node_term(term: &At<'_>, checks_values: bool, errors: &mut Errors) {
    for expression in term.child("matchExpressions").items() {
        let (operator, values) = (expression.child("operator"), expression.child("values"));
        operator_values(&operator, &values, true, errors);
        expression.child("key").content(label_key, errors);
        if checks_values {
            values.items().for_each(|value| value.content(label_value, errors));
        }
    }
    for field in term.child("matchFields").items() {
        let [key, operator, values] = ["key", "operator", "values"].map(|part| field.child(part));
        if !matches!(operator.text(), "In" | "NotIn") {
            errors.push(operator.invalid_value(operator.text(), "not a valid selector operator"));
        } else if values.len() != 1 {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(values.required(detail));
        }
        if key.text() == "metadata.name" {
            values.items().for_each(|value| value.content(dns1123_subdomain, errors));
        } else {
            errors.push(key.invalid_value(key.text(), "not a valid field selector key"));
        }
    }
}

fn pod_term(term: &At<'_>, errors: &mut Errors) {
    labels::selector(&term.child("labelSelector"), errors);
    labels::selector(&term.child("namespaceSelector"), errors);
    for name in term.child("namespaces").items() {
        let sentences = dns1123_label(name.text());
        let path = term.path.child("namespace");
        errors.extend(sentences.into_iter().map(|detail| FieldError::invalid(&path, name.text(), detail)));
    }
    label_keys(term, errors);
    let topology = term.child("topologyKey");
    if topology.text().is_empty() {
        errors.push(topology.required("can not be empty"));
    }
    topology.content(label_key, errors);
}

/// Labels of the pod itself that selectors take over.
fn label_keys(term: &At<'_>, errors: &mut Errors) {
    let (same, other) = (term.child("matchLabelKeys"), term.child("mismatchLabelKeys"));
    let selector = term.child("labelSelector");
    for keys in [&same, &other].into_iter().filter(|keys| !keys.is_empty()) {
        if selector.is_set() {
            keys.items().for_each(|key| key.content(label_key, errors));
        } else {
            errors.push(keys.forbidden("must not be specified when labelSelector is not set"));
        }
    }
    let mut selected: Vec<&str> = selector.child("matchLabels").entries().map(|(key, _)| key).collect();
    for expression in selector.child("matchExpressions").items() {
        let key = expression.child("key").text();
        let at = same.items().position(|one| one.text() == key);
        if let Some(i) = at.filter(|_| selected.contains(&key)) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&term.path.index(i), key, detail));
        }
        selected.push(key);
    }
    for key in same.items() {
        if other.items().any(|one| one.text() == key.text()) {
            errors.push(key.invalid("exists in both matchLabelKeys and mismatchLabelKeys"));
        }
    }
}

/// The `topologySpreadConstraints` of a pod.
pub(super) fn spread(list: &At<'_>, errors: &mut Errors) {
    let constraints: Vec<At<'_>> = list.items().collect();
    for (i, constraint) in constraints.iter().enumerate() {
        constraint.child("maxSkew").positive(errors);
        let (topology, action) = (constraint.child("topologyKey"), constraint.child("whenUnsatisfiable"));
        if topology.text().is_empty() {
            errors.push(topology.required("can not be empty"));
        }
        if !matches!(action.text(), "DoNotSchedule" | "ScheduleAnyway") {
            let allowed = ["DoNotSchedule", "ScheduleAnyway"];
            errors.push(FieldError::not_supported(&action.path, action.text(), &allowed));
        }
        let repeats = constraints[i + 1..].iter().any(|other| {
            other.child("topologyKey").text() == topology.text()
                && other.child("whenUnsatisfiable").text() == action.text()
        });
        if repeats {
            let path = constraint.path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&path, format!("{{{}, {}}}", topology.text(), action.text())));
        }
        let domains = constraint.child("minDomains");
        if domains.is_set() {
            domains.positive(errors);
            if action.text() != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action.text());
                errors.push(domains.invalid(detail));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.child(policy).optional_one_of(&["Honor", "Ignore"], errors);
        }
        label_keys(constraint, errors);
        labels::selector(&constraint.child("labelSelector"), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check as check_pod;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn nodes() {
        fn check(term: Value, expect: &[&str]) {
            let at = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
            let expect: Vec<String> = expect.iter().map(|text| format!("{at}{text}")).collect();
            let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
            check_pod(json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": term}}}}), &expect);
        }
        check(json!([]), &[": Required value: must have at least one node selector term"]);
        check(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]), &[]);
        check(
            json!([{"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}]),
            &["[0].matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator"],
        );
        check(
            json!([{"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Gt"}]}]),
            &[
                "[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "[0].matchExpressions[1].values: Required value: must be specified single value when `operator` is 'Lt' or \
                 'Gt'",
            ],
        );
        check(
            json!([{"matchFields": [{"key": "spec.x", "operator": "In", "values": ["n"]}]}]),
            &["[0].matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key"],
        );
    }

    #[test]
    fn pods() {
        check_pod(
            json!({"affinity": {"podAntiAffinity": {PREFERRED: [{"weight": 0, "podAffinityTerm": {"topologyKey": "h"}}]}}}),
            &[&format!(
                "spec.affinity.podAntiAffinity.{PREFERRED}[0].weight: Invalid value: 0: must be in the range 1-100"
            )],
        );
    }

    #[test]
    fn spreading() {
        check_pod(
            json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "Odd"}]}),
            &[
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than 0",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Odd\": supported values: \
                 \"DoNotSchedule\", \"ScheduleAnyway\"",
            ],
        );
    }
}
