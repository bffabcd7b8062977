//! YAML as kubectl reads and prints it: YAML 1.1 in the way of go-yaml v2, on its way to JSON.
//!
//! Reading: `yes`, `on` and `y` are booleans, `0755` is octal, `<<` merges, keys become strings, the last of repeated
//! keys wins and is reported. Printing: keys sorted, lists not indented below their key, lines folded at 80.
//!
//! Invariants: what `to_yaml` prints, `read_documents` reads back as the same value; aliases cannot grow a document
//! beyond a bound; nesting is bounded.
//! Absent: comments, timestamps and binary data as types of their own.

mod read;
mod resolve;
mod write;

pub use write::to_yaml;

use crate::quote::quoted;
use serde_json::Value;

/// Why a text is not YAML that can become JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("yaml: line {line}: {what}")]
pub struct YamlError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// A key that stands in a mapping more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Line of the later value, from 1.
    pub line: usize,
    /// The key as Go prints it: strings in quotes.
    pub key: String,
}

/// One document of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The content; null for an empty document.
    pub value: Value,
    /// Line of the content, from 1.
    pub line: usize,
    /// Keys that were given again.
    pub duplicates: Vec<Duplicate>,
}

/// All documents of `text` that are not empty.
///
/// # Errors
/// What cannot be read, with its line.
pub fn read_documents(text: &str) -> Result<Vec<Value>, YamlError> {
    Ok(read_all(text)?.into_iter().map(|document| document.value).collect())
}

/// As [`read_documents`], with lines and repeated keys.
///
/// # Errors
/// What cannot be read, with its line.
pub fn read_all(text: &str) -> Result<Vec<Document>, YamlError> {
    if let Some(documents) = json_documents(text) {
        return Ok(documents);
    }
    let mut documents = read::documents(text, usize::MAX)?;
    documents.retain(|document| !document.value.is_null());
    Ok(documents)
}

/// The first document of `text`, as a kube-apiserver reads a body.
///
/// # Errors
/// What cannot be read, with its line.
pub fn read_one(text: &str) -> Result<Document, YamlError> {
    let first = read::documents(text, 1)?.into_iter().next();
    Ok(first.unwrap_or(Document { value: Value::Null, line: 1, duplicates: Vec::new() }))
}

/// A text that starts with a brace is taken for JSON first, as kubectl does; JSON allows what YAML does not, such as
/// tabs.
fn json_documents(text: &str) -> Option<Vec<Document>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let values: Result<Vec<Value>, _> = values.collect();
    let as_document = |value| Document { value, line: 1, duplicates: Vec::new() };
    Some(values.ok()?.into_iter().map(as_document).collect())
}

/// go-yaml's message for repeated keys, as a list of at most one strict error.
pub(crate) fn unmarshal_errors(duplicates: &[Duplicate]) -> Vec<String> {
    if duplicates.is_empty() {
        return Vec::new();
    }
    let lines: Vec<String> =
        duplicates.iter().map(|found| format!("  line {}: key {} already set in map", found.line, found.key)).collect();
    vec![format!("yaml: unmarshal errors:\n{}", lines.join("\n"))]
}

/// A key as Go's `%#v` prints it.
fn key_text(key: &Value) -> String {
    match key {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
