//! YAML events into JSON values.
//!
//! Invariants: no recursion; a document's nodes, those of expanded aliases included, are counted and bounded.
//! Absent: the meaning of scalars (see `resolve`).

use super::resolve::{self, Scalar};
use super::{Document, Duplicate, YamlError, key_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Nodes of a document after aliases are expanded: some ten times the largest body a server takes, and small enough
/// that an alias bomb stays below a hundred megabytes.
const NODES_MAX: usize = 1_000_000;

/// Nesting, as deep as a JSON body may be.
const DEPTH_MAX: usize = 128;

/// Reads at most `limit` documents.
pub(super) fn documents(text: &str, limit: usize) -> Result<Vec<Document>, YamlError> {
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_error(&error))?;
        let line = span.start.line().max(1);
        let fail = |what: String| YamlError { line, what };
        match event {
            Event::DocumentStart(..) => builder = Builder::default(),
            Event::DocumentEnd => {
                let Builder { root, line, duplicates, .. } = std::mem::take(&mut builder);
                documents.push(Document { value: root.unwrap_or(Value::Null), line, duplicates });
                if documents.len() >= limit {
                    break;
                }
            }
            Event::Alias(anchor) => builder.alias(anchor, line).map_err(fail)?,
            Event::Scalar(text, style, anchor, tag) => {
                builder.scalar(&text, style, anchor, tag.as_deref(), line).map_err(fail)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                builder.open(Container::List(Vec::new()), anchor, line).map_err(fail)?;
            }
            Event::MappingStart(_, anchor, _) => {
                builder.open(Container::Map { entries: Map::new(), key: None }, anchor, line).map_err(fail)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close().map_err(fail)?,
            _ => {}
        }
    }
    Ok(documents)
}

fn scan_error(error: &ScanError) -> YamlError {
    YamlError { line: error.marker().line().max(1), what: error.kind().to_string() }
}

/// What is open.
enum Container {
    List(Vec<Value>),
    Map { entries: Map<String, Value>, key: Option<Key> },
}

enum Key {
    Name { text: String, shown: String },
    Merge,
}

struct Frame {
    container: Container,
    anchor: usize,
    line: usize,
    /// Nodes of the document before this one.
    nodes_before: usize,
}

/// A finished node.
struct Node {
    value: Value,
    line: usize,
    is_merge_key: bool,
    is_alias: bool,
}

struct Anchored {
    value: Value,
    nodes: usize,
}

#[derive(Default)]
struct Builder {
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    root: Option<Value>,
    line: usize,
    duplicates: Vec<Duplicate>,
}

impl Builder {
    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err("document contains excessive aliasing".to_owned());
        }
        Ok(())
    }

    fn open(&mut self, container: Container, anchor: usize, line: usize) -> Result<(), String> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        let nodes_before = self.nodes;
        self.count(1)?;
        self.frames.push(Frame { container, anchor, line, nodes_before });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.container {
            Container::List(items) => Value::Array(items),
            Container::Map { entries, .. } => Value::Object(entries),
        };
        self.remember(frame.anchor, &value, self.nodes - frame.nodes_before);
        self.place(Node { value, line: frame.line, is_merge_key: false, is_alias: false })
    }

    fn remember(&mut self, anchor: usize, value: &Value, nodes: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored { value: value.clone(), nodes });
        }
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), String> {
        let Some(found) = self.anchors.get(&anchor) else {
            return Err("an anchor's value contains itself".to_owned());
        };
        let (value, nodes) = (found.value.clone(), found.nodes);
        self.count(nodes)?;
        self.place(Node { value, line, is_merge_key: false, is_alias: true })
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        line: usize,
    ) -> Result<(), String> {
        self.count(1)?;
        let is_plain = style == ScalarStyle::Plain;
        let (value, is_merge_key) = match tag.and_then(Tagged::of) {
            Some(tagged) => tagged.read(text)?,
            None if is_plain => match resolve::plain(text) {
                Scalar::Json(value) => (value, false),
                Scalar::Timestamp => (Value::from(text), false),
                Scalar::Merge => (Value::from(text), true),
                Scalar::NotANumber => return Err(format!("{text} is no number that JSON can hold")),
            },
            None => (Value::from(text), false),
        };
        self.remember(anchor, &value, 1);
        self.place(Node { value, line, is_merge_key, is_alias: false })
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node) -> Result<(), String> {
        let Some(frame) = self.frames.last_mut() else {
            self.root.get_or_insert(node.value);
            self.line = node.line;
            return Ok(());
        };
        match &mut frame.container {
            Container::List(items) => items.push(node.value),
            Container::Map { entries, key } => match key.take() {
                None => *key = Some(key_of(node)?),
                Some(Key::Merge) => merge(entries, node, &mut self.duplicates)?,
                Some(Key::Name { text, shown }) => {
                    if entries.insert(text, node.value).is_some() {
                        self.duplicates.push(Duplicate { line: node.line, key: shown });
                    }
                }
            },
        }
        Ok(())
    }
}

