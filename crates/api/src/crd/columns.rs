//! How objects of a custom kind are printed.
//!
//! Invariants: one cell a column; a column whose path leads nowhere has a null.
//! Absent: the envelope of the table.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Custom;
use super::jsonpath::JsonPath;
use crate::table::human_duration;

/// A column that a definition adds.
#[derive(Debug)]
pub(super) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    /// None for a path that can't be read: its cells are empty.
    path: Option<JsonPath>,
}

/// What Kubernetes' types say of `metadata.name`.
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources \
    may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for \
    creation idempotence and configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
/// What Kubernetes' types say of `metadata.creationTimestamp`.
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is \
    not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is \
    represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

impl Column {
    /// The columns of a version; where it names none, the age is shown.
    pub(super) fn read_all(columns: &[Value]) -> Vec<Column> {
        if columns.is_empty() {
            let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
                "description": CREATED});
            return vec![Column::read(&age)];
        }
        columns.iter().map(Column::read).collect()
    }

    fn read(column: &Value) -> Column {
        let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
        let path = text("jsonPath");
        let description = match text("description") {
            empty if empty.is_empty() => format!("Custom resource definition column (in JSONPath format): {path}"),
            description => description,
        };
        Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description,
            priority: column["priority"].as_i64().unwrap_or_default(),
            path: JsonPath::parse(&path),
        }
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.as_ref().and_then(|path| path.first(object)) else { return Value::Null };
        match (self.kind.as_str(), value) {
            ("string", Value::String(_)) => value.clone(),
            ("string", Value::Null) => Value::from("<nil>"),
            ("string", other) => Value::from(other.to_string()),
            ("integer", Value::Number(number)) => {
                number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).map_or(Value::Null, Value::from)
            }
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) => Value::from(match text.parse::<Timestamp>() {
                Ok(time) => human_duration(now.duration_since(time).as_secs()),
                Err(_) => "<invalid>".to_owned(),
            }),
            _ => Value::Null,
        }
    }
}

/// The columns as `metav1.TableColumnDefinition`s.
pub(crate) fn definitions(custom: &Custom) -> Vec<Value> {
    let name = json!({"name": "Name", "type": "string", "format": "name", "description": NAME, "priority": 0});
    let others = custom.columns.iter().map(|column| {
        json!({"name": column.name, "type": column.kind, "format": column.format, "description": column.description,
            "priority": column.priority})
    });
    std::iter::once(name).chain(others).collect()
}

/// The cells of an object.
pub(crate) fn row(custom: &Custom, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object["metadata"]["name"].clone();
    std::iter::once(name).chain(custom.columns.iter().map(|column| column.cell(object, now))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_by_type() {
        let column = |kind: &str, path: &str| json!({"name": "X", "type": kind, "jsonPath": path});
        let object = json!({"metadata": {"creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"n": 3, "f": 2.5, "b": true, "s": "x", "m": {"a": 1}}});
        let now: Timestamp = "2024-01-01T01:00:00Z".parse().expect("a time");
        for (kind, path, want) in [
            ("integer", ".spec.n", json!(3)),
            ("integer", ".spec.f", json!(2)),
            ("number", ".spec.f", json!(2.5)),
            ("boolean", ".spec.b", json!(true)),
            ("boolean", ".spec.n", json!(null)),
            ("string", ".spec.s", json!("x")),
            ("string", ".spec.n", json!("3")),
            ("string", ".spec.m", json!("{\"a\":1}")),
            ("string", ".spec.none", json!(null)),
            ("date", ".metadata.creationTimestamp", json!("60m")),
            ("date", ".spec.s", json!("<invalid>")),
        ] {
            assert_eq!(Column::read(&column(kind, path)).cell(&object, now), want, "{kind} {path}");
        }
        let plain = Column::read_all(&[]);
        assert_eq!((plain[0].name.as_str(), plain[0].cell(&object, now)), ("Age", json!("60m")));
    }
}
