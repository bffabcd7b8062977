//! The identity of a pod template: one canonical encoding, from which the revision's name and the comparison of
//! revisions follow.
//!
//! The encoding is compact JSON with keys in byte order, without nulls, and without every field that holds the value
//! which the API fills in when the user leaves it out. So a template reads the same before and after defaulting, and a
//! default that a later version of the API adds changes nothing once it is listed here.
//!
//! Invariants: the encoding of a given template never changes from version to version: a change would restart every
//! daemon in the world. `hash_is_frozen` in the tests guards it. Values that could mean something (an empty label
//! selector, an `emptyDir: {}`) are kept.
//!
//! Absent: who stores the encoding; revisions hold the template as the user wrote it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Letters of generated names: no vowels and no digits that look like them, so that no words arise.
const SAFE_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Length of a hash in letters: 47 bits, so that two templates of one DaemonSet meet once in 10^14.
const HASH_LETTERS: usize = 10;

/// The hash of a template for names and labels. `collisions` moves it away from a name that is taken.
#[must_use]
pub fn hash(template: &Value, collisions: Option<i32>) -> String {
    let mut digest = Sha256::new();
    digest.update(canonical(template).as_bytes());
    if let Some(count) = collisions {
        digest.update(count.to_le_bytes());
    }
    let digest = digest.finalize();
    let mut number = digest.iter().take(8).fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
    let base = SAFE_ALPHABET.len() as u64;
    (0..HASH_LETTERS)
        .map(|_| {
            let letter = SAFE_ALPHABET[usize::try_from(number % base).unwrap_or_default()];
            number /= base;
            char::from(letter)
        })
        .collect()
}

/// The canonical encoding of a template (see the head of this file).
#[must_use]
pub fn canonical(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
        strip_template(fields);
    }
    let mut text = String::new();
    write(&template, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            out.push('{');
            let mut keys: Vec<&String> = fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k).collect();
            keys.sort_unstable();
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(&fields[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

type Fields = Map<String, Value>;

/// Removes `name` when it holds `default`.
fn drop_default(fields: &mut Fields, name: &str, default: &Value) {
    if fields.get(name) == Some(default) {
        fields.remove(name);
    }
}

fn drop_defaults(fields: &mut Fields, defaults: &[(&str, Value)]) {
    for (name, default) in defaults {
        drop_default(fields, name, default);
    }
}

fn with(fields: &mut Fields, name: &str, strip: impl FnOnce(&mut Fields)) {
    if let Some(inner) = fields.get_mut(name).and_then(Value::as_object_mut) {
        strip(inner);
    }
}

fn each(fields: &mut Fields, name: &str, mut strip: impl FnMut(&mut Fields)) {
    if let Some(items) = fields.get_mut(name).and_then(Value::as_array_mut) {
        items.iter_mut().filter_map(Value::as_object_mut).for_each(&mut strip);
    }
}

fn strip_template(template: &mut Fields) {
    with(template, "metadata", |metadata| {
        drop_defaults(metadata, &[("labels", json!({})), ("annotations", json!({}))]);
    });
    drop_default(template, "metadata", &json!({}));
    with(template, "spec", strip_pod_spec);
}

fn strip_pod_spec(spec: &mut Fields) {
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, |container| strip_container(container, host_network));
    }
    each(spec, "volumes", strip_volume);
    if spec.get("serviceAccount") == spec.get("serviceAccountName") {
        spec.remove("serviceAccount");
    }
    drop_defaults(
        spec,
        &[
            ("dnsPolicy", json!("ClusterFirst")),
            ("restartPolicy", json!("Always")),
            ("schedulerName", json!("default-scheduler")),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", json!(30)),
            ("enableServiceLinks", json!(true)),
            ("hostNetwork", json!(false)),
            ("hostPID", json!(false)),
            ("hostIPC", json!(false)),
            ("serviceAccountName", json!("")),
            ("nodeName", json!("")),
            ("nodeSelector", json!({})),
            ("tolerations", json!([])),
            ("volumes", json!([])),
            ("initContainers", json!([])),
            ("affinity", json!({})),
        ],
    );
}

fn strip_container(container: &mut Fields, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let pull = if is_latest(image) { "Always" } else { "IfNotPresent" };
    drop_defaults(
        container,
        &[
            ("imagePullPolicy", json!(pull)),
            ("resources", json!({})),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
        ],
    );
    for list in ["command", "args", "env", "envFrom", "ports", "volumeMounts", "volumeDevices"] {
        drop_default(container, list, &json!([]));
    }
    each(container, "ports", |port| {
        drop_default(port, "protocol", &json!("TCP"));
        if host_network && port.get("hostPort") == port.get("containerPort") {
            port.remove("hostPort");
        }
    });
    each(container, "env", |variable| {
        drop_default(variable, "value", &json!(""));
        with(variable, "valueFrom", |from| with(from, "fieldRef", strip_field_ref));
    });
    each(container, "volumeMounts", |mount| drop_default(mount, "readOnly", &json!(false)));
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        with(container, probe, strip_probe);
    }
    with(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            with(lifecycle, hook, |hook| with(hook, "httpGet", strip_http_get));
        }
    });
    with(container, "securityContext", |context| drop_default(context, "procMount", &json!("Default")));
}

