//! Node classes: what differs from the template of a DaemonSet on nodes with certain labels.
//!
//! All classes that a node's labels match are applied, in the order of the policy. A pod carries the hash of what was
//! applied to it beside the hash of its revision, and is of the right kind only if both are right for its node.
//!
//! Invariants: the hash is that of the patches alone, in one canonical encoding that never changes from version to version:
//! neither a class's name, nor a class that the node is not in, nor a new version of everynode restarts anything. Without a
//! policy that can be read nobody knows the classes, and none is looked at: a policy that is gone, broken or out of reach
//! restarts nothing. A patch that makes no valid template changes nothing and restarts nothing either.
//!
//! Absent: the history. Patches are the policy's, revisions are the DaemonSet's: going back to a revision takes the classes
//! of today.

use std::collections::{BTreeMap, BTreeSet};

use api::decode::FieldValidation;
use api::kinds::find;
use api::patch::{PatchType, apply};
use api::rollout_policy::{NodeClass, Spec};
use api::selector::Labels;
use api::validate::{FieldError, aggregate};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value, json};

use super::template;
use crate::view::{NodeView, PodView};

/// Label of a pod with the hash of the node classes that were applied to it; a pod to which none was applied has none.
pub const CLASS_LABEL: &str = "everynode.dev/node-class-hash";

/// The classes of a policy, ready to be matched.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Classes(Vec<Class>);

#[derive(Debug, Clone, PartialEq)]
struct Class {
    name: String,
    selector: Labels,
    patch: Value,
}

impl Classes {
    /// The classes of a policy that has no faults.
    pub(super) fn read(spec: &Spec) -> Self {
        let one = |class: &NodeClass| {
            let selector = Labels::from_label_selector(Some(&class.node_selector)).ok()?;
            Some(Class { name: class.name.clone(), selector, patch: class.patch.clone() })
        };
        Self(spec.node_classes.iter().filter_map(one).collect())
    }

    /// The places of the classes that a node is in.
    fn of(&self, node: &NodeView) -> Vec<usize> {
        self.0.iter().enumerate().filter(|(_, class)| class.selector.matches(&node.labels)).map(|(i, _)| i).collect()
    }

    /// The names and the patches of these classes.
    fn named(&self, places: &[usize]) -> (Vec<String>, Vec<Value>) {
        places.iter().filter_map(|i| self.0.get(*i)).map(|class| (class.name.clone(), class.patch.clone())).unzip()
    }

    /// The first class that cannot be applied to a DaemonSet, and why.
    pub(super) fn fault(&self, set: &DaemonSet) -> Option<(&str, String)> {
        self.0.iter().find_map(|class| {
            let error = patched(set, std::slice::from_ref(&class.patch)).err()?;
            Some((class.name.as_str(), error))
        })
    }
}

/// The classes of each node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeClasses {
    /// False when nobody knows the classes.
    known: bool,
    /// The hash of each node that is in a class.
    hashes: BTreeMap<String, String>,
    /// Nodes whose classes cannot be applied, with why.
    unusable: BTreeMap<String, String>,
    /// What is applied, by hash: the names of the classes, and their patches.
    applied: BTreeMap<String, (Vec<String>, Vec<Value>)>,
}

impl NodeClasses {
    /// The classes of each node for `set`. Without `classes` they are not known.
    pub(super) fn of(set: &DaemonSet, nodes: &BTreeMap<String, &NodeView>, classes: Option<&Classes>) -> Self {
        let Some(classes) = classes else { return Self::default() };
        let mut found = Self { known: true, ..Self::default() };
        // Many nodes are in the same classes, which are tried out once.
        let mut tried: BTreeMap<Vec<usize>, Result<String, String>> = BTreeMap::new();
        for (name, node) in nodes.iter().filter(|_| !classes.0.is_empty()) {
            let places = classes.of(node);
            if places.is_empty() {
                continue;
            }
            let outcome = tried.entry(places).or_insert_with_key(|places| {
                let (names, patches) = classes.named(places);
                patched(set, &patches)?;
                let hash = hash(&patches);
                found.applied.insert(hash.clone(), (names, patches));
                Ok(hash)
            });
            match outcome {
                Ok(hash) => drop(found.hashes.insert(name.clone(), hash.clone())),
                Err(error) => drop(found.unusable.insert(name.clone(), error.clone())),
            }
        }
        found
    }

