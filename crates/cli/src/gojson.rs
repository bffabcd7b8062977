//! JSON as Go writes it: sorted keys, and `<`, `>`, `&` escaped.

use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// On one line.
pub(crate) fn compact(value: &Value) -> String {
    write(value, CompactFormatter)
}

/// Indented by four spaces.
pub(crate) fn pretty(value: &Value) -> String {
    write(value, PrettyFormatter::with_indent(b"    "))
}

fn write<F: Formatter>(value: &Value, formatter: F) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    // Writing a Value to memory can't fail: its keys are strings.
    let written = serde::Serialize::serialize(value, &mut serializer);
    debug_assert!(written.is_ok());
    // In JSON these characters stand in strings only.
    String::from_utf8_lossy(&bytes).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn escapes_as_go_does() {
        assert_eq!(compact(&json!({"b": "<&>", "a": [1, {}]})), r#"{"a":[1,{}],"b":"\u003c\u0026\u003e"}"#);
        assert_eq!(
            pretty(&json!({"a": [], "b": {"c": 1}})),
            "{\n    \"a\": [],\n    \"b\": {\n        \"c\": 1\n    }\n}"
        );
    }
}
