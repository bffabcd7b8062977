//! Core kinds that hold data, and events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::at::{At, Errors};
use super::content::{config_map_key, dns1123_subdomain, label_key};
use super::metadata::qualified_finalizer;
use super::{FieldError, Path};

/// All data of a ConfigMap or a Secret together: 1 MiB.
const DATA_SIZE_MAX: usize = 1024 * 1024;
/// Longest action, reason and reporting instance of an event.
const EVENT_WORD_MAX: usize = 128;
/// Longest message of an event.
const EVENT_MESSAGE_MAX: usize = 1024;

pub(super) fn namespace(obj: &Value, errors: &mut Errors) {
    let finalizers = At::root(obj, "spec").child("finalizers");
    for name in finalizers.items() {
        let sentences = label_key(name.text());
        errors.extend(sentences.into_iter().map(|detail| FieldError::invalid(&finalizers.path, name.text(), detail)));
        qualified_finalizer(name.text(), &finalizers.path, errors);
    }
}

pub(super) fn namespace_finalizers(obj: &Value, errors: &mut Errors) {
    for name in At::root(obj, "spec").child("finalizers").items() {
        name.content(label_key, errors);
        qualified_finalizer(name.text(), &name.path, errors);
    }
}

pub(super) fn namespace_status(obj: &Value, errors: &mut Errors) {
    let phase = At::new(obj.pointer("/status/phase"), Path::root("status").child("Phase"));
    let deleting = At::root(obj, "metadata").child("deletionTimestamp").is_set();
    let (wanted, when) = if deleting { ("Terminating", "not empty") } else { ("Active", "empty") };
    if phase.text() != wanted {
        let detail = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
        errors.push(phase.invalid_value(phase.text(), detail));
    }
}

fn decoded_length(value: &At<'_>) -> usize {
    value.text().trim_end_matches('=').len() * 3 / 4
}

pub(super) fn secret(obj: &Value, errors: &mut Errors) {
    let data = At::root(obj, "data");
    let mut size = 0;
    for (key, value) in data.entries() {
        errors.extend(config_map_key(key).into_iter().map(|detail| value.invalid_value(key, detail)));
        size += decoded_length(&value);
    }
    if size > DATA_SIZE_MAX {
        errors.push(FieldError::too_long(&data.path, DATA_SIZE_MAX));
    }
    let at = |key: &str| At::new(data.value().get(key), data.path.key(key));
    match At::root(obj, "type").text() {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            let annotations = At::root(obj, "metadata").child("annotations");
            let account = At::new(annotations.value().get(key), annotations.path.key(key));
            if account.text().is_empty() {
                errors.push(account.required(""));
            }
        }
        "kubernetes.io/dockercfg" => json_content(&at(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => json_content(&at(".dockerconfigjson"), errors),
        "kubernetes.io/basic-auth" => {
            let (user, password) = (at("username"), at("password"));
            if !user.is_set() && !password.is_set() {
                errors.extend([user.required(""), password.required("")]);
            }
        }
        "kubernetes.io/ssh-auth" => {
            let key = at("ssh-privatekey");
            if key.text().is_empty() {
                errors.push(key.required(""));
            }
        }
        "kubernetes.io/tls" => {
            let missing = ["tls.crt", "tls.key"].map(at).into_iter().filter(|key| !key.is_set());
            errors.extend(missing.map(|key| key.required("")));
        }
        _ => {}
    }
}

fn json_content(value: &At<'_>, errors: &mut Errors) {
    if !value.is_set() {
        errors.push(value.required(""));
        return;
    }
    let bytes = STANDARD.decode(value.text()).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.push(value.invalid_value("<secret contents redacted>", error.to_string()));
    }
}

