//! Environment variables and where they come from.

use super::super::FieldError;
use super::super::at::{At, Errors};
use super::super::content::{config_map_key, dns1123_label, dns1123_subdomain, env_var_name, label_key};
use super::mounts::no_backsteps;

/// Fields of the pod that a variable may show.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of the pod that a file may show.
pub(super) const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Further fields that exist, so that naming them elsewhere is only unsupported.
const OTHER_FIELDS: [&str; 2] = ["spec.restartPolicy", "spec.schedulerName"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// The `env` of a container.
pub(super) fn variables(list: &At<'_>, errors: &mut Errors) {
    for variable in list.items() {
        variable.child("name").required_content(env_var_name, errors);
        let from = variable.child("valueFrom");
        if from.is_set() {
            source(&variable, &from, errors);
        }
    }
}

fn source(variable: &At<'_>, from: &At<'_>, errors: &mut Errors) {
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given: Vec<&str> = kinds.into_iter().filter(|kind| from.child(kind).is_set()).collect();
    for kind in &given {
        let reference = from.child(kind);
        match *kind {
            "fieldRef" => field(&reference, &ENV_FIELDS, errors),
            "resourceFieldRef" => resource(&reference, false, errors),
            "fileKeyRef" => file_key(&reference, errors),
            _ => key(&reference, errors),
        }
    }
    if given.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                      `fileKeyRef`";
        errors.push(from.invalid_value("", detail));
    } else if !variable.child("value").text().is_empty() {
        errors.push(from.invalid_value("", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(from.invalid_value("", "may not have more than one field specified at a time"));
    }
}

/// A reference to a field of the pod, which is one of `allowed` or a single label or annotation.
pub(super) fn field(reference: &At<'_>, allowed: &[&str], errors: &mut Errors) {
    let (version, path) = (reference.child("apiVersion"), reference.child("fieldPath"));
    if let Some(missing) = [&version, &path].into_iter().find(|at| at.text().is_empty()) {
        errors.push(missing.required(""));
        return;
    }
    let subscript = path.text().strip_suffix("']").and_then(|text| text.split_once("['"));
    if let Some((field, key)) = subscript {
        let sentences = match field {
            "metadata.annotations" => label_key(&key.to_lowercase()),
            "metadata.labels" => label_key(key),
            _ => {
                errors.push(field_label_unknown(&path));
                return;
            }
        };
        errors.extend(sentences.into_iter().map(|detail| reference.invalid_value(key, detail)));
        return;
    }
    let exists = ENV_FIELDS.iter().chain(&FILE_FIELDS).chain(&OTHER_FIELDS).any(|known| *known == path.text());
    if version.text() != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {}", version.text());
        errors.push(path.invalid(detail));
    } else if !exists {
        errors.push(field_label_unknown(&path));
    } else if !allowed.contains(&path.text()) {
        errors.push(path.not_supported(allowed));
    }
}

fn field_label_unknown(path: &At<'_>) -> FieldError {
    path.invalid(format!("error converting fieldPath: field label not supported: {}", path.text()))
}

/// A reference to a resource of a container; a file must say of which container.
pub(super) fn resource(reference: &At<'_>, of_file: bool, errors: &mut Errors) {
    let (container, name) = (reference.child("containerName"), reference.child("resource"));
    let huge = ["requests.hugepages-", "limits.hugepages-"].iter().any(|prefix| name.text().starts_with(prefix));
    if of_file && container.text().is_empty() {
        errors.push(container.required(""));
    } else if name.text().is_empty() {
        errors.push(name.required(""));
    } else if !RESOURCES.contains(&name.text()) && !huge {
        errors.push(name.not_supported(&RESOURCES));
    }
    let divisor = reference.child("divisor");
    let Some(amount) = divisor.quantity().filter(|amount| !amount.is_zero()) else { return };
    let amount = amount.to_string();
    let refused = |units: &str, what: &str| {
        divisor.invalid_value(name.text(), format!("only divisor's values {units} are supported with the {what}"))
    };
    let what = match name.text().split_once('.').map_or("", |(_, what)| what) {
        "cpu" => {
            if !matches!(amount.as_str(), "1m" | "1") {
                errors.push(refused("1m and 1", "cpu resource"));
            }
            return;
        }
        "memory" => "memory resource",
        "ephemeral-storage" => "local ephemeral storage resource",
        _ if huge => "hugepages resource",
        _ => return,
    };
    if !BYTE_DIVISORS.contains(&amount.as_str()) {
        errors.push(refused(&BYTE_DIVISORS.join(", "), what));
    }
}

/// A key of a ConfigMap or a Secret.
fn key(reference: &At<'_>, errors: &mut Errors) {
    reference.child("name").content(dns1123_subdomain, errors);
    reference.child("key").required_content(config_map_key, errors);
}

fn file_key(reference: &At<'_>, errors: &mut Errors) {
    reference.child("key").required_content(env_var_name, errors);
    reference.child("volumeName").required_content(dns1123_label, errors);
    let path = reference.child("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    } else {
        no_backsteps(&path, errors);
    }
}

/// The `envFrom` of a container.
pub(super) fn sources(list: &At<'_>, errors: &mut Errors) {
    for item in list.items() {
        let prefix = item.child("prefix");
        if !prefix.text().is_empty() {
            prefix.content(env_var_name, errors);
        }
        let given: Vec<At<'_>> =
            ["configMapRef", "secretRef"].map(|kind| item.child(kind)).into_iter().filter(At::is_set).collect();
        for reference in &given {
            reference.child("name").required_content(dns1123_subdomain, errors);
        }
        match given.len() {
            0 => errors.push(list.invalid_value("", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(list.invalid_value("", "may not have more than one field specified at a time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_container;
    use serde_json::{Value, json};

    fn check(variable: Value, expect: &[&str]) {
        let expect: Vec<String> = expect.iter().map(|text| format!("spec.containers[0].env[0].{text}")).collect();
        let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
        check_container(json!({"env": [variable]}), &expect);
    }

    #[test]
    fn values() {
        check(json!({"name": "A", "value": "b"}), &[]);
        check(json!({"name": ""}), &["name: Required value"]);
        check(
            json!({"name": "A=B"}),
            &["name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII \
               characters other than '='"],
        );
    }

    #[test]
    fn references() {
        let field = |path: &str| json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        check(field("spec.nodeName"), &[]);
        check(field("metadata.labels['a']"), &[]);
        check(
            field("metadata.labels"),
            &[
                "valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported values: \"metadata.name\", \
               \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \
               \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
            ],
        );
        check(
            field("spec.nope"),
            &[
                "valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nope\": error converting fieldPath: field label not \
               supported: spec.nope",
            ],
        );
        check(
            json!({"name": "A", "valueFrom": {}}),
            &[
                "valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, \
               `secretKeyRef` or `fileKeyRef`",
            ],
        );
        check(
            json!({"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
            &["valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"],
        );
        check(
            json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "5"}}}),
            &["valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are \
               supported with the cpu resource"],
        );
    }

    #[test]
    fn whole_sources() {
        check_container(json!({"envFrom": [{"configMapRef": {"name": "c"}}]}), &[]);
        check_container(
            json!({"envFrom": [{}]}),
            &["spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"],
        );
    }
}
