//! One step of a path below an object: a field, an item of a keyed list, a member of a set, a place in a list.
//!
//! Invariants: kept as `fieldsV1` spells it (`f:name`, `k:{"name":"x"}`, `v:1`, `i:0`), keys sorted and compact, so that
//! equal steps have equal text.
//! Absent: what a step leads to.

use std::fmt;

use serde_json::{Map, Value};

use crate::quote::quoted;

/// A step, as `fieldsV1` spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(String);

/// Why a text is no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ElementError(pub(super) String);

impl Element {
    /// The field of this name.
    pub fn field(name: &str) -> Element {
        Element(format!("f:{name}"))
    }

    /// The item of a keyed list that has these values.
    pub(super) fn key(fields: Map<String, Value>) -> Element {
        Element(format!("k:{}", encoded(&Value::Object(fields))))
    }

    /// The member of a set.
    pub(super) fn value(value: &Value) -> Element {
        Element(format!("v:{}", encoded(value)))
    }

    /// Reads a step from anyone. None for kinds of steps that we do not know, which are to be left out.
    ///
    /// # Errors
    /// What is no step.
    pub(super) fn parse(text: &str) -> Result<Option<Element>, ElementError> {
        let Some((kind, rest)) = text.split_at_checked(2) else {
            return Err(ElementError("key must be 2 characters long:".to_owned()));
        };
        let broken = |error: serde_json::Error| ElementError(error.to_string());
        match kind {
            "f:" => Ok(Some(Element(text.to_owned()))),
            "k:" => Ok(Some(Element::key(serde_json::from_str(rest).map_err(broken)?))),
            "v:" => Ok(Some(Element::value(&serde_json::from_str(rest).map_err(broken)?))),
            "i:" => match rest.parse::<i64>() {
                Ok(place) => Ok(Some(Element(format!("i:{place}")))),
                Err(error) => Err(ElementError(error.to_string())),
            },
            _ if kind.ends_with(':') => Ok(None),
            _ => Err(ElementError(format!("missing colon: {text}"))),
        }
    }

    /// A step that this server wrote, which needs no check.
    pub(super) fn stored(text: &str) -> Element {
        Element(text.to_owned())
    }

    /// As `fieldsV1` spells it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As `fieldsV1` spells it.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// The field's name, if the step is a field.
    pub(super) fn field_name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }
}

/// A step as conflicts name it: `.spec`, `[name="x"]`, `[="a"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, rest) = self.0.split_at_checked(2).unwrap_or(("", ""));
        match kind {
            "f:" => write!(f, ".{rest}"),
            "k:" => {
                let fields: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect();
                write!(f, "[{}]", fields.join(","))
            }
            "v:" => write!(f, "[={}]", shown(&serde_json::from_str(rest).unwrap_or_default())),
            _ => write!(f, "[{rest}]"),
        }
    }
}

/// A value as conflicts show it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// JSON as Go writes it inside of HTML-safe documents.
fn encoded(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled_and_shown() {
        for (text, canonical, display) in [
            ("f:a.b/c", "f:a.b/c", ".a.b/c"),
            (
                r#"k:{ "protocol":"TCP", "containerPort":80 }"#,
                r#"k:{"containerPort":80,"protocol":"TCP"}"#,
                "[containerPort=80,protocol=\"TCP\"]",
            ),
            (r#"v:"x"#, "", "error"),
            (r#"v:"a\"b""#, r#"v:"a\"b""#, r#"[="a\"b"]"#),
            ("v:true", "v:true", "[=true]"),
            ("i:03", "i:3", "[3]"),
            (r#"v:"<a>""#, "v:\"\\u003ca\\u003e\"", "[=\"<a>\"]"),
            ("x:new", "", "none"),
            ("f", "", "error"),
            ("fx", "", "error"),
        ] {
            match Element::parse(text) {
                Ok(Some(element)) => {
                    assert_eq!((element.as_str(), element.to_string().as_str()), (canonical, display), "{text}");
                }
                Ok(None) => assert_eq!(display, "none", "{text}"),
                Err(_) => assert_eq!(display, "error", "{text}"),
            }
        }
    }
}
