//! What a plain scalar means under YAML 1.1, as go-yaml v2 has it.
//!
//! Invariants: a text that is none of the special forms is a string.
//! Absent: quoted scalars, which are strings.

use serde_json::{Number, Value};

/// What a scalar is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    /// Null, a boolean, a number or a string.
    Json(Value),
    /// A number that JSON cannot hold.
    NotANumber,
    /// Looks like a time; JSON keeps the text.
    Timestamp,
    /// The merge key.
    Merge,
}

/// What the plain scalar `text` is.
pub(super) fn plain(text: &str) -> Scalar {
    let json = |value: Value| Scalar::Json(value);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return json(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return json(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return json(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Scalar::NotANumber,
        "<<" => return Scalar::Merge,
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => float(text).map_or_else(|| json(Value::from(text)), json),
        b'+' | b'-' | b'0'..=b'9' => {
            if is_timestamp(text) {
                return Scalar::Timestamp;
            }
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits)).map_or_else(|| json(Value::from(text)), json)
        }
        _ => json(Value::from(text)),
    }
}

/// Whether `text` may be printed without quotes and still be read as a string.
pub(super) fn is_plain_string(text: &str) -> bool {
    matches!(plain(text), Scalar::Json(Value::String(_))) && !is_base_60(text)
}

/// Decimal, `0x`, `0b`, `0o` or, after a zero, octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0i64.checked_sub_unsigned(value).map(Value::from) } else { Some(Value::from(value)) }
}

/// A number with a fraction or an exponent; a whole one becomes an integer on its way through JSON.
fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(place) => (&unsigned[..place], Some(&unsigned[place + 1..])),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && is_digits(digits)
    });
    if !has_digits || !is_digits(whole) || !is_digits(fraction) || !exponent_fits {
        return None;
    }
    json_number(text.parse().ok()?)
}

/// Go writes floats below this without an exponent, so that whole ones are integers in JSON.
const PLAIN_FLOAT_MAX: f64 = 1e21;

fn json_number(value: f64) -> Option<Value> {
    if value.fract() == 0.0 && value.abs() < PLAIN_FLOAT_MAX && value.abs() < i64::MAX as f64 {
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}

/// A date, or a date and a time, in the forms that go-yaml takes.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 5 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let mut scan = Scan { rest: &text[5..] };
    if !(scan.number(1, 12) && scan.skip("-") && scan.number(1, 31)) {
        return false;
    }
    if scan.rest.is_empty() {
        return true;
    }
    let zoned = scan.skip("T") || scan.skip("t");
    if !zoned && !scan.skip(" ") {
        return false;
    }
    if !(scan.number(0, 23) && scan.skip(":") && scan.number(0, 59) && scan.skip(":") && scan.number(0, 59)) {
        return false;
    }
    if scan.skip(".") && !scan.digits() {
        return false;
    }
    if !zoned || scan.skip("Z") {
        return scan.rest.is_empty();
    }
    (scan.skip("+") || scan.skip("-"))
        && scan.number(0, 24)
        && scan.skip(":")
        && scan.number(0, 60)
        && scan.rest.is_empty()
}

struct Scan<'a> {
    rest: &'a str,
}

impl Scan<'_> {
    fn skip(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// One or two digits in a range.
    fn number(&mut self, min: u8, max: u8) -> bool {
        let count = self.rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        let value: Option<u8> = self.rest[..count].parse().ok();
        self.rest = &self.rest[count..];
        value.is_some_and(|value| (min..=max).contains(&value))
    }

    fn digits(&mut self) -> bool {
        let count = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        self.rest = &self.rest[count..];
        count > 0
    }
}

/// Numbers in base 60, which YAML 1.1 has and go-yaml only quotes.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !first.starts_with(|c: char| c.is_ascii_digit()) || !is_number(first) {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let is_sixtieth = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    middle.iter().all(|part| is_sixtieth(part)) && is_sixtieth(last) && is_number(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_of_yaml_1_1() {
        for (text, expect) in [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("yEs", json!("yEs")),
            ("~", json!(null)),
            ("0755", json!(493)),
            ("0o755", json!(493)),
            ("08", json!(8)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("-0x10", json!(-16)),
            ("1_000", json!(1000)),
            ("+5", json!(5)),
            ("1.0", json!(1)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000)),
            ("1e-2", json!(0.01)),
            ("1.2.3", json!("1.2.3")),
            ("1e", json!("1e")),
            ("-", json!("-")),
            ("0x", json!("0x")),
            ("18446744073709551615", json!(18446744073709551615_u64)),
            ("100m", json!("100m")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1:30", json!("1:30")),
            ("é", json!("é")),
        ] {
            assert_eq!(plain(text), Scalar::Json(expect), "{text}");
        }
        for text in [".inf", "-.INF", ".NaN"] {
            assert_eq!(plain(text), Scalar::NotANumber, "{text}");
        }
        for text in ["2024-01-31", "2024-1-2T3:4:5Z", "2024-01-31 10:00:00.5", "2001-12-14t21:59:43.10-05:00"] {
            assert_eq!(plain(text), Scalar::Timestamp, "{text}");
        }
        for text in ["2024-01-31T", "2024-13-01", "2024-01", "20240131", "2024-01-31T10:00:00"] {
            assert_ne!(plain(text), Scalar::Timestamp, "{text}");
        }
    }

    #[test]
    fn strings_that_need_quotes() {
        for text in ["", "yes", "1", "1.5", "0x1", "null", "2024-01-31", "12:30:45", "<<", ".inf"] {
            assert!(!is_plain_string(text), "{text}");
        }
        for text in ["a", "1.2.3", "100m", "v1", "12:99", "a:b", "-"] {
            assert!(is_plain_string(text), "{text}");
        }
    }
}
