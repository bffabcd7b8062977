//! JSONPath as Kubernetes' printers take it, of which columns need the first result only.
//!
//! Invariants: what is not there gives nothing; depth and size of results are those of the object.
//! Absent: text between braces, `range`.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Fields(Vec<String>),
    Indices(Vec<i64>),
    Slice(Option<i64>, Option<i64>, i64),
    Every,
    /// Any depth below.
    Recursive,
    Filter(Box<Filter>),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Operand,
    /// None asks whether the left side is there.
    comparison: Option<(Comparison, Operand)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

impl JsonPath {
    /// Reads a path; none for what is no path.
    pub(super) fn parse(text: &str) -> Option<JsonPath> {
        let mut reader = Reader { letters: text.chars().collect(), at: 0 };
        reader.path(|_| false)
    }

    /// All that the path leads to.
    pub(super) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![root], |found, step| found.into_iter().flat_map(|value| step.apply(value)).collect())
    }

    /// The first that the path leads to.
    pub(super) fn first<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.find(root).into_iter().next()
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Fields(names) => names.iter().filter_map(|name| value.get(name)).collect(),
            Step::Indices(places) => {
                let Value::Array(items) = value else { return Vec::new() };
                places.iter().filter_map(|place| items.get(position(*place, items.len())?)).collect()
            }
            Step::Slice(from, to, step) => slice(value, *from, *to, *step),
            Step::Every => children(value),
            Step::Recursive => {
                let mut found = vec![value];
                let mut at = 0;
                while at < found.len() {
                    found.extend(children(found[at]));
                    at += 1;
                }
                found
            }
            Step::Filter(filter) => match value {
                Value::Array(items) => items.iter().filter(|item| filter.keeps(item)).collect(),
                _ => Vec::new(),
            },
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn position(place: i64, length: usize) -> Option<usize> {
    let place = if place < 0 { place + i64::try_from(length).ok()? } else { place };
    usize::try_from(place).ok()
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>, step: i64) -> Vec<&Value> {
    let Value::Array(items) = value else { return Vec::new() };
    let bound = |place: Option<i64>, otherwise: usize| match place {
        None => otherwise,
        Some(place) => position(place, items.len()).unwrap_or(0).min(items.len()),
    };
    let (from, to) = (bound(from, 0), bound(to, items.len()));
    let step = usize::try_from(step).unwrap_or(1).max(1);
    items.get(from..to).unwrap_or_default().iter().step_by(step).collect()
}

impl Filter {
    fn keeps(&self, item: &Value) -> bool {
        let left = self.left.value(item);
        let Some((comparison, right)) = &self.comparison else { return left.is_some() };
        let (Some(left), Some(right)) = (left, right.value(item)) else { return false };
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => (a == b).then_some(std::cmp::Ordering::Equal),
        };
        match comparison {
            Comparison::Equal => order.is_some_and(|order| order.is_eq()),
            Comparison::NotEqual => order.is_none_or(|order| order.is_ne()),
            Comparison::Less => order.is_some_and(|order| order.is_lt()),
            Comparison::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Comparison::Greater => order.is_some_and(|order| order.is_gt()),
            Comparison::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Operand::Path(path) => path.first(item),
            Operand::Literal(value) => Some(value),
        }
    }
}

