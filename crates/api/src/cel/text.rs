//! Methods of texts, times and durations.
//!
//! Invariants: places in texts count letters, as in Go.

use jiff::tz::TimeZone;

use super::eval::{Budget, Fault, Outcome};
use super::functions::shown;
use super::value::Val;
use crate::crd::pattern;

/// A method of a text.
pub(super) fn method<'a>(name: &str, text: &str, rest: &[Val<'a>], budget: &mut Budget) -> Outcome<'a> {
    match (name, rest) {
        ("startsWith", [Val::Text(other)]) => Ok(Val::Bool(text.starts_with(&**other))),
        ("endsWith", [Val::Text(other)]) => Ok(Val::Bool(text.ends_with(&**other))),
        ("contains", [Val::Text(other)]) => Ok(Val::Bool(text.contains(&**other))),
        ("matches" | "find" | "findAll", [Val::Text(expression), limit @ ..]) => {
            budget.spend(text.len() * (expression.len() / 4 + 1) / 10)?;
            search(name, text, expression, limit)
        }
        ("lowerAscii", []) => Ok(Val::text(text.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Val::text(text.to_ascii_uppercase())),
        ("trim", []) => Ok(Val::text(text.trim())),
        ("reverse", []) => Ok(Val::text(text.chars().rev().collect::<String>())),
        ("charAt", [Val::Int(at)]) => {
            let letters: Vec<char> = text.chars().collect();
            match usize::try_from(*at) {
                Ok(at) if at == letters.len() => Ok(Val::text("")),
                Ok(at) if at < letters.len() => Ok(Val::text(letters[at].to_string())),
                _ => Err(Fault::other(format!("index out of range: {at}"))),
            }
        }
        ("indexOf" | "lastIndexOf", [Val::Text(other), ..]) => {
            let found = if name == "indexOf" { text.find(&**other) } else { text.rfind(&**other) };
            Ok(Val::Int(found.map_or(-1, |at| text[..at].chars().count() as i64)))
        }
        ("replace", [Val::Text(from), Val::Text(to), limit @ ..]) => {
            let made = match limit {
                [Val::Int(limit)] if *limit >= 0 => text.replacen(&**from, to, usize::try_from(*limit).unwrap_or(0)),
                _ => text.replace(&**from, to),
            };
            budget.spend(made.len() / 10)?;
            Ok(Val::text(made))
        }
        ("split", [Val::Text(separator), limit @ ..]) => {
            let limit = match limit {
                [Val::Int(limit)] if *limit >= 0 => usize::try_from(*limit).unwrap_or(0),
                _ => usize::MAX,
            };
            if separator.is_empty() {
                return Ok(Val::list(text.chars().map(|letter| Val::text(letter.to_string())).take(limit).collect()));
            }
            if limit == 0 {
                return Ok(Val::list(Vec::new()));
            }
            Ok(Val::list(text.splitn(limit, &**separator).map(Val::text).collect()))
        }
        ("substring", [Val::Int(from), to @ ..]) => {
            let letters: Vec<char> = text.chars().collect();
            let to = match to {
                [Val::Int(to)] => *to,
                _ => letters.len() as i64,
            };
            let range = usize::try_from(*from).ok().zip(usize::try_from(to).ok());
            let slice = range.and_then(|(from, to)| letters.get(from..to));
            slice
                .map(|slice| Val::text(slice.iter().collect::<String>()))
                .ok_or_else(|| Fault::other(format!("index out of range: {from}")))
        }
        ("format", [Val::List(args)]) => format(text, &args.items().collect::<Vec<_>>()).map(Val::text),
        _ => super::kubernetes::call_on_text(name, text, rest),
    }
}

