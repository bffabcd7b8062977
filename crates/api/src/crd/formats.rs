//! Formats of texts in schemas.
//!
//! Invariants: a format that is not known fits everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// Whether a text matches an expression, which is compiled once.
macro_rules! fits_expression {
    ($expression:expr, $text:expr $(,)?) => {{
        static COMPILED: LazyLock<Option<Regex>> = LazyLock::new(|| pattern::compile($expression).ok());
        COMPILED.as_ref().is_some_and(|regex| regex.is_match($text))
    }};
}

/// Whether a text fits a format; dashes in a format's name do not count.
pub(super) fn fits(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok() || (text.contains(':') && text.parse::<IpAddr>().is_ok()),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => fits_expression!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", text),
        "uuid3" => fits_expression!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$", text),
        "uuid4" => {
            fits_expression!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$", text)
        }
        "uuid5" => {
            fits_expression!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$", text)
        }
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_card(text),
        "ssn" => fits_expression!(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$", text),
        "hexcolor" => fits_expression!("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", text),
        "rgbcolor" => is_rgb(text),
        "byte" => is_base64(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "k8sshortname" => crate::validate::content::dns1123_label(text).is_empty(),
        "k8slongname" => crate::validate::content::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As Go's `url.ParseRequestURI`: a path from the root, or a scheme and more.
fn is_uri(text: &str) -> bool {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        && !rest.contains(' ')
}

fn is_email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(at), Some(inner)) => &inner[at + 1..],
        _ => text,
    };
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !address.contains(char::is_whitespace) && !domain.contains("..")
    })
}

fn is_hostname(text: &str) -> bool {
    const LABEL_MAX: usize = 63;
    const NAME_MAX: usize = 255;
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-' || letter == '_')
    };
    text.len() <= NAME_MAX && text.split('.').all(is_label)
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(ip, bits)| {
        let max = match ip.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= max)
    })
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| part.len() == width && is_hex(part))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn digits(text: &str) -> String {
    text.chars().filter(|letter| !matches!(letter, '-' | ' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let text = digits(text);
    let values: Option<Vec<u32>> = text
        .chars()
        .enumerate()
        .map(|(at, letter)| if at == 9 && letter == 'X' { Some(10) } else { letter.to_digit(10) })
        .collect();
    values.is_some_and(|v| v.len() == 10 && (1..).zip(&v).map(|(place, value)| place * value).sum::<u32>() % 11 == 0)
}

fn is_isbn13(text: &str) -> bool {
    let values: Option<Vec<u32>> = digits(text).chars().map(|letter| letter.to_digit(10)).collect();
    values.is_some_and(|v| {
        v.len() == 13 && v.iter().zip([1, 3].iter().cycle()).map(|(value, times)| value * times).sum::<u32>() % 10 == 0
    })
}

fn is_card(text: &str) -> bool {
    let text: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = text
        .chars()
        .rev()
        .filter_map(|letter| letter.to_digit(10))
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    const CARD: &str = "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$";
    sum.is_multiple_of(10) && fits_expression!(CARD, &text)
}

fn is_rgb(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|text| text.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u8>().is_ok())
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// As RFC 3339 has it, where a `T` or a blank stands between date and time.
fn is_date_time(text: &str) -> bool {
    const DATE_TIME: &str = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})$";
    fits_expression!(DATE_TIME, text) && text.parse::<jiff::Timestamp>().is_ok()
}

/// As Go's `time.ParseDuration`, or a number and a unit in words.
fn is_duration(text: &str) -> bool {
    text == "0"
        || fits_expression!(r"^[-+]?(\d+(\.\d*)?(ns|us|µs|μs|ms|s|m|h)|\.\d+(ns|us|µs|μs|ms|s|m|h))+$", text)
        || fits_expression!(
            r"(?i)^\s*\d+\s*(ns|nano|nanosecond|us|micro|microsecond|µs|ms|milli|millisecond|s|sec|second|m|min|minute|h|hr|hour|d|day|w|wk|week)s?\s*$",
            text,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_what_does_not() {
        for (format, good, bad) in [
            ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
            ("date", "2024-02-29", "2023-02-29"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "2001:db8::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uri", "https://a.b/c", "a b"),
            ("email", "a@b.c", "a.b.c"),
            ("hostname", "a-b.c", "-a.b"),
            ("mac", "00:11:22:33:44:55", "00:11:22:33:44"),
            ("uuid", "a987fbc9-4bed-3078-cf07-9141ba07c9f3", "a987"),
            ("byte", "aGk=", "a"),
            ("duration", "1h30m", "1x"),
            ("hexcolor", "#FFF", "#GGG"),
            ("rgbcolor", "rgb(1, 2, 3)", "rgb(1,2,300)"),
            ("isbn10", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111-1111-1111-1111", "4111-1111-1111-1112"),
            ("ssn", "111-11-1111", "1-1-1"),
            ("k8s-short-name", "abc", "A_b"),
        ] {
            assert!(fits(format, good), "{format}: {good}");
            assert!(!fits(format, bad), "{format}: {bad}");
        }
        assert!(fits("password", "x") && fits("unheard-of", "x"));
    }
}
