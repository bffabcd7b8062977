//! Volumes and their sources.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::dns1123_label;
use super::env::{self, FILE_FIELDS};
use super::mounts::{no_backsteps, relative_path};

/// Sources in the order in which the first is taken and further ones are refused.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const MODE_WORDS: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks all volumes and gives those that are sound, by name.
pub(super) fn all<'a>(list: &At<'a>, errors: &mut Errors) -> BTreeMap<&'a str, &'a Value> {
    let mut sound = BTreeMap::new();
    for volume in list.items() {
        let before = errors.len();
        source(&volume, errors);
        let name = volume.child("name");
        name.required_content(dns1123_label, errors);
        if sound.contains_key(name.text()) {
            errors.push(name.duplicate());
        }
        if errors.len() == before {
            sound.insert(name.text(), volume.value());
        }
    }
    sound
}

fn source(volume: &At<'_>, errors: &mut Errors) {
    let mut given = SOURCES.iter().map(|kind| (*kind, volume.child(kind))).filter(|(_, source)| source.is_set());
    let Some((kind, source)) = given.next() else {
        errors.push(volume.required("must specify a volume type"));
        return;
    };
    match kind {
        "emptyDir" => {
            let limit = source.child("sizeLimit");
            if limit.quantity().is_some_and(|size| size.is_negative()) {
                errors.push(limit.forbidden("SizeLimit field must be a valid resource quantity"));
            }
        }
        "hostPath" => host_path(&source, errors),
        "secret" => {
            required(&source, "secretName", errors);
            mode(&source.child("defaultMode"), errors);
            source.child("items").items().for_each(|item| key_to_path(&item, errors));
        }
        "configMap" => {
            required(&source, "name", errors);
            mode(&source.child("defaultMode"), errors);
            source.child("items").items().for_each(|item| key_to_path(&item, errors));
        }
        "downwardAPI" => {
            mode(&source.child("defaultMode"), errors);
            source.child("items").items().for_each(|item| downward_file(&item, &source, errors));
        }
        "projected" => projected(&source, errors),
        "nfs" => {
            required(&source, "server", errors);
            required(&source, "path", errors);
            let path = source.child("path");
            if !path.text().is_empty() && !path.text().starts_with('/') {
                errors.push(path.invalid("must be an absolute path"));
            }
        }
        "persistentVolumeClaim" => required(&source, "claimName", errors),
        "csi" => required(&source, "driver", errors),
        "ephemeral" => required(&source, "volumeClaimTemplate", errors),
        "image" => {
            required(&source, "reference", errors);
            source.child("pullPolicy").one_of(&["Always", "IfNotPresent", "Never"], errors);
        }
        _ => {}
    }
    errors.extend(given.map(|(_, extra)| extra.forbidden("may not specify more than 1 volume type")));
}

fn required(of: &At<'_>, field: &str, errors: &mut Errors) {
    let field = of.child(field);
    if field.is_empty() {
        errors.push(field.required(""));
    }
}

/// File permissions.
fn mode(mode: &At<'_>, errors: &mut Errors) {
    if mode.int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        errors.push(mode.invalid(MODE_WORDS));
    }
}

fn host_path(source: &At<'_>, errors: &mut Errors) {
    let path = source.child("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
        return;
    }
    no_backsteps(&path, errors);
    source.child("type").optional_one_of(&HOST_PATH_TYPES, errors);
}

fn key_to_path(item: &At<'_>, errors: &mut Errors) {
    required(item, "key", errors);
    required(item, "path", errors);
    relative_path(&item.child("path"), errors);
    mode(&item.child("mode"), errors);
}

/// A file that shows a field of the pod; errors are about the volume.
fn downward_file(item: &At<'_>, volume: &At<'_>, errors: &mut Errors) {
    let at = |key: &str| At::new(Some(item.child(key).value()), volume.path.child(key));
    let path = at("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    }
    relative_path(&path, errors);
    let (field, resource) = (at("fieldRef"), at("resourceFieldRef"));
    if field.is_set() {
        env::field(&field, &FILE_FIELDS, errors);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(volume.invalid_value("resource", detail));
        }
    } else if resource.is_set() {
        env::resource(&resource, true, errors);
    } else {
        errors.push(volume.required("one of fieldRef and resourceFieldRef is required"));
    }
    mode(&at("mode"), errors);
}

