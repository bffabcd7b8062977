//! Nobody may grant what they do not have.
//!
//! # Invariants
//! A rule is held only if each of its single grants (one verb, one resource, one name) is held by one rule of the owner.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{Rule, path_covers};
use crate::quote::quoted;

/// All there is, as `cluster-admin` has it.
#[must_use]
pub fn full_authority() -> Vec<Rule> {
    let all = || vec!["*".to_owned()];
    vec![
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// The single grants in `wanted` that `held` does not cover.
#[must_use]
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(singles).filter(|single| !held.iter().any(|rule| covers(rule, single))).collect()
}

/// A rule as grants of one verb on one thing.
fn singles(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut out = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let single =
                    Rule { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Rule::default() };
                match rule.resource_names.is_empty() {
                    true => out.push(single),
                    false => out.extend(
                        rule.resource_names.iter().map(|name| Rule { resource_names: one(name), ..single.clone() }),
                    ),
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        out.extend(rule.verbs.iter().map(|verb| Rule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..Rule::default()
        }));
    }
    out
}

fn holds_all(held: &[String], wanted: &[String]) -> bool {
    held.iter().any(|h| h == "*") || wanted.iter().all(|w| held.contains(w))
}

fn covers(held: &Rule, single: &Rule) -> bool {
    let resource = |wanted: &String| {
        held.resources.iter().any(|h| h == "*" || h == wanted)
            || wanted.split_once('/').is_some_and(|(_, sub)| held.resources.contains(&format!("*/{sub}")))
    };
    let names = held.resource_names.is_empty()
        || (!single.resource_names.is_empty() && single.resource_names.iter().all(|n| held.resource_names.contains(n)));
    holds_all(&held.verbs, &single.verbs)
        && holds_all(&held.api_groups, &single.api_groups)
        && single.resources.iter().all(resource)
        && names
        && single.non_resource_urls.iter().all(|path| held.non_resource_urls.iter().any(|url| path_covers(url, path)))
}

/// The same rules with those put together that differ only in their verbs, where each is about one resource.
#[must_use]
pub fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut simple: BTreeMap<(String, String, Vec<String>), Rule> = BTreeMap::new();
    let mut out = Vec::new();
    for rule in rules {
        match (rule.api_groups.as_slice(), rule.resources.as_slice()) {
            ([group], [resource]) if rule.resource_names.len() <= 1 && rule.non_resource_urls.is_empty() => {
                let key = (group.clone(), resource.clone(), rule.resource_names.clone());
                match simple.get_mut(&key) {
                    Some(kept) => kept.verbs.extend(rule.verbs),
                    None => {
                        simple.insert(key, rule);
                    }
                }
            }
            _ => out.push(rule),
        }
    }
    out.extend(simple.into_values());
    out
}

/// The missing grants as the refusal lists them: one a line, in order.
#[must_use]
pub fn describe(missing: Vec<Rule>) -> String {
    let lines: BTreeSet<String> = compact(missing).iter().map(line).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn line(rule: &Rule) -> String {
    let list = |list: &[String]| list.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(" ");
    let parts: Vec<String> = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ]
    .into_iter()
    .filter(|(_, entries)| !entries.is_empty())
    .map(|(name, entries)| format!("{name}:[{}]", list(entries)))
    .collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(value: &Value) -> Vec<Rule> {
        value.as_array().unwrap().iter().map(Rule::from_json).collect()
    }

    fn check(held: Value, wanted: Value, expect: &str) {
        assert_eq!(describe(missing(&rules(&held), &rules(&wanted))), expect, "{held} {wanted}");
    }

    #[test]
    fn grants() {
        let pods = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
        check(pods.clone(), pods.clone(), "");
        check(json!([]), pods.clone(), r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#);
        let more = json!([{"verbs": ["get", "delete"], "apiGroups": ["", "apps"], "resources": ["pods"]}]);
        check(
            pods.clone(),
            more,
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n\
             {APIGroups:[\"apps\"], Resources:[\"pods\"], Verbs:[\"get\" \"delete\"]}",
        );
        let named =
            |name: &str| json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": [name]}]);
        check(pods.clone(), named("a"), "");
        check(named("a"), named("a"), "");
        check(named("a"), named("b"), r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#);
        check(named("a"), pods, r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#);
    }

    #[test]
    fn stars() {
        let all: Vec<Value> = full_authority().iter().map(Rule::to_json).collect();
        let scale = json!([{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments/scale"]}]);
        let any_scale = json!([{"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}]);
        check(json!(all), scale.clone(), "");
        check(any_scale, scale, "");
        let logs = json!([{"verbs": ["get"], "nonResourceURLs": ["/logs/a"]}]);
        check(json!([{"verbs": ["get"], "nonResourceURLs": ["/logs/*"]}]), logs.clone(), "");
        check(json!([]), logs, r#"{NonResourceURLs:["/logs/a"], Verbs:["get"]}"#);
        // A star is a grant of its own: to hold every single verb is not to hold it.
        let star = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]);
        let get = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        check(get, star, r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#);
    }
}