    /// True when what was applied to a pod is what its node's classes say.
    #[must_use]
    pub fn fit(&self, pod: &PodView) -> bool {
        let Some(node) = pod.node_or_target().filter(|node| self.known && !self.unusable.contains_key(*node)) else {
            return true;
        };
        pod.labels.get(CLASS_LABEL) == self.hashes.get(node)
    }

    /// True when a node is in some class.
    pub(super) fn are_on(&self, node: &str) -> bool {
        self.hashes.contains_key(node)
    }

    /// Changes a DaemonSet to what a pod of `node` is made from; returns the hash of what was applied.
    pub(super) fn apply(&self, set: &mut DaemonSet, node: &str) -> Option<String> {
        let hash = self.hashes.get(node)?;
        // An older template may lack what a patch is for: then the pod is of no class.
        let (_, patches) = self.applied.get(hash)?;
        let template = patched(set, patches).ok()?;
        set.spec.as_mut()?.template = template;
        Some(hash.clone())
    }

    /// What a node is in, in words.
    #[must_use]
    pub fn words(&self, node: &str) -> String {
        let names = self.hashes.get(node).and_then(|hash| self.applied.get(hash)).map(|(names, _)| names.as_slice());
        match names {
            None | Some([]) => "its node is in no class now".to_owned(),
            Some([one]) => format!("its node is in class {one} now"),
            Some(names) => format!("its node is in classes {} now", names.join(", ")),
        }
    }
}

/// The hash of what is applied to a node, in order.
fn hash(patches: &[Value]) -> String {
    template::hash(&Value::Array(patches.to_vec()), None)
}

/// The template of `set` with all patches applied, in order.
///
/// # Errors
/// Why that is no template that pods can be made from.
fn patched(set: &DaemonSet, patches: &[Value]) -> Result<PodTemplateSpec, String> {
    let kind = find("apps", "v1", "daemonsets").ok_or("DaemonSets are unknown")?;
    let plain = json!({"apiVersion": super::API_VERSION, "kind": super::KIND, "spec": set.spec,
        "metadata": {"name": set.metadata.name, "namespace": set.metadata.namespace}});
    let mut value = plain.clone();
    for patch in patches {
        only_known_containers(&value, patch)?;
        let body = json!({"spec": {"template": {"spec": patch}}}).to_string();
        let done = apply(kind, PatchType::Strategic, &value, body.as_bytes(), FieldValidation::Strict);
        value = done.map_err(|status| status.body["message"].as_str().unwrap_or_default().to_owned())?.value;
    }
    // What is wrong without the patches is not their fault: whoever serves this DaemonSet took it.
    let broken = |value: &Value| {
        let mut value = value.clone();
        api::defaults::apply(kind, &mut value);
        api::validate::create(kind, &value)
    };
    let before = broken(&plain);
    let news: Vec<FieldError> = broken(&value).into_iter().filter(|error| !before.contains(error)).collect();
    if !news.is_empty() {
        return Err(aggregate(&news));
    }
    let template = value.pointer_mut("/spec/template").map(Value::take).unwrap_or_default();
    serde_json::from_value(template).map_err(|error| error.to_string())
}

/// A patch changes containers; it adds none.
fn only_known_containers(set: &Value, patch: &Value) -> Result<(), String> {
    let none = Map::new();
    for (list, changed) in patch.as_object().unwrap_or(&none) {
        let named = |containers: &Value| -> BTreeSet<String> {
            let names = containers.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str());
            names.map(str::to_owned).collect()
        };
        let there = named(&set["spec"]["template"]["spec"][list.as_str()]);
        if let Some(name) = named(changed).difference(&there).next() {
            return Err(format!("the template has no container {name} in {list}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_frozen_and_is_that_of_the_patches_in_order() {
        let small = json!({"containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi"}}, "image": null}]});
        let same = json!({"containers": [{"resources": {"limits": {"memory": "1Gi"}}, "name": "c"}]});
        let other = json!({"containers": [{"name": "c", "args": ["-v"]}]});
        let one = |patch: &Value| hash(std::slice::from_ref(patch));
        assert_eq!(one(&small), "zdjkrrtns4");
        assert_eq!(one(&small), one(&same));
        assert_ne!(hash(&[small.clone(), other.clone()]), hash(&[other, small]));
    }
}
