//! The roles and bindings that every cluster has, and how those that are there are brought up to date.
//!
//! # Invariants
//! What an administrator added is kept; what one turned off (`autoupdate: "false"`) is not touched.

use serde_json::{Map, Value, json};

use super::escalation::missing;
use super::rule::Rule;
use super::{GROUP, aggregated, is_aggregated};

/// One line an object, see its head.
const TABLE: &str = include_str!("defaults.txt");
/// Says whether a start may add to the object.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Roles gather from roles that gather (admin, edit, view): three rounds, and one to see that nothing changes.
const ROUNDS_MAX: usize = 4;

/// All of them: roles before the bindings that name them, aggregated roles with what they gather from the others.
#[must_use]
pub fn defaults() -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix(' '), objects.last_mut()) {
            (Some(entry), Some(object)) => add_entry(object, entry),
            _ => objects.push(head(line)),
        }
    }
    for _ in 0..ROUNDS_MAX {
        gather(&mut objects);
    }
    objects
}

fn gather(objects: &mut [Value]) {
    for at in 0..objects.len() {
        if is_aggregated(&objects[at]) {
            let all = objects.iter().filter(|o| o["kind"] == "ClusterRole");
            objects[at]["rules"] = aggregated(&objects[at], all).into();
        }
    }
}

/// The object that a line without an indent begins.
fn head(line: &str) -> Value {
    let mut words = line.split(' ');
    let kind = words.next().unwrap_or_default();
    let name = words.next().unwrap_or_default();
    let mut labels = Map::new();
    labels.insert("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".into());
    let mut metadata = json!({"annotations": {AUTOUPDATE: "true"}});
    match name.split_once('/') {
        Some((namespace, name)) => {
            metadata["namespace"] = namespace.into();
            metadata["name"] = name.into();
        }
        None => metadata["name"] = name.into(),
    }
    let mut object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind});
    while let Some(word) = words.next() {
        if let Some(label) = word.strip_prefix('+') {
            labels.insert(format!("{GROUP}/{label}"), "true".into());
        } else if let Some(label) = word.strip_prefix('<') {
            let selector = json!({"matchLabels": {format!("{GROUP}/{label}"): "true"}});
            object["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
        } else if word == "=" {
            let (kind, name) = (words.next(), words.next());
            object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
        }
    }
    metadata["labels"] = Value::Object(labels);
    object["metadata"] = metadata;
    let list = if kind.ends_with("Binding") { "subjects" } else { "rules" };
    object[list] = json!([]);
    object
}

/// Adds what an indented line says: a rule, or a subject.
fn add_entry(object: &mut Value, entry: &str) {
    if let Some(subjects) = object.get_mut("subjects").and_then(Value::as_array_mut) {
        let (kind, name) = entry.split_once(' ').unwrap_or((entry, ""));
        subjects.push(match name.split_once('/') {
            Some((namespace, name)) if kind == "ServiceAccount" => {
                json!({"kind": kind, "namespace": namespace, "name": name})
            }
            _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
        });
        return;
    }
    let fields: Vec<Vec<String>> =
        entry.split(" | ").map(|f| f.split(',').map(|t| t.trim_matches('"').to_owned()).collect()).collect();
    let rule = match fields.as_slice() {
        [verbs, urls] => Rule { verbs: verbs.clone(), non_resource_urls: urls.clone(), ..Rule::default() },
        [verbs, groups, resources, names @ ..] => Rule {
            verbs: verbs.clone(),
            api_groups: groups.clone(),
            resources: resources.clone(),
            resource_names: names.first().cloned().unwrap_or_default(),
            ..Rule::default()
        },
        _ => return,
    };
    if let Some(rules) = object["rules"].as_array_mut() {
        rules.push(rule.to_json());
    }
}

