//! From a template's parts and a value to text.

use std::cmp::Ordering;

use serde_json::Value;

use super::parse::{Compare, Filter, Node, Operand, Path, Place, Step};
use super::text;

/// Appends what the nodes make of `current`, a part of `root`.
pub(super) fn render(nodes: &[Node], root: &Value, current: &Value, out: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found = find(path, root, current)?;
                let texts: Vec<String> = found.into_iter().map(text).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(path, body) => {
                for item in find(path, root, current)? {
                    render(body, root, item, out)?;
                }
            }
        }
    }
    Ok(())
}

/// What the path finds.
pub(super) fn find<'a>(path: &Path, root: &'a Value, current: &'a Value) -> Result<Vec<&'a Value>, String> {
    let mut found = vec![if path.from_root { root } else { current }];
    for step in &path.steps {
        let mut next = Vec::new();
        for value in found {
            take(step, root, value, &mut next)?;
        }
        found = next;
    }
    Ok(found)
}

fn take<'a>(step: &Step, root: &'a Value, value: &'a Value, next: &mut Vec<&'a Value>) -> Result<(), String> {
    match step {
        Step::Field(name) => next.extend(value.get(name)),
        Step::Fields(names) => next.extend(names.iter().filter_map(|name| value.get(name))),
        Step::All => next.extend(children(value)),
        Step::Below => below(value, next),
        Step::Places(places) => {
            if let Value::Array(items) = value {
                places.iter().for_each(|place| at_place(place, items, next));
            }
        }
        Step::Filter(filter) => {
            for child in children(value) {
                if holds(filter, root, child)? {
                    next.push(child);
                }
            }
        }
    }
    Ok(())
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn below<'a>(value: &'a Value, next: &mut Vec<&'a Value>) {
    next.push(value);
    for child in children(value) {
        below(child, next);
    }
}

fn at_place<'a>(place: &Place, items: &'a [Value], next: &mut Vec<&'a Value>) {
    let len = items.len() as i64;
    let absolute = |place: i64| if place < 0 { place + len } else { place };
    match place {
        Place::At(place) => {
            next.extend(usize::try_from(absolute(*place)).ok().and_then(|place| items.get(place)));
        }
        Place::Run(from, to, step) => {
            let from = absolute(from.unwrap_or(0)).clamp(0, len) as usize;
            let to = absolute(to.unwrap_or(len)).clamp(0, len) as usize;
            if from < to {
                next.extend(items[from..to].iter().step_by(*step as usize));
            }
        }
    }
}

fn holds(filter: &Filter, root: &Value, item: &Value) -> Result<bool, String> {
    let side = |operand: &Operand| -> Result<Option<Value>, String> {
        match operand {
            Operand::Value(value) => Ok(Some(value.clone())),
            Operand::Path(path) => Ok(find(path, root, item)?.first().map(|value| (*value).clone())),
        }
    };
    let left = side(&filter.left)?;
    let Some((compare, right)) = &filter.compare else { return Ok(left.is_some()) };
    let (Some(left), Some(right)) = (left, side(right)?) else { return Ok(false) };
    Ok(compared(*compare, &left, &right))
}

fn compared(compare: Compare, left: &Value, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::Number(l), Value::Number(r)) => l.as_f64().partial_cmp(&r.as_f64()),
        (Value::String(l), Value::String(r)) => Some(l.cmp(r)),
        (l, r) if l == r => Some(Ordering::Equal),
        _ => None,
    };
    match compare {
        Compare::Equal => order == Some(Ordering::Equal),
        Compare::NotEqual => order != Some(Ordering::Equal),
        Compare::Less => order == Some(Ordering::Less),
        Compare::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Compare::Greater => order == Some(Ordering::Greater),
        Compare::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}
