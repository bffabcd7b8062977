//! The five fields of cron: minute, hour, day of month, month, day of week.
//!
//! Each field is `*`, a number, a range `a-b`, a step `*/n` or `a-b/n`, or several of these with commas. Months and days
//! of the week have names too (`jan`, `mon`); Sunday is 0 and 7. When both the day of the month and the day of the week
//! are restricted, a day that fits either fits.
//!
//! Invariants: what is read fits some minute of some day, or is refused: a schedule always comes due.
//!
//! Absent: time zones (`windows`), `@daily` and the like.

use jiff::civil::Date;

/// When something comes due, as sets of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CronError {
    #[error("a schedule has five fields (minute, hour, day of month, month, day of week), not {0}")]
    Fields(usize),
    #[error("{text:?} is no {field}: use numbers from {min} to {max}, ranges, steps, commas or *")]
    Field { field: &'static str, text: String, min: u8, max: u8 },
    #[error("it never comes due: no month that it names has such a day")]
    Never,
}

struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, names: &[] };
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const MONTH: Field = Field { name: "month", min: 1, max: 12, names: MONTHS };
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const WEEKDAY: Field = Field { name: "day of week", min: 0, max: 7, names: WEEKDAYS };

impl Field {
    fn read(&self, text: &str) -> Result<u64, CronError> {
        let parts = text.split(',').map(|part| self.part(part));
        let bits = parts.into_iter().try_fold(0, |bits, part| Some(bits | part?));
        bits.filter(|bits| *bits != 0).ok_or_else(|| CronError::Field {
            field: self.name,
            text: text.to_owned(),
            min: self.min,
            max: self.max,
        })
    }

    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u8>().ok().filter(|s| *s > 0)?)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => (self.value(range)?, if step.is_some() { self.max } else { self.value(range)? }),
        };
        let values = (from..=to).step_by(usize::from(step.unwrap_or(1)));
        (from <= to).then(|| values.fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u8> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named.and_then(|at| u8::try_from(at).ok()) {
            Some(at) => at + self.min,
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (self.min..=self.max).contains(&value).then_some(value)
    }
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

/// The most days that the months have, from January.
const DAYS_MAX: [i8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Schedule {
    pub(super) fn read(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else { return Err(CronError::Fields(fields.len())) };
        let weekdays = WEEKDAY.read(weekday)?;
        let schedule = Self {
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            // Sunday has two numbers.
            weekdays: weekdays | weekdays >> 7 & 1,
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
        };
        let some_day = |month: i8, days: i8| has(schedule.months, month) && (1..=days).any(|d| has(schedule.days, d));
        let mut months = (1..=12).zip(DAYS_MAX);
        if schedule.any_weekday && !months.any(|(month, days)| some_day(month, days)) {
            return Err(CronError::Never);
        }
        Ok(schedule)
    }

    /// The schedule of these days of the week (`mon`, ...; none means all) at a time of day.
    pub(super) fn weekly(days: &[String], start: &str) -> Result<Self, CronError> {
        let (hour, minute) = start.split_once(':').unwrap_or((start, ""));
        let days = if days.is_empty() { "*".to_owned() } else { days.join(",") };
        Self::read(&format!("{minute} {hour} * * {days}"))
    }

    pub(super) fn fits_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = match (self.any_day, self.any_weekday) {
            (false, false) => day || weekday,
            _ => day && weekday,
        };
        fits && has(self.months, date.month())
    }

    /// Hours and minutes of a day that fits, in order.
    pub(super) fn times(&self) -> impl DoubleEndedIterator<Item = (i8, i8)> + '_ {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(|hour| (0..60).filter(|minute| has(self.minutes, *minute)).map(move |minute| (hour, minute)))
    }
}
