//! Pods stay five minutes on a node that is not ready or not reachable, unless they say otherwise.

use serde_json::{Value, json};

/// How long a pod stays on such a node by default.
const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds the tolerations that a pod does not have in any form.
pub fn default_toleration_seconds(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let existing = spec.get("tolerations").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let covers = |toleration: &Value, taint: &str| {
        let text = |key| toleration.get(key).and_then(Value::as_str).unwrap_or("");
        (text("key") == taint || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
    };
    let missing: Vec<Value> = TAINTS
        .iter()
        .filter(|taint| !existing.iter().any(|toleration| covers(toleration, taint)))
        .map(|taint| json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}))
        .collect();
    match spec.get_mut("tolerations").and_then(Value::as_array_mut) {
        Some(existing) => existing.extend(missing),
        None if missing.is_empty() => {}
        None => drop(spec.insert("tolerations".to_owned(), missing.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_where_missing() {
        fn check(tolerations: Value, expect: &[&str]) {
            let mut pod = json!({"spec": {"tolerations": tolerations}});
            let before = tolerations.as_array().map_or(0, Vec::len);
            default_toleration_seconds(&mut pod);
            let all = pod["spec"]["tolerations"].as_array().expect("tolerations");
            let added: Vec<&str> = all[before..].iter().filter_map(|t| t["key"].as_str()).collect();
            assert_eq!(added, expect, "{tolerations}");
        }
        check(json!([]), &TAINTS);
        check(json!([{"operator": "Exists"}]), &[]);
        check(json!([{"operator": "Exists", "effect": "NoSchedule"}]), &TAINTS);
        check(json!([{"key": TAINTS[0], "operator": "Exists", "effect": "NoExecute"}]), &TAINTS[1..]);
    }
}
