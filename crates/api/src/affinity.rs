//! Node affinity: which nodes a pod's `nodeSelector` and required node affinity allow.
//!
//! Invariants: terms are alternatives, the requirements of a term must all hold; an empty term
//! selects no node; a term that cannot be read selects no node and is reported only when no other
//! term selects the node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm,
};

use crate::selector::{Labels, Operator, Requirement, SelectorError};
use crate::validate::{FieldError, Path};

const LABEL_OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
const FIELD_OPERATORS: [&str; 2] = ["In", "NotIn"];

/// Whether a node is selected by one of the terms.
///
/// # Errors
/// No term selects the node and some term cannot be read.
pub fn matches_node_selector(selector: &NodeSelector, node: &Node) -> Result<bool, SelectorError> {
    let path = Path::root("nodeSelectorTerms");
    let mut broken = Vec::new();
    for (i, term) in selector.node_selector_terms.iter().enumerate() {
        match matches_term(term, node, &path.index(i)) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(errors) => broken.extend(errors),
        }
    }
    match broken.len() {
        0 => Ok(false),
        1 => Err(broken.remove(0)),
        _ => Err(SelectorError(format!("[{}]", broken.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))),
    }
}

/// Whether a pod's `nodeSelector` and required node affinity allow a node.
///
/// # Errors
/// The affinity allows the node by no term and some term cannot be read.
pub fn matches_required_node_affinity(pod: &PodSpec, node: &Node) -> Result<bool, SelectorError> {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    if let Some(set) = &pod.node_selector
        && !set.iter().all(|(key, value)| labels.get(key) == Some(value))
    {
        return Ok(false);
    }
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    match affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref()) {
        Some(selector) => matches_node_selector(selector, node),
        None => Ok(true),
    }
}

/// A node selector that is held against many nodes: read once.
#[derive(Debug)]
pub struct NodeTerms(Vec<Term>);

#[derive(Debug)]
struct Term {
    labels: Labels,
    fields: Vec<NodeSelectorRequirement>,
}

impl NodeTerms {
    /// Reads a node selector. Terms that cannot be read select no node.
    #[must_use]
    pub fn read(selector: &NodeSelector) -> Self {
        let path = Path::none();
        let one = |term: &NodeSelectorTerm| {
            let expressions = term.match_expressions.as_deref().unwrap_or_default();
            let fields = term.match_fields.clone().unwrap_or_default();
            if expressions.is_empty() && fields.is_empty() {
                return None;
            }
            let requirements =
                expressions.iter().map(|e| label_requirement(e, &path)).collect::<Result<_, _>>().ok()?;
            fields.iter().try_for_each(|field| matches_field(field, "", &path).map(drop)).ok()?;
            Some(Term { labels: Labels::of(requirements), fields })
        };
        Self(selector.node_selector_terms.iter().filter_map(one).collect())
    }

    /// Whether a node with this name and these labels is selected by one of the terms.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let path = Path::none();
        let is = |field: &NodeSelectorRequirement| matches_field(field, name, &path).unwrap_or_default();
        self.0.iter().any(|term| term.fields.iter().all(is) && term.labels.matches(labels))
    }
}

/// The sum of the weights of the preferred terms that select a node; terms that cannot be read
/// count nothing.
#[must_use]
pub fn preference(terms: &[PreferredSchedulingTerm], node: &Node) -> i64 {
    let path = Path::none();
    terms
        .iter()
        .filter(|term| matches_term(&term.preference, node, &path).unwrap_or(false))
        .map(|term| i64::from(term.weight))
        .sum()
}

fn matches_term(term: &NodeSelectorTerm, node: &Node, path: &Path) -> Result<bool, Vec<SelectorError>> {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return Ok(false);
    }
    let mut errors = Vec::new();
    let mut matched = true;
    let mut requirements = Vec::with_capacity(expressions.len());
    for (i, expression) in expressions.iter().enumerate() {
        match label_requirement(expression, &path.child("matchExpressions").index(i)) {
            Ok(requirement) => requirements.push(requirement),
            Err(error) => errors.push(error),
        }
    }
    for (i, field) in fields.iter().enumerate() {
        match matches_field(
            field,
            node.metadata.name.as_deref().unwrap_or_default(),
            &path.child("matchFields").index(i),
        ) {
            Ok(holds) => matched &= holds,
            Err(error) => errors.push(SelectorError(error.to_string())),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    Ok(matched && Labels::of(requirements).matches_with(label))
}

fn label_requirement(expression: &NodeSelectorRequirement, path: &Path) -> Result<Requirement, SelectorError> {
    let operator = match expression.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        other => {
            let error = FieldError::not_supported(&path.child("operator"), other, &LABEL_OPERATORS);
            return Err(SelectorError(error.to_string()));
        }
    };
    Requirement::new(&expression.key, operator, expression.values.clone().unwrap_or_default(), path)
}

