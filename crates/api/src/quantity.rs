//! Resource quantities: `100m`, `1.5Gi`, `12e6`.
//!
//! Invariants: an amount is an exact number of billionths; parsing rounds what is finer away from
//! zero, so that a positive wish never becomes nothing. The text of a quantity is canonical (no
//! fraction, the largest suffix that loses nothing), except that a text which Kubernetes keeps as
//! written is kept as written.
//!
//! Absent: arithmetic beyond addition and subtraction; amounts above 1.7e29 are capped.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use serde_json::Value;

/// Billionths in one unit: the finest amount Kubernetes keeps.
const NANOS: i128 = 1_000_000_000;

/// Significant digits up to which Kubernetes keeps a decimal text as written (what fits an i64).
const KEPT_DIGITS_DECIMAL: usize = 18;

/// The same for binary suffixes, before what the suffix itself takes.
const KEPT_DIGITS_BINARY: i32 = 15;

/// Why a text is not a quantity; the words are Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number followed by a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// A suffix that does not exist.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `12M`
    DecimalSi,
    /// `12Mi`
    BinarySi,
    /// `12e6`
    DecimalExponent,
}

/// An exact amount and the way to write it. Equality and order look at the amount only.
#[derive(Debug, Clone)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    kept: Option<String>,
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let whole = whole.trim_start_matches('0');
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let exponent = &suffix[letters..];
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if digits(exponent) != exponent.len() {
        return Err(QuantityError::Format);
    }
    Ok(Parts { negative, whole, fraction, suffix })
}

fn exponent_of(suffix: &str) -> Result<(Format, i32), QuantityError> {
    const DECIMAL: [(&str, i32); 10] =
        [("", 0), ("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    const BINARY: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
    if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::DecimalSi, *e));
    }
    if let Some((_, e)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Ok((Format::BinarySi, *e));
    }
    suffix
        .strip_prefix(['e', 'E'])
        .and_then(|digits| digits.parse::<i32>().ok())
        .map(|e| (Format::DecimalExponent, e))
        .ok_or(QuantityError::Suffix)
}

/// Digits times ten to the power of `exponent`, in billionths, rounded away from zero, capped.
fn scaled(digits: impl Iterator<Item = u8>, exponent: i32) -> i128 {
    let mut amount: i128 = 0;
    for digit in digits {
        amount = amount.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
    }
    let power = exponent.saturating_add(9);
    if amount == 0 {
        return 0;
    }
    match 10i128.checked_pow(power.unsigned_abs()) {
        Some(factor) if power >= 0 => amount.saturating_mul(factor),
        Some(factor) => amount / factor + i128::from(amount % factor != 0),
        None if power >= 0 => i128::MAX,
        None => 1,
    }
}

/// Whether Kubernetes remembers the text instead of writing its canonical form.
fn keeps_text(parts: &Parts<'_>, format: Format, exponent: i32) -> bool {
    let whole = if parts.whole.is_empty() { "0" } else { parts.whole };
    let digits = whole.len() + parts.fraction.len();
    let Ok(written) = format!("{whole}{}", parts.fraction).parse::<i64>() else {
        return false;
    };
    if format == Format::BinarySi {
        let room = KEPT_DIGITS_BINARY - i32::try_from(whole.len()).unwrap_or(i32::MAX) - exponent * 3 / 10 - 1;
        return parts.fraction.is_empty() && room >= 0 && written & 7 != 0;
    }
    let scale = exponent.saturating_sub(i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX));
    let trailing_thousand = written != 0 && written % 1000 == 0;
    digits <= KEPT_DIGITS_DECIMAL && scale >= -9 && scale % 3 == 0 && !trailing_thousand && !whole.starts_with('0')
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// The text is not a number with one of the known suffixes.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let parts = split(text)?;
        let (mut format, exponent) = exponent_of(parts.suffix)?;
        let digits = parts.whole.bytes().chain(parts.fraction.bytes());
        let fraction = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
        let mut nanos = if format == Format::BinarySi {
            binary(digits, parts.fraction.len(), 1i128 << exponent)
        } else {
            scaled(digits, exponent.saturating_sub(fraction))
        };
        if format == Format::BinarySi {
            nanos = nanos.min(i128::from(i64::MAX) * NANOS);
            if nanos > 0 && nanos < NANOS {
                format = Format::DecimalSi;
            }
        }
        if parts.negative {
            nanos = -nanos;
        }
        let kept = keeps_text(&parts, format, exponent).then(|| text.to_owned());
        Ok(Self { nanos, format, kept })
    }

    /// Reads a quantity out of JSON, where a bare number is one too.
    ///
    /// # Errors
    /// As [`Quantity::parse`]; anything but a string or a number is wrongly formatted.
    pub fn from_json(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::String(text) => Self::parse(text.trim()),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(QuantityError::Format),
        }
    }

    /// A whole number of units.
    #[must_use]
    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANOS, format, kept: None }
    }

    /// A number of thousandths.
    #[must_use]
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANOS / 1000), format: Format::DecimalSi, kept: None }
    }

    /// The amount in units, rounded away from zero, capped to an i64.
    #[must_use]
    pub fn units(&self) -> i64 {
        rounded(self.nanos, NANOS)
    }

    /// The amount in thousandths, rounded away from zero, capped to an i64.
    #[must_use]
    pub fn milli(&self) -> i64 {
        rounded(self.nanos, NANOS / 1000)
    }

    /// Whether the amount is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The same rounded away from zero to whole thousandths, the finest that resources of pods and
    /// nodes are kept in.
    #[must_use]
    pub fn rounded_to_milli(self) -> Self {
        const MILLI: i128 = NANOS / 1000;
        let rest = self.nanos % MILLI;
        if rest == 0 {
            return self;
        }
        Self { nanos: (self.nanos - rest).saturating_add(rest.signum() * MILLI), kept: None, ..self }
    }

    fn combined(&self, nanos: i128, other: &Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos, format, kept: None }
    }
}

