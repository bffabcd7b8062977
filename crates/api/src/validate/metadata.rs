//! `metadata`: names, labels, annotations, owners, finalizers, and what an update may not change.

use serde_json::Value;

use crate::kinds::Kind;
use crate::quote::quoted;

use super::at::{At, Errors};
use super::content::{self, Rule, dns1123_label, label_key, label_value};
use super::{FieldError, Path};

/// All annotations of an object together: 256 KiB.
const ANNOTATIONS_SIZE_MAX: usize = 256 * 1024;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// The rule for names of a kind.
fn name_rule(kind: &Kind) -> Rule {
    match (kind.group, kind.kind) {
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => content::dns1123_label,
        ("rbac.authorization.k8s.io", _) => content::path_segment,
        _ => content::dns1123_subdomain,
    }
}

/// A name prefix may end in a dash: what is generated follows it.
fn with_ending(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut name: String = rest.chars().take(rest.chars().count() - 1).collect();
            name.push('a');
            name
        }
        _ => prefix.to_owned(),
    }
}

/// Rules of every object's metadata; `checks_finalizer_names` is off for the few kinds that take
/// any finalizer.
pub(super) fn object(kind: &Kind, obj: &Value, errors: &mut Errors) {
    let metadata = At::root(obj, "metadata");
    let rule = name_rule(kind);
    let prefix = metadata.child("generateName");
    if !prefix.text().is_empty() {
        let sentences = rule(&with_ending(prefix.text()));
        errors.extend(sentences.into_iter().map(|detail| prefix.invalid(detail)));
    }
    let name = metadata.child("name");
    if name.text().is_empty() {
        errors.push(name.required("name or generateName is required"));
    } else {
        name.content(rule, errors);
    }
    let namespace = metadata.child("namespace");
    match (kind.namespaced, namespace.text().is_empty()) {
        (true, true) => errors.push(namespace.required("")),
        (true, false) => namespace.content(dns1123_label, errors),
        (false, true) => {}
        (false, false) => errors.push(namespace.forbidden("not allowed on this type")),
    }
    metadata.child("generation").not_negative(errors);
    common(&metadata, errors);
    finalizers(&metadata.child("finalizers"), errors);
    if has_own_finalizers(kind) {
        for one in metadata.child("finalizers").items() {
            qualified_finalizer(one.text(), &one.path, errors);
        }
    }
}

/// Kinds whose finalizers must be Kubernetes' or carry a domain; those of extensions are only warned of.
fn has_own_finalizers(kind: &Kind) -> bool {
    kind.custom.is_none() && kind.group != "apiextensions.k8s.io"
}

/// Rules of the metadata of an object within another, which may be without a name.
pub(super) fn embedded(metadata: &At<'_>, errors: &mut Errors) {
    let name = metadata.child("name");
    if !name.text().is_empty() {
        name.content(content::path_segment, errors);
    }
    let namespace = metadata.child("namespace");
    if !namespace.text().is_empty() {
        namespace.content(dns1123_label, errors);
    }
    common(metadata, errors);
    finalizers(&metadata.child("finalizers"), errors);
}

fn common(metadata: &At<'_>, errors: &mut Errors) {
    labels(&metadata.child("labels"), errors);
    annotations(&metadata.child("annotations"), errors);
    owner_references(&metadata.child("ownerReferences"), errors);
}

/// What an update may not do to the metadata.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (At::root(new, "metadata"), At::root(old, "metadata"));
    if old.child("deletionTimestamp").is_set() {
        no_new_finalizers(&new.child("finalizers"), &old.child("finalizers"), errors);
    }
    let generation = new.child("generation");
    if generation.number() < old.child("generation").number() {
        errors.push(generation.invalid_value(generation.number(), "must not be decremented"));
    }
    let fixed = ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    for field in fixed {
        new.child(field).immutable(&old.child(field), errors);
    }
    common(&new, errors);
    finalizers(&new.child("finalizers"), errors);
}

fn no_new_finalizers(new: &At<'_>, old: &At<'_>, errors: &mut Errors) {
    let known: Vec<&str> = old.items().map(|one| one.text()).collect();
    let mut extra: Vec<&str> = new.items().map(|one| one.text()).filter(|name| !known.contains(name)).collect();
    if extra.is_empty() {
        return;
    }
    extra.sort_unstable();
    extra.dedup();
    let names = extra.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
    errors.push(new.forbidden(format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{names}}}"
    )));
}

fn finalizers(list: &At<'_>, errors: &mut Errors) {
    let names: Vec<&str> = list.items().map(|one| one.text()).collect();
    for name in &names {
        errors.extend(label_key(name).into_iter().map(|detail| FieldError::invalid(&list.path, *name, detail)));
    }
    if names.contains(&ORPHAN) && names.contains(&FOREGROUND) {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(list.invalid(detail));
    }
}

