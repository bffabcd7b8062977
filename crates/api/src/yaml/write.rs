//! JSON values as the YAML that kubectl prints.
//!
//! Invariants: block style, two spaces, lists at the indent of their key, keys in go-yaml's natural order.
//! Absent: anchors, comments, documents' separators.

use super::resolve;
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Column after which a scalar is folded at its next space.
const WIDTH: usize = 80;

/// The longest key that stands before its colon; longer ones are marked with `?`.
const SIMPLE_KEY_MAX: usize = 128;

/// `value` as a YAML document, ending in a line break.
pub fn to_yaml(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0 };
    match value {
        Value::Object(entries) if !entries.is_empty() => writer.mapping(entries, 0),
        Value::Array(items) if !items.is_empty() => writer.sequence(items, 0),
        scalar => writer.scalar(scalar, 2),
    }
    writer.out.push('\n');
    writer.out
}

struct Writer {
    out: String,
    /// Characters on the current line.
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Entries one below the other; the first where the writer stands.
    fn mapping(&mut self, entries: &Map<String, Value>, indent: usize) {
        let mut keys: Vec<&String> = entries.keys().collect();
        keys.sort_by(|a, b| natural_order(a, b));
        for (place, key) in keys.into_iter().enumerate() {
            if place > 0 {
                self.line(indent);
            }
            let is_simple = !key.contains(is_break) && key.len() <= SIMPLE_KEY_MAX;
            if is_simple {
                self.text(key, indent + 2, true);
            } else {
                self.put("? ");
                self.text(key, indent + 2, false);
                self.line(indent);
            }
            self.put(":");
            match &entries[key] {
                Value::Object(inner) if !inner.is_empty() => {
                    if is_simple {
                        self.line(indent + 2);
                    } else {
                        self.put(" ");
                    }
                    self.mapping(inner, indent + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    let indent = if is_simple { indent } else { indent + 2 };
                    if is_simple {
                        self.line(indent);
                    } else {
                        self.put(" ");
                    }
                    self.sequence(items, indent);
                }
                scalar => {
                    self.put(" ");
                    self.scalar(scalar, indent + 2);
                }
            }
        }
    }

    /// Items one below the other; the first where the writer stands.
    fn sequence(&mut self, items: &[Value], indent: usize) {
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.line(indent);
            }
            self.put("- ");
            match item {
                Value::Object(inner) if !inner.is_empty() => self.mapping(inner, indent + 2),
                Value::Array(inner) if !inner.is_empty() => self.sequence(inner, indent + 2),
                scalar => self.scalar(scalar, indent + 2),
            }
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(value) => self.put(if *value { "true" } else { "false" }),
            Value::Number(number) => self.put(&number_text(number)),
            Value::String(text) => self.text(text, indent, false),
            Value::Array(_) => self.put("[]"),
            Value::Object(_) => self.put("{}"),
        }
    }

    fn text(&mut self, text: &str, indent: usize, is_key: bool) {
        let shape = Shape::of(text);
        let is_plain = resolve::is_plain_string(text);
        if text.contains('\n') && !is_key && shape.literal {
            self.literal(text, indent);
        } else if is_plain && !text.contains('\n') && shape.plain {
            self.folded(text, indent, is_key, Quote::None);
        } else if is_plain && !text.contains('\n') && shape.single {
            self.folded(text, indent, is_key, Quote::Single);
        } else {
            self.double_quoted(text, indent, is_key);
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        if !text.ends_with('\n') {
            self.put("-");
        } else if text == "\n" || text.ends_with("\n\n") {
            self.put("+");
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if line.is_empty() {
                self.out.push('\n');
                self.column = 0;
            } else {
                self.line(indent);
                self.put(line);
            }
        }
    }

    /// A plain or single quoted scalar of one line, folded at single spaces.
    fn folded(&mut self, text: &str, indent: usize, is_key: bool, quote: Quote) {
        if quote == Quote::Single {
            self.put("'");
        }
        let mut after_space = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((place, c)) = chars.next() {
            let next = chars.peek().map(|&(_, next)| next);
            let at_edge = quote == Quote::Single && (place == 0 || next.is_none());
            if c == ' ' && !is_key && !after_space && self.column > WIDTH && next != Some(' ') && !at_edge {
                self.line(indent);
            } else if c == '\'' && quote == Quote::Single {
                self.put("''");
            } else {
                self.out.push(c);
                self.column += 1;
            }
            after_space = c == ' ';
        }
        if quote == Quote::Single {
            self.put("'");
        }
    }

    fn double_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        self.put("\"");
        let mut after_space = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((place, c)) = chars.next() {
            let next = chars.peek().map(|&(_, next)| next);
            if c == ' ' && !is_key && !after_space && self.column > WIDTH && place > 0 && next.is_some() {
                self.line(indent);
                if next == Some(' ') {
                    self.put("\\");
                }
            } else if let Some(escape) = escape(c) {
                self.put(&escape);
            } else {
                self.out.push(c);
                self.column += 1;
            }
            after_space = c == ' ';
        }
        self.put("\"");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    None,
    Single,
}

