//! A pod runs as a service account and finds a token of it in a file.

use serde_json::{Value, json};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Lifetime of the token: an hour, and seven seconds that mark it as given by default.
const TOKEN_SECONDS: i64 = 3607;

/// What counts of a service account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Whether pods get its token, unless they say otherwise.
    pub automount: Option<bool>,
    /// Names of the secrets that its images are pulled with.
    pub image_pull_secrets: Vec<String>,
}

impl Account {
    /// Reads a stored ServiceAccount.
    #[must_use]
    pub fn from_json(account: &Value) -> Self {
        let secrets = account.get("imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
        Self {
            automount: account.get("automountServiceAccountToken").and_then(Value::as_bool),
            image_pull_secrets: secrets.filter_map(|s| Some(s.get("name")?.as_str()?.to_owned())).collect(),
        }
    }
}

/// Makes a pod run as `name` (the one it names, or `default`), mounting the account's token into
/// each container that has nothing mounted there. `suffix` (five random letters) makes the name of
/// the volume.
pub fn use_service_account(pod: &mut Value, name: &str, account: &Account, suffix: &str) {
    let Some(spec) = pod.get_mut("spec") else { return };
    spec["serviceAccountName"] = json!(name);
    spec["serviceAccount"] = json!(name);
    let wanted = spec.get("automountServiceAccountToken").and_then(Value::as_bool).or(account.automount);
    if wanted.unwrap_or(true) {
        mount_token(spec, suffix);
    }
    let none = spec.get("imagePullSecrets").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if none && !account.image_pull_secrets.is_empty() {
        let secrets = account.image_pull_secrets.iter().map(|name| json!({"name": name}));
        spec["imagePullSecrets"] = secrets.collect();
    }
}

fn mount_token(spec: &mut Value, suffix: &str) {
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let existing = volumes.filter_map(|v| v.get("name")?.as_str()).find(|name| name.starts_with(VOLUME_PREFIX));
    let existing = existing.map(str::to_owned);
    let volume = existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if let Value::Array(mounts) = mounts
                && !mounts.iter().any(|mount| mount.get("mountPath").is_some_and(|path| path == MOUNT_PATH))
            {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
                needed = true;
            }
        }
    }
    if existing.is_none()
        && needed
        && let Some(spec) = spec.as_object_mut()
        && let Value::Array(volumes) = spec.entry("volumes").or_insert_with(|| json!([]))
    {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_mounted_once() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]}});
        let account = Account { automount: None, image_pull_secrets: vec!["s".into()] };
        use_service_account(&mut pod, "x", &account, "abcde");
        let spec = &pod["spec"];
        let mount = json!({"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH});
        assert_eq!(spec["containers"][0]["volumeMounts"], json!([mount]));
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["volumes"][0]["name"], "kube-api-access-abcde");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
        assert_eq!(spec["serviceAccount"], "x");
        let again = pod.clone();
        use_service_account(&mut pod, "x", &account, "other");
        assert_eq!(pod, again);
    }

    #[test]
    fn tokens_can_be_declined() {
        fn check(spec: Value, account: Option<bool>, expect: bool) {
            let mut pod = json!({"spec": spec});
            pod["spec"]["containers"] = json!([{"name": "a"}]);
            use_service_account(&mut pod, "x", &Account { automount: account, ..Account::default() }, "abcde");
            assert_eq!(pod["spec"].get("volumes").is_some(), expect);
        }
        check(json!({}), None, true);
        check(json!({}), Some(false), false);
        check(json!({"automountServiceAccountToken": true}), Some(false), true);
        check(json!({"automountServiceAccountToken": false}), Some(true), false);
    }
}
