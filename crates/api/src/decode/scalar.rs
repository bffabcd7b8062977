//! One JSON scalar as a Go type takes it, in the form in which Go writes it back.
//!
//! Invariants: what is returned is taken again unchanged.
//! Absent: where the scalar stood.

use crate::quantity::Quantity;
use crate::schema::Ty;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};

mod time;

/// Base64 as Go reads it: bits beyond the last byte are ignored.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// What stood in the text.
#[derive(Debug)]
pub(super) enum Token<'a> {
    Bool(bool),
    Number(Number),
    String(&'a str),
    Array,
    Object,
}

impl Token<'_> {
    /// The token as Go's message names it for a value of type `ty`.
    pub(super) fn description(&self, ty: Ty) -> String {
        match self {
            Token::Bool(_) => "bool".to_owned(),
            Token::String(_) => "string".to_owned(),
            Token::Array => "array".to_owned(),
            Token::Object => "object".to_owned(),
            Token::Number(number) => match ty {
                Ty::Int32 | Ty::Int64 | Ty::Uint32 | Ty::Float64 | Ty::IntOrString => format!("number {number}"),
                _ => "number".to_owned(),
            },
        }
    }

    fn go_type(&self) -> &'static str {
        match self {
            Token::Bool(_) => "bool",
            Token::String(_) => "string",
            Token::Array => "[]interface {}",
            Token::Object => "map[string]interface {}",
            Token::Number(number) if number.is_f64() => "float64",
            Token::Number(_) => "int64",
        }
    }

    fn as_json(&self) -> String {
        match self {
            Token::Bool(value) => value.to_string(),
            Token::Number(number) => number.to_string(),
            Token::String(text) => (*text).to_owned(),
            Token::Array => "[]".to_owned(),
            Token::Object => "{}".to_owned(),
        }
    }
}

/// Why a token does not fit.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// It is of the wrong type: the Go type to name, where it is not the field's.
    WrongType(Option<&'static str>),
    /// The type's own words; `fatal` where its decoder stops the reading.
    Message { text: String, fatal: bool },
}

/// The normal form of a scalar of a resolved type.
pub(super) fn read(ty: Ty, token: &Token<'_>) -> Result<Value, Refusal> {
    match (ty, token) {
        (Ty::String, Token::String(text)) => Ok(Value::from(*text)),
        (Ty::Bool, Token::Bool(value)) => Ok(Value::Bool(*value)),
        (Ty::Int32, Token::Number(number)) => in_range(number, i64::from(i32::MIN), i64::from(i32::MAX)).ok_or(WRONG),
        (Ty::Uint32, Token::Number(number)) => in_range(number, 0, i64::from(u32::MAX)).ok_or(WRONG),
        (Ty::Int64, Token::Number(number)) => in_range(number, i64::MIN, i64::MAX).ok_or(WRONG),
        (Ty::Float64, Token::Number(number)) => Ok(float(number)),
        (Ty::Bytes, Token::String(text)) => bytes(text),
        (Ty::Quantity, Token::Array | Token::Object) => quantity(&token.as_json()),
        (Ty::Quantity, Token::Bool(_) | Token::Number(_) | Token::String(_)) => quantity(token.as_json().trim()),
        (Ty::IntOrString, Token::String(text)) => Ok(Value::from(*text)),
        (Ty::IntOrString, Token::Number(number)) => {
            in_range(number, i64::from(i32::MIN), i64::from(i32::MAX)).ok_or(Refusal::WrongType(Some("int32")))
        }
        (Ty::IntOrString, _) => Err(Refusal::WrongType(Some("int32"))),
        (Ty::Time, Token::String(text)) => time::seconds(text).map(Value::String).map_err(fatal),
        (Ty::MicroTime, Token::String(text)) => time::microseconds(text).map(Value::String).map_err(fatal),
        (Ty::Time | Ty::MicroTime, _) => Err(Refusal::WrongType(Some("string"))),
        (Ty::Duration, Token::String(text)) => Ok(Value::from(*text)),
        (Ty::Duration, _) => Err(Refusal::WrongType(Some("string"))),
        (Ty::RawExtension | Ty::FieldsV1 | Ty::Json | Ty::Patch, _) => Ok(raw(token)),
        (Ty::SchemaOrBool, Token::Bool(value)) => Ok(Value::Bool(*value)),
        (Ty::SchemaOrBool, _) => Err(fatal("boolean or JSON schema expected".to_owned())),
        (Ty::SchemaOrArray | Ty::SchemaOrStrings, _) => Ok(Value::Null),
        _ => Err(WRONG),
    }
}

const WRONG: Refusal = Refusal::WrongType(None);

fn fatal(text: String) -> Refusal {
    Refusal::Message { text, fatal: true }
}

fn raw(token: &Token<'_>) -> Value {
    match token {
        Token::Bool(value) => Value::Bool(*value),
        Token::Number(number) => Value::Number(number.clone()),
        Token::String(text) => Value::from(*text),
        Token::Array | Token::Object => Value::Null,
    }
}

fn in_range(number: &Number, min: i64, max: i64) -> Option<Value> {
    let value = number.as_i64()?;
    (min..=max).contains(&value).then(|| Value::from(value))
}

/// A whole number is written without a fraction.
fn float(number: &Number) -> Value {
    /// Up to here every whole number has a float of its own.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() <= EXACT_MAX => Value::from(value as i64),
        _ => Value::Number(number.clone()),
    }
}

