//! Operators and functions of the language itself, of texts and of lists.
//!
//! Invariants: arithmetic never wraps; what grows with its input costs its input's size.
//! Absent: libraries of Kubernetes (`kubernetes`).

use std::cmp::Ordering;

use super::ast::Op;
use super::eval::{Budget, Fault, Outcome};
use super::value::{List, Val};
use super::{kubernetes, text};

/// The value of an operator.
pub(super) fn operator<'a>(op: Op, left: Val<'a>, right: Val<'a>, budget: &mut Budget) -> Outcome<'a> {
    let ordered = |wanted: fn(Ordering) -> bool| match left.order(&right) {
        Some(order) => Ok(Val::Bool(wanted(order))),
        None => Err(Fault::NoOverload),
    };
    match op {
        Op::Equal => Ok(Val::Bool(left.equals(&right))),
        Op::NotEqual => Ok(Val::Bool(!left.equals(&right))),
        Op::Less => ordered(Ordering::is_lt),
        Op::LessOrEqual => ordered(Ordering::is_le),
        Op::Greater => ordered(Ordering::is_gt),
        Op::GreaterOrEqual => ordered(Ordering::is_ge),
        Op::In => match &right {
            Val::List(list) => {
                budget.spend(list.len())?;
                Ok(Val::Bool(list.contains(&left)))
            }
            Val::Map(map) => Ok(Val::Bool(map.get(&left).is_some())),
            _ => Err(Fault::NoOverload),
        },
        Op::Add => add(left, right, budget),
        _ => arithmetic(op, &left, &right),
    }
}

fn add<'a>(left: Val<'a>, right: Val<'a>, budget: &mut Budget) -> Outcome<'a> {
    match (&left, &right) {
        (Val::Text(a), Val::Text(b)) => {
            budget.spend((a.len() + b.len()) / 10)?;
            Ok(Val::text(format!("{a}{b}")))
        }
        (Val::List(a), Val::List(b)) => {
            budget.spend(a.len() + b.len())?;
            Ok(Val::list(a.items().chain(b.items()).collect()))
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            budget.spend((a.len() + b.len()) / 10)?;
            Ok(Val::Bytes([&**a, &**b].concat().into()))
        }
        _ => arithmetic(Op::Add, &left, &right),
    }
}

fn arithmetic<'a>(op: Op, left: &Val<'a>, right: &Val<'a>) -> Outcome<'a> {
    let checked =
        |value: Option<i64>, make: fn(i64) -> Val<'a>| value.map(make).ok_or_else(|| Fault::other("integer overflow"));
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => {
            let (a, b) = (*a, *b);
            match op {
                Op::Add => checked(a.checked_add(b), Val::Int),
                Op::Subtract => checked(a.checked_sub(b), Val::Int),
                Op::Multiply => checked(a.checked_mul(b), Val::Int),
                Op::Divide if b == 0 => Err(Fault::other("division by zero")),
                Op::Divide => checked(a.checked_div(b), Val::Int),
                _ if b == 0 => Err(Fault::other("modulus by zero")),
                _ => checked(a.checked_rem(b), Val::Int),
            }
        }
        (Val::Uint(a), Val::Uint(b)) => {
            let value = match op {
                Op::Add => a.checked_add(*b),
                Op::Subtract => a.checked_sub(*b),
                Op::Multiply => a.checked_mul(*b),
                Op::Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            value.map(Val::Uint).ok_or_else(|| Fault::other("unsigned integer overflow"))
        }
        (Val::Double(a), Val::Double(b)) => match op {
            Op::Add => Ok(Val::Double(a + b)),
            Op::Subtract => Ok(Val::Double(a - b)),
            Op::Multiply => Ok(Val::Double(a * b)),
            Op::Divide => Ok(Val::Double(a / b)),
            _ => Err(Fault::NoOverload),
        },
        (Val::Duration(a), Val::Duration(b)) if op == Op::Add => checked(a.checked_add(*b), Val::Duration),
        (Val::Duration(a), Val::Duration(b)) if op == Op::Subtract => checked(a.checked_sub(*b), Val::Duration),
        (Val::Time(time), Val::Duration(nanos)) | (Val::Duration(nanos), Val::Time(time)) if op == Op::Add => {
            shifted(*time, *nanos)
        }
        (Val::Time(time), Val::Duration(nanos)) if op == Op::Subtract => shifted(*time, nanos.saturating_neg()),
        (Val::Time(a), Val::Time(b)) if op == Op::Subtract => {
            Ok(Val::Duration(i64::try_from(a.duration_since(*b).as_nanos()).unwrap_or(i64::MAX)))
        }
        _ => Err(Fault::NoOverload),
    }
}

