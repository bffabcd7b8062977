//! Regular expressions of schemas: Go's syntax on Rust's engine, which share their roots.
//!
//! Invariants: an expression is compiled when it is first asked for, and at most once; compiled size is bounded.
//! Absent: captures.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

/// The most bytes one compiled expression may take: those of published definitions take less than a tenth.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// A `pattern` as it was written.
#[derive(Debug)]
pub(crate) struct Pattern {
    text: String,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Pattern {
        Pattern { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// The expression as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a text matches; why not, when the expression is none.
    ///
    /// # Errors
    /// An expression that can't be compiled.
    pub(super) fn matches(&self, text: &str) -> Result<bool, String> {
        match self.compiled.get_or_init(|| compile(&self.text)) {
            Ok(regex) => Ok(regex.is_match(text)),
            Err(why) => Err(why.clone()),
        }
    }
}

/// Compiles an expression in Go's syntax.
///
/// # Errors
/// What is wrong with it, in Go's form.
pub(crate) fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translated(text)).size_limit(COMPILED_BYTES_MAX).build().map_err(|error| {
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("error parsing regexp: {why}: `{text}`")
    })
}

/// What Go means by an expression: its classes of letters are ASCII's, and inside of brackets an opening bracket, `&`,
/// `~` and `-` in pairs are plain.
fn translated(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut letters = text.chars().peekable();
    let mut in_class = false;
    let mut at_class_start = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                let Some(next) = letters.next() else {
                    out.push('\\');
                    break;
                };
                escaped(next, in_class, &mut out);
                at_class_start = false;
            }
            '[' if in_class => {
                if letters.peek() == Some(&':') {
                    out.push('[');
                    for next in letters.by_ref() {
                        out.push(next);
                        if next == ']' {
                            break;
                        }
                    }
                } else {
                    out.push_str("\\[");
                }
                at_class_start = false;
            }
            '[' => {
                in_class = true;
                at_class_start = true;
                out.push('[');
                if letters.peek() == Some(&'^') {
                    letters.next();
                    out.push('^');
                }
            }
            ']' if in_class && at_class_start => {
                out.push_str("\\]");
                at_class_start = false;
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.extend(['\\', letter]);
                at_class_start = false;
            }
            '-' if in_class && letters.peek() == Some(&'-') => {
                out.push_str("\\-");
                at_class_start = false;
            }
            other => {
                out.push(other);
                at_class_start = false;
            }
        }
    }
    out
}

/// What Go means by a letter after a backslash.
fn escaped(letter: char, in_class: bool, out: &mut String) {
    let text = match (letter, in_class) {
        ('d', false) => "[0-9]",
        ('d', true) => "0-9",
        ('D', _) => "[^0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('w', true) => "0-9A-Za-z_",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', false) => "[\\t\\n\\x0c\\r ]",
        ('s', true) => "\\t\\n\\x0c\\r ",
        ('S', _) => "[^\\t\\n\\x0c\\r ]",
        ('b', false) => "(?-u:\\b)",
        ('B', false) => "(?-u:\\B)",
        _ => return out.extend(['\\', letter]),
    };
    out.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_expressions() {
        for (pattern, text, want) in [
            ("^[a-z]+$", "abc", true),
            ("^[^[]*$", "a[b", false),
            ("^[a&&b]+$", "&", true),
            (r"^\d+$", "٣", false),
            (r"^[\w.-]+$", "a.b-c_1", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"\bx\b", "a x b", true),
            (r"^(?P<n>a|b)$", "a", true),
            (r"^\p{L}+$", "äb", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), Ok(want), "{pattern} on {text}");
        }
        let why = compile("a(").expect_err("not closed");
        assert!(why.starts_with("error parsing regexp: ") && why.ends_with(": `a(`"), "{why}");
    }
}
