//! Why a node is excluded, in words: the rule, and what the node has in its stead.
//!
//! Invariants: the words name the label, the taint or the term that decides.
//!
//! Absent: the decision (`daemonset::Demands`).

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint};

use super::answer::{Cause, Words};
use crate::daemonset::Exclusion;
use crate::view::{NODE_NAME_FIELD, NodeView};

/// The words for one exclusion.
pub(super) fn words(set: &DaemonSet, node: &NodeView, why: &Exclusion) -> Words {
    match why {
        Exclusion::NodeName(name) => Words::plain(Cause::NodeName, format!("the template names node {name}")),
        Exclusion::NodeSelector(key, value) => {
            let about = format!("the node selector asks for {key}={value}");
            let message = format!("{about}, and the node {}", has(node, key));
            Words { cause: Cause::NodeSelector, about, message }
        }
        Exclusion::NodeAffinity => {
            let required = required(set);
            let terms = required.map(|r| affinity(r, node)).unwrap_or_default();
            let about = "the required node affinity does not match".to_owned();
            Words { cause: Cause::NodeAffinity, message: format!("{about}: {terms}"), about }
        }
        Exclusion::Taint(taint) => {
            Words::plain(Cause::NodeTaint, format!("the taint {} is not tolerated", taint_text(taint)))
        }
        Exclusion::Namespace(selector) => {
            Words::plain(Cause::Namespace, format!("the namespace is for nodes with {selector}"))
        }
    }
}

/// `key=value:Effect`.
pub(super) fn taint_text(taint: &Taint) -> String {
    match taint.value.as_deref().filter(|v| !v.is_empty()) {
        Some(value) => format!("{}={value}:{}", taint.key, taint.effect),
        None => format!("{}:{}", taint.key, taint.effect),
    }
}

/// What a node has of a label.
fn has(node: &NodeView, key: &str) -> String {
    match node.labels.get(key) {
        Some(value) => format!("has {key}={value}"),
        None => format!("has no label {key}"),
    }
}

fn required(set: &DaemonSet) -> Option<&NodeSelector> {
    let spec = set.spec.as_ref()?.template.spec.as_ref()?;
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity.required_during_scheduling_ignored_during_execution.as_ref()
}

/// For each term, what of it the node does not have.
pub(super) fn affinity(required: &NodeSelector, node: &NodeView) -> String {
    let several = required.node_selector_terms.len() > 1;
    let words = required.node_selector_terms.iter().enumerate().map(|(index, term)| {
        let missing = term_words(term, node);
        if several { format!("term {}: {missing}", index + 1) } else { missing }
    });
    words.collect::<Vec<_>>().join("; ")
}

fn term_words(term: &NodeSelectorTerm, node: &NodeView) -> String {
    let expressions = term.match_expressions.iter().flatten();
    let of_label = expressions.filter(|r| !holds(node, Some(r), None)).map(|r| {
        let asked = requirement(r);
        format!("it asks for {asked}, and the node {}", has(node, &r.key))
    });
    let of_field = term.match_fields.iter().flatten().filter(|r| !holds(node, None, Some(r))).map(|r| {
        let name = if r.key == NODE_NAME_FIELD { node.name.as_str() } else { "no such field" };
        format!("it asks for {}, and the node is {name}", requirement(r))
    });
    let missing: Vec<String> = of_label.chain(of_field).collect();
    if missing.is_empty() { "an empty term matches no node".to_owned() } else { missing.join(", ") }
}

/// Whether a node has what one requirement, of its labels or of its fields, asks for.
fn holds(node: &NodeView, label: Option<&NodeSelectorRequirement>, field: Option<&NodeSelectorRequirement>) -> bool {
    let term = NodeSelectorTerm {
        match_expressions: label.map(|r| vec![r.clone()]),
        match_fields: field.map(|r| vec![r.clone()]),
    };
    let selector = NodeSelector { node_selector_terms: vec![term] };
    api::affinity::matches_node_selector(&selector, &node.skeleton()).unwrap_or_default()
}

fn requirement(r: &NodeSelectorRequirement) -> String {
    let values = r.values.as_deref().unwrap_or_default().join(", ");
    match r.operator.as_str() {
        "In" => format!("{} in ({values})", r.key),
        "NotIn" => format!("{} not in ({values})", r.key),
        "Exists" => format!("a label {}", r.key),
        "DoesNotExist" => format!("no label {}", r.key),
        "Gt" => format!("{} > {values}", r.key),
        "Lt" => format!("{} < {values}", r.key),
        other => format!("{} {other} ({values})", r.key),
    }
}