/// What a regular expression finds in a text.
fn search<'a>(name: &str, text: &str, expression: &str, limit: &[Val<'a>]) -> Outcome<'a> {
    let regex = pattern::compile(expression).map_err(Fault::Other)?;
    let limit = match limit {
        [Val::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    Ok(match name {
        "matches" => Val::Bool(regex.is_match(text)),
        "find" => Val::text(regex.find(text).map_or("", |found| found.as_str())),
        _ => Val::list(regex.find_iter(text).take(limit).map(|found| Val::text(found.as_str())).collect()),
    })
}

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o` and `%%`.
fn format(text: &str, args: &[Val<'_>]) -> Result<String, Fault> {
    let (mut out, mut letters, mut at) = (String::new(), text.chars().peekable(), 0);
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut precision = None;
        if letters.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().map(|digits| digits.min(60));
        }
        let verb = letters.next().ok_or_else(|| Fault::other("could not parse formatting clause: unexpected end"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.get(at).ok_or_else(|| Fault::other(format!("index {at} out of range")))?;
        at += 1;
        let number = match arg {
            Val::Int(number) => Some(*number as f64),
            Val::Uint(number) => Some(*number as f64),
            Val::Double(number) => Some(*number),
            _ => None,
        };
        match (verb, arg, number) {
            ('s', arg, _) => out.push_str(&shown(arg)),
            ('d', arg @ (Val::Int(_) | Val::Uint(_) | Val::Double(_)), _) => out.push_str(&shown(arg)),
            ('f', _, Some(number)) => out.push_str(&format!("{number:.*}", precision.unwrap_or(6))),
            ('e', _, Some(number)) => out.push_str(&format!("{number:.*e}", precision.unwrap_or(6))),
            ('b', Val::Int(number), _) => out.push_str(&format!("{number:b}")),
            ('b', Val::Bool(value), _) => out.push(if *value { '1' } else { '0' }),
            ('x', Val::Int(number), _) => out.push_str(&format!("{number:x}")),
            ('X', Val::Int(number), _) => out.push_str(&format!("{number:X}")),
            ('o', Val::Int(number), _) => out.push_str(&format!("{number:o}")),
            _ => return Err(Fault::other(format!("error during formatting: no such clause %{verb} for this value"))),
        }
    }
    Ok(out)
}

/// A duration as Go reads it, in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..length])?;
        nanos += number * unit;
        rest = &rest[length..];
    }
    (!text.is_empty() && nanos < i64::MAX as f64).then_some((sign * nanos) as i64)
}

/// A duration as text: seconds, as protobuf writes it.
pub(super) fn duration_text(nanos: i64) -> String {
    let seconds = nanos as f64 / 1e9;
    format!("{seconds}s")
}

/// A method of a time or duration; the last argument may be a time zone.
pub(super) fn time_method<'a>(name: &str, args: &[Val<'a>]) -> Outcome<'a> {
    let (time, zone) = match args {
        [Val::Duration(nanos)] => {
            let per = match name {
                "getHours" => 3_600_000_000_000,
                "getMinutes" => 60_000_000_000,
                "getSeconds" => 1_000_000_000,
                "getMilliseconds" => 1_000_000,
                _ => return Err(Fault::NoOverload),
            };
            return Ok(Val::Int(nanos / per));
        }
        [Val::Time(time)] => (time, TimeZone::UTC),
        [Val::Time(time), Val::Text(zone)] => {
            let zone = TimeZone::get(zone).map_err(|_| Fault::other(format!("unknown time zone {zone}")))?;
            (time, zone)
        }
        _ => return Err(Fault::NoOverload),
    };
    let local = time.to_zoned(zone);
    let number = match name {
        "getFullYear" => i64::from(local.year()),
        "getMonth" => i64::from(local.month()) - 1,
        "getDate" => i64::from(local.day()),
        "getDayOfMonth" => i64::from(local.day()) - 1,
        "getDayOfWeek" => i64::from(local.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i64::from(local.day_of_year()) - 1,
        "getHours" => i64::from(local.hour()),
        "getMinutes" => i64::from(local.minute()),
        "getSeconds" => i64::from(local.second()),
        "getMilliseconds" => i64::from(local.millisecond()),
        _ => return Err(Fault::NoOverload),
    };
    Ok(Val::Int(number))
}
