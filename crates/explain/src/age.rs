//! Durations as people read and write them: `3m`, `4d`, `1h48m`.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Reads `500ms`, `30s`, `5m`, `1h`, `2d`, or a sum of these such as `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a duration such as 30s, 5m or 1h30m";
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(HELP.to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| HELP.to_owned())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            "d" => Duration::from_secs(86_400),
            _ => return Err(HELP.to_owned()),
        };
        rest = &rest[letters..];
        let factor = u32::try_from(number).map_err(|_| HELP.to_owned())?;
        total = unit
            .checked_mul(factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| HELP.to_owned())?;
    }
    Ok(total)
}

/// How long ago, in one or two units: `12s`, `3m`, `1h48m`, `4d`. Never negative: clocks differ.
pub fn since(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    short((now - then).to_std().unwrap_or_default())
}

/// A duration in one or two units.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) if m < 10 && !seconds.is_multiple_of(60) => format!("{m}m{}s", seconds % 60),
        (0, 0, m) => format!("{m}m"),
        (0, h, m) if h < 10 && m % 60 != 0 => format!("{h}h{}m", m % 60),
        (0, h, _) => format!("{h}h"),
        (d, h, _) if d < 3 && h % 24 != 0 => format!("{d}d{}h", h % 24),
        (d, _, _) => format!("{d}d"),
    }
}

/// Seconds with one decimal, as the progress block shows them.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// A time as logs show it: RFC 3339, UTC, whole seconds.
pub fn stamp(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time of day to the second, in UTC: `03:40:14Z`.
pub fn time_of_day(time: DateTime<Utc>) -> String {
    time.format("%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        for bad in [
            "",
            "5",
            "m",
            "5 m",
            "-5s",
            "1y",
            "99999999999999999999s",
            "5µs",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_have_one_or_two_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (60 * 12 + 5, "12m"),
            (6_480, "1h48m"),
            (3_600 * 12 + 60, "12h"),
            (86_400 + 7_200, "1d2h"),
            (86_400 * 4 + 7_200, "4d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_time_in_the_future_is_now() {
        let now = crate::fixtures::now();
        assert_eq!(since(now, now + chrono::TimeDelta::seconds(5)), "0s");
    }
}
