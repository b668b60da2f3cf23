//! What users see of steps, as BuildKit writes it.

use std::fmt::Write;

use crate::build::dockerfile::nodes::Heredoc;

/// `[a b]`, Go's `%v` of strings.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// `["a" "b"]`, Go's `%q` of strings.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    list(&words)
}

/// Go's strconv.Quote.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            letter if letter.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(letter));
            }
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// `[linux/amd64 build  2/10] `; nothing if the stage has nothing to do.
pub(super) fn prefix(platform: Option<&str>, stage: &str, number: usize, total: usize) -> String {
    if total == 0 {
        return String::new();
    }
    let mut words = String::new();
    for word in platform
        .iter()
        .chain([&stage])
        .filter(|word| !word.is_empty())
    {
        words.push_str(word);
        words.push(' ');
    }
    let width = total.to_string().len();
    format!("[{words}{number:width$}/{total}] ")
}

/// The keyword in capitals, whatever it was written in.
pub(super) fn shouted(text: &str) -> String {
    match text.split_once(char::is_whitespace) {
        Some((keyword, rest)) => format!("{} {}", keyword.to_ascii_uppercase(), rest.trim_start()),
        None => text.to_ascii_uppercase(),
    }
}

/// `(first line...)`
pub(super) fn summary(document: &Heredoc) -> String {
    let mut lines = document.content.trim().lines();
    let first = lines.next().unwrap_or_default();
    let more = if lines.next().is_some() { "..." } else { "" };
    format!("({first}{more})")
}