fn projected(volume: &At<'_>, errors: &mut Errors) {
    mode(&volume.child("defaultMode"), errors);
    let mut paths: Vec<String> = Vec::new();
    for source in volume.child("sources").items() {
        let kinds =
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        let given: Vec<(&str, At<'_>)> =
            kinds.into_iter().map(|kind| (kind, source.child(kind))).filter(|(_, at)| at.is_set()).collect();
        for (kind, projection) in &given {
            match *kind {
                "secret" | "configMap" => {
                    required(projection, "name", errors);
                    projection.child("items").items().for_each(|item| key_to_path(&item, errors));
                }
                "downwardAPI" => {
                    projection.child("items").items().for_each(|item| downward_file(&item, projection, errors));
                }
                "serviceAccountToken" => token(projection, errors),
                _ => {}
            }
            for path in projected_paths(kind, projection) {
                if paths.contains(&path) {
                    errors.push(FieldError::invalid(&volume.path, path.as_str(), "conflicting duplicate paths"));
                }
                paths.push(path);
            }
        }
        if given.len() > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

fn projected_paths(kind: &str, projection: &At<'_>) -> Vec<String> {
    let paths: Vec<String> = match kind {
        "serviceAccountToken" | "clusterTrustBundle" => vec![projection.child("path").text().to_owned()],
        _ => projection.child("items").items().map(|item| item.child("path").text().to_owned()).collect(),
    };
    paths.into_iter().filter(|path| !path.is_empty()).collect()
}

fn token(token: &At<'_>, errors: &mut Errors) {
    /// Tokens live at least ten minutes and at most what fits 32 bits.
    const SHORTEST: i64 = 600;
    const LONGEST: i64 = 1 << 32;
    let seconds = token.child("expirationSeconds");
    if seconds.number() < SHORTEST {
        errors.push(seconds.invalid("may not specify a duration less than 10 minutes"));
    }
    if seconds.number() > LONGEST {
        errors.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
    }
    required(token, "path", errors);
    let path = token.child("path");
    if !path.text().is_empty() {
        relative_path(&path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check as check_pod;
    use serde_json::{Value, json};

    fn check(volumes: Value, expect: &[&str]) {
        check_pod(json!({"volumes": volumes}), expect);
    }

    #[test]
    fn names_and_kinds() {
        check(json!([{"name": "a"}, {"name": "b", "hostPath": {"path": "/x"}}]), &[]);
        check(json!([{"name": ""}]), &["spec.volumes[0].name: Required value"]);
        check(json!([{"name": "a"}, {"name": "a"}]), &["spec.volumes[1].name: Duplicate value: \"a\""]);
        check(
            json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        );
    }

    #[test]
    fn sources() {
        let one = |source: Value| {
            let mut volume = json!({"name": "a"});
            for (key, value) in source.as_object().into_iter().flatten() {
                volume[key] = value.clone();
            }
            json!([volume])
        };
        check(one(json!({"hostPath": {"path": ""}})), &["spec.volumes[0].hostPath.path: Required value"]);
        check(
            one(json!({"hostPath": {"path": "/a/../b", "type": "Odd"}})),
            &[
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.volumes[0].hostPath.type: Unsupported value: \"Odd\": supported values: \"\", \"BlockDevice\", \
                 \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        );
        check(
            one(json!({"secret": {"secretName": "s", "defaultMode": 512, "items": [{"key": "k", "path": "/p"}]}})),
            &[
                "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both \
               inclusive",
                "spec.volumes[0].secret.items[0].path: Invalid value: \"/p\": must be a relative path",
            ],
        );
        check(one(json!({"configMap": {}})), &["spec.volumes[0].configMap.name: Required value"]);
        check(
            one(json!({"projected": {"sources": [{"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
                {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}}]}})),
            &["spec.volumes[0].projected: Invalid value: \"p\": conflicting duplicate paths"],
        );
    }
}
