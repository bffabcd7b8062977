//! Ages for humans: two or three digits that matter.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// A span as `kubectl` writes it: `45s`, `5m30s`, `3h`, `2d4h`, `1y20d`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / MINUTE, seconds / HOUR);
    let days = hours / 24;
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    if seconds < -1 {
        "<invalid>".to_owned()
    } else if seconds < 0 {
        "0s".to_owned()
    } else if seconds < 2 * MINUTE {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % MINUTE, "s")
    } else if minutes < 3 * 60 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 {
        pair(days, "d", hours % 24, "h")
    } else if days < 2 * 365 {
        format!("{days}d")
    } else if days < 8 * 365 {
        pair(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

/// How long ago a moment was, in whole seconds rounded towards zero.
pub(super) fn seconds_since(moment: Timestamp, now: Timestamp) -> i64 {
    i64::try_from((now.as_nanosecond() - moment.as_nanosecond()) / 1_000_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        fn check(seconds: i64, expect: &str) {
            assert_eq!(human_duration(seconds), expect);
        }
        const DAY: i64 = 24 * HOUR;
        check(-2, "<invalid>");
        check(-1, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(330, "5m30s");
        check(600, "10m");
        check(179 * MINUTE, "179m");
        check(3 * HOUR, "3h");
        check(3 * HOUR + 5 * MINUTE, "3h5m");
        check(8 * HOUR, "8h");
        check(47 * HOUR, "47h");
        check(48 * HOUR, "2d");
        check(52 * HOUR, "2d4h");
        check(8 * DAY, "8d");
        check(729 * DAY, "729d");
        check(730 * DAY, "2y");
        check(750 * DAY, "2y20d");
        check(8 * 365 * DAY, "8y");
    }
}
