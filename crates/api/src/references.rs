//! Which objects a pod needs on its node.

use serde_json::Value;

/// Whether a pod names an object of its namespace, by the plural of its kind.
#[must_use]
pub fn refers(pod: &Value, plural: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match plural {
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "persistentvolumeclaims" => claims(pod).any(|claim| claim == name),
        "secrets" => {
            let pulls = spec["imagePullSecrets"].as_array().into_iter().flatten();
            pulls.filter_map(|s| s["name"].as_str()).any(|s| s == name) || mentions(spec, name, is_secret)
        }
        "configmaps" => mentions(spec, name, is_config_map),
        _ => false,
    }
}

/// What a pod names besides itself, for pods that may name nothing.
#[must_use]
pub fn first(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let named = |field: &str| spec[field].as_str().is_some_and(|n| !n.is_empty());
    if named("serviceAccountName") || named("serviceAccount") {
        return Some("a service account");
    }
    let pulls = spec["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty());
    if pulls || mentions(spec, "", is_secret) {
        return Some("secrets");
    }
    if mentions(spec, "", is_config_map) {
        return Some("configmaps");
    }
    if spec["resourceClaims"].as_array().is_some_and(|claims| !claims.is_empty()) {
        return Some("resourceclaims");
    }
    claims(pod).next().map(|_| "persistentvolumeclaims")
}

fn claims(pod: &Value) -> impl Iterator<Item = String> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(claim) => Some(claim.to_owned()),
        None if volume["ephemeral"].is_object() => {
            Some(format!("{}-{}", pod["metadata"]["name"].as_str()?, volume["name"].as_str()?))
        }
        None => None,
    })
}

/// Fields that hold a secret's name, and objects that hold it under `name`.
fn is_secret(key: &str) -> bool {
    matches!(key, "secret" | "secretName" | "secretKeyRef") || key.ends_with("ecretRef")
}

fn is_config_map(key: &str) -> bool {
    matches!(key, "configMap" | "configMapRef" | "configMapKeyRef")
}

/// Whether a field that `is` chooses holds a name, anywhere below; any name when it is empty.
fn mentions(value: &Value, name: &str, is: fn(&str) -> bool) -> bool {
    let same = |found: &Value| found.as_str().is_some_and(|found| name.is_empty() || found == name);
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| (is(key) && (same(value) || same(&value["name"]))) || mentions(value, name, is)),
        Value::Array(list) => list.iter().any(|value| mentions(value, name, is)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_pods_name() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "mounted"}},
                {"name": "b", "configMap": {"name": "settings"}},
                {"name": "c", "projected": {"sources": [{"secret": {"name": "part"}}, {"configMap": {"name": "ca"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "disk"}},
                {"name": "e", "ephemeral": {}},
                {"name": "f", "csi": {"nodePublishSecretRef": {"name": "driver"}}},
            ],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "all"}}]}],
            "containers": [{"name": "c", "env": [
                {"name": "X", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}},
                {"name": "Y", "valueFrom": {"configMapKeyRef": {"name": "two", "key": "k"}}},
                {"name": "Z", "value": "other"},
            ]}],
        }});
        for name in ["pull", "mounted", "part", "driver", "all", "one"] {
            assert!(refers(&pod, "secrets", name), "{name}");
            assert!(!refers(&pod, "configmaps", name), "{name}");
        }
        for name in ["settings", "ca", "two"] {
            assert!(refers(&pod, "configmaps", name) && !refers(&pod, "secrets", name), "{name}");
        }
        assert!(refers(&pod, "persistentvolumeclaims", "disk") && refers(&pod, "persistentvolumeclaims", "p-e"));
        assert!(refers(&pod, "serviceaccounts", "robot") && !refers(&pod, "serviceaccounts", "default"));
        assert!(!refers(&pod, "secrets", "other") && !refers(&pod, "secrets", "k"));
        assert_eq!(first(&pod), Some("a service account"));
        for (spec, expect) in [
            (json!({"containers": [{"name": "c"}]}), None),
            (json!({"serviceAccount": "robot"}), Some("a service account")),
            (json!({"resourceClaims": [{"name": "c"}]}), Some("resourceclaims")),
            (json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}]}), Some("configmaps")),
        ] {
            assert_eq!(first(&json!({"spec": spec})), expect, "{spec}");
        }
    }
}