struct Reader {
    letters: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.at += 1;
        letter
    }

    fn eat(&mut self, text: &str) -> bool {
        let is_next = self.letters[self.at.min(self.letters.len())..].iter().copied().take(text.len()).eq(text.chars());
        if is_next {
            self.at += text.chars().count();
        }
        is_next
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Steps up to the end, or to where `ends` says.
    fn path(&mut self, ends: impl Fn(char) -> bool + Copy) -> Option<JsonPath> {
        let mut steps = Vec::new();
        self.blanks();
        if matches!(self.peek(), Some('$' | '@')) {
            self.at += 1;
        }
        while let Some(letter) = self.peek() {
            if ends(letter) || letter.is_whitespace() {
                break;
            }
            match letter {
                '.' if self.eat("..") => {
                    steps.push(Step::Recursive);
                    if self.peek().is_some_and(|letter| letter != '[') {
                        steps.push(self.name(ends)?);
                    }
                }
                '.' => {
                    self.at += 1;
                    match self.peek() {
                        None | Some('[') => {}
                        Some(_) => steps.push(self.name(ends)?),
                    }
                }
                '[' => steps.push(self.brackets()?),
                _ if steps.is_empty() => steps.push(self.name(ends)?),
                _ => return None,
            }
        }
        Some(JsonPath(steps))
    }

    fn name(&mut self, ends: impl Fn(char) -> bool) -> Option<Step> {
        if self.eat("*") {
            return Some(Step::Every);
        }
        let mut name = String::new();
        while let Some(letter) = self.peek() {
            match letter {
                '.' | '[' => break,
                '\\' => {
                    self.at += 1;
                    name.extend(self.next());
                }
                letter if ends(letter) || letter.is_whitespace() => break,
                letter => {
                    name.push(letter);
                    self.at += 1;
                }
            }
        }
        (!name.is_empty()).then_some(Step::Field(name))
    }

    fn brackets(&mut self) -> Option<Step> {
        self.at += 1;
        self.blanks();
        if self.eat("*]") {
            return Some(Step::Every);
        }
        if self.eat("?(") {
            let filter = self.filter()?;
            self.blanks();
            return (self.eat(")]")).then(|| Step::Filter(Box::new(filter)));
        }
        if matches!(self.peek(), Some('\'' | '"')) {
            let mut names = vec![self.quoted()?];
            self.blanks();
            while self.eat(",") {
                self.blanks();
                names.push(self.quoted()?);
                self.blanks();
            }
            return self.eat("]").then_some(Step::Fields(names));
        }
        let mut inner = String::new();
        loop {
            match self.next()? {
                ']' => break,
                letter => inner.push(letter),
            }
        }
        numbers(&inner)
    }

    fn quoted(&mut self) -> Option<String> {
        let quote = self.next()?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '\\' => text.push(self.next()?),
                letter if letter == quote => return Some(text),
                letter => text.push(letter),
            }
        }
    }

    fn filter(&mut self) -> Option<Filter> {
        let left = self.operand()?;
        self.blanks();
        const COMPARISONS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = COMPARISONS.iter().find(|(sign, _)| self.eat(sign));
        let comparison = match found {
            Some((_, comparison)) => Some((*comparison, self.operand()?)),
            None => None,
        };
        Some(Filter { left, comparison })
    }

    fn operand(&mut self) -> Option<Operand> {
        self.blanks();
        match self.peek()? {
            '\'' | '"' => self.quoted().map(|text| Operand::Literal(text.into())),
            '@' | '$' | '.' => self.path(|letter| matches!(letter, '=' | '!' | '<' | '>' | ')')).map(Operand::Path),
            _ => {
                let mut text = String::new();
                while let Some(letter) = self.peek().filter(|letter| !matches!(letter, ')' | '=' | '!' | '<' | '>')) {
                    text.push(letter);
                    self.at += 1;
                }
                serde_json::from_str(text.trim()).ok().map(Operand::Literal)
            }
        }
    }
}

/// `0`, `-1`, `0,2`, `1:3`, `::2`.
fn numbers(text: &str) -> Option<Step> {
    if text.contains(':') {
        let parts: Vec<&str> = text.split(':').map(str::trim).collect();
        let number = |at: usize| match parts.get(at).copied().unwrap_or_default() {
            "" => Some(None),
            text => text.parse::<i64>().ok().map(Some),
        };
        return Some(Step::Slice(number(0)?, number(1)?, number(2)?.unwrap_or(1)));
    }
    let places: Option<Vec<i64>> = text.split(',').map(|place| place.trim().parse().ok()).collect();
    places.map(Step::Indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_somewhere() {
        let object = json!({"spec": {"a": 1, "a.b": 2, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}, {"n": "z", "v": 3}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]}});
        for (path, want) in [
            (".spec.a", json!([1])),
            ("$.spec.a", json!([1])),
            (".spec['a.b']", json!([2])),
            (r".spec.a\.b", json!([2])),
            (".spec.list[0].n", json!(["x"])),
            (".spec.list[-1].n", json!(["z"])),
            (".spec.list[*].n", json!(["x", "y", "z"])),
            (".spec.list[0:2].v", json!([1, 2])),
            (".spec.list[0,2].v", json!([1, 3])),
            (".spec.list[?(@.v>1)].n", json!(["y", "z"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Synced')].status", json!(["False"])),
            ("..type", json!(["Ready", "Synced"])),
            (".nothing.here", json!([])),
            (".", json!([object])),
        ] {
            let parsed = JsonPath::parse(path).unwrap_or_else(|| panic!("{path} is a path"));
            assert_eq!(json!(parsed.find(&object)), want, "{path}");
        }
        for bad in [".a[", ".a['x]", ".a[x]", ".a[?(@.b=]"] {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
    }
}
