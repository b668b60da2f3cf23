//! Moments: as ages, as Go prints them, and as `--since` takes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::model::{Error, Result, human};

/// `3 minutes ago` for RFC 3339; empty for what is not a time.
pub fn ago(moment: &str) -> String {
    match since(moment) {
        Some(length) => format!("{} ago", human::duration(length)),
        None => String::new(),
    }
}

/// RFC 3339 of Unix seconds; empty for what is no time.
pub fn of_seconds(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| String::new(), |moment| moment.to_string())
}

/// How long ago that was; nothing for the future.
pub fn since(moment: &str) -> Option<Duration> {
    let moment: Timestamp = moment.parse().ok()?;
    Some(Duration::try_from(Timestamp::now().duration_since(moment)).unwrap_or_default())
}

/// Go's `Time.String` in the local zone, to the second: `2026-11-21 03:57:22 +0000 UTC`.
pub fn go_text(moment: &str) -> String {
    let Ok(moment) = moment.parse::<Timestamp>() else {
        return "N/A".to_owned();
    };
    let local = moment.to_zoned(TimeZone::system());
    let zone = local.strftime("%Z").to_string();
    let zone = if zone == "Etc/UTC" { "UTC" } else { &zone };
    format!("{} {zone}", local.strftime("%Y-%m-%d %H:%M:%S %z"))
}

/// RFC 3339 in the local zone, always with nine digits behind the point, as Docker dates events.
pub fn nine_digits(nanoseconds: i64) -> String {
    let Ok(moment) = Timestamp::from_nanosecond(nanoseconds.into()) else {
        return "N/A".to_owned();
    };
    let local = moment.to_zoned(TimeZone::system());
    let text = local.strftime("%Y-%m-%dT%H:%M:%S.%9f").to_string();
    if local.offset().is_zero() {
        format!("{text}Z")
    } else {
        format!("{text}{}", local.strftime("%:z"))
    }
}

/// RFC 3339 in UTC of Unix seconds.
pub fn from_seconds(seconds: i64) -> Option<String> {
    let moment = Timestamp::from_second(seconds).ok()?;
    Some(moment.to_string())
}

/// Nanoseconds after the epoch of RFC 3339; 0 for what is not a time.
pub fn nanoseconds(moment: &str) -> i128 {
    moment
        .parse::<Timestamp>()
        .map_or(0, Timestamp::as_nanosecond)
}

/// Nanoseconds after the epoch of `--since` and `--until`: RFC 3339, a local date with or
/// without a time, Unix seconds with a fraction, or a duration back from now (`10m`).
pub fn parse_moment(text: &str) -> Result<i128> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |length| length.as_nanos() as i128);
    parse_moment_at(text, now, &TimeZone::system)
}

fn parse_moment_at(text: &str, now: i128, zone: &dyn Fn() -> TimeZone) -> Result<i128> {
    let invalid = || {
        Error::invalid(format!("invalid time {text:?}")).with_hint(
            "2026-01-31T12:00:00Z, 2026-01-31, Unix seconds, or a time ago such as 10m or 1h30m",
        )
    };
    if let Some(unix) = unix_nanoseconds(text) {
        return Ok(unix);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_nanosecond());
    }
    let local = text
        .parse::<DateTime>()
        .or_else(|_| format!("{text}:00").parse::<DateTime>());
    if text.contains('-')
        && let Ok(local) = local
    {
        let zoned = local.to_zoned(zone()).map_err(|_| invalid())?;
        return Ok(zoned.timestamp().as_nanosecond());
    }
    // A negative duration is a moment to come.
    let (sign, length) = match text.strip_prefix('-') {
        Some(length) => (1, length),
        None => (-1, text),
    };
    let length = human::parse_duration(length).map_err(|_| invalid())?;
    Ok(now + sign * length.as_nanos() as i128)
}

/// `1700000000` and `1700000000.000000001`
fn unix_nanoseconds(text: &str) -> Option<i128> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || seconds.len() > 12 || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse::<i128>().ok()?;
    Some(seconds.parse::<i128>().ok()? * 1_000_000_000 + nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_every_form_of_dockers() {
        let at = |text: &str| parse_moment_at(text, 100_000_000_000, &|| TimeZone::UTC).ok();
        assert_eq!(at("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(at("1.5"), Some(1_500_000_000));
        assert_eq!(at("1m30s"), Some(10_000_000_000));
        assert_eq!(at("-1m30s"), Some(190_000_000_000));
        assert_eq!(at("1970-01-02"), Some(86_400_000_000_000));
        assert_eq!(at("1970-01-01T00:01"), Some(60_000_000_000));
        assert_eq!(at("1970-01-01T00:00:02"), Some(2_000_000_000));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(at("1970-01-01T00:00:00.000000007Z"), Some(7));
        for bad in ["", "x", "-", "--1m", "12-34", "1.2.3", "tomorrow"] {
            assert_eq!(at(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn go_text_is_what_time_string_prints() {
        let text = go_text("2026-11-21T03:57:22.123456789Z");
        assert!(text.starts_with("2026-11-2"), "{text}");
        assert_eq!(text.split(' ').count(), 4, "{text}");
        assert_eq!(go_text("never"), "N/A");
    }
}
