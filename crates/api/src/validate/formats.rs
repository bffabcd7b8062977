//! Formats in the schemas of custom resources: unknown ones are ignored, which deserves a word.

use serde_json::Value;

const OF_TEXT: [&str; 26] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// Whether a type has such a format.
pub(crate) fn is_known(kind: &str, format: &str) -> bool {
    match kind {
        "" | "string" => OF_TEXT.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// The formats in all schemas of a definition that its types do not have.
pub(super) fn unrecognized(definition: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    for version in versions {
        if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
            collect(schema, &mut out);
        }
    }
    out
}

/// Goes through a schema and those within; depth is bounded by that of the decoded body.
fn collect(schema: &Value, out: &mut Vec<String>) {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or("");
    let format = text("format");
    if !format.is_empty() && !is_known(text("type"), format) {
        out.push(format.to_owned());
    }
    for key in ["items", "additionalItems", "additionalProperties", "not"] {
        match schema.get(key) {
            Some(Value::Array(list)) => list.iter().for_each(|one| collect(one, out)),
            Some(one @ Value::Object(_)) => collect(one, out),
            _ => {}
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        schema.get(key).and_then(Value::as_array).into_iter().flatten().for_each(|one| collect(one, out));
    }
    for key in ["properties", "patternProperties", "definitions"] {
        let map = schema.get(key).and_then(Value::as_object).into_iter().flatten();
        map.for_each(|(_, one)| collect(one, out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats() {
        fn check(schema: Value, expect: &[&str]) {
            let definition = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
            assert_eq!(unrecognized(&definition), expect);
        }
        check(json!({"type": "string", "format": "date-time"}), &[]);
        check(json!({"type": "integer", "format": "int64"}), &[]);
        check(json!({"properties": {"a": {"type": "string", "format": "int64"}}}), &["int64"]);
        check(json!({"items": {"anyOf": [{"type": "boolean", "format": "x"}]}}), &["x"]);
    }
}