fn shifted<'a>(time: jiff::Timestamp, nanos: i64) -> Outcome<'a> {
    let moved = time.checked_add(jiff::SignedDuration::from_nanos(nanos));
    moved.map(Val::Time).map_err(|_| Fault::other("timestamp overflow"))
}

/// The type that a name stands for.
pub(super) fn type_of_name(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 10] = ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"];
    TYPES.into_iter().find(|there| *there == name)
}

/// Names of libraries whose functions are called as if they were methods.
pub(super) fn is_library(name: &str) -> bool {
    matches!(name, "optional" | "math" | "sets" | "ip" | "base64" | "lists" | "strings" | "format")
}

/// A function of a library.
pub(super) fn of_library<'a>(library: &str, name: &str, args: Vec<Val<'a>>) -> Outcome<'a> {
    match (library, name, args.as_slice()) {
        ("optional", "of", [value]) => Ok(Val::some(value.clone())),
        ("optional", "none", []) => Ok(Val::none()),
        ("optional", "ofNonZeroValue", [value]) => {
            Ok(if is_zero(value) { Val::none() } else { Val::some(value.clone()) })
        }
        ("math", "greatest" | "least", args) => {
            let items: Vec<Val<'a>> = match args {
                [Val::List(list)] => list.items().collect(),
                args => args.to_vec(),
            };
            extreme(&items, name == "greatest")
        }
        ("math", "abs", [Val::Int(number)]) => {
            number.checked_abs().map(Val::Int).ok_or_else(|| Fault::other("integer overflow"))
        }
        ("math", "abs", [Val::Double(number)]) => Ok(Val::Double(number.abs())),
        ("math", "ceil", [Val::Double(number)]) => Ok(Val::Double(number.ceil())),
        ("math", "floor", [Val::Double(number)]) => Ok(Val::Double(number.floor())),
        ("math", "round", [Val::Double(number)]) => Ok(Val::Double(number.round())),
        ("sets", name, [Val::List(a), Val::List(b)]) => match name {
            "contains" => Ok(Val::Bool(b.items().all(|item| a.contains(&item)))),
            "intersects" => Ok(Val::Bool(b.items().any(|item| a.contains(&item)))),
            "equivalent" => {
                let is_within = |a: &List<'a>, b: &List<'a>| a.items().all(|item| b.contains(&item));
                Ok(Val::Bool(is_within(a, b) && is_within(b, a)))
            }
            _ => Err(Fault::NoOverload),
        },
        ("lists", "range", [Val::Int(count)]) if (0..=10_000).contains(count) => {
            Ok(Val::list((0..*count).map(Val::Int).collect()))
        }
        ("strings", "quote", [Val::Text(value)]) => Ok(Val::text(crate::quote::quoted(value))),
        ("ip" | "base64" | "format", ..) => kubernetes::of_library(library, name, &args),
        _ => Err(Fault::NoOverload),
    }
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null | Val::Bool(false) | Val::Int(0) | Val::Uint(0) | Val::Duration(0) => true,
        Val::Double(number) => *number == 0.0,
        Val::Text(text) => text.is_empty(),
        Val::List(list) => list.len() == 0,
        Val::Map(map) => map.len() == 0,
        _ => false,
    }
}

fn extreme<'a>(items: &[Val<'a>], greatest: bool) -> Outcome<'a> {
    let mut items = items.iter();
    let Some(first) = items.next() else { return Err(Fault::other("no such overload: empty list")) };
    items.try_fold(first.clone(), |best, item| match item.order(&best) {
        Some(order) if (greatest && order.is_gt()) || (!greatest && order.is_lt()) => Ok(item.clone()),
        Some(_) => Ok(best),
        None => Err(Fault::NoOverload),
    })
}

