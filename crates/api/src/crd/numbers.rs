//! Numbers as Go takes and writes them.
//!
//! Invariants: equal numbers are equal however they were written.

use serde_json::{Number, Value};

/// The largest number below which every whole float is exact.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Go writes a whole float in full below this, and with an exponent from it on.
const PLAIN_MAX: f64 = 1e21;

/// Whether a number has no fraction.
pub(super) fn is_whole(value: &Value) -> bool {
    value.as_i64().is_some() || value.as_u64().is_some() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

/// Whether two values are the same, numbers by what they are worth.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

/// Whether a number is a whole number of times another.
pub(super) fn is_multiple(value: &Value, factor: f64) -> bool {
    if let Some(number) = value.as_i64() {
        let factor = factor as i64;
        return factor > 0 && number % factor == 0;
    }
    let number = value.as_f64().unwrap_or_default();
    let times = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
    (times - times.round()).abs() < 1e-9 * times.abs().max(1.0)
}

/// Whole floats as integers, which is how they are stored.
pub(super) fn normalize(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0)
                && float.abs() < EXACT_MAX
            {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(map) => map.values_mut().for_each(normalize),
        _ => {}
    }
}

/// A float as Go's `%v` writes it.
pub(super) fn go_float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..PLAIN_MAX).contains(&size) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_go_writes_them() {
        for (number, want) in [(1.0, "1"), (0.5, "0.5"), (1e21, "1e+21"), (1e-5, "1e-05"), (65535.0, "65535")] {
            assert_eq!(go_float(number), want);
        }
        let mut value = json!({"a": [1.0, 1.5, 2]});
        normalize(&mut value);
        assert_eq!(value.to_string(), r#"{"a":[1,1.5,2]}"#);
        assert!(is_multiple(&json!(9), 3.0) && !is_multiple(&json!(10), 3.0) && is_multiple(&json!(0.3), 0.1));
    }
}
