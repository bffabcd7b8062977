//! Cluster roles that gather the rules of others by their labels.

use serde_json::Value;

use crate::selector::Labels;

/// Whether a cluster role gathers its rules from others.
#[must_use]
pub fn is_aggregated(role: &Value) -> bool {
    role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|s| !s.is_empty())
}

/// The rules that `role` should have, out of all cluster roles in the order of their names. A rule that several have is
/// there once.
#[must_use]
pub fn aggregated<'a>(role: &Value, all: impl Iterator<Item = &'a Value> + Clone) -> Vec<Value> {
    let mut rules: Vec<Value> = Vec::new();
    for selector in role["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten() {
        let Ok(selector) = Labels::from_json(selector) else { continue };
        for other in all.clone() {
            if other["metadata"]["name"] == role["metadata"]["name"]
                || !selector.matches_json(&other["metadata"]["labels"])
            {
                continue;
            }
            for rule in other["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_are_gathered_once_and_never_from_the_role_itself() {
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let labels = json!({"to-x": "true"});
        let x = json!({"metadata": {"name": "x", "labels": labels}, "rules": [rule("own")],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": labels}]}});
        let all = [
            json!({"metadata": {"name": "a", "labels": labels}, "rules": [rule("get")]}),
            json!({"metadata": {"name": "b", "labels": labels}, "rules": [rule("get"), rule("list")]}),
            json!({"metadata": {"name": "c"}, "rules": [rule("delete")]}),
            x.clone(),
        ];
        assert!(is_aggregated(&x) && !is_aggregated(&all[0]));
        assert_eq!(aggregated(&x, all.iter()), [rule("get"), rule("list")]);
    }
}
