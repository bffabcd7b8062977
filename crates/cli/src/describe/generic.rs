//! Kinds that have no description of their own, and a few small ones that do.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::writer::{Writer, text};

/// Fields that the head shows already.
const SHOWN: [&str; 5] =
    [".metadata.managedFields", ".metadata.name", ".metadata.namespace", ".metadata.labels", ".metadata.annotations"];
const ACRONYMS: [&str; 4] = ["API", "URL", "UID", "GUID"];

/// Every field of an object.
pub(super) fn generic(w: &mut Writer, object: &Value) {
    head(w, object);
    if let Some(fields) = object.as_object() {
        all(w, 0, fields, "");
    }
}

fn head(w: &mut Writer, object: &Value) {
    let metadata = &object["metadata"];
    w.line(0, format!("Name:\t{}", text(&metadata["name"])));
    w.line(0, format!("Namespace:\t{}", text(&metadata["namespace"])));
    w.labels("Labels", &metadata["labels"]);
    w.annotations("Annotations", &metadata["annotations"]);
}

fn all(w: &mut Writer, level: usize, fields: &Map<String, Value>, prefix: &str) {
    for (name, value) in fields {
        let path = format!("{prefix}.{name}");
        if SHOWN.contains(&path.as_str()) {
            continue;
        }
        let title = title(name);
        match value {
            Value::Object(inner) => {
                w.line(level, format!("{title}:"));
                all(w, level + 1, inner, &path);
            }
            Value::Array(list) => {
                w.line(level, format!("{title}:"));
                for item in list {
                    match item.as_object() {
                        Some(inner) => all(w, level + 1, inner, &path),
                        None => w.line(level + 1, text(item)),
                    }
                }
            }
            Value::Null => w.line(level, format!("{title}:\t<nil>")),
            other => w.line(level, format!("{title}:\t{}", text(other))),
        }
    }
}

/// `apiVersion` as `API Version`, `maxUnavailable` as `Max Unavailable`.
fn title(name: &str) -> String {
    if name.chars().any(|c| !c.is_alphabetic() && c != '-') {
        return name.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let chars: Vec<char> = name.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = chars.get(at + 1);
        // A word begins where a capital follows a small letter, or ends a run of capitals.
        let begins = match before {
            None => true,
            Some(before) if c.is_uppercase() => {
                before.is_lowercase() || (before.is_uppercase() && after.is_some_and(|next| next.is_lowercase()))
            }
            Some(before) => !c.is_alphabetic() || !before.is_alphabetic(),
        };
        match words.last_mut() {
            Some(word) if !begins => word.push(*c),
            _ => words.push(c.to_string()),
        }
    }
    let shown = words.into_iter().map(|word| {
        let upper = word.to_uppercase();
        if ACRONYMS.contains(&upper.as_str()) {
            upper
        } else if word.chars().all(|c| !c.is_uppercase()) {
            let mut letters = word.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
        } else {
            word
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A ConfigMap with its data.
pub(super) fn config_map(w: &mut Writer, map: &Value) {
    head(w, map);
    w.line(0, "");
    w.line(0, "Data");
    w.line(0, "====");
    for (key, value) in map["data"].as_object().into_iter().flatten() {
        w.line(0, format!("{key}:"));
        w.line(0, "----");
        w.line(0, text(value));
        w.line(0, "");
    }
    w.line(0, "");
    w.line(0, "BinaryData");
    w.line(0, "====");
    for (key, value) in map["binaryData"].as_object().into_iter().flatten() {
        w.line(0, format!("{key}: {} bytes", decoded_len(value)));
        w.line(0, "");
    }
    w.line(0, "");
}

/// A Secret; its data is told by size alone.
pub(super) fn secret(w: &mut Writer, secret: &Value) {
    head(w, secret);
    w.line(0, "");
    w.line(0, format!("Type:\t{}", text(&secret["type"])));
    w.line(0, "");
    w.line(0, "Data");
    w.line(0, "====");
    for (key, value) in secret["data"].as_object().into_iter().flatten() {
        w.line(0, format!("{key}:\t{} bytes", decoded_len(value)));
    }
}

fn decoded_len(value: &Value) -> usize {
    base64::engine::general_purpose::STANDARD.decode(text(value)).map_or(0, |bytes| bytes.len())
}

/// A namespace.
pub(super) fn namespace(w: &mut Writer, namespace: &Value) {
    let metadata = &namespace["metadata"];
    w.line(0, format!("Name:\t{}", text(&metadata["name"])));
    w.labels("Labels", &metadata["labels"]);
    w.annotations("Annotations", &metadata["annotations"]);
    w.line(0, format!("Status:\t{}", text(&namespace["status"]["phase"])));
    w.line(0, "");
    w.line(0, "No resource quota.");
    w.line(0, "");
    w.line(0, "No LimitRange resource.");
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn titles() {
        let cases = [
            ("apiVersion", "API Version"),
            ("kind", "Kind"),
            ("maxUnavailable", "Max Unavailable"),
            ("uid", "UID"),
            ("creationTimestamp", "Creation Timestamp"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
            ("podIP", "Pod IP"),
        ];
        for (name, want) in cases {
            assert_eq!(title(name), want);
        }
    }
}
