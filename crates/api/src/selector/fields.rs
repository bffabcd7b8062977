//! Field selectors: the text of `?fieldSelector=`, as `spec.nodeName=n,metadata.name!=x`.
//!
//! Invariants: all requirements must hold; a field that an object lacks is the empty text.

use std::fmt;

use crate::quote::quoted;

use super::SelectorError;

/// How a field relates to its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldOperator {
    /// `field=value`
    Equals,
    /// `field!=value`
    NotEquals,
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Path of the field, as `spec.nodeName`.
    pub field: String,
    /// How it relates to the value.
    pub operator: FieldOperator,
    /// The value, unescaped.
    pub value: String,
}

/// A field selector; without requirements it selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    requirements: Vec<FieldRequirement>,
}

impl Fields {
    /// Selects everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads the text of a `fieldSelector` parameter; an empty text selects everything.
    ///
    /// # Errors
    /// A term has no operator, or a value a wrong escape.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::with_capacity(terms.len());
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, operator, value)) = split_term(term) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            requirements.push(FieldRequirement { field: field.to_owned(), operator, value: unescape(value)? });
        }
        Ok(Self { requirements })
    }

    /// The requirements, sorted by their text.
    #[must_use]
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object is selected whose fields `field` looks up; an absent field is `""`.
    pub fn matches_with<'a>(&self, field: impl Fn(&str) -> std::borrow::Cow<'a, str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let equal = field(&requirement.field) == requirement.value;
            equal == (requirement.operator == FieldOperator::Equals)
        })
    }

    /// The value that one field must have, when the selector demands exactly one.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        let demanded = |r: &&FieldRequirement| r.field == field && r.operator == FieldOperator::Equals;
        self.requirements.iter().find(demanded).map(|r| r.value.as_str())
    }

    /// What is left to look at where it is known that a field has this value.
    #[must_use]
    pub fn given(mut self, field: &str, value: &str) -> Self {
        self.requirements.retain(|r| r.field != field || r.value != value || r.operator != FieldOperator::Equals);
        self
    }

    /// Refuses fields that are not among those a kind can be selected by; `core` is whether the
    /// kind is of the core group, whose words differ.
    ///
    /// # Errors
    /// A field is not among `known`.
    pub fn only(&self, known: &[&str], core: bool) -> Result<(), SelectorError> {
        match self.requirements.iter().find(|r| !known.contains(&r.field.as_str())) {
            None => Ok(()),
            Some(r) if core => Err(SelectorError(format!("field label not supported: {}", r.field))),
            Some(r) => Err(SelectorError(format!(
                "{} is not a known field selector: only {}",
                quoted(&r.field),
                known.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, FieldOperator, &str)> {
    const OPERATORS: [(&str, FieldOperator); 3] =
        [("!=", FieldOperator::NotEquals), ("==", FieldOperator::Equals), ("=", FieldOperator::Equals)];
    term.char_indices().find_map(|(i, _)| {
        let (lexeme, operator) = OPERATORS.iter().find(|(lexeme, _)| term[i..].starts_with(lexeme))?;
        Some((&term[..i], *operator, &term[i + lexeme.len()..]))
    })
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let bad = |sequence: String| SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}"));
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(bad(format!("\\{c}"))),
                None => return Err(bad("\\".to_owned())),
            },
            ',' | '=' => {
                let text = format!("invalid field selector: unescaped character in value: {}", c as u32);
                return Err(SelectorError(text));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let operator = if r.operator == FieldOperator::Equals { "=" } else { "!=" };
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{}{}{operator}{value}", if i > 0 { "," } else { "" }, r.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn selects() {
        fn check(selector: &str, expect: bool) {
            let selector_read = Fields::parse(selector).expect(selector);
            let field = |name: &str| match name {
                "metadata.name" => Cow::Borrowed("a"),
                "odd" => Cow::Borrowed("x,y=z\\"),
                _ => Cow::Borrowed(""),
            };
            assert_eq!(selector_read.matches_with(field), expect, "{selector}");
        }
        check("", true);
        check("metadata.name=a", true);
        check("metadata.name==a,", true);
        check("metadata.name!=a", false);
        check("metadata.name=a,spec.nodeName=n", false);
        check("spec.nodeName=", true);
        check("spec.nodeName!=", false);
        check(r"odd=x\,y\=z\\", true);
    }

    #[test]
    fn what_is_given_need_not_be_looked_at() {
        for (selector, left) in [
            ("spec.nodeName=n", ""),
            ("spec.nodeName=n,spec.nodeName==n,metadata.name=a", "metadata.name=a"),
            ("spec.nodeName=other,spec.nodeName=n", "spec.nodeName=other"),
            ("spec.nodeName!=n", "spec.nodeName!=n"),
            ("metadata.name=n", "metadata.name=n"),
        ] {
            let given = Fields::parse(selector).unwrap().given("spec.nodeName", "n");
            assert_eq!(given, Fields::parse(left).unwrap(), "{selector}");
        }
    }

    #[test]
    fn refused() {
        fn check(selector: &str, expect: &str) {
            assert_eq!(Fields::parse(selector).map_err(|e| e.to_string()), Err(expect.to_owned()));
        }
        check("a", "invalid selector: 'a'; can't understand 'a'");
        check(r"a=\x", r"invalid field selector: invalid escape sequence: \x");
        check("a=b=c", "invalid field selector: unescaped character in value: 61");
    }

    #[test]
    fn text_and_known_fields() {
        let fields = Fields::parse(r"spec.x=1,a!=b\,c").expect("fields");
        assert_eq!(fields.to_string(), r"a!=b\,c,spec.x=1");
        assert_eq!(fields.exact("spec.x"), Some("1"));
        assert_eq!(fields.exact("a"), None);
        assert_eq!(fields.only(&["a", "spec.x"], true), Ok(()));
        let core = fields.only(&["a"], true).map_err(|e| e.to_string());
        assert_eq!(core, Err("field label not supported: spec.x".to_owned()));
        let other = fields.only(&["a", "b"], false).map_err(|e| e.to_string());
        assert_eq!(other, Err("\"spec.x\" is not a known field selector: only \"a\", \"b\"".to_owned()));
    }
}
