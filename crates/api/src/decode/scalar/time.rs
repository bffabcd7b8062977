//! Times as Go's RFC 3339 layouts read them, and as Kubernetes writes them: in UTC.
//!
//! Invariants: the messages name the part of the layout that did not fit, as Go's do.
//! Absent: clocks.

use crate::quote::quoted;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

const SECONDS_LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICROSECONDS_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
/// Digits of the fraction that the layout of microseconds demands.
const MICRO_DIGITS: usize = 6;

/// A `metav1.Time` in whole seconds.
pub(super) fn seconds(text: &str) -> Result<String, String> {
    let time = Parser { layout: SECONDS_LAYOUT, text, rest: text }.parse(false)?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A `metav1.MicroTime`.
pub(super) fn microseconds(text: &str) -> Result<String, String> {
    let time = Parser { layout: MICROSECONDS_LAYOUT, text, rest: text }.parse(true)?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

struct Parser<'a> {
    layout: &'static str,
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn parse(mut self, micro: bool) -> Result<Timestamp, String> {
        let year = self.digits(4, "2006")?;
        self.literal("-")?;
        let month = self.digits(2, "01")?;
        self.in_range(month, 1, 12, "month")?;
        self.literal("-")?;
        let day = self.digits(2, "02")?;
        self.literal("T")?;
        let hour = self.digits(2, "15")?;
        self.in_range(hour, 0, 23, "hour")?;
        self.literal(":")?;
        let minute = self.digits(2, "04")?;
        self.in_range(minute, 0, 59, "minute")?;
        self.literal(":")?;
        let second = self.digits(2, "05")?;
        self.in_range(second, 0, 59, "second")?;
        let nanos = self.fraction(micro)?;
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(format!("parsing time {}: extra text: {}", quoted(self.text), quoted(self.rest)));
        }
        let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|value| value as i8);
        let civil = DateTime::new(year as i16, month, day, hour, minute, second, nanos);
        let civil = civil.map_err(|_| format!("parsing time {}: day out of range", quoted(self.text)))?;
        let time = Offset::from_seconds(offset).and_then(|offset| offset.to_timestamp(civil));
        time.map_err(|_| format!("parsing time {}: year out of range", quoted(self.text)))
    }

    fn misfit(&self, element: &str) -> String {
        let [text, layout, rest, element] = [self.text, self.layout, self.rest, element].map(quoted);
        format!("parsing time {text} as {layout}: cannot parse {rest} as {element}")
    }

    fn in_range(&self, value: i32, min: i32, max: i32, what: &str) -> Result<(), String> {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(format!("parsing time {}: {what} out of range", quoted(self.text)))
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i32, String> {
        let value = self.rest.get(..count).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let value = value.and_then(|part| part.parse().ok()).ok_or_else(|| self.misfit(element))?;
        self.rest = &self.rest[count..];
        Ok(value)
    }

    fn literal(&mut self, expected: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(expected).ok_or_else(|| self.misfit(expected))?;
        Ok(())
    }

    /// The fraction in nanoseconds: any after whole seconds, six digits in the layout of microseconds.
    fn fraction(&mut self, micro: bool) -> Result<i32, String> {
        let digits: &str = match self.rest.strip_prefix(['.', ',']) {
            Some(rest) => &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()],
            None => "",
        };
        let count = if micro { MICRO_DIGITS } else { digits.len() };
        if micro && digits.len() < MICRO_DIGITS {
            return Err(self.misfit(".000000"));
        }
        if count == 0 {
            return Ok(0);
        }
        self.rest = &self.rest[count + 1..];
        let nanos: String = digits[..count].chars().chain("000000000".chars()).take(9).collect();
        Ok(nanos.parse().unwrap_or_default())
    }

    /// `Z` or `+hh:mm`, in seconds.
    fn offset(&mut self) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let part = self.rest.get(..6).ok_or_else(|| self.misfit("Z07:00"))?;
        let sign = match part.as_bytes()[0] {
            b'+' => 1,
            b'-' => -1,
            _ => return Err(self.misfit("Z07:00")),
        };
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u8>().ok());
        let (Some(hours), Some(minutes), b':') = (number(part.get(1..3)), number(part.get(4..6)), part.as_bytes()[3])
        else {
            return Err(self.misfit("Z07:00"));
        };
        self.rest = &self.rest[6..];
        Ok(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_in_utc() {
        for (text, expect) in [
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z"),
            ("2024-02-29T23:59:59.999Z", "2024-02-29T23:59:59Z"),
            ("2024-01-01T00:30:00+01:30", "2023-12-31T23:00:00Z"),
            ("1969-12-31T23:00:00-02:00", "1970-01-01T01:00:00Z"),
        ] {
            assert_eq!(seconds(text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn microseconds_keep_six_digits() {
        for (text, expect) in [
            ("2024-02-29T23:59:59.000001Z", "2024-02-29T23:59:59.000001Z"),
            ("2024-02-29T23:59:59.500000+01:00", "2024-02-29T22:59:59.500000Z"),
        ] {
            assert_eq!(microseconds(text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn messages_name_the_part_that_does_not_fit() {
        for (text, expect) in [
            ("soon", r#"parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006""#),
            ("2024-1-01", r#"parsing time "2024-1-01" as "2006-01-02T15:04:05Z07:00": cannot parse "1-01" as "01""#),
            (
                "2024-01-01 00:00:00Z",
                r#"parsing time "2024-01-01 00:00:00Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 00:00:00Z" as "T""#,
            ),
            (
                "2024-01-01T00:00:00",
                r#"parsing time "2024-01-01T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#,
            ),
            ("2024-13-01T00:00:00Z", r#"parsing time "2024-13-01T00:00:00Z": month out of range"#),
            ("2023-02-29T00:00:00Z", r#"parsing time "2023-02-29T00:00:00Z": day out of range"#),
            ("2024-01-01T00:00:00Zé", r#"parsing time "2024-01-01T00:00:00Zé": extra text: "é""#),
            ("é024", r#"parsing time "é024" as "2006-01-02T15:04:05Z07:00": cannot parse "é024" as "2006""#),
        ] {
            assert_eq!(seconds(text), Err(expect.to_owned()), "{text}");
        }
        assert_eq!(
            microseconds("2024-01-01T00:00:00Z"),
            Err(r#"parsing time "2024-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#
                .to_owned())
        );
    }
}
