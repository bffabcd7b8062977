//! What a definition must look like to be accepted.
//!
//! Kubernetes reads a definition into an older form first, where what all versions share stands once; so that is where the
//! faults of a definition with one version are told to be.
//!
//! Invariants: texts and paths are Kubernetes'.
//! Absent: the certificates of conversion webhooks; leniency for what older releases accepted.

use serde_json::Value;

use super::schema::{entries, list, texts};
use super::{status, version};
use crate::validate::content::{dns1035_label, dns1123_subdomain};
use crate::validate::{FieldError, Path};

const APPROVAL: &str = "api-approved.kubernetes.io";

/// The rules that a new definition breaks, beyond those of all metadata.
pub(crate) fn validate_definition(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old.is_none() {
        name(definition, &mut errors);
    }
    spec(&definition["spec"], &mut errors);
    if let Some(old) = old {
        fixed(definition, old, &mut errors);
    }
    names(&definition["status"]["acceptedNames"], &Path::root("status").child("acceptedNames"), &mut errors);
    stored_versions(definition, &mut errors);
    approval(definition, old, &mut errors);
    let keeps_all = |definition: &Value| definition["spec"]["preserveUnknownFields"] == true;
    if keeps_all(definition) && !old.is_some_and(keeps_all) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
            instead";
        errors.push(FieldError::invalid(&Path::root("spec").child("preserveUnknownFields"), true, detail));
    }
    errors
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn name(definition: &Value, errors: &mut Vec<FieldError>) {
    let name = text(&definition["metadata"], "name");
    let (group, plural) = super::group_resource(definition);
    if name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&Path::root("metadata").child("name"), name, detail));
    }
}

fn spec(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::root("spec");
    let group = text(spec, "group");
    let sentences = dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required(&path.child("group"), ""));
    } else if !sentences.is_empty() {
        errors.push(FieldError::invalid(&path.child("group"), group, sentences.join(",")));
    } else if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::invalid(&path.child("group"), group, detail));
    }
    match text(spec, "scope") {
        "" => errors.push(FieldError::required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported(&path.child("scope"), other, &["Cluster", "Namespaced"])),
    }
    versions(spec, &path, errors);
    let names_path = path.child("names");
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"], key).is_empty() {
            errors.push(FieldError::required(&names_path.child(key), ""));
        }
    }
    names(&spec["names"], &names_path, errors);
    shared(spec, &path, errors);
    conversion(&spec["conversion"], &path.child("conversion"), errors);
}

/// Whether all versions say the same under a key, so that it is told of once.
fn is_shared(spec: &Value, key: &str) -> bool {
    let versions = list(spec, "versions");
    versions.iter().all(|version| version.get(key) == versions[0].get(key))
}

fn versions(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let versions = list(spec, "versions");
    let path = path.child("versions");
    if !is_shared(spec, "schema") || spec["versions"][0]["schema"]["openAPIV3Schema"].is_null() {
        for (at, version) in versions.iter().enumerate() {
            if version["schema"]["openAPIV3Schema"].is_null() {
                let path = path.index(at).child("schema").child("openAPIV3Schema");
                errors.push(FieldError::required(&path, ""));
            }
        }
    }
    for (at, version) in versions.iter().enumerate() {
        let (path, name) = (path.index(at), text(version, "name"));
        let sentences = dns1035_label(name);
        if !sentences.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), name, sentences.join(",")));
        }
        version::deprecation(version, &path, errors);
        if !is_shared(spec, "schema") {
            version::schema(version, &path.child("schema"), errors);
        }
        if !is_shared(spec, "subresources") {
            version::subresources(&version["subresources"], &path.child("subresources"), errors);
        }
        if !is_shared(spec, "additionalPrinterColumns") {
            version::columns(version, &path, errors);
        }
        if !is_shared(spec, "selectableFields") {
            version::selectable(version, &path, errors);
        }
    }
    let mut known: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    known.sort_unstable();
    if known.windows(2).any(|pair| pair[0] == pair[1]) {
        errors.push(FieldError::invalid(&path, spec["versions"].clone(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&path, spec["versions"].clone(), detail));
    }
}