/// The stored object with what it lacks of the default one; None when it lacks nothing or wants to be left alone. A
/// binding whose role differs is left alone too, since its role can't change.
#[must_use]
pub fn reconciled(stored: &Value, wanted: &Value) -> Option<Value> {
    if stored["metadata"]["annotations"][AUTOUPDATE] == "false" || stored["roleRef"] != wanted["roleRef"] {
        return None;
    }
    let mut object = stored.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if object["metadata"][field][key].is_null() {
                object["metadata"][field][key] = value.clone();
            }
        }
    }
    if wanted["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")) {
        add_missing(&mut object, wanted, "subjects", |have, want| !have.contains(want));
    } else if is_aggregated(wanted) {
        add_missing(
            &mut object["aggregationRule"],
            &wanted["aggregationRule"],
            "clusterRoleSelectors",
            |have, want| !have.contains(want),
        );
    } else {
        add_missing(&mut object, wanted, "rules", |have, want| {
            let have: Vec<Rule> = have.iter().map(Rule::from_json).collect();
            !missing(&have, &[Rule::from_json(want)]).is_empty()
        });
    }
    (object != *stored).then_some(object)
}

fn add_missing(object: &mut Value, wanted: &Value, list: &str, lacks: impl Fn(&[Value], &Value) -> bool) {
    for want in wanted[list].as_array().into_iter().flatten() {
        if lacks(object[list].as_array().map(Vec::as_slice).unwrap_or_default(), want) {
            if !object[list].is_array() {
                object[list] = json!([]);
            }
            if let Some(have) = object[list].as_array_mut() {
                have.push(want.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::Asked;

    fn find(kind: &str, name: &str) -> Value {
        let all = defaults();
        all.into_iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name).unwrap()
    }

    #[test]
    fn every_default_is_valid_and_every_binding_has_its_role() {
        let all = defaults();
        for object in &all {
            let kind = crate::kinds::by_kind(&format!("{GROUP}/v1"), object["kind"].as_str().unwrap()).unwrap();
            let mut made = object.clone();
            crate::defaults::apply(kind, &mut made);
            assert_eq!(crate::validate::create(kind, &made), [], "{object}");
            if object["roleRef"].is_object() {
                let role = &object["roleRef"];
                let found = all.iter().any(|o| o["kind"] == role["kind"] && o["metadata"]["name"] == role["name"]);
                assert!(found, "{object}");
                // Nodes have their own authorizer: the binding is there for those who know it, and binds nobody.
                let bound = !object["subjects"].as_array().unwrap().is_empty();
                assert_eq!(bound, object["metadata"]["name"] != "system:node", "{object}");
            }
        }
    }

    #[test]
    fn aggregated_roles_hold_what_they_gather() {
        let may = |role: &str, verb: &str, resource: &str| {
            let asked = Asked { verb, group: "", resource, ..Asked::default() };
            Rule::of_role(&find("ClusterRole", role)).iter().any(|rule| rule.allows(&asked))
        };
        for role in ["view", "edit", "admin"] {
            assert!(may(role, "get", "pods"), "{role}");
        }
        assert!(!may("view", "get", "secrets") && may("edit", "get", "secrets") && may("admin", "get", "secrets"));
        assert!(!may("view", "delete", "pods") && may("edit", "delete", "pods"));
    }

    #[test]
    fn what_is_there_is_brought_up_to_date() {
        let wanted = find("ClusterRole", "system:discovery");
        assert_eq!(reconciled(&wanted, &wanted), None);
        let mut less = wanted.clone();
        less["rules"] = json!([{"verbs": ["get"], "nonResourceURLs": ["/mine"]}]);
        let more = reconciled(&less, &wanted).unwrap();
        assert_eq!(more["rules"].as_array().unwrap().len(), 2);
        less["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(reconciled(&less, &wanted), None);
        let binding = find("ClusterRoleBinding", "system:discovery");
        let mut without = binding.clone();
        without["subjects"] = json!([]);
        assert_eq!(reconciled(&without, &binding), Some(binding));
    }
}
