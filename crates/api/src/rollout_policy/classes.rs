//! What the patch of a node class may change.
//!
//! Invariants: containers are found by name; images, arguments, variables and resources may differ, and nothing else, so
//! that no class changes what the DaemonSet selects, where its pods run or what they may do.
//!
//! Absent: whether the template has such containers, and whether a valid template comes of it (`decide`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Lists of containers that a patch may have.
const LISTS: [&str; 2] = ["containers", "initContainers"];
/// Fields of a container that may differ.
const FIELDS: [&str; 5] = ["name", "image", "args", "env", "resources"];

/// What is wrong with a patch: the field below it, and in words.
pub(super) fn faults(patch: &Value) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let Some(lists) = patch.as_object() else {
        return vec![(String::new(), "must be an object with containers or initContainers".to_owned())];
    };
    if lists.values().all(|list| list.as_array().is_none_or(Vec::is_empty)) {
        faults.push((String::new(), "changes nothing: name a container and what differs".to_owned()));
    }
    for (list, containers) in lists {
        if !LISTS.contains(&list.as_str()) {
            faults.push((format!(".{list}"), "only containers and initContainers may differ by class".to_owned()));
            continue;
        }
        let mut names = BTreeSet::new();
        for (i, container) in containers.as_array().into_iter().flatten().enumerate() {
            let none = Map::new();
            let fields = container.as_object().unwrap_or(&none);
            let at = format!(".{list}[{i}]");
            match container["name"].as_str().filter(|name| !name.is_empty()) {
                None => faults.push((format!("{at}.name"), "must be the name of a container".to_owned())),
                Some(name) if !names.insert(name) => {
                    faults.push((format!("{at}.name"), format!("container {name} is patched twice")));
                }
                Some(_) => {}
            }
            let others = fields.keys().filter(|field| !FIELDS.contains(&field.as_str()));
            let allowed = "only image, args, env and resources of a container may differ by class";
            faults.extend(others.map(|field| (format!("{at}.{field}"), allowed.to_owned())));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_some_fields_of_named_containers_may_differ() {
        let good = json!({"containers": [{"name": "c", "image": "x:2", "args": ["-v"], "env": [{"name": "A", "value": "1"}],
            "resources": {"limits": {"memory": "1Gi"}}}], "initContainers": [{"name": "i", "image": "y:2"}]});
        assert_eq!(faults(&good), []);
        let cases = [
            (json!("x"), "", "must be an object"),
            (json!({}), "", "changes nothing"),
            (json!({"containers": []}), "", "changes nothing"),
            (json!({"containers": [{"name": "c"}], "hostNetwork": true}), ".hostNetwork", "only containers"),
            (json!({"containers": [{"image": "x"}]}), ".containers[0].name", "must be the name"),
            (
                json!({"containers": [{"name": "c"}, {"name": "c"}]}),
                ".containers[1].name",
                "container c is patched twice",
            ),
            (json!({"containers": [{"name": "c", "ports": []}]}), ".containers[0].ports", "only image"),
            (json!({"containers": [{"name": "c", "$patch": "delete"}]}), ".containers[0].$patch", "only image"),
        ];
        for (patch, field, message) in cases {
            let found = faults(&patch);
            assert!(found.iter().any(|(f, m)| f == field && m.starts_with(message)), "{patch}: {found:?}");
        }
    }
}
