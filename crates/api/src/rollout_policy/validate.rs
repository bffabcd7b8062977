//! What makes a policy unusable that the schema of its definition cannot say.
//!
//! Invariants: a policy without faults can be read by whoever acts on it.
//!
//! Absent: what depends on other objects: two policies on one DaemonSet, waves whose labels no node has.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{DEAD_MAN_SECONDS_MIN, Opening, RolloutPolicy, Spec, Wave, classes};
use crate::selector::Labels;
use crate::validate::{ErrorType, FieldError};

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
    if spec.targets.names.as_ref().is_some_and(Vec::is_empty) {
        faults.add("spec.targets.names", "name at least one DaemonSet");
    }
    if let Some(most) = spec.failure.as_ref().and_then(|f| f.max_failed_nodes.as_ref())
        && !is_share_or_number(most)
    {
        faults.add("spec.failure.maxFailedNodes", "must be a number, or a percentage up to 100%");
    }
    if let Some(dead_man) = spec.dead_man
        && dead_man.after_seconds < DEAD_MAN_SECONDS_MIN
    {
        faults.add("spec.deadMan.afterSeconds", &format!("must be {DEAD_MAN_SECONDS_MIN} or more"));
    }
    waves(spec, &mut faults);
    for (i, window) in spec.windows.iter().enumerate() {
        if let Err(error) = Opening::read(window) {
            faults.add(&format!("spec.windows[{i}]"), &error.to_string());
        }
    }
    for (i, class) in spec.node_classes.iter().enumerate() {
        faults.selector(&format!("spec.nodeClasses[{i}].nodeSelector"), Some(&class.node_selector));
        for (field, message) in classes::faults(&class.patch) {
            faults.add(&format!("spec.nodeClasses[{i}].patch{field}"), &message);
        }
    }
    faults.0
}

/// What a policy breaks beside its schema; `old` is the stored one, whose faults are not told again, so that what is bad
/// already can still be paused.
pub(crate) fn admit(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    // What the schema admits can be read.
    let faults_of = |object: &Value| match serde_json::from_value::<RolloutPolicy>(object.clone()) {
        Ok(RolloutPolicy { unreadable: Some(error), .. }) => vec![Fault { field: "spec".to_owned(), message: error }],
        Ok(policy) => validate(&policy.spec),
        Err(_) => Vec::new(),
    };
    let known = old.map(faults_of).unwrap_or_default();
    let error = |fault: Fault| FieldError {
        kind: ErrorType::InvalidUnshown,
        field: fault.field,
        bad_value: Value::Null,
        detail: fault.message,
    };
    faults_of(new).into_iter().filter(|fault| !known.contains(fault)).map(error).collect()
}

fn is_share_or_number(most: &IntOrString) -> bool {
    match most {
        IntOrString::Int(number) => *number >= 0,
        IntOrString::String(text) => {
            text.strip_suffix('%').and_then(|share| share.parse::<u8>().ok()).is_some_and(|share| share <= 100)
        }
    }
}

/// Whether a wave leaves no node to those after it, whatever nodes there are.
fn takes_all(wave: &Wave) -> bool {
    let nodes = wave.nodes.as_ref();
    wave.topology_key.is_some()
        || nodes.and_then(|n| n.percent).is_some_and(|percent| percent >= 100)
        || nodes.and_then(|n| n.selector.as_ref()).is_some_and(|s| *s == LabelSelector::default())
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
    if let Some(last) = spec.waves.iter().position(takes_all).filter(|last| last + 1 < spec.waves.len()) {
        let name = &spec.waves[last].name;
        let message = format!("it selects no node: wave {name} takes all that are left, put it last");
        faults.add(&format!("spec.waves[{}]", last + 1), &message);
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
