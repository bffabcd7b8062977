//! Which fields of an object differ, by path.
//!
//! Invariants: paths come in order; members of a list that have names are compared by name, wherever they stand.
//!
//! Absent: what a difference means.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where it is: `spec.template.spec.containers[main].image`.
    pub path: String,
    /// What it is; absent when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it would be; absent when it would not be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// All fields below `path` that differ.
pub(super) fn differences(path: &str, from: Option<&Value>, to: Option<&Value>) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(path, from, to, &mut found);
    found
}

fn compare(path: &str, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<FieldChange>) {
    if from == to {
        return;
    }
    match (from, to) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                compare(&format!("{path}.{}", step(key)), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if are_named(old) && are_named(new) => {
            let find = |list: &'_ [Value], name: &str| list.iter().position(|item| item["name"] == name);
            let names: BTreeSet<&str> = old.iter().chain(new).filter_map(|item| item["name"].as_str()).collect();
            let before = found.len();
            for name in names {
                let (old, new) = (find(old, name).map(|at| &old[at]), find(new, name).map(|at| &new[at]));
                compare(&format!("{path}[{name}]"), old, new, found);
            }
            if found.len() == before {
                // The same members in another order.
                found.push(change(path, from, to));
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{at}]"), Some(old), Some(new), found);
            }
        }
        _ => found.push(change(path, from, to)),
    }
}

fn change(path: &str, from: Option<&Value>, to: Option<&Value>) -> FieldChange {
    FieldChange { path: path.to_owned(), from: from.cloned(), to: to.cloned() }
}

/// A key as a part of a path: in quotes when it holds dots.
fn step(key: &str) -> String {
    if key.contains('.') { format!("{key:?}") } else { key.to_owned() }
}

/// True when every member has a name and no two have the same.
fn are_named(list: &[Value]) -> bool {
    let names: BTreeSet<&str> = list.iter().filter_map(|item| item["name"].as_str()).collect();
    !list.is_empty() && names.len() == list.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_have_paths() {
        let old =
            json!({"a": 1, "list": [{"name": "x", "v": 1}, {"name": "y", "v": 1}], "args": ["a", "b"], "gone": {}});
        let new = json!({"a": 2, "list": [{"name": "y", "v": 1}, {"name": "x", "v": 3}, {"name": "z"}],
            "args": ["a", "c"], "a.b/c": true});
        let found = differences("spec", Some(&old), Some(&new));
        let shown: Vec<String> = found.iter().map(|f| format!("{}: {:?} {:?}", f.path, f.from, f.to)).collect();
        let paths: Vec<&str> = found.iter().map(|f| f.path.as_str()).collect();
        let want = ["spec.a", "spec.\"a.b/c\"", "spec.args[1]", "spec.gone", "spec.list[x].v", "spec.list[z]"];
        assert_eq!(paths, want, "{shown:?}");
        assert_eq!((found[0].from.clone(), found[0].to.clone()), (Some(json!(1)), Some(json!(2))));
        assert_eq!((found[3].from.clone(), found[3].to.clone()), (Some(json!({})), None));
        assert!(differences("", Some(&old), Some(&old)).is_empty());
        let turned = json!([{"name": "y"}, {"name": "x"}]);
        assert_eq!(differences("l", Some(&json!([{"name": "x"}, {"name": "y"}])), Some(&turned)).len(), 1);
    }
}
