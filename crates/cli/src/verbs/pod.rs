//! Which pod and which of its containers a verb works in.

use serde_json::Value;

use super::logs;
use crate::client::{Api, Query, escaped};
use crate::describe::selector_text;
use crate::failure::{Result, message};
use crate::mapping;

/// The pod of that name, or the most useful one of a workload `TYPE/NAME`.
pub(crate) async fn find(api: &Api, word: &str) -> Result<Value> {
    find_in(api, &api.namespace, word).await
}

/// The same in a namespace.
pub(crate) async fn find_in(api: &Api, namespace: &str, word: &str) -> Result<Value> {
    let (kind, name) = word.split_once('/').unwrap_or(("pods", word));
    let mapping = mapping::by_name(api, kind).await?;
    let object = api.get(&mapping.object(namespace, name), &Query::new()).await?;
    if mapping.kind == "Pod" {
        return Ok(object);
    }
    let selector = &object["spec"]["selector"];
    if selector["matchLabels"].is_null() && selector["matchExpressions"].is_null() {
        return message(format!("cannot find a pod of {word}: name a pod, or a workload that selects pods by labels"));
    }
    let collection = format!("/api/v1/namespaces/{}/pods", escaped(namespace));
    let pods = logs::select(api, &collection, &selector_text(selector)).await?;
    match pods.into_iter().max_by_key(logs::usefulness) {
        Some(pod) => Ok(pod),
        None => message(format!("{word} has no pods")),
    }
}

/// Its path on the server, for a subresource.
pub(crate) fn path(pod: &Value, subresource: &str) -> String {
    let field = |name: &str| escaped(pod["metadata"][name].as_str().unwrap_or_default());
    format!("/api/v1/namespaces/{}/pods/{}/{subresource}", field("namespace"), field("name"))
}

/// The container that is meant; the default is said unless `quiet`.
pub(crate) fn container<'a>(pod: &'a Value, named: Option<&'a str>, quiet: bool) -> Result<&'a str> {
    let all = pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = all.iter().filter_map(|container| container["name"].as_str()).collect();
    if let Some(name) = named {
        return Ok(name);
    }
    let default = pod["metadata"]["annotations"][logs::DEFAULT_CONTAINER].as_str();
    if let Some(name) = default.filter(|name| names.contains(name)) {
        return Ok(name);
    }
    let Some(first) = names.first() else { return message("the pod has no containers") };
    if names.len() > 1 && !quiet {
        eprintln!("Defaulted container {first:?} out of: {}", names.join(", "));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers() {
        let mut pod = json!({"metadata": {"namespace": "a", "name": "b"},
            "spec": {"containers": [{"name": "x"}, {"name": "y"}]}});
        assert_eq!(container(&pod, None, true).unwrap(), "x");
        assert_eq!(container(&pod, Some("i"), true).unwrap(), "i");
        pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "y"});
        assert_eq!(container(&pod, None, true).unwrap(), "y");
        assert_eq!(path(&pod, "exec"), "/api/v1/namespaces/a/pods/b/exec");
    }
}