/// Digits of which the last `fraction` follow the point, times a power of two, in billionths,
/// rounded away from zero, capped.
fn binary(digits: impl Iterator<Item = u8>, fraction: usize, factor: i128) -> i128 {
    let mut amount: i128 = 0;
    for digit in digits {
        amount = amount.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
    }
    let amount = amount.saturating_mul(factor);
    let divisor = u32::try_from(fraction).ok().and_then(|n| 10i128.checked_pow(n));
    let Some(divisor) = divisor else { return i128::from(amount != 0) };
    match amount.checked_mul(NANOS) {
        Some(nanos) => nanos / divisor + i128::from(nanos % divisor != 0),
        None => (amount / divisor).saturating_mul(NANOS),
    }
}

fn rounded(nanos: i128, unit: i128) -> i64 {
    let quotient = nanos / unit + (nanos % unit).signum();
    i64::try_from(quotient).unwrap_or(if quotient < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.kept {
            return f.write_str(text);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.unsigned_abs() < (1024 * NANOS).unsigned_abs();
        if self.format == Format::BinarySi && !small && self.is_whole() {
            const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let (mut amount, mut power) = (self.nanos / NANOS, 0);
            while power < 6 && amount % 1024 == 0 {
                (amount, power) = (amount / 1024, power + 1);
            }
            return write!(f, "{amount}{}", SUFFIXES[power]);
        }
        const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let (mut amount, mut power) = (self.nanos, 0);
        let exponential = self.format == Format::DecimalExponent;
        while amount % 1000 == 0 && (exponential || power < SUFFIXES.len() - 1) {
            (amount, power) = (amount / 1000, power + 1);
        }
        match (exponential, power) {
            (true, 3) => write!(f, "{amount}"),
            (true, _) => write!(f, "{amount}e{}", i64::try_from(power).unwrap_or(0) * 3 - 9),
            (false, _) => write!(f, "{amount}{}", SUFFIXES[power]),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
impl Add<&Quantity> for Quantity {
    type Output = Self;
    fn add(self, other: &Self) -> Self {
        self.combined(self.nanos.saturating_add(other.nanos), other)
    }
}
impl AddAssign<&Quantity> for Quantity {
    fn add_assign(&mut self, other: &Self) {
        *self = self.combined(self.nanos.saturating_add(other.nanos), other);
    }
}
impl Sub<&Quantity> for Quantity {
    type Output = Self;
    fn sub(self, other: &Self) -> Self {
        self.combined(self.nanos.saturating_sub(other.nanos), other)
    }
}
impl TryFrom<&Written> for Quantity {
    type Error = QuantityError;
    fn try_from(written: &Written) -> Result<Self, QuantityError> {
        Self::parse(written.0.trim())
    }
}
impl From<&Quantity> for Written {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.to_string())
    }
}

#[cfg(test)]
mod tests;
