//! `metav1.LabelSelector`.

use crate::selector::Labels;

use super::at::{At, Errors};
use super::content::{label_key, label_value};
use super::metadata::labels;

/// Rules of a label selector; none is fine.
pub(super) fn selector(selector: &At<'_>, errors: &mut Errors) {
    labels(&selector.child("matchLabels"), errors);
    for expression in selector.child("matchExpressions").items() {
        let (operator, values) = (expression.child("operator"), expression.child("values"));
        operator_values(&operator, &values, false, errors);
        expression.child("key").content(label_key, errors);
        values.items().for_each(|value| value.content(label_value, errors));
    }
}

/// Whether the number of values fits the operator; nodes know `Gt` and `Lt` too.
pub(super) fn operator_values(operator: &At<'_>, values: &At<'_>, of_nodes: bool, errors: &mut Errors) {
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" if of_nodes => {
            if values.len() != 1 {
                errors.push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
        }
        _ => errors.push(operator.invalid_value(operator.text(), "not a valid selector operator")),
    }
}

/// Whether a selector has no requirement at all.
pub(super) fn selects_all(selector: &At<'_>) -> bool {
    selector.child("matchLabels").is_empty() && selector.child("matchExpressions").is_empty()
}

/// Whether a selector that can be read selects these labels; none when it cannot be read.
pub(super) fn selects(selector: &At<'_>, labels: &At<'_>) -> Option<bool> {
    Labels::from_json(selector.value()).ok().map(|selector| selector.matches_json(labels.value()))
}
