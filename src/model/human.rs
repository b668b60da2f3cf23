//! Sizes and durations as Docker prints and reads them.

use std::time::Duration;

use super::{Error, Result};

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Powers of 1000 with up to four significant digits: `1.024kB` (`docker system df`, progress).
pub fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// Powers of 1000 with up to three significant digits: `1.02kB` (`docker images`, `ps -s`).
pub fn short_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// Powers of 1024 with up to four significant digits: `1.5MiB` (`docker stats`, `info`).
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let mut text = significant(value, digits);
    // Docker prints 999 960 bytes as "1e+03kB" here; the next unit says the same and reads well.
    if unit > 0 && digits == 3 && text.len() == 4 && !text.contains('.') && unit + 1 < units.len() {
        unit += 1;
        text = significant(value / base, digits);
    } else if unit == 0 {
        text = bytes.to_string();
    }
    text + units[unit]
}

/// C's `%.Ng` for numbers from 0 to 9999: rounded to so many significant digits, without
/// trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value < 1.0 {
        1
    } else {
        value.log10().floor() as usize + 1
    };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The same in powers of 1000, as the size of a log is counted.
pub fn parse_decimal_bytes(text: &str) -> Result<u64> {
    size_in_units(text, 1000).ok_or_else(|| {
        Error::invalid(format!("invalid size: '{text}'"))
            .with_hint("a number of bytes, or one with a unit: 10m, 1.5g")
    })
}

/// Reads a size in powers of 1024: a number, decimals allowed, and `b`, `k`, `m`, `g`, `t` or
/// `p` in any case, which may be followed by `b` or `ib`.
pub fn parse_bytes(text: &str) -> Result<u64> {
    size_in_units(text, 1024).ok_or_else(|| {
        Error::invalid(format!("invalid size {text:?}"))
            .with_hint("a number of bytes, or one with a unit: 512m, 1.5g")
    })
}

fn size_in_units(text: &str, thousand: u64) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let scale = thousand.pow(power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let whole = whole.checked_mul(scale)?;
    // Eighteen digits of a fraction fit a u128 product and are finer than any byte.
    let fraction = &fraction[..fraction.len().min(18)];
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let part = part * u128::from(scale) / 10u128.pow(fraction.len() as u32);
    let bytes = whole.checked_add(u64::try_from(part).ok()?)?;
    // The kernel and everything that reads our JSON count in signed 64 bits.
    (bytes <= i64::MAX as u64).then_some(bytes)
}

/// How long something has lasted, in Docker's words: `About an hour`, `3 weeks`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let minutes = seconds / 60;
    // Rounded to the nearest hour, as Docker does: 90 minutes are "2 hours".
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `250ms`, `0s`.
pub fn go_duration(length: Duration) -> String {
    let fraction = |whole: u128, unit: u128| {
        let part = format!("{:0width$}", whole % unit, width = unit.ilog10() as usize);
        match part.trim_end_matches('0') {
            "" => (whole / unit).to_string(),
            part => format!("{}.{part}", whole / unit),
        }
    };
    let nanoseconds = length.as_nanos();
    let seconds = length.as_secs();
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanoseconds, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanoseconds, 1_000_000)),
        _ => {
            let rest = fraction(nanoseconds % 60_000_000_000, 1_000_000_000);
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => format!("{rest}s"),
                (0, minutes) => format!("{minutes}m{rest}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

/// Reads a duration as Go writes it: `1h30m`, `1.5s`, `250ms`, `0`. Negative ones are refused.
pub fn parse_duration(text: &str) -> Result<Duration> {
    nanoseconds(text).map(Duration::from_nanos).ok_or_else(|| {
        Error::invalid(format!("invalid duration {text:?}"))
            .with_hint("numbers with units (ns, us, ms, s, m, h): 1m30s, 1.5h")
    })
}

fn nanoseconds(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut total: u64 = 0;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        total = total.checked_add(part(number, unit)?)?;
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    // Go counts in signed 64 bits.
    (total <= i64::MAX as u64).then_some(total)
}

fn part(number: &str, unit: &str) -> Option<u64> {
    let scale: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = &fraction[..fraction.len().min(18)];
    let finer: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let finer = finer * u128::from(scale) / 10u128.pow(fraction.len() as u32);
    whole
        .checked_mul(scale)?
        .checked_add(u64::try_from(finer).ok()?)
}
