//! What makes a policy unusable that the schema of its definition cannot say.
//!
//! Invariants: a policy without faults can be read by whoever acts on it.
//!
//! Absent: what depends on other objects: two policies on one DaemonSet, waves without nodes.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Opening, Spec};
use crate::selector::Labels;

/// Something that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, as in `spec.windows[0]`.
    pub field: String,
    /// What is wrong, in words.
    pub message: String,
}

/// All that is wrong with a policy.
#[must_use]
pub fn validate(spec: &Spec) -> Vec<Fault> {
    let mut faults = Faults::default();
    if spec.targets.names.is_some() == spec.targets.selector.is_some() {
        faults.add("spec.targets", "exactly one of names and selector must be set");
    }
    faults.selector("spec.targets.selector", spec.targets.selector.as_ref());
    waves(spec, &mut faults);
    for (i, window) in spec.windows.iter().enumerate() {
        if let Err(error) = Opening::read(window) {
            faults.add(&format!("spec.windows[{i}]"), &error.to_string());
        }
    }
    for (i, class) in spec.node_classes.iter().enumerate() {
        faults.selector(&format!("spec.nodeClasses[{i}].nodeSelector"), Some(&class.node_selector));
    }
    faults.0
}

fn waves(spec: &Spec, faults: &mut Faults) {
    let mut names = BTreeSet::new();
    for (i, wave) in spec.waves.iter().enumerate() {
        let field = format!("spec.waves[{i}]");
        if wave.name == super::REST {
            faults.add(&format!("{field}.name"), "this is the name of the wave of all other nodes: take another");
        }
        if !names.insert(&wave.name) {
            faults.add(&format!("{field}.name"), "another wave has this name");
        }
        if wave.nodes.is_some() == wave.topology_key.is_some() {
            faults.add(&field, "exactly one of nodes and topologyKey must be set");
        }
        let Some(nodes) = &wave.nodes else { continue };
        let given = [nodes.count.is_some(), nodes.percent.is_some(), nodes.selector.is_some(), nodes.diverse.is_some()];
        if given.iter().filter(|g| **g).count() != 1 {
            faults.add(&format!("{field}.nodes"), "exactly one of count, percent, selector and diverse must be set");
        }
        faults.selector(&format!("{field}.nodes.selector"), nodes.selector.as_ref());
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: &str, message: &str) {
        self.0.push(Fault { field: field.to_owned(), message: message.to_owned() });
    }

    fn selector(&mut self, field: &str, selector: Option<&LabelSelector>) {
        if let Err(error) = Labels::from_label_selector(selector) {
            self.add(field, &error.to_string());
        }
    }
}
