//! Lines in columns, and the small blocks that many descriptions share.

use serde_json::{Map, Value};

use crate::columns;

/// Annotations that nobody wants to read.
const HIDDEN_ANNOTATIONS: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];
/// Longer annotations stand on lines of their own, and are cut there.
const ANNOTATION_CHARS_MAX: usize = 140;

/// Collects a description; cells are separated by tabs.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    done: String,
    pending: String,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A line, `level` steps in.
    pub(crate) fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.pending.extend(std::iter::repeat_n("  ", level));
        self.pending.push_str(text.as_ref());
        self.pending.push('\n');
    }

    /// What follows is aligned anew.
    pub(crate) fn flush(&mut self) {
        self.done.push_str(&columns::align(&std::mem::take(&mut self.pending), 0, 2));
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        self.flush();
        self.done
    }

    /// The text with its tabs, as a block that has no columns is printed.
    pub(crate) fn unaligned(self) -> String {
        self.done + &self.pending
    }

    /// `Title:` and the labels, each on its line.
    pub(crate) fn labels(&mut self, title: &str, labels: &Value) {
        let lines = labels.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value)));
        self.list(title, lines.collect());
    }

    /// `Title:` and lines beside it, or `<none>`.
    pub(crate) fn list(&mut self, title: &str, lines: Vec<String>) {
        if lines.is_empty() {
            self.line(0, format!("{title}:\t<none>"));
        }
        for (place, line) in lines.into_iter().enumerate() {
            if place == 0 {
                self.line(0, format!("{title}:\t{line}"));
            } else {
                self.line(0, format!("\t{line}"));
            }
        }
    }

    /// `Title:` and the annotations.
    pub(crate) fn annotations(&mut self, title: &str, annotations: &Value) {
        let empty = Map::new();
        let all = annotations.as_object().unwrap_or(&empty);
        let mut lines = Vec::new();
        for (key, value) in all.iter().filter(|(key, _)| !HIDDEN_ANNOTATIONS.contains(&key.as_str())) {
            let value = text(value);
            let value = value.strip_suffix('\n').unwrap_or(&value);
            if value.len() + key.len() + 2 > ANNOTATION_CHARS_MAX || value.contains('\n') {
                lines.push(format!("{key}:"));
                lines.extend(value.split('\n').map(|line| format!("  {}", shortened(line))));
            } else {
                lines.push(format!("{key}: {value}"));
            }
        }
        self.list(title, lines);
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(ANNOTATION_CHARS_MAX - 2) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

/// A value as it is printed: text bare, nothing for null.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A list's items.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `True` or `False`.
pub(crate) fn bool_word(value: &Value) -> &'static str {
    if value == true { "True" } else { "False" }
}