pub(super) fn config_map(obj: &Value, errors: &mut Errors) {
    let (data, binary) = (At::root(obj, "data"), At::root(obj, "binaryData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        errors.extend(config_map_key(key).into_iter().map(|detail| value.invalid_value(key, detail)));
        if binary.value().get(key).is_some() {
            errors.push(value.invalid_value(key, "duplicate of key present in binaryData"));
        }
        size += value.text().len();
    }
    for (key, value) in binary.entries() {
        errors.extend(config_map_key(key).into_iter().map(|detail| value.invalid_value(key, detail)));
        size += decoded_length(&value);
    }
    if size > DATA_SIZE_MAX {
        let mut error = FieldError::too_long(&Path::none(), DATA_SIZE_MAX);
        error.field = String::new(); // the object as a whole
        errors.push(error);
    }
}

/// What may not change in a ConfigMap or a Secret.
pub(super) fn update_data(kind: &str, new: &Value, old: &Value, errors: &mut Errors) {
    if kind == "Secret" {
        At::root(new, "type").immutable(&At::root(old, "type"), errors);
    }
    if !At::root(old, "immutable").is_true() {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    let immutable = At::root(new, "immutable");
    if !immutable.is_true() {
        errors.push(immutable.forbidden(detail));
    }
    for key in ["data", "binaryData"] {
        let data = At::root(new, key);
        if !data.same(&At::root(old, key)) {
            errors.push(data.forbidden(detail));
        }
    }
}

pub(super) fn claim(obj: &Value, errors: &mut Errors) {
    let spec = At::root(obj, "spec");
    let modes = spec.child("accessModes");
    if modes.is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    for mode in modes.items() {
        let allowed = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
        if !allowed.contains(&mode.text()) {
            errors.push(FieldError::not_supported(&modes.path, mode.text(), &allowed));
        }
    }
    let requests = spec.child("resources").child("requests");
    let storage = At::new(requests.value().get("storage"), spec.child("resources").path.key("storage"));
    match storage.quantity() {
        None => errors.push(storage.required("")),
        Some(size) if size.is_zero() || size.is_negative() => errors.push(storage.invalid("must be greater than zero")),
        Some(_) => {}
    }
}

pub(super) fn update_claim(new: &Value, old: &Value, errors: &mut Errors) {
    let (spec, before) = (At::root(new, "spec"), At::root(old, "spec"));
    let bound = !before.child("volumeName").text().is_empty();
    let fixed = ["accessModes", "selector", "volumeMode", "dataSource", "dataSourceRef", "storageClassName"];
    let changed = fixed.iter().any(|key| !spec.child(key).same(&before.child(key)))
        || (bound && !spec.child("volumeName").same(&before.child("volumeName")));
    if changed {
        errors.push(spec.forbidden(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
}

/// Rules of events of the core group, which newer events keep too.
pub(super) fn event(obj: &Value, regarding: &str, reporter: &str, errors: &mut Errors) {
    let namespace = At::root(obj, "metadata").child("namespace").text();
    let about =
        At::new(obj.get(regarding).and_then(|of| of.get("namespace")), Path::root("involvedObject").child("namespace"));
    let mismatch = || about.invalid_value(about.text(), "does not match event.namespace");
    if At::root(obj, "eventTime").is_set() {
        if about.text().is_empty() && !matches!(namespace, "default" | "kube-system") {
            errors.push(mismatch());
        }
        named_reporter(obj, reporter, errors);
    } else if about.text().is_empty() {
        if !matches!(namespace, "" | "default") {
            errors.push(mismatch());
        }
    } else if about.text() != namespace {
        errors.push(mismatch());
    }
    let path = Path::root("namespace");
    errors.extend(dns1123_subdomain(namespace).into_iter().map(|detail| FieldError::invalid(&path, namespace, detail)));
}

fn named_reporter(obj: &Value, reporter: &str, errors: &mut Errors) {
    let controller = At::root(obj, reporter);
    if controller.text().is_empty() {
        errors.push(controller.required(""));
    }
    controller.content(label_key, errors);
    for field in ["reportingInstance", "action", "reason"] {
        let word = At::root(obj, field);
        if word.text().is_empty() {
            errors.push(word.required(""));
        }
        if word.text().len() > EVENT_WORD_MAX {
            errors.push(word.invalid_value("", format!("can have at most {EVENT_WORD_MAX} characters")));
        }
    }
    let message = obj.get("message").or_else(|| obj.get("note"));
    let message = At::new(message, Path::root("message"));
    if message.text().len() > EVENT_MESSAGE_MAX {
        errors.push(message.invalid_value("", format!("can have at most {EVENT_MESSAGE_MAX} characters")));
    }
}

/// Rules of events of their own group.
pub(super) fn new_event(obj: &Value, errors: &mut Errors) {
    event_series(obj, errors);
    let time = At::root(obj, "eventTime");
    if !time.is_set() {
        errors.push(time.required(""));
    }
    let kind = At::root(obj, "type");
    if !matches!(kind.text(), "Normal" | "Warning") {
        errors.push(kind.invalid_value("", format!("has invalid value: {}", kind.text())));
    }
    let unset = [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
    ];
    for (field, shown) in unset {
        let at = At::root(obj, field);
        if at.is_set() && at.number() != 0 || !at.text().is_empty() {
            errors.push(FieldError::invalid(&Path::root(shown), "", "needs to be unset"));
        }
    }
    let source = At::root(obj, "deprecatedSource");
    if !source.child("component").is_empty() || !source.child("host").is_empty() {
        errors.push(FieldError::invalid(&Path::root("source"), "", "needs to be unset"));
    }
}

fn event_series(obj: &Value, errors: &mut Errors) {
    let series = At::root(obj, "series");
    if !series.is_set() {
        return;
    }
    if series.child("count").number() < 2 {
        errors.push(series.child("count").invalid_value("", "should be at least 2"));
    }
    if !series.child("lastObservedTime").is_set() {
        errors.push(series.child("lastObservedTime").required(""));
    }
}

/// What may not change in an event of its own group.
pub(super) fn update_event(new: &Value, old: &Value, errors: &mut Errors) {
    let fixed = [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("type", "type"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    if new.get("series") != old.get("series") {
        event_series(new, errors);
    }
    for (field, shown) in fixed {
        let at = At::new(new.get(field), Path::root(shown));
        at.immutable(&At::root(old, field), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create_errors, update_errors};
    use super::*;
    use serde_json::json;

    fn with(mut obj: Value) -> Value {
        obj["metadata"] = json!({"name": "a", "namespace": "n"});
        obj
    }

    #[test]
    fn data() {
        fn check(kind: &str, obj: Value, expect: &[&str]) {
            assert_eq!(create_errors("v1", kind, with(obj)), expect);
        }
        let words = config_map_key("a/b").join("");
        check("ConfigMap", json!({"data": {"a": "b"}, "binaryData": {"c": "eA=="}}), &[]);
        check("ConfigMap", json!({"data": {"a/b": ""}}), &[&format!("data[a/b]: Invalid value: \"a/b\": {words}")]);
        check(
            "ConfigMap",
            json!({"data": {"a": "b"}, "binaryData": {"a": "eA=="}}),
            &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"],
        );
        check(
            "ConfigMap",
            json!({"data": {"a": "x".repeat(DATA_SIZE_MAX + 1)}}),
            &[": Too long: may not be more than 1048576 bytes"],
        );
        check("Secret", json!({"type": "Opaque"}), &[]);
        check(
            "Secret",
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            &["data[tls.key]: Required value"],
        );
        check(
            "Secret",
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        );
        check("Secret", json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30="}}), &[]);
    }

    #[test]
    fn data_updates() {
        fn check(kind: &str, new: Value, old: Value, expect: &[&str]) {
            assert_eq!(update_errors("v1", kind, with(new), with(old)), expect);
        }
        check(
            "Secret",
            json!({"type": "b"}),
            json!({"type": "a"}),
            &["type: Invalid value: \"b\": field is immutable"],
        );
        check(
            "ConfigMap",
            json!({"data": {"a": "c"}}),
            json!({"data": {"a": "b"}, "immutable": true}),
            &[
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ],
        );
    }

    #[test]
    fn namespaces() {
        let obj = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["x"]}});
        let expect = "spec.finalizers: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully \
                      qualified";
        assert_eq!(create_errors("v1", "Namespace", obj), [expect]);
        let mut errors = Errors::new();
        namespace_status(&json!({"metadata": {}, "status": {"phase": "Terminating"}}), &mut errors);
        let expect =
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty";
        assert_eq!(errors[0].to_string(), expect);
    }

    #[test]
    fn events() {
        fn check(api_version: &str, obj: Value, expect: &[&str]) {
            assert_eq!(create_errors(api_version, "Event", with(obj)), expect);
        }
        check("v1", json!({"involvedObject": {"namespace": "n"}}), &[]);
        check(
            "v1",
            json!({"involvedObject": {"namespace": "m"}}),
            &["involvedObject.namespace: Invalid value: \"m\": does not match event.namespace"],
        );
        let new = json!({"eventTime": "t", "regarding": {"namespace": "n"}, "type": "Normal", "action": "a",
            "reason": "r", "reportingController": "c.d/e", "reportingInstance": "i"});
        check("events.k8s.io/v1", new.clone(), &[]);
        let mut late = new;
        late["deprecatedCount"] = json!(3);
        late["type"] = json!("Odd");
        let expect =
            ["type: Invalid value: \"\": has invalid value: Odd", "count: Invalid value: \"\": needs to be unset"];
        check("events.k8s.io/v1", late, &expect);
    }
}
