//! Expected lines with wildcards, against seen ones.

use regex_lite::Regex;

const WILDCARDS: &[(&str, &str)] = &[
    ("[..]", ".*"),
    ("[HEX64]", "[0-9a-f]{64}"),
    ("[HEX12]", "[0-9a-f]{12}"),
    ("[N]", "[0-9]+"),
    ("[SIZE]", r"[0-9]+(\.[0-9]+)?([kMGT]?B|[KMG]iB)"),
    (
        "[AGE]",
        "(Less than a second|About an? (minute|hour)|[0-9]+ (second|minute|hour|day|week|month|year)s?)",
    ),
    (
        "[TIME]",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})",
    ),
];

/// Stands for any lines.
const ANY_LINES: &str = "...";

/// Whether a whole text is as expected.
pub fn matches(expected: &[String], seen: &[&str]) -> bool {
    match expected.split_first() {
        None => seen.is_empty(),
        Some((first, rest)) if first == ANY_LINES => {
            (0..=seen.len()).any(|skipped| matches(rest, &seen[skipped..]))
        }
        Some((first, rest)) => seen
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && matches(rest, others)),
    }
}

pub fn line_matches(expected: &str, seen: &str) -> bool {
    let seen = seen.trim_end();
    expected == seen || expected == ANY_LINES || expression(expected).is_match(seen)
}

fn expression(expected: &str) -> Regex {
    let mut text = String::from("^");
    let mut rest = expected;
    let mut after_wildcard = false;
    while let Some(next) = rest.chars().next() {
        let wildcard = WILDCARDS.iter().find(|(word, _)| rest.starts_with(word));
        if let Some((word, meaning)) = wildcard {
            text.push_str(meaning);
            rest = &rest[word.len()..];
            after_wildcard = true;
        } else if next == ' ' && after_wildcard {
            text.push_str(" +");
            rest = rest.trim_start_matches(' ');
        } else {
            text.push_str(&regex_lite::escape(&rest[..next.len_utf8()]));
            rest = &rest[next.len_utf8()..];
        }
    }
    text.push('$');
    Regex::new(&text).unwrap()
}

#[test]
fn wildcards_stand_for_what_they_say() {
    for (expected, seen, is_one) in [
        ("a[..]z", "a to z", true),
        ("a[..]z", "a to y", false),
        ("[HEX12]", "0123456789ab", true),
        ("[HEX12]", "0123456789abc", false),
        ("Up [AGE]   x", "Up Less than a second x", true),
        ("Up [AGE]", "Up 3 fortnights", false),
        ("[SIZE]", "1.98MB", true),
        ("(.*)", "anything", false),
        ("[TIME] x", "2026-11-22T13:25:23.123Z x", true),
    ] {
        assert_eq!(line_matches(expected, seen), is_one, "{expected} {seen}");
    }
}

#[test]
fn any_lines_are_none_or_more() {
    let expected = ["a", "...", "b"].map(str::to_owned);
    assert!(matches(&expected, &["a", "b"]));
    assert!(matches(&expected, &["a", "b", "x", "b"]));
    assert!(!matches(&expected, &["a", "b", "x"]));
}