fn strip_probe(probe: &mut Fields) {
    drop_defaults(
        probe,
        &[
            ("failureThreshold", json!(3)),
            ("periodSeconds", json!(10)),
            ("successThreshold", json!(1)),
            ("timeoutSeconds", json!(1)),
            ("initialDelaySeconds", json!(0)),
        ],
    );
    with(probe, "httpGet", strip_http_get);
    with(probe, "grpc", |grpc| drop_default(grpc, "service", &json!("")));
}

fn strip_http_get(action: &mut Fields) {
    drop_defaults(action, &[("scheme", json!("HTTP")), ("path", json!("/"))]);
}

fn strip_field_ref(reference: &mut Fields) {
    drop_default(reference, "apiVersion", &json!("v1"));
}

/// Mode of the files of a volume when the user gives none: 0644.
const FILE_MODE_DEFAULT: i32 = 0o644;

fn strip_volume(volume: &mut Fields) {
    let mode = json!(FILE_MODE_DEFAULT);
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        with(volume, source, |source| drop_default(source, "defaultMode", &mode));
    }
    let items = |source: &mut Fields| each(source, "items", |item| with(item, "fieldRef", strip_field_ref));
    with(volume, "downwardAPI", items);
    with(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            with(source, "downwardAPI", items);
            with(source, "serviceAccountToken", |token| drop_default(token, "expirationSeconds", &json!(3600)));
        });
    });
    with(volume, "hostPath", |path| drop_default(path, "type", &json!("")));
    with(volume, "iscsi", |iscsi| drop_default(iscsi, "iscsiInterface", &json!("default")));
    with(volume, "rbd", |rbd| {
        let keyring = json!("/etc/ceph/keyring");
        drop_defaults(rbd, &[("pool", json!("rbd")), ("user", json!("admin")), ("keyring", keyring)]);
    });
    with(volume, "ephemeral", |ephemeral| {
        with(ephemeral, "volumeClaimTemplate", |claim| {
            with(claim, "spec", |spec| drop_default(spec, "volumeMode", &json!("Filesystem")));
        });
    });
}

/// True when an image reference means the moving `latest` tag.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn hash_is_frozen() {
        let written =
            template(r#"{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"name":"c","image":"x:1"}]}}"#);
        assert_eq!(
            canonical(&written),
            r#"{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"image":"x:1","name":"c"}]}}"#
        );
        assert_eq!(hash(&written, None), "m2jqkhw9nj");
        assert_eq!(hash(&written, Some(1)), "dknggjd2bs");
    }

    #[test]
    fn what_defaulting_adds_changes_nothing() {
        let written = template(
            r#"{"metadata":{"labels":{"app":"a"}},"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"x",
            "ports":[{"containerPort":80}],"readinessProbe":{"httpGet":{"port":80}},
            "env":[{"name":"N","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}},{"name":"E"}]}],
            "volumes":[{"name":"v","hostPath":{"path":"/v"}},{"name":"m","configMap":{"name":"m"}}]}}"#,
        );
        let defaulted = template(
            r#"{"metadata":{"creationTimestamp":null,"labels":{"app":"a"}},"spec":{"hostNetwork":true,"containers":[{
            "image":"x","name":"c","imagePullPolicy":"Always","resources":{},"terminationMessagePath":"/dev/termination-log",
            "terminationMessagePolicy":"File","ports":[{"containerPort":80,"hostPort":80,"protocol":"TCP"}],
            "readinessProbe":{"httpGet":{"port":80,"path":"/","scheme":"HTTP"},"failureThreshold":3,"periodSeconds":10,
            "successThreshold":1,"timeoutSeconds":1},"env":[{"name":"N","valueFrom":{"fieldRef":{"apiVersion":"v1",
            "fieldPath":"spec.nodeName"}}},{"name":"E","value":""}]}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always",
            "schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30,
            "volumes":[{"name":"v","hostPath":{"path":"/v","type":""}},{"name":"m","configMap":{"name":"m","defaultMode":420}}]}}"#,
        );
        assert_eq!(canonical(&written), canonical(&defaulted));
    }

    #[test]
    fn what_means_something_is_kept() {
        let different = [
            (r#"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#, r#"{"spec":{"volumes":[{"name":"v"}]}}"#),
            (r#"{"spec":{"containers":[{"image":"x:1"}]}}"#, r#"{"spec":{"containers":[{"image":"x:2"}]}}"#),
            (
                r#"{"spec":{"containers":[{"image":"x:1","imagePullPolicy":"Always"}]}}"#,
                r#"{"spec":{"containers":[{"image":"x:1"}]}}"#,
            ),
            (r#"{"spec":{"containers":[{"args":["a","b"]}]}}"#, r#"{"spec":{"containers":[{"args":["b","a"]}]}}"#),
            (r#"{"spec":{"terminationGracePeriodSeconds":0}}"#, r#"{"spec":{}}"#),
            (
                r#"{"spec":{"topologySpreadConstraints":[{"labelSelector":{}}]}}"#,
                r#"{"spec":{"topologySpreadConstraints":[{}]}}"#,
            ),
        ];
        for (a, b) in different {
            assert_ne!(canonical(&template(a)), canonical(&template(b)), "{a} {b}");
        }
    }

    #[test]
    fn latest_is_known_by_tag_only() {
        for (image, latest) in [
            ("x", true),
            ("x:latest", true),
            ("x:1", false),
            ("r:5000/x", true),
            ("r:5000/x:1", false),
            ("x@sha256:ab", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