/// What all versions share.
fn shared(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(first) = list(spec, "versions").first() else { return };
    if is_shared(spec, "schema") {
        version::schema(first, &path.child("validation"), errors);
    }
    if is_shared(spec, "subresources") {
        version::subresources(&first["subresources"], &path.child("subresources"), errors);
    }
    if is_shared(spec, "additionalPrinterColumns") {
        version::columns(first, path, errors);
    }
    if is_shared(spec, "selectableFields") {
        version::selectable(first, path, errors);
    }
}

fn names(names: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in ["plural", "singular", "kind", "listKind"] {
        let value = text(names, key);
        let mixes_case = key.to_lowercase().ends_with("kind");
        let sentences = dns1035_label(&if mixes_case { value.to_lowercase() } else { value.to_owned() });
        if !value.is_empty() && !sentences.is_empty() {
            let words = if mixes_case { "may have mixed case, but should otherwise match: " } else { "" };
            let detail = format!("{words}{}", sentences.join(","));
            errors.push(FieldError::invalid(&path.child(key), value, detail));
        }
    }
    let mut each = |key: &str| {
        for (at, value) in texts(names, key).iter().enumerate() {
            let sentences = dns1035_label(value);
            if !sentences.is_empty() {
                let path = path.child(key).index(at);
                errors.push(FieldError::invalid(&path, value.as_str(), sentences.join(",")));
            }
        }
    };
    each("shortNames");
    each("categories");
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), kind, detail));
    }
}

fn conversion(conversion: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !conversion.is_object() {
        return;
    }
    let client = path.child("webhookClientConfig");
    let webhook = conversion.get("webhook").filter(|webhook| webhook.is_object());
    match text(conversion, "strategy") {
        "" => errors.push(FieldError::required(&path.child("strategy"), "")),
        "None" => {
            if webhook.is_some() {
                let detail = "should not be set when strategy is not set to Webhook";
                errors.push(FieldError::forbidden(&client, detail));
            }
        }
        "Webhook" => {
            let config = webhook.and_then(|webhook| webhook.get("clientConfig"));
            match config {
                None => errors.push(FieldError::required(&client, "required when strategy is set to Webhook")),
                Some(config) if config["url"].is_string() == config["service"].is_object() => {
                    errors.push(FieldError::required(&client, "exactly one of url or service is required"));
                }
                Some(_) => {}
            }
            let path = path.child("conversionReviewVersions");
            let versions = webhook.map(|webhook| texts(webhook, "conversionReviewVersions")).unwrap_or_default();
            if versions.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else if !versions.iter().any(|version| matches!(version.as_str(), "v1" | "v1beta1")) {
                errors.push(FieldError::invalid(&path, versions, "must include at least one of v1, v1beta1"));
            }
        }
        other => errors.push(FieldError::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
}

/// What an update may not change.
fn fixed(definition: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let mut fields = vec!["/spec/group", "/spec/names/plural"];
    if status::is_true(old, "Established") {
        fields.splice(0..0, ["/spec/scope", "/spec/names/kind"]);
    }
    for pointer in fields {
        let (new, old) = (definition.pointer(pointer), old.pointer(pointer));
        if new != old {
            let path = pointer.split('/').skip(2).fold(Path::root("spec"), |path, step| path.child(step));
            errors.push(FieldError::invalid(&path, new.cloned().unwrap_or_default(), "field is immutable"));
        }
    }
}

fn stored_versions(definition: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::root("status").child("storedVersions");
    let stored = texts(&definition["status"], "storedVersions");
    if stored.is_empty() {
        errors.push(FieldError::invalid(&path, Value::Array(Vec::new()), "must have at least one stored version"));
        return;
    }
    let versions = list(&definition["spec"], "versions");
    let is_known = |name: &String| versions.iter().any(|version| text(version, "name") == name);
    for version in versions.iter().filter(|version| version["storage"] == true) {
        let name = text(version, "name");
        if !stored.iter().any(|there| there == name) {
            let detail = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(&path, stored.clone(), detail));
        }
    }
    for (at, name) in stored.iter().enumerate().filter(|(_, name)| !is_known(name)) {
        let detail = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until \
             a storage migration ensures no data remains persisted in {name} and removes {name} from \
             status.storedVersions"
        );
        errors.push(FieldError::invalid(&path.index(at), name.as_str(), detail));
    }
}

