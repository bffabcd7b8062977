//! One rule of a role.

use serde_json::{Map, Value};

/// Stands for all verbs, groups, resources or paths.
const ALL: &str = "*";

/// A rule as roles hold it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What may be done.
    pub verbs: Vec<String>,
    /// To which API groups' resources.
    pub api_groups: Vec<String>,
    /// To which resources: `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// Only to objects of these names; empty for all.
    pub resource_names: Vec<String>,
    /// Paths that are no resources; a star at the end stands for any rest.
    pub non_resource_urls: Vec<String>,
}

/// What is asked for of resources.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The verb.
    pub verb: &'a str,
    /// The API group, empty for core.
    pub group: &'a str,
    /// The plural.
    pub resource: &'a str,
    /// Empty for none.
    pub subresource: &'a str,
    /// Empty for collections.
    pub name: &'a str,
}

fn holds(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == wanted)
}

impl Rule {
    /// The rule in a role's JSON.
    #[must_use]
    pub fn from_json(rule: &Value) -> Self {
        let list = |field: &str| {
            let entries = rule[field].as_array().into_iter().flatten();
            entries.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: list("verbs"),
            api_groups: list("apiGroups"),
            resources: list("resources"),
            resource_names: list("resourceNames"),
            non_resource_urls: list("nonResourceURLs"),
        }
    }

    /// The rules of a role.
    #[must_use]
    pub fn of_role(role: &Value) -> Vec<Self> {
        role["rules"].as_array().into_iter().flatten().map(Self::from_json).collect()
    }

    /// The rule as roles hold it; empty lists are left out, verbs never.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("verbs".to_owned(), self.verbs.as_slice().into());
        for (field, list) in [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ] {
            if !list.is_empty() {
                out.insert(field.to_owned(), list.as_slice().into());
            }
        }
        Value::Object(out)
    }

    /// Whether the rule allows what is asked for of resources.
    #[must_use]
    pub fn allows(&self, asked: &Asked<'_>) -> bool {
        holds(&self.verbs, asked.verb)
            && holds(&self.api_groups, asked.group)
            && self.resources.iter().any(|resource| is_resource(resource, asked))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name))
    }

    /// Whether the rule allows a verb on a path that is no resource.
    #[must_use]
    pub fn allows_path(&self, verb: &str, path: &str) -> bool {
        holds(&self.verbs, verb) && self.non_resource_urls.iter().any(|url| path_covers(url, path))
    }
}

fn is_resource(resource: &str, asked: &Asked<'_>) -> bool {
    if resource == ALL {
        return true;
    }
    match (asked.subresource, resource.split_once('/')) {
        ("", None) => resource == asked.resource,
        ("", Some(_)) | (_, None) => false,
        (subresource, Some((parent, rest))) => (parent == ALL || parent == asked.resource) && rest == subresource,
    }
}

/// Whether a path of a rule stands for another.
pub(super) fn path_covers(url: &str, path: &str) -> bool {
    url == path || (url.ends_with(ALL) && path.starts_with(url.trim_end_matches(ALL)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(rule: Value, asked: (&str, &str, &str, &str, &str), expect: bool) {
        let (verb, group, resource, subresource, name) = asked;
        let asked = Asked { verb, group, resource, subresource, name };
        assert_eq!(Rule::from_json(&rule).allows(&asked), expect, "{rule} {asked:?}");
    }

    #[test]
    fn resources() {
        let pods = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log", "*/scale"]});
        check(pods.clone(), ("get", "", "pods", "", "a"), true);
        check(pods.clone(), ("delete", "", "pods", "", "a"), false);
        check(pods.clone(), ("get", "apps", "pods", "", "a"), false);
        check(pods.clone(), ("get", "", "pods", "log", "a"), true);
        check(pods.clone(), ("get", "", "pods", "exec", "a"), false);
        check(pods.clone(), ("get", "", "anything", "scale", "a"), true);
        check(pods, ("get", "", "anything", "", "a"), false);
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        check(all, ("fly", "x", "y", "z", "a"), true);
        let named = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]});
        check(named.clone(), ("get", "", "pods", "", "a"), true);
        check(named.clone(), ("get", "", "pods", "", "b"), false);
        check(named, ("get", "", "pods", "", ""), false);
    }

    #[test]
    fn paths() {
        let rule = Rule::from_json(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}));
        for (verb, path, expect) in [
            ("get", "/healthz", true),
            ("post", "/healthz", false),
            ("get", "/healthz/x", false),
            ("get", "/logs/a/b", true),
            ("get", "/logs", false),
        ] {
            assert_eq!(rule.allows_path(verb, path), expect, "{verb} {path}");
        }
    }

    #[test]
    fn json_comes_back() {
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]});
        assert_eq!(Rule::from_json(&rule).to_json(), rule);
        let path = json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
        assert_eq!(Rule::from_json(&path).to_json(), path);
    }
}
