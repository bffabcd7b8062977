//! From text to the parts of a template.

use serde_json::Value;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// Printed as it is.
    Text(String),
    /// What the path finds, separated by spaces.
    Path(Path),
    /// The nodes, once for each thing that the path finds.
    Range(Path, Vec<Node>),
}

/// Steps from a value to what is looked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Path {
    /// Whether it starts at the whole value rather than at the current one.
    pub(crate) from_root: bool,
    pub(crate) steps: Vec<Step>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// A field.
    Field(String),
    /// Every field or item.
    All,
    /// Everything below, at any depth.
    Below,
    /// Places in a list.
    Places(Vec<Place>),
    /// Several fields.
    Fields(Vec<String>),
    /// Items for which the condition holds.
    Filter(Box<Filter>),
}

/// Places in a list; negative ones count from the end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    /// One.
    At(i64),
    /// A run: from, to (exclusive), step.
    Run(Option<i64>, Option<i64>, i64),
}

/// A condition on an item.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter {
    pub(crate) left: Operand,
    /// The comparison and its right side; None asks whether the left side is there.
    pub(crate) compare: Option<(Compare, Operand)>,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Path(Path),
    Value(Value),
}

const COMPARISONS: [(&str, Compare); 6] = [
    ("==", Compare::Equal),
    ("!=", Compare::NotEqual),
    ("<=", Compare::LessOrEqual),
    (">=", Compare::GreaterOrEqual),
    ("<", Compare::Less),
    (">", Compare::Greater),
];

/// Reads a whole template.
pub(crate) fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut stack: Vec<(Path, Vec<Node>)> = Vec::new();
    let mut nodes = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        if start > 0 {
            nodes.push(Node::Text(rest[..start].to_owned()));
        }
        let inner = &rest[start + 1..];
        let end = closing(inner, '}').ok_or_else(|| format!("unclosed action in {text:?}"))?;
        let action = inner[..end].trim();
        rest = &inner[end + 1..];
        if action == "end" {
            let (path, outer) = stack.pop().ok_or("not in range, nothing to end")?;
            let body = std::mem::replace(&mut nodes, outer);
            nodes.push(Node::Range(path, body));
        } else if let Some(over) = action.strip_prefix("range") {
            stack.push((path(over.trim())?, std::mem::take(&mut nodes)));
        } else if let Some(quoted) = literal(action)? {
            nodes.push(Node::Text(quoted));
        } else {
            nodes.push(Node::Path(path(action)?));
        }
    }
    if !stack.is_empty() {
        return Err("unexpected EOF: a range has no {end}".into());
    }
    if !rest.is_empty() {
        nodes.push(Node::Text(rest.to_owned()));
    }
    Ok(nodes)
}

/// Where `close` stands outside of quotes and of deeper brackets.
fn closing(text: &str, close: char) -> Option<usize> {
    let (mut quote, mut escaped, mut depth) = (None, false, 0usize);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if c == close && depth == 0 => return Some(at),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// A quoted text without its quotes; None if it is not quoted.
fn literal(text: &str) -> Result<Option<String>, String> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
    let inner = text[1..].strip_suffix(quote).ok_or_else(|| format!("unterminated quoted string {text}"))?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => return Err(format!("unterminated quoted string {text}")),
        }
    }
    Ok(Some(out))
}

/// Reads a path such as `.a.b[0]`.
pub(crate) fn path(text: &str) -> Result<Path, String> {
    let (from_root, mut rest) = match text.as_bytes().first() {
        Some(b'$') => (true, &text[1..]),
        Some(b'@') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            steps.push(Step::Below);
            let (step, left) = if after.starts_with('[') { bracket(after)? } else { field(after) };
            steps.extend(step);
            rest = left;
        } else if let Some(after) = rest.strip_prefix('.') {
            let (step, left) = field(after);
            steps.extend(step);
            rest = left;
        } else if rest.starts_with('[') {
            let (step, left) = bracket(rest)?;
            steps.extend(step);
            rest = left;
        } else if steps.is_empty() && !from_root {
            let (step, left) = field(rest);
            steps.extend(step);
            rest = left;
        } else {
            return Err(format!("unexpected {rest:?} in path {text:?}"));
        }
    }
    Ok(Path { from_root, steps })
}

/// A field's name up to the next `.` or `[`; a backslash takes the next character as it is.
fn field(text: &str) -> (Option<Step>, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, next)| next)),
            '.' | '[' => {
                end = at;
                break;
            }
            other => name.push(other),
        }
    }
    let step = match name.trim() {
        "" => None,
        "*" => Some(Step::All),
        trimmed => Some(Step::Field(trimmed.to_owned())),
    };
    (step, &text[end..])
}

/// What stands in brackets: places, names, a wildcard or a filter.
fn bracket(text: &str) -> Result<(Option<Step>, &str), String> {
    let inner = &text[1..];
    let end = closing(inner, ']').ok_or_else(|| format!("unterminated array in {text:?}"))?;
    let (body, rest) = (inner[..end].trim(), &inner[end + 1..]);
    if let Some(condition) = body.strip_prefix("?(") {
        let condition = condition.strip_suffix(')').ok_or_else(|| format!("unterminated filter in {text:?}"))?;
        return Ok((Some(Step::Filter(Box::new(filter(condition)?))), rest));
    }
    if body == "*" || body.is_empty() {
        return Ok((Some(Step::All), rest));
    }
    if body.starts_with(['"', '\'']) {
        let names = body.split(',').map(|name| {
            let name = literal(name.trim())?;
            name.ok_or_else(|| format!("expected quoted names in {text:?}"))
        });
        return Ok((Some(Step::Fields(names.collect::<Result<_, _>>()?)), rest));
    }
    let places = body.split(',').map(|part| place(part.trim())).collect::<Result<_, _>>()?;
    Ok((Some(Step::Places(places)), rest))
}

fn place(text: &str) -> Result<Place, String> {
    let number = |part: &str| part.trim().parse::<i64>().map_err(|_| format!("invalid array index {text}"));
    if !text.contains(':') {
        return number(text).map(Place::At);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let optional = |at: usize| parts.get(at).filter(|p| !p.trim().is_empty()).map(|p| number(p)).transpose();
    let step = optional(2)?.unwrap_or(1);
    if parts.len() > 3 || step < 1 {
        return Err(format!("invalid array index {text}"));
    }
    Ok(Place::Run(optional(0)?, optional(1)?, step))
}

fn filter(text: &str) -> Result<Filter, String> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '=' | '!' | '<' | '>') => {
                let found = COMPARISONS.iter().find(|(sign, _)| text[at..].starts_with(sign));
                let (sign, compare) = found.ok_or_else(|| format!("unrecognized comparison in {text:?}"))?;
                let right = operand(&text[at + sign.len()..])?;
                return Ok(Filter { left: operand(&text[..at])?, compare: Some((*compare, right)) });
            }
            _ => {}
        }
    }
    Ok(Filter { left: operand(text)?, compare: None })
}

fn operand(text: &str) -> Result<Operand, String> {
    let text = text.trim();
    if let Some(quoted) = literal(text)? {
        return Ok(Operand::Value(quoted.into()));
    }
    match text {
        "" => Err("a comparison lacks a side".into()),
        "true" => Ok(Operand::Value(true.into())),
        "false" => Ok(Operand::Value(false.into())),
        _ if text.starts_with(['@', '$', '.']) => path(text).map(Operand::Path),
        _ => serde_json::from_str::<serde_json::Number>(text)
            .map(|number| Operand::Value(number.into()))
            .map_err(|_| format!("unrecognized value {text:?}")),
    }
}
