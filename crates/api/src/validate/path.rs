//! The path of a field, as `spec.containers[0].env[NAME]`.

use std::fmt::{self, Write};

/// Room for the steps below a path, so that one growth suffices for most fields.
const STEP_ROOM: usize = 24;

/// A path; grows to the right, each step gives a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path of one field.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// No field at all: its children are roots.
    #[must_use]
    pub fn none() -> Self {
        Self(String::new())
    }

    fn grown(&self) -> String {
        let mut text = String::with_capacity(self.0.len() + STEP_ROOM);
        text.push_str(&self.0);
        text
    }

    /// A field below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut text = self.grown();
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(name);
        Self(text)
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut text = self.grown();
        let _ = write!(text, "[{index}]");
        Self(text)
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut text = self.grown();
        text.push('[');
        text.push_str(key);
        text.push(']');
        Self(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}