/// Groups of Kubernetes' own need someone's approval.
fn approval(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let group = text(&definition["spec"], "group");
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')));
    let annotation = |definition: &Value| {
        let found = entries(&definition["metadata"], "annotations").find(|(key, _)| *key == APPROVAL);
        found.and_then(|(_, value)| value.as_str()).unwrap_or_default().to_owned()
    };
    #[derive(PartialEq)]
    enum State {
        Missing,
        Fine,
        Wrong,
    }
    let state = |text: &str| match text {
        "" => State::Missing,
        text if text.starts_with("unapproved") => State::Fine,
        text if text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()) => {
            State::Fine
        }
        _ => State::Wrong,
    };
    let text = annotation(definition);
    let is = state(&text);
    if !is_protected || is == State::Fine || old.is_some_and(|old| state(&annotation(old)) == is) {
        return;
    }
    let path = Path::root("metadata").child("annotations").key(APPROVAL);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    errors.push(match is {
        State::Missing => {
            FieldError::required(&path, format!("protected groups must have approval annotation \"{APPROVAL}\", {see}"))
        }
        _ => FieldError::invalid(
            &path,
            text,
            format!(
                "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting \
                 with \"unapproved\", {see}"
            ),
        ),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Value {
        json!({"metadata": {"name": "ks.g.io"}, "spec": {"group": "g.io", "scope": "Namespaced",
            "names": {"plural": "ks", "singular": "k", "kind": "K", "listKind": "KList"},
            "conversion": {"strategy": "None"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}, "status": {"storedVersions": ["v1"]}})
    }

    fn check(change: impl Fn(&mut Value), want: &[&str]) {
        let mut changed = definition();
        change(&mut changed);
        let found: Vec<String> = validate_definition(&changed, None).iter().map(ToString::to_string).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn definitions_are_checked() {
        check(|_| {}, &[]);
        check(
            |d| d["metadata"]["name"] = json!("x"),
            &["metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group"],
        );
        check(
            |d| d["spec"]["scope"] = json!("Other"),
            &["spec.scope: Unsupported value: \"Other\": supported values: \"Cluster\", \"Namespaced\""],
        );
        check(
            |d| d["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({}),
            &["spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root"],
        );
        check(
            |d| d["spec"]["versions"][0]["schema"] = json!(null),
            &["spec.versions[0].schema.openAPIV3Schema: Required value"],
        );
        check(
            |d| d["status"]["storedVersions"] = json!(["v1", "v0"]),
            &[
                "status.storedVersions[1]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage \
             version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 \
             and removes v0 from status.storedVersions",
            ],
        );
        check(
            |d| {
                d["spec"]["versions"][0]["additionalPrinterColumns"] =
                    json!([{"name": "A", "type": "x", "jsonPath": ".a"}])
            },
            &[
                "spec.additionalPrinterColumns[0].type: Invalid value: \"x\": must be one of boolean,date,integer,number,string",
            ],
        );
        check(
            |d| {
                d["metadata"]["name"] = json!("ks.a.k8s.io");
                d["spec"]["group"] = json!("a.k8s.io");
            },
            &["metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval \
               annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"],
        );
    }

    #[test]
    fn names_stay_once_they_are_served() {
        let mut old = definition();
        old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        let mut new = old.clone();
        new["spec"]["scope"] = json!("Cluster");
        let found: Vec<String> = validate_definition(&new, Some(&old)).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["spec.scope: Invalid value: \"Cluster\": field is immutable"]);
    }
}