/// Fields are few: a node has `metadata.name`, any other field is the empty text.
fn matches_field(field: &NodeSelectorRequirement, name: &str, path: &Path) -> Result<bool, FieldError> {
    let values = field.values.as_deref().unwrap_or_default();
    let wanted = match field.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        other => return Err(FieldError::not_supported(&path.child("operator"), other, &FIELD_OPERATORS)),
    };
    let [value] = values else {
        return Err(FieldError::invalid(&path.child("values"), values.to_vec(), "must have one element"));
    };
    if name.is_empty() {
        return Ok(true); // without a name there are no fields to compare
    }
    let actual = if field.key == "metadata.name" { name } else { "" };
    Ok((actual == value) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node() -> Node {
        let node = json!({"metadata": {"name": "n-1", "labels": {"ssd": "true", "size": "5"}}});
        serde_json::from_value(node).expect("node")
    }

    #[test]
    fn terms() {
        fn check(terms: Value, expect: Result<bool, &str>) {
            let selector = serde_json::from_value(json!({"nodeSelectorTerms": terms})).expect("selector");
            let found = matches_node_selector(&selector, &node()).map_err(|e| e.to_string());
            assert_eq!(found, expect.map_err(str::to_owned), "{terms}");
        }
        let label = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let field = |operator: &str, values: &[&str]| json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": values}]});
        check(json!([]), Ok(false));
        check(json!([{}]), Ok(false));
        check(json!([label("ssd", "In", &["true"])]), Ok(true));
        check(json!([label("ssd", "NotIn", &["true"])]), Ok(false));
        check(json!([label("none", "NotIn", &["true"])]), Ok(true));
        check(json!([label("ssd", "Exists", &[])]), Ok(true));
        check(json!([label("ssd", "DoesNotExist", &[])]), Ok(false));
        check(json!([label("size", "Gt", &["4"])]), Ok(true));
        check(json!([label("size", "Lt", &["5"])]), Ok(false));
        check(json!([field("In", &["n-1"])]), Ok(true));
        check(json!([field("NotIn", &["n-1"])]), Ok(false));
        check(json!([field("In", &["n-2"]), label("ssd", "Exists", &[])]), Ok(true));
        check(
            json!([{"matchFields": field("In", &["n-1"])["matchFields"],
            "matchExpressions": label("ssd", "In", &["no"])["matchExpressions"]}]),
            Ok(false),
        );
        check(
            json!([field("In", &["a", "b"])]),
            Err("nodeSelectorTerms[0].matchFields[0].values: Invalid value: [\"a\",\"b\"]: must have one element"),
        );
        check(json!([label("ssd", "Near", &[]), label("ssd", "Exists", &[])]), Ok(true));
        check(
            json!([label("ssd", "Near", &[])]),
            Err("nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: \"Near\": supported values: \
                 \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\""),
        );
    }

    #[test]
    fn pods() {
        fn check(spec: Value, expect: bool) {
            let mut spec_full = spec.clone();
            spec_full["containers"] = json!([]);
            let pod = serde_json::from_value(spec_full).expect("spec");
            assert_eq!(matches_required_node_affinity(&pod, &node()), Ok(expect), "{spec}");
        }
        check(json!({}), true);
        check(json!({"nodeSelector": {"ssd": "true"}}), true);
        check(json!({"nodeSelector": {"ssd": "false"}}), false);
        let affinity = |name: &str| {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]}}})
        };
        check(json!({"affinity": affinity("n-1")}), true);
        check(json!({"affinity": affinity("n-2")}), false);
        check(json!({"affinity": affinity("n-1"), "nodeSelector": {"ssd": "no"}}), false);
    }

    #[test]
    fn preferences() {
        let terms = json!([
            {"weight": 3, "preference": {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]}},
            {"weight": 5, "preference": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}},
            {"weight": 7, "preference": {}}]);
        let terms: Vec<PreferredSchedulingTerm> = serde_json::from_value(terms).expect("terms");
        assert_eq!(preference(&terms, &node()), 3);
    }
}
