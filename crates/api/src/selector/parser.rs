//! The grammar of label selectors: `a=b,c in (d,e),!f`.
//!
//! Invariants: `in` and `notin` are operators only where an operator can stand.

use crate::validate::content::label_key;
use crate::validate::{FieldError, Path};

use super::SelectorError;
use super::labels::{Operator, Requirement};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    text: String,
}

fn symbol(text: &str) -> Option<Kind> {
    Some(match text {
        ")" => Kind::Close,
        "," => Kind::Comma,
        "!" => Kind::Not,
        "==" => Kind::DoubleEquals,
        "=" => Kind::Equals,
        ">" => Kind::Greater,
        "<" => Kind::Less,
        "!=" => Kind::NotEquals,
        "(" => Kind::Open,
        _ => return None,
    })
}

fn tokens(text: &str) -> Vec<Token> {
    let special = |c: char| "=!(),><".contains(c);
    let blank = |c: char| " \t\r\n".contains(c);
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches(blank);
    while let Some(first) = rest.chars().next() {
        if special(first) {
            // the longest symbol of at most two characters that all are special
            let two = rest.get(..2).and_then(|two| symbol(two).map(|kind| (kind, two)));
            let found = two.or_else(|| symbol(&rest[..1]).map(|kind| (kind, &rest[..1])));
            let (kind, lexeme) = found.unwrap_or((Kind::Error, &rest[..1]));
            out.push(Token { kind, text: lexeme.to_owned() });
            rest = &rest[lexeme.len()..];
        } else {
            let end = rest.find(|c| special(c) || blank(c)).unwrap_or(rest.len());
            let kind = match &rest[..end] {
                "in" => Kind::In,
                "notin" => Kind::NotIn,
                _ => Kind::Identifier,
            };
            out.push(Token { kind, text: rest[..end].to_owned() });
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches(blank);
    }
    out.push(Token { kind: Kind::End, text: String::new() });
    out
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

type Parsed<T> = Result<T, SelectorError>;

fn fail<T>(text: String) -> Parsed<T> {
    Err(SelectorError(text))
}

impl Parser {
    fn raw(&self) -> Token {
        let last = self.tokens.len() - 1;
        self.tokens[self.position.min(last)].clone()
    }

    /// The next token where no operator can stand.
    fn peek(&self) -> Token {
        let mut token = self.raw();
        if matches!(token.kind, Kind::In | Kind::NotIn) {
            token.kind = Kind::Identifier;
        }
        token
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn requirements(&mut self) -> Parsed<Vec<Requirement>> {
        let mut out = Vec::new();
        loop {
            let next = self.peek();
            match next.kind {
                Kind::Identifier | Kind::Not => {
                    let one = self.requirement();
                    out.push(one.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
                    let after = self.take();
                    match after.kind {
                        Kind::End => return Ok(out),
                        Kind::Comma => {
                            let next = self.peek();
                            if !matches!(next.kind, Kind::Identifier | Kind::Not) {
                                return fail(format!("found '{}', expected: identifier after ','", next.text));
                            }
                        }
                        _ => return fail(format!("found '{}', expected: ',' or 'end of string'", after.text)),
                    }
                }
                Kind::End => return Ok(out),
                _ => return fail(format!("found '{}', expected: !, identifier, or 'end of string'", next.text)),
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        let mut key = self.take();
        let negated = key.kind == Kind::Not;
        if negated {
            key = self.take();
        }
        if key.kind != Kind::Identifier {
            return fail(format!("found '{}', expected: identifier", key.text));
        }
        let words = label_key(&key.text);
        if !words.is_empty() {
            let error = FieldError::invalid(&Path::none(), key.text, words.join("; "));
            return fail(error.to_string());
        }
        if negated {
            return Requirement::new(&key.text, Operator::DoesNotExist, Vec::new(), &Path::none());
        }
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Requirement::new(&key.text, Operator::Exists, Vec::new(), &Path::none());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(&key.text, operator, values, &Path::none())
    }

    fn operator(&mut self) -> Parsed<Operator> {
        let token = self.raw();
        self.position += 1;
        Ok(match token.kind {
            Kind::In => Operator::In,
            Kind::NotIn => Operator::NotIn,
            Kind::Equals => Operator::Equals,
            Kind::DoubleEquals => Operator::DoubleEquals,
            Kind::NotEquals => Operator::NotEquals,
            Kind::Greater => Operator::GreaterThan,
            Kind::Less => Operator::LessThan,
            _ => return fail(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", token.text)),
        })
    }

    fn values(&mut self) -> Parsed<Vec<String>> {
        let open = self.take();
        if open.kind != Kind::Open {
            return fail(format!("found '{}' expected: '('", open.text));
        }
        let mut values = Vec::new();
        let first = self.peek();
        match first.kind {
            Kind::Identifier | Kind::Comma => self.list(&mut values)?,
            Kind::Close => values.push(String::new()),
            _ => return fail(format!("found '{}', expected: ',', ')' or identifier", first.text)),
        }
        self.position += 1; // the parenthesis that `list` or the match has seen
        values.sort();
        values.dedup();
        Ok(values)
    }

    /// Values up to the closing parenthesis, which is left; a missing value is the empty one.
    fn list(&mut self, values: &mut Vec<String>) -> Parsed<()> {
        loop {
            let token = self.take();
            let next = self.peek();
            match (token.kind, next.kind) {
                (Kind::Identifier, Kind::Comma) => values.push(token.text),
                (Kind::Identifier, Kind::Close) => {
                    values.push(token.text);
                    return Ok(());
                }
                (Kind::Identifier, _) => return fail(format!("found '{}', expected: ',' or ')'", next.text)),
                (Kind::Comma, Kind::Close) => {
                    values.push(String::new());
                    return Ok(());
                }
                (Kind::Comma, after) => {
                    if values.is_empty() || after == Kind::Comma {
                        values.push(String::new());
                    }
                }
                _ => return fail(format!("found '{}', expected: ',', or identifier", token.text)),
            }
        }
    }

    fn exact_value(&mut self) -> Parsed<String> {
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Ok(String::new());
        }
        let token = self.take();
        if token.kind == Kind::Identifier {
            Ok(token.text)
        } else {
            fail(format!("found '{}', expected: identifier", token.text))
        }
    }
}

/// Reads a selector into its requirements, in the order of the text.
pub(super) fn parse(text: &str) -> Parsed<Vec<Requirement>> {
    Parser { tokens: tokens(text), position: 0 }.requirements()
}