fn key_of(node: Node) -> Result<Key, String> {
    if node.is_merge_key {
        return Ok(Key::Merge);
    }
    let shown = key_text(&node.value);
    let text = match node.value {
        Value::String(text) => text,
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null => return Err("a key may not be null: put it in quotes".to_owned()),
        Value::Array(_) | Value::Object(_) => return Err("invalid map key: only scalars can be keys".to_owned()),
    };
    Ok(Key::Name { text, shown })
}

/// Takes over the entries of a `<<` value; of a list's mappings the earlier ones win.
fn merge(entries: &mut Map<String, Value>, node: Node, duplicates: &mut Vec<Duplicate>) -> Result<(), String> {
    let sources = match node.value {
        source @ Value::Object(_) => vec![source],
        Value::Array(items) if !node.is_alias => items,
        _ => Vec::from([Value::Null]),
    };
    for source in sources.into_iter().rev() {
        let Value::Object(source) = source else {
            return Err("map merge requires map or sequence of maps as the value".to_owned());
        };
        for (key, value) in source {
            let shown = key_text(&Value::from(key.as_str()));
            if entries.insert(key, value).is_some() {
                duplicates.push(Duplicate { line: node.line, key: shown });
            }
        }
    }
    Ok(())
}

/// An explicit tag that changes how a scalar is read.
enum Tagged {
    Text,
    Binary,
    Merge,
    /// Bool, int, float, null or timestamp: the value must be one.
    Typed(&'static str),
}

impl Tagged {
    /// None for the tag `!`, which says nothing.
    fn of(tag: &Tag) -> Option<Self> {
        let full = format!("{}{}", tag.handle(), tag.suffix());
        if full == "!" {
            return None;
        }
        Some(match full.strip_prefix("tag:yaml.org,2002:").unwrap_or_default() {
            "bool" => Tagged::Typed("bool"),
            "int" => Tagged::Typed("int"),
            "float" => Tagged::Typed("float"),
            "null" => Tagged::Typed("null"),
            "timestamp" => Tagged::Typed("timestamp"),
            "binary" => Tagged::Binary,
            "merge" => Tagged::Merge,
            _ => Tagged::Text,
        })
    }

    /// The value, and whether it is the merge key.
    fn read(&self, text: &str) -> Result<(Value, bool), String> {
        match self {
            Tagged::Text => Ok((Value::from(text), false)),
            Tagged::Merge => Ok((Value::from(text), text == "<<")),
            Tagged::Binary => {
                let compact: String = text.split_whitespace().collect();
                let bytes = STANDARD.decode(compact).map_err(|_| "!!binary value contains invalid base64 data")?;
                Ok((Value::from(String::from_utf8_lossy(&bytes)), false))
            }
            Tagged::Typed(name) => {
                let (found, value) = match resolve::plain(text) {
                    Scalar::Json(value) => (kind_of(&value), value),
                    Scalar::Timestamp => ("timestamp", Value::from(text)),
                    Scalar::Merge => ("merge", Value::from(text)),
                    Scalar::NotANumber => return Err(format!("{text} is no number that JSON can hold")),
                };
                if found == *name || (*name == "float" && found == "int") {
                    return Ok((value, false));
                }
                Err(format!("cannot decode !!{found} `{text}` as a !!{name}"))
            }
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        _ => "str",
    }
}
