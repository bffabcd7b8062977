//! How deep values may nest: what is stored must be readable again, and readers bound their depth.

use serde_json::Value;

/// Containers within each other that serde_json reads.
pub const DEPTH_MAX: usize = 127;

/// How many containers nest in `value`, counted up to one more than [`DEPTH_MAX`].
pub fn depth(value: &Value) -> usize {
    up_to(value, DEPTH_MAX + 1)
}

/// Whether `value`, stored as JSON, could not be read again.
pub fn is_too_deep(value: &Value) -> bool {
    depth(value) > DEPTH_MAX
}

fn up_to(value: &Value, bound: usize) -> usize {
    if bound == 0 {
        return 0;
    }
    let inner = |deepest: usize, value: &Value| match value {
        Value::Array(_) | Value::Object(_) => deepest.max(up_to(value, bound - 1)),
        _ => deepest,
    };
    match value {
        Value::Array(list) => 1 + list.iter().fold(0, inner),
        Value::Object(map) => 1 + map.values().fold(0, inner),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_is_not_too_deep_reads_back() {
        let value: Value = serde_json::from_str(&nested(DEPTH_MAX)).unwrap();
        assert_eq!(depth(&value), DEPTH_MAX);
        assert!(!is_too_deep(&value));
        assert!(serde_json::from_str::<Value>(&nested(DEPTH_MAX + 1)).is_err());
        let deeper = Value::Array(vec![value]);
        assert!(is_too_deep(&deeper));
        assert!(is_too_deep(&Value::Array(vec![deeper])));
    }
}
