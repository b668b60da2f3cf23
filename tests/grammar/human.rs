//! Sizes and durations, read and printed.

use std::time::Duration;

use coracle::model::human::{binary_size, duration, parse_bytes, parse_duration, short_size, size};
use proptest::prelude::*;

#[test]
fn printed_sizes() {
    for (bytes, four, three, binary) in [
        (0, "0B", "0B", "0B"),
        (1, "1B", "1B", "1B"),
        (999, "999B", "999B", "999B"),
        (1000, "1kB", "1kB", "1000B"),
        (1024, "1.024kB", "1.02kB", "1KiB"),
        (1_048_576, "1.049MB", "1.05MB", "1MiB"),
        (1_572_864, "1.573MB", "1.57MB", "1.5MiB"),
        (77_777_777, "77.78MB", "77.8MB", "74.17MiB"),
        (100_000_000, "100MB", "100MB", "95.37MiB"),
        (999_960, "1000kB", "1MB", "976.5KiB"),
        (u64::MAX, "18.45EB", "18.4EB", "16EiB"),
    ] {
        assert_eq!(size(bytes), four, "{bytes}");
        assert_eq!(short_size(bytes), three, "{bytes}");
        assert_eq!(binary_size(bytes), binary, "{bytes}");
    }
}

#[test]
fn typed_sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("42", 42),
        ("42b", 42),
        ("1k", 1024),
        ("1KB", 1024),
        ("1KiB", 1024),
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("2 GB", 2 << 30),
        ("1t", 1 << 40),
        ("0.3k", 307),
        ("8191p", 8191 << 50),
    ] {
        assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
    }
    for text in [
        "",
        ".",
        "k",
        "-1",
        "+1",
        "1x",
        "1kk",
        "1 k b",
        "1..5",
        "1.5.2k",
        "8192p",
        "1e3",
        "99999999999999999999",
        " 1",
    ] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
}

#[test]
fn printed_durations() {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    for (seconds, text) in [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (59 * 60 + 59, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR + 1799, "About an hour"),
        (HOUR + 1800, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
    ] {
        assert_eq!(duration(Duration::from_secs(seconds)), text, "{seconds}");
    }
}

#[test]
fn typed_durations() {
    for (text, nanoseconds) in [
        ("0", 0),
        ("0s", 0),
        ("1ns", 1),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1.5ms", 1_500_000),
        ("1m30s", 90_000_000_000),
        (".5h", 1_800_000_000_000),
        ("+1h1m1s", 3_661_000_000_000),
    ] {
        assert_eq!(
            parse_duration(text).unwrap(),
            Duration::from_nanos(nanoseconds),
            "{text}"
        );
    }
    for text in [
        "", "1", "s", "-1s", "1d", "1s2", "1.s.", ".s", "1..s", "9999999h", "1 s",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn printed_sizes_are_near_the_truth(bits in any::<u64>(), shift in 14..64) {
        // Below an exbibyte: the reader knows no larger unit.
        let bytes = bits >> shift;
        let shown = binary_size(bytes);
        let read = parse_bytes(&shown).unwrap();
        prop_assert!(read.abs_diff(bytes) as f64 <= bytes as f64 * 0.0006 + 1.0, "{} {}", shown, read);
    }

    #[test]
    fn no_text_breaks_the_readers(text in "(.{0,20}|[0-9.kmgbi sh]{0,12})") {
        if let Ok(bytes) = parse_bytes(&text) {
            prop_assert!(bytes <= i64::MAX as u64);
        }
        if let Ok(length) = parse_duration(&text) {
            prop_assert!(length.as_nanos() <= i64::MAX as u128);
        }
    }
}
