//! Server-side tables as `get` prints them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Least width of a column with its padding, and the padding.
const WIDTH_MIN: usize = 6;
const PADDING: usize = 3;

/// What is added to the server's columns, and left out of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Style {
    pub(crate) wide: bool,
    pub(crate) no_headers: bool,
    /// A first column with the namespace.
    pub(crate) with_namespace: bool,
    /// Names as `daemonset.apps/fluentd`.
    pub(crate) with_kind: Option<String>,
    pub(crate) show_labels: bool,
    /// A column for each of these labels.
    pub(crate) label_columns: Vec<String>,
}

/// Prints tables; columns only grow, so that what a watch adds stands below what was printed before.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    widths: Vec<usize>,
}

impl Printer {
    /// The table's rows as text, below a header if the style wants one.
    pub(crate) fn render(&mut self, table: &Value, style: &Style) -> String {
        let columns = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let shown: Vec<usize> = (0..columns.len())
            .filter(|place| style.wide || columns[*place]["priority"].as_i64().unwrap_or_default() == 0)
            .collect();
        let mut lines = Vec::new();
        if !style.no_headers {
            lines.push(header(columns, &shown, style));
        }
        lines.extend(table["rows"].as_array().into_iter().flatten().map(|row| cells(row, columns, &shown, style)));
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), WIDTH_MIN);
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count() + PADDING);
            }
        }
        lines.into_iter().map(|line| self.line(&line)).collect()
    }

    fn line(&self, cells: &[String]) -> String {
        let mut text = String::new();
        for (place, cell) in cells.iter().enumerate() {
            text.push_str(cell);
            if place + 1 < cells.len() {
                text.extend(std::iter::repeat_n(' ', self.widths[place] - cell.chars().count()));
            }
        }
        text + "\n"
    }
}

fn header(columns: &[Value], shown: &[usize], style: &Style) -> Vec<String> {
    let mut titles = Vec::new();
    if style.with_namespace {
        titles.push("NAMESPACE".to_owned());
    }
    titles.extend(shown.iter().map(|place| columns[*place]["name"].as_str().unwrap_or_default().to_uppercase()));
    titles.extend(style.label_columns.iter().map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()));
    if style.show_labels {
        titles.push("LABELS".to_owned());
    }
    titles
}

fn cells(row: &Value, columns: &[Value], shown: &[usize], style: &Style) -> Vec<String> {
    let metadata = &row["object"]["metadata"];
    let mut cells = Vec::new();
    if style.with_namespace {
        cells.push(metadata["namespace"].as_str().unwrap_or_default().to_owned());
    }
    for place in shown {
        let mut text = cell(&row["cells"][*place]);
        if let Some(kind) = &style.with_kind
            && columns[*place]["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case("name"))
        {
            text = format!("{kind}/{text}");
        }
        cells.push(text);
    }
    let labels = &metadata["labels"];
    cells.extend(style.label_columns.iter().map(|label| match &labels[label.as_str()] {
        Value::String(value) => value.clone(),
        _ => String::new(),
    }));
    if style.show_labels {
        cells.push(join_labels(labels));
    }
    cells
}

/// A cell on one line: what stands after a line's end is cut off.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::String(text) => match text.split_once(['\n', '\r', '\u{c}']) {
            Some((first, _)) => format!("{first}..."),
            None => text.replace('\t', " "),
        },
        other => other.to_string(),
    }
}

/// `a=b,c=d`, or `<none>`.
pub(crate) fn join_labels(labels: &Value) -> String {
    let pairs: BTreeMap<&String, &Value> = labels.as_object().into_iter().flatten().collect();
    if pairs.is_empty() {
        return "<none>".into();
    }
    let texts: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    texts.join(",")
}

/// A table of names and ages, for a server that answers with plain objects.
pub(crate) fn of_objects(list: &Value, now: jiff::Timestamp) -> Value {
    let row = |object: &Value| {
        let age = crate::duration::since(&object["metadata"]["creationTimestamp"], now);
        json!({"cells": [object["metadata"]["name"], age], "object": object})
    };
    let rows: Vec<Value> = match list["items"].as_array() {
        Some(items) => items.iter().map(row).collect(),
        None => vec![row(list)],
    };
    json!({"kind": "Table", "columnDefinitions": [{"name": "Name"}, {"name": "Age"}], "rows": rows, "metadata": list["metadata"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Value {
        json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Ready"}, {"name": "Node", "priority": 1}],
            "rows": [
                {"cells": ["a", 1, "n-0"], "object": {"metadata": {"namespace": "x", "labels": {"app": "l", "b/c": "d"}}}},
                {"cells": ["longer-name", 22, null], "object": {"metadata": {"namespace": "y"}}},
            ],
        })
    }

    #[test]
    fn prints_as_kubectl_does() {
        let plain = Style::default();
        let cases = [
            (plain.clone(), "NAME          READY\na             1\nlonger-name   22\n"),
            (
                Style { wide: true, ..plain.clone() },
                "NAME          READY   NODE\na             1       n-0\nlonger-name   22      <none>\n",
            ),
            (Style { no_headers: true, ..plain.clone() }, "a             1\nlonger-name   22\n"),
            (
                Style { with_namespace: true, with_kind: Some("pod".into()), ..plain.clone() },
                "NAMESPACE   NAME              READY\nx           pod/a             1\ny           pod/longer-name   22\n",
            ),
            (
                Style { show_labels: true, label_columns: vec!["b/c".into()], ..plain },
                "NAME          READY   C     LABELS\na             1       d     app=l,b/c=d\nlonger-name   22            <none>\n",
            ),
        ];
        for (style, want) in cases {
            assert_eq!(Printer::default().render(&table(), &style), want, "{style:?}");
        }
    }
}
