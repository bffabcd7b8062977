//! Defaults of volumes.

use serde_json::Value;

use super::fill::{items, resources, set, set_absent, text};
use super::pod::{empty_dir, pull_policy};

/// Permissions of the files of a configMap, secret, downwardAPI or projected volume: 0644.
const FILE_MODE: i64 = 0o644;

/// Defaults of one volume; without a source it is an empty directory.
pub(super) fn volume(volume: &mut Value) {
    let sourceless = volume.as_object().is_some_and(|map| map.iter().all(|(k, v)| k == "name" || v.is_null()));
    if sourceless {
        set_absent(volume, "emptyDir", empty_dir());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            set_absent(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = volume.get_mut("hostPath") {
        set_absent(source, "type", "");
    }
    if let Some(source) = volume.get_mut("downwardAPI") {
        downward(source);
    }
    if let Some(source) = volume.get_mut("projected") {
        for source in items(source, "sources") {
            if let Some(source) = source.get_mut("downwardAPI") {
                downward(source);
            }
            if let Some(token) = source.get_mut("serviceAccountToken") {
                set_absent(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(source) = volume.get_mut("image") {
        let policy = pull_policy(text(source, "reference"));
        set(source, "pullPolicy", policy);
    }
    if let Some(claim) = volume.get_mut("ephemeral").and_then(|source| source.get_mut("volumeClaimTemplate"))
        && let Some(spec) = claim.get_mut("spec")
    {
        claim_spec(spec);
    }
    network_disks(volume);
}

/// Defaults of a claim's spec.
pub(super) fn claim_spec(spec: &mut Value) {
    set_absent(spec, "volumeMode", "Filesystem");
    resources(spec, "resources");
}

/// Sources of disks in clouds and networks, which a volume and a PersistentVolume share.
pub(super) fn network_disks(volume: &mut Value) {
    if let Some(source) = volume.get_mut("iscsi") {
        set(source, "iscsiInterface", "default");
    }
    if let Some(source) = volume.get_mut("rbd") {
        set(source, "pool", "rbd");
        set(source, "user", "admin");
        set(source, "keyring", "/etc/ceph/keyring");
    }
    if let Some(source) = volume.get_mut("azureDisk") {
        set_absent(source, "cachingMode", "ReadWrite");
        set_absent(source, "fsType", "ext4");
        set_absent(source, "readOnly", false);
        set_absent(source, "kind", "Shared");
    }
    if let Some(source) = volume.get_mut("scaleIO") {
        set(source, "storageMode", "ThinProvisioned");
        set(source, "fsType", "xfs");
    }
}

fn downward(source: &mut Value) {
    for item in items(source, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            set(field, "apiVersion", "v1");
        }
        if let Some(resource) = item.get_mut("resourceFieldRef") {
            set(resource, "divisor", "0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources() {
        fn check(mut given: Value, expect: Value) {
            volume(&mut given);
            assert_eq!(given, expect);
        }
        check(json!({"name": "a"}), json!({"name": "a", "emptyDir": {}}));
        check(json!({"name": "a", "secret": {}}), json!({"name": "a", "secret": {"defaultMode": 420}}));
        check(
            json!({"name": "a", "configMap": {"defaultMode": 0}}),
            json!({"name": "a", "configMap": {"defaultMode": 0}}),
        );
        check(
            json!({"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
                {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
            json!({"name": "a", "projected": {"defaultMode": 420,
                "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}}]}}),
        );
        check(
            json!({"name": "a", "image": {"reference": "x:1"}}),
            json!({"name": "a", "image": {"reference": "x:1", "pullPolicy": "IfNotPresent"}}),
        );
    }
}