/// In which styles a text may be written.
struct Shape {
    plain: bool,
    single: bool,
    literal: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let is_space = |c: Option<char>| c == Some(' ');
        let edge_space = text.starts_with(' ') || text.ends_with(' ');
        let edge_break = text.starts_with(is_break) || text.ends_with(is_break);
        let chars: Vec<char> = text.chars().collect();
        let pairs = || chars.windows(2);
        let break_space = pairs().any(|pair| is_break(pair[0]) && pair[1] == ' ');
        let space_break = pairs().any(|pair| pair[0] == ' ' && is_break(pair[1]));
        let special = chars.iter().any(|&c| !is_printable(c));
        let breaks = chars.iter().any(|&c| is_break(c));
        let odd = space_break || special;
        Shape {
            plain: !text.is_empty()
                && !edge_space
                && !edge_break
                && !break_space
                && !odd
                && !breaks
                && !has_indicator(&chars),
            single: !break_space && !odd,
            literal: !text.is_empty() && !is_space(chars.last().copied()) && !odd,
        }
    }
}

/// Whether a character would end a plain scalar or be taken for syntax.
fn has_indicator(chars: &[char]) -> bool {
    let blank_after = |place: usize| chars.get(place + 1).is_none_or(|&c| matches!(c, ' ' | '\t'));
    let starts = |text: &str| chars.len() >= 3 && chars.iter().take(3).copied().eq(text.chars());
    if starts("---") || starts("...") {
        return true;
    }
    chars.iter().enumerate().any(|(place, &c)| match c {
        ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => place == 0,
        '#' => place == 0 || matches!(chars[place - 1], ' ' | '\t') || is_break(chars[place - 1]),
        '?' | '-' => place == 0 && blank_after(place),
        ':' => blank_after(place),
        _ => false,
    })
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What go-yaml writes as it is: nothing beyond the basic plane, no tabs. Unlike go-yaml, line and paragraph separators
/// are escaped, because parsers differ in taking them for line breaks.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

fn escape(c: char) -> Option<String> {
    let short = match c {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ if is_printable(c) => return None,
        _ => "",
    };
    if !short.is_empty() {
        return Some(short.to_owned());
    }
    let code = c as u32;
    Some(match code {
        0..=0xff => format!("\\x{code:02X}"),
        0x100..=0xffff => format!("\\u{code:04X}"),
        _ => format!("\\U{code:08X}"),
    })
}

/// Exponents from here on are written.
const PLAIN_EXPONENT_MAX: i32 = 6;

/// Integers as they are; floats in Go's shortest form.
fn number_text(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    if value.fract() == 0.0 && value.abs() < i64::MAX as f64 {
        return (value as i64).to_string();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..PLAIN_EXPONENT_MAX).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let mut out = String::new();
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
        return out;
    }
    format!("{value}")
}

/// go-yaml's order of keys: letters after other characters, runs of digits by their number.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(place) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[place], b[place]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Within a longer number a zero counts as a digit like others, not as a leading one.
    let inside_number =
        (x == '0' || y == '0') && a[..place].iter().rev().take_while(|c| c.is_ascii_digit()).any(|&c| c != '0');
    let number = |chars: &[char]| {
        let digits = chars[place..].iter().map_while(|c| c.to_digit(10));
        let start = (i64::from(inside_number), 0usize);
        digits.fold(start, |(value, count), digit| (value.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1))
    };
    number(&a).cmp(&number(&b)).then(x.cmp(&y))
}