/// A finalizer is one of Kubernetes' own or carries a domain.
pub(super) fn qualified_finalizer(name: &str, path: &Path, errors: &mut Errors) {
    if !name.contains('/') && ![ORPHAN, FOREGROUND, "kubernetes"].contains(&name) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// Keys and values of labels; errors are about the whole map.
pub(super) fn labels(map: &At<'_>, errors: &mut Errors) {
    for (key, value) in map.entries() {
        errors.extend(label_key(key).into_iter().map(|detail| map.invalid_value(key, detail)));
        let sentences = label_value(value.text());
        errors.extend(sentences.into_iter().map(|detail| map.invalid_value(value.text(), detail)));
    }
}

/// Keys of annotations, and their size together.
pub(super) fn annotations(map: &At<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in map.entries() {
        let sentences = label_key(&key.to_lowercase());
        errors.extend(sentences.into_iter().map(|detail| map.invalid_value(key, detail)));
        size += key.len() + value.text().len();
    }
    if size > ANNOTATIONS_SIZE_MAX {
        errors.push(FieldError::too_long(&map.path, ANNOTATIONS_SIZE_MAX));
    }
}

fn owner_references(list: &At<'_>, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in list.items() {
        let text = |key: &str| owner.child(key).text();
        let about = |key: &str| list.path.child(key);
        if text("apiVersion").rsplit('/').next().unwrap_or("").is_empty() {
            errors.push(FieldError::invalid(&about("apiVersion"), text("apiVersion"), "version must not be empty"));
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                errors.push(FieldError::invalid(&about(key), text(key), "must not be empty"));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(&list.path, owner.value().clone(), detail));
        }
        if owner.child("controller").is_true() {
            let name = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                None => controller = Some(name),
                Some(first) => errors.push(list.invalid(format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and \
                     {name}"
                ))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create_errors, update_errors};
    use super::*;
    use serde_json::json;

    fn config_map(metadata: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "a", "namespace": "n"}});
        for (key, value) in metadata.as_object().into_iter().flatten() {
            obj["metadata"][key] = value.clone();
        }
        obj
    }

    #[test]
    fn created() {
        fn check(metadata: Value, expect: &[&str]) {
            assert_eq!(create_errors("v1", "ConfigMap", config_map(metadata)), expect);
        }
        check(json!({}), &[]);
        check(json!({"name": ""}), &["metadata.name: Required value: name or generateName is required"]);
        check(json!({"namespace": ""}), &["metadata.namespace: Required value"]);
        check(json!({"generateName": "a-"}), &[]);
        check(json!({"finalizers": ["example.com/x"], "annotations": {"UPPER/x": "y"}}), &[]);
        check(
            json!({"finalizers": ["x"]}),
            &[
                "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully \
               qualified",
            ],
        );
        check(
            json!({"labels": {"a": "-"}}),
            &[format!("metadata.labels: Invalid value: \"-\": {}", label_value("-")[0]).as_str()],
        );
        let owner =
            |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
        check(json!({"ownerReferences": [owner("p")]}), &[]);
        check(
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
            &["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"],
        );
        let many = create_errors("v1", "ConfigMap", config_map(json!({"ownerReferences": [owner("p"), owner("q")]})));
        assert!(many[0].ends_with("Found \"true\" in references for Pod/p and Pod/q"), "{many:?}");
        let large = config_map(json!({"annotations": {"a": "x".repeat(ANNOTATIONS_SIZE_MAX)}}));
        let expect = ["metadata.annotations: Too long: may not be more than 262144 bytes"];
        assert_eq!(create_errors("v1", "ConfigMap", large), expect);
    }

    #[test]
    fn names_by_kind() {
        fn check(api_version: &str, kind: &str, name: &str, good: bool) {
            let obj = json!({"metadata": {"name": name}});
            let mut errors = Errors::new();
            object(crate::kinds::by_kind(api_version, kind).expect(kind), &obj, &mut errors);
            errors.retain(|error| error.field == "metadata.name");
            assert_eq!(errors.is_empty(), good, "{kind} {name}");
        }
        check("v1", "Namespace", "a.b", false);
        check("v1", "Node", "a.b", true);
        check("v1", "Node", "A", false);
        check("rbac.authorization.k8s.io/v1", "ClusterRole", "system:node", true);
        check("rbac.authorization.k8s.io/v1", "ClusterRole", "a/b", false);
    }

    #[test]
    fn updated() {
        fn check(new: Value, old: Value, expect: &[&str]) {
            assert_eq!(update_errors("v1", "ConfigMap", config_map(new), config_map(old)), expect);
        }
        check(json!({"uid": "u", "generation": 2}), json!({"uid": "u", "generation": 1}), &[]);
        check(json!({"uid": "v"}), json!({"uid": "u"}), &["metadata.uid: Invalid value: \"v\": field is immutable"]);
        check(
            json!({"generation": 1}),
            json!({"generation": 2}),
            &["metadata.generation: Invalid value: 1: must not be decremented"],
        );
        check(
            json!({"finalizers": ["a.b/c"], "deletionTimestamp": "t"}),
            json!({"deletionTimestamp": "t"}),
            &[
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
               finalizers []string{\"a.b/c\"}",
            ],
        );
    }
}
