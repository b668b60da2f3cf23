//! Expected and seen, side by side.

use std::fmt::Write;

use super::{pattern, play::Seen, transcript::Step};

/// Columns of what was expected.
const WIDTH: usize = 60;

/// What differs in a step; nothing if it went as expected.
pub fn of(step: &Step, seen: &Seen) -> Option<String> {
    let mut text = String::new();
    let lines: Vec<&str> = seen.stdout.trim_end().lines().collect();
    if !pattern::matches(&step.stdout, &lines) {
        text.push_str(&beside(&step.stdout, &lines));
    }
    if seen.code != Some(step.code) {
        let code = seen
            .code
            .map_or("never ended".to_owned(), |code| format!("? {code}"));
        let _ = writeln!(text, "{:WIDTH$} | {code}", format!("? {}", step.code));
    }
    for expected in &step.stderr {
        if !is_said(expected, &seen.stderr) {
            let _ = writeln!(text, "2> {expected}");
        }
    }
    if text.is_empty() {
        return None;
    }
    for line in seen.stderr.lines() {
        let _ = writeln!(text, "{:WIDTH$} | 2> {line}", "");
    }
    Some(format!("$ {}\n{text}", step.command))
}

/// Nothing expected means that nothing is there.
fn is_said(expected: &str, stderr: &str) -> bool {
    if expected.is_empty() {
        return stderr.trim().is_empty();
    }
    stderr
        .lines()
        .any(|line| pattern::line_matches(expected, line))
}

fn beside(expected: &[String], seen: &[&str]) -> String {
    let mut text = String::new();
    for index in 0..expected.len().max(seen.len()) {
        let left = expected.get(index).map_or("", String::as_str);
        let right = seen.get(index).copied().unwrap_or_default();
        let mark = if pattern::line_matches(left, right) {
            ' '
        } else {
            '|'
        };
        let _ = writeln!(text, "{left:WIDTH$} {mark} {right}");
    }
    text
}

#[test]
fn names_what_differs() {
    let step = Step {
        command: "x".to_owned(),
        stdout: vec!["a".to_owned()],
        stderr: vec!["why[..]".to_owned()],
        code: 1,
    };
    let seen = |stdout: &str, stderr: &str, code| Seen {
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
        code,
    };
    assert_eq!(of(&step, &seen("a\n", "so\nwhy not\n", Some(1))), None);
    for (other, says) in [
        (seen("b\n", "why", Some(1)), "| b"),
        (seen("a\n", "so", Some(1)), "2> why"),
        (seen("a\n", "why", None), "never ended"),
    ] {
        let told = of(&step, &other).unwrap();
        assert!(told.contains(says), "{told}");
    }
}
