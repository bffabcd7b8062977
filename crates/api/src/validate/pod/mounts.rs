//! Volume mounts, devices, and paths below them.

use serde_json::Value;

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::container::Pod;

/// No part of the path is `..`.
pub(super) fn no_backsteps(path: &At<'_>, errors: &mut Errors) {
    if path.text().split('/').any(|part| part == "..") {
        errors.push(path.invalid("must not contain '..'"));
    }
}

fn descending_path(path: &At<'_>, errors: &mut Errors) {
    if path.text().starts_with('/') {
        errors.push(path.invalid("must be a relative path"));
    }
    no_backsteps(path, errors);
}

/// A path that stays below where it starts, and no name that begins with `..`.
pub(super) fn relative_path(path: &At<'_>, errors: &mut Errors) {
    descending_path(path, errors);
    if path.text().starts_with("..") && !path.text().starts_with("../") && path.text() != ".." {
        errors.push(path.invalid("must not start with '..'"));
    }
}

/// The `volumeMounts` of a container.
pub(super) fn mounts(pod: &Pod<'_>, container: &At<'_>, errors: &mut Errors) {
    let (list, devices) = (container.child("volumeMounts"), container.child("volumeDevices"));
    let mut seen = Vec::new();
    for mount in list.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if !pod.volumes.contains_key(name.text()) {
            errors.push(FieldError::not_found(&name.path, name.text()));
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if seen.contains(&path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        seen.push(path.text());
        for device in devices.items() {
            if device.child("name").text() == name.text() {
                errors.push(name.invalid("must not already exist in volumeDevices"));
            }
            if device.child("devicePath").text() == path.text() {
                errors.push(path.invalid("must not already exist as a path in volumeDevices"));
            }
        }
        parts(&mount, &list, errors);
        propagation(&mount, container, &list, errors);
    }
}

fn parts(mount: &At<'_>, list: &At<'_>, errors: &mut Errors) {
    let at = |key: &str| At::new(Some(mount.child(key).value()), list.path.child(key));
    let (part, expression) = (at("subPath"), at("subPathExpr"));
    if !part.text().is_empty() {
        descending_path(&part, errors);
    }
    if !expression.text().is_empty() {
        if !part.text().is_empty() {
            errors.push(mount.child("subPathExpr").invalid("subPathExpr and subPath are mutually exclusive"));
        }
        descending_path(&expression, errors);
    }
}

fn propagation(mount: &At<'_>, container: &At<'_>, list: &At<'_>, errors: &mut Errors) {
    let at = |key: &str| At::new(Some(mount.child(key).value()), list.path.child(key));
    let propagation = at("mountPropagation");
    propagation.optional_one_of(&["Bidirectional", "HostToContainer", "None"], errors);
    let privileged = container.child("securityContext").child("privileged").is_true();
    if propagation.text() == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(propagation.forbidden(detail));
    }
    let recursive = at("recursiveReadOnly");
    recursive.optional_one_of(&["Disabled", "Enabled", "IfPossible"], errors);
    if matches!(recursive.text(), "Enabled" | "IfPossible") {
        if !mount.child("readOnly").is_true() {
            errors.push(recursive.forbidden("may only be specified when readOnly is true"));
        }
        if !matches!(propagation.text(), "" | "None") {
            errors.push(recursive.forbidden("may only be specified when mountPropagation is None or not specified"));
        }
    }
}

/// The `volumeDevices` of a container.
pub(super) fn devices(pod: &Pod<'_>, container: &At<'_>, errors: &mut Errors) {
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for device in container.child("volumeDevices").items() {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if names.contains(&name.text()) {
            errors.push(name.invalid("must be unique"));
        }
        match pod.volumes.get(name.text()) {
            None => errors.push(FieldError::not_found(&name.path, name.text())),
            Some(volume) if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(name.invalid(detail));
            }
            Some(_) => {}
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if paths.contains(&path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.push(path.invalid("can not contain backsteps ('..')"));
        }
        names.push(name.text());
        paths.push(path.text());
    }
}

/// Variables that come from files need an empty directory to find them in.
pub(super) fn file_keys(pod: &Pod<'_>, spec: &At<'_>, errors: &mut Errors) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            for variable in container.child("env").items() {
                let name = variable.child("valueFrom").child("fileKeyRef").child("volumeName");
                if !name.is_set() {
                    continue;
                }
                match pod.volumes.get(name.text()) {
                    None => errors.push(FieldError::not_found(&name.path, name.text())),
                    Some(volume) if !volume.get("emptyDir").is_some_and(Value::is_object) => {
                        errors.push(name.invalid("referenced volume must be of type emptyDir"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check as check_pod;
    use serde_json::{Value, json};

    fn check(fields: Value, expect: &[&str]) {
        let mut container = json!({"name": "c", "image": "i:1"});
        for (key, value) in fields.as_object().into_iter().flatten() {
            container[key] = value.clone();
        }
        check_pod(json!({"volumes": [{"name": "v"}, {"name": "w"}], "containers": [container]}), expect);
    }

    #[test]
    fn mounts() {
        let at = "spec.containers[0].volumeMounts";
        check(json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]}), &[]);
        check(
            json!({"volumeMounts": [{"name": "x", "mountPath": ""}]}),
            &[&format!("{at}[0].name: Not found: \"x\""), &format!("{at}[0].mountPath: Required value")],
        );
        check(
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a", "subPath": "../x"}]}),
            &[
                &format!("{at}[1].mountPath: Invalid value: \"/a\": must be unique"),
                &format!("{at}.subPath: Invalid value: \"../x\": must not contain '..'"),
            ],
        );
        check(
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}]}),
            &[&format!(
                "{at}.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged \
                        containers"
            )],
        );
    }

    #[test]
    fn devices() {
        check(
            json!({"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}),
            &["spec.containers[0].volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of \
               PersistentVolumeClaim or Ephemeral for block mode"],
        );
    }
}