/// A function, or a method of its first argument.
pub(super) fn call<'a>(name: &str, method: bool, args: Vec<Val<'a>>, budget: &mut Budget) -> Outcome<'a> {
    let size: usize = args.iter().map(length).sum();
    budget.spend(size / 10 + 1)?;
    match (name, args.as_slice()) {
        ("size", [value]) => match value {
            Val::Text(text) => Ok(Val::Int(text.chars().count() as i64)),
            Val::Bytes(_) | Val::List(_) | Val::Map(_) => Ok(Val::Int(length(value) as i64)),
            _ => Err(Fault::NoOverload),
        },
        ("dyn", [value]) if !method => Ok(value.clone()),
        ("type", [value]) if !method => Ok(Val::Type(value.type_name())),
        ("int" | "uint" | "double" | "string" | "bool" | "bytes" | "duration" | "timestamp", [value]) if !method => {
            convert(name, value)
        }
        ("hasValue", [Val::Optional(value)]) => Ok(Val::Bool(value.is_some())),
        ("value", [Val::Optional(value)]) => {
            value.as_deref().cloned().ok_or_else(|| Fault::other("optional.none() dereference"))
        }
        ("orValue", [Val::Optional(value), otherwise]) => {
            Ok(value.as_deref().cloned().unwrap_or_else(|| otherwise.clone()))
        }
        ("or", [Val::Optional(value), otherwise]) => match value {
            Some(_) => Ok(args[0].clone()),
            None => Ok(otherwise.clone()),
        },
        (_, [Val::Text(text), rest @ ..]) if method => text::method(name, text, rest, budget),
        (_, [Val::List(list), rest @ ..]) if method => of_list(name, list, rest, budget),
        (_, [Val::Time(_) | Val::Duration(_), ..]) if method => text::time_method(name, &args),
        ("matches", [Val::Text(text), rest @ ..]) => text::method(name, text, rest, budget),
        _ => kubernetes::call(name, &args),
    }
}

fn length(value: &Val<'_>) -> usize {
    match value {
        Val::Text(text) => text.len(),
        Val::Bytes(bytes) => bytes.len(),
        Val::List(list) => list.len(),
        Val::Map(map) => map.len(),
        _ => 0,
    }
}