fn bytes(text: &str) -> Result<Value, Refusal> {
    let compact = text.replace(['\n', '\r'], "");
    match BASE64.decode(&compact) {
        Ok(bytes) => Ok(Value::String(BASE64.encode(bytes))),
        Err(_) => {
            let text = format!("illegal base64 data at input byte {}", base64_failure(text.as_bytes()));
            Err(Refusal::Message { text, fatal: false })
        }
    }
}

/// The place that Go's decoder names: the byte that cannot be, or the start of a group of four that does not end.
fn base64_failure(text: &[u8]) -> usize {
    let mut in_group = 0;
    let mut padding = 0;
    for (place, &byte) in text.iter().enumerate() {
        if in_group + padding == 4 && padding == 0 {
            in_group = 0;
        }
        match byte {
            _ if padding > 0 && in_group + padding == 4 => return place,
            b'=' if in_group < 2 => return place,
            b'=' => padding += 1,
            _ if padding > 0 => return place - 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => in_group += 1,
            _ => return place,
        }
    }
    if padding > 0 { text.len() } else { text.len() - in_group }
}

fn quantity(text: &str) -> Result<Value, Refusal> {
    match Quantity::parse(text) {
        Ok(quantity) => Ok(Value::String(quantity.to_string())),
        Err(error) => Err(fatal(error.to_string())),
    }
}

/// The message of apimachinery's converter for a token that does not fit a resolved type.
pub(super) fn unconvertible(token: &Token<'_>, ty: Ty, go_type: &str) -> String {
    let found = token.go_type();
    match ty {
        Ty::Ref(_) => format!("cannot restore struct from: {}", go_kind(token)),
        Ty::Map(_) => format!("cannot restore map from {}", go_kind(token)),
        Ty::List(_) => format!("cannot restore slice from {}", go_kind(token)),
        Ty::String if matches!(token, Token::Number(_)) && found == "int64" => {
            format!("cannot convert {found} to {go_type}")
        }
        Ty::Int32 | Ty::Int64 | Ty::Uint32 if found == "float64" => format!("cannot convert {found} to {go_type}"),
        Ty::String => "unrecognized type: string".to_owned(),
        Ty::Bool => "unrecognized type: bool".to_owned(),
        Ty::Int32 => "unrecognized type: int32".to_owned(),
        Ty::Int64 => "unrecognized type: int64".to_owned(),
        Ty::Uint32 => "unrecognized type: uint32".to_owned(),
        Ty::Float64 => "unrecognized type: float64".to_owned(),
        _ => format!("json: cannot unmarshal {} into Go value of type {go_type}", token.description(ty)),
    }
}

fn go_kind(token: &Token<'_>) -> &'static str {
    match token {
        Token::Array => "slice",
        Token::Object => "map",
        _ => token.go_type(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn normal_forms() {
        for (ty, token, expect) in [
            (Ty::Quantity, Token::String("0.5"), json!("500m")),
            (Ty::Quantity, Token::String("1024Mi"), json!("1Gi")),
            (Ty::Quantity, Token::Number(2.into()), json!("2")),
            (Ty::IntOrString, Token::Number(80.into()), json!(80)),
            (Ty::IntOrString, Token::String("25%"), json!("25%")),
            (Ty::Time, Token::String("2024-05-06T07:08:09+02:00"), json!("2024-05-06T05:08:09Z")),
            (Ty::MicroTime, Token::String("2024-05-06T07:08:09.012345Z"), json!("2024-05-06T07:08:09.012345Z")),
            (Ty::Float64, Token::Number(Number::from_f64(3.0).expect("finite")), json!(3)),
            (Ty::Float64, Token::Number(Number::from_f64(0.25).expect("finite")), json!(0.25)),
            (Ty::Bytes, Token::String("YWJj\nZGVm"), json!("YWJjZGVm")),
            (Ty::Json, Token::Bool(true), json!(true)),
        ] {
            assert_eq!(read(ty, &token), Ok(expect), "{ty:?} {token:?}");
        }
    }

    #[test]
    fn refusals() {
        let words = |text: &str, fatal| Refusal::Message { text: text.to_owned(), fatal };
        for (ty, token, expect) in [
            (Ty::Int32, Token::Number(3_000_000_000_i64.into()), WRONG),
            (Ty::Int32, Token::Number(Number::from_f64(1.5).expect("finite")), WRONG),
            (Ty::IntOrString, Token::Bool(true), Refusal::WrongType(Some("int32"))),
            (Ty::Time, Token::Number(5.into()), Refusal::WrongType(Some("string"))),
            (Ty::Bytes, Token::String("YW!j"), words("illegal base64 data at input byte 2", false)),
            (Ty::Bytes, Token::String("YWJjYWJ"), words("illegal base64 data at input byte 4", false)),
            (Ty::Bytes, Token::String("YWJj="), words("illegal base64 data at input byte 4", false)),
            (Ty::Bytes, Token::String("YQ=a"), words("illegal base64 data at input byte 2", false)),
            (Ty::Bytes, Token::String("YQ="), words("illegal base64 data at input byte 3", false)),
            (Ty::Bytes, Token::String("YQ==YQ=="), words("illegal base64 data at input byte 4", false)),
            (Ty::SchemaOrBool, Token::Number(1.into()), words("boolean or JSON schema expected", true)),
            (
                Ty::Quantity,
                Token::String("lots"),
                words(
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                    true,
                ),
            ),
        ] {
            assert_eq!(read(ty, &token), Err(expect), "{ty:?} {token:?}");
        }
    }
}
