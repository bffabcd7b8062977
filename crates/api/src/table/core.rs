//! Core kinds that hold data.

use serde_json::Value;

use super::cells::{self, UNSET, cell, is_deleting, length, list, text, text_or};
use super::{AGE, Column, NAME, Printer};

pub(super) const NAMESPACE: Printer = Printer {
    columns: &[NAME, Column::text("Status"), AGE],
    row: |namespace, now| vec![cells::name(namespace), cell(namespace, "/status/phase"), cells::age(namespace, now)],
};

pub(super) const SECRET: Printer = Printer {
    columns: &[NAME, Column::text("Type"), Column::text("Data"), AGE],
    row: |secret, now| {
        vec![cells::name(secret), cell(secret, "/type"), length(secret, "/data").into(), cells::age(secret, now)]
    },
};

pub(super) const CONFIG_MAP: Printer = Printer {
    columns: &[NAME, Column::text("Data"), AGE],
    row: |map, now| {
        vec![cells::name(map), (length(map, "/data") + length(map, "/binaryData")).into(), cells::age(map, now)]
    },
};

pub(super) const SERVICE_ACCOUNT: Printer =
    Printer { columns: &[NAME, AGE], row: |account, now| vec![cells::name(account), cells::age(account, now)] };

pub(super) const PERSISTENT_VOLUME: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Capacity"),
        Column::text("Access Modes"),
        Column::text("Reclaim Policy"),
        Column::text("Status"),
        Column::text("Claim"),
        Column::text("StorageClass"),
        Column::text("VolumeAttributesClass"),
        Column::text("Reason"),
        AGE,
        Column::wide("VolumeMode"),
    ],
    row: |volume, now| {
        let claim = match volume.pointer("/spec/claimRef") {
            Some(claim) if claim.is_object() => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
            _ => String::new(),
        };
        vec![
            cells::name(volume),
            cells::shown(volume, "/spec/capacity/storage").unwrap_or_else(|| "0".to_owned()).into(),
            access_modes(volume, "/spec/accessModes").into(),
            cell(volume, "/spec/persistentVolumeReclaimPolicy"),
            phase(volume).into(),
            claim.into(),
            storage_class(volume).into(),
            text_or(volume, "/spec/volumeAttributesClassName", UNSET),
            cell(volume, "/status/reason"),
            cells::age(volume, now),
            text_or(volume, "/spec/volumeMode", UNSET),
        ]
    },
};

pub(super) const PERSISTENT_VOLUME_CLAIM: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status"),
        Column::text("Volume"),
        Column::text("Capacity"),
        Column::text("Access Modes"),
        Column::text("StorageClass"),
        Column::text("VolumeAttributesClass"),
        AGE,
        Column::wide("VolumeMode"),
    ],
    row: |claim, now| {
        let bound = !text(claim, "/spec/volumeName").is_empty();
        let capacity = || cells::shown(claim, "/status/capacity/storage").unwrap_or_else(|| "0".to_owned());
        vec![
            cells::name(claim),
            phase(claim).into(),
            cell(claim, "/spec/volumeName"),
            if bound { capacity() } else { String::new() }.into(),
            if bound { access_modes(claim, "/status/accessModes") } else { String::new() }.into(),
            storage_class(claim).into(),
            text_or(claim, "/spec/volumeAttributesClassName", UNSET),
            cells::age(claim, now),
            text_or(claim, "/spec/volumeMode", UNSET),
        ]
    },
};

fn phase(obj: &Value) -> &str {
    if is_deleting(obj) { "Terminating" } else { text(obj, "/status/phase") }
}

fn access_modes(obj: &Value, path: &str) -> String {
    const MODES: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let given = list(obj, path);
    let short = MODES.iter().filter(|(mode, _)| given.iter().any(|one| one == mode)).map(|(_, short)| *short);
    short.collect::<Vec<_>>().join(",")
}

fn storage_class(obj: &Value) -> &str {
    match text(obj, "/metadata/annotations/volume.beta.kubernetes.io~1storage-class") {
        "" => text(obj, "/spec/storageClassName"),
        class => class,
    }
}

pub(super) const RESOURCE_QUOTA: Printer = Printer {
    columns: &[NAME, Column::text("Request"), Column::text("Limit"), AGE],
    row: |quota, now| {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let hard = quota.pointer("/status/hard").and_then(Value::as_object).into_iter().flatten();
        for (name, amount) in hard {
            let used = quota.pointer("/status/used").and_then(|used| used.get(name)?.as_str()).unwrap_or("0");
            let entry = format!("{name}: {used}/{}", amount.as_str().unwrap_or(""));
            if name.starts_with("limits.") { limits.push(entry) } else { requests.push(entry) }
        }
        vec![cells::name(quota), requests.join(", ").into(), limits.join(", ").into(), cells::age(quota, now)]
    },
};

#[cfg(test)]
mod tests {
    use super::super::tests::printed;
    use serde_json::{Value, json};

    #[test]
    fn rows() {
        fn check(kind: &str, obj: Value, expect: &str) {
            assert_eq!(printed("v1", kind, obj), expect);
        }
        check("Namespace", json!({"status": {"phase": "Active"}}), "x|Active|5m");
        check("Secret", json!({"type": "Opaque", "data": {"a": "", "b": ""}}), "x|Opaque|2|5m");
        check("ConfigMap", json!({"data": {"a": ""}, "binaryData": {"b": ""}}), "x|2|5m");
        check("ServiceAccount", json!({}), "x|5m");
        check(
            "PersistentVolume",
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"},
                "storageClassName": "s", "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}}),
            "x|1Gi|RWO,RWX|Retain|Bound|n/c|s|<unset>||5m|Filesystem",
        );
        check(
            "PersistentVolumeClaim",
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"volumeName": "v"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"]}}),
            "x|Terminating|v|1Gi|ROX||<unset>|5m|<unset>",
        );
        check(
            "ResourceQuota",
            json!({"status": {"hard": {"limits.cpu": "2", "pods": "5"}, "used": {"pods": "1"}}}),
            "x|pods: 1/5|limits.cpu: 0/2|5m",
        );
    }
}