fn of_list<'a>(name: &str, list: &List<'a>, rest: &[Val<'a>], budget: &mut Budget) -> Outcome<'a> {
    let items: Vec<Val<'a>> = list.items().collect();
    let order = |a: &Val<'a>, b: &Val<'a>| a.order(b).unwrap_or(Ordering::Equal);
    match (name, rest) {
        ("isSorted", []) => Ok(Val::Bool(items.windows(2).all(|pair| order(&pair[0], &pair[1]).is_le()))),
        ("min", []) => extreme(&items, false),
        ("max", []) => extreme(&items, true),
        ("sum", []) => {
            let mut items = items.into_iter();
            let Some(first) = items.next() else { return Ok(Val::Int(0)) };
            items.try_fold(first, |sum, item| arithmetic(Op::Add, &sum, &item))
        }
        ("indexOf" | "lastIndexOf", [value]) => {
            let is_it = |item: &Val<'a>| item.equals(value);
            let found = if name == "indexOf" { items.iter().position(is_it) } else { items.iter().rposition(is_it) };
            Ok(Val::Int(found.map_or(-1, |at| at as i64)))
        }
        ("join", separator) => {
            let separator = match separator {
                [] => "",
                [Val::Text(separator)] => separator,
                _ => return Err(Fault::NoOverload),
            };
            let texts: Option<Vec<&str>> =
                items.iter().map(|item| if let Val::Text(t) = item { Some(&**t) } else { None }).collect();
            texts.map(|texts| Val::text(texts.join(separator))).ok_or(Fault::NoOverload)
        }
        ("slice", [Val::Int(from), Val::Int(to)]) => {
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            let slice = range.and_then(|(from, to)| items.get(from..to));
            slice.map(|slice| Val::list(slice.to_vec())).ok_or_else(|| Fault::other("index out of bounds"))
        }
        ("flatten", _) => Ok(Val::list(
            items
                .into_iter()
                .flat_map(|item| match item {
                    Val::List(inner) => inner.items().collect(),
                    other => vec![other],
                })
                .collect(),
        )),
        ("reverse", []) => Ok(Val::list(items.into_iter().rev().collect())),
        ("sort", []) => {
            let mut items = items;
            items.sort_by(order);
            Ok(Val::list(items))
        }
        ("distinct", []) => {
            // Each item is held against all before it.
            budget.spend(items.len().saturating_mul(items.len()))?;
            let mut out: Vec<Val<'a>> = Vec::new();
            for item in items {
                if !out.iter().any(|there| there.equals(&item)) {
                    out.push(item);
                }
            }
            Ok(Val::list(out))
        }
        ("first" | "last", []) => {
            let found = if name == "first" { items.first() } else { items.last() };
            Ok(found.cloned().map_or_else(Val::none, Val::some))
        }
        _ => Err(Fault::NoOverload),
    }
}

fn convert<'a>(to: &str, value: &Val<'a>) -> Outcome<'a> {
    let failed = || Fault::other(format!("type conversion error from '{}' to '{to}'", value.type_name()));
    match (to, value) {
        ("int", Val::Int(_)) | ("uint", Val::Uint(_)) | ("double", Val::Double(_)) => Ok(value.clone()),
        ("string", Val::Text(_)) | ("bool", Val::Bool(_)) | ("bytes", Val::Bytes(_)) => Ok(value.clone()),
        ("duration", Val::Duration(_)) | ("timestamp", Val::Time(_)) => Ok(value.clone()),
        ("int", Val::Uint(number)) => i64::try_from(*number).map(Val::Int).map_err(|_| failed()),
        ("int", Val::Double(number)) if number.abs() < i64::MAX as f64 => Ok(Val::Int(*number as i64)),
        ("int", Val::Text(text)) => text.parse().map(Val::Int).map_err(|_| failed()),
        ("int", Val::Time(time)) => Ok(Val::Int(time.as_second())),
        ("uint", Val::Int(number)) => u64::try_from(*number).map(Val::Uint).map_err(|_| failed()),
        ("uint", Val::Double(number)) if *number >= 0.0 => Ok(Val::Uint(*number as u64)),
        ("uint", Val::Text(text)) => text.parse().map(Val::Uint).map_err(|_| failed()),
        ("double", Val::Int(number)) => Ok(Val::Double(*number as f64)),
        ("double", Val::Uint(number)) => Ok(Val::Double(*number as f64)),
        ("double", Val::Text(text)) => text.parse().map(Val::Double).map_err(|_| failed()),
        ("bool", Val::Text(text)) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Val::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Val::Bool(false)),
            _ => Err(failed()),
        },
        ("bytes", Val::Text(text)) => Ok(Val::Bytes(text.as_bytes().into())),
        ("duration", Val::Text(text)) => text::duration(text).map(Val::Duration).ok_or_else(failed),
        ("timestamp", Val::Text(text)) => text.parse().map(Val::Time).map_err(|_| failed()),
        ("timestamp", Val::Int(seconds)) => jiff::Timestamp::from_second(*seconds).map(Val::Time).map_err(|_| failed()),
        ("string", Val::Bytes(bytes)) => {
            std::str::from_utf8(bytes).map(Val::text).map_err(|_| Fault::other("invalid UTF-8 in bytes"))
        }
        ("string", Val::List(_) | Val::Map(_) | Val::Null | Val::Optional(_)) => Err(Fault::NoOverload),
        ("string", value) => Ok(Val::text(shown(value))),
        _ => Err(Fault::NoOverload),
    }
}

/// A value as text.
pub(super) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Null => "null".to_owned(),
        Val::Bool(value) => value.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => number.to_string(),
        Val::Text(text) => text.to_string(),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Duration(nanos) => text::duration_text(*nanos),
        Val::Time(time) => time.to_string(),
        Val::List(list) => format!("[{}]", list.items().map(|item| shown(&item)).collect::<Vec<_>>().join(", ")),
        Val::Map(map) => {
            let entry = |key: Val<'_>| {
                let value = map.get(&key).map(|value| shown(&value)).unwrap_or_default();
                format!("{}: {value}", shown(&key))
            };
            format!("{{{}}}", map.keys().into_iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Val::Optional(_) => "optional".to_owned(),
        Val::Type(name) => (*name).to_owned(),
        Val::Special(special) => kubernetes::shown(special),
    }
}
