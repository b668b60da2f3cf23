//! The one writer to standard output and standard error.
//!
//! A closed pipe is not a failure worth a message: writing to one returns
//! [`Failure::BrokenPipe`], which ends the command quietly with the code of a death by SIGPIPE.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::BorrowedFd,
};

use super::{called, env, failure::Failure};

/// Columns of a help text when standard output is not a terminal.
const PLAIN_WIDTH: usize = 80;

/// One line and its newline to standard output.
pub fn line(text: &str) -> Result<(), Failure> {
    raw(format!("{text}\n").as_bytes())
}

/// Lines to standard output that are somebody else's words.
pub fn lines(text: &str) -> Result<(), Failure> {
    raw(quiet(text).as_bytes())
}

/// Bytes to standard output, flushed.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// A JSON document to standard output: byte for byte into a pipe or file. In front of a terminal what
/// would steer it is written as JSON's escapes, which mean the same: encoders escape but U+0000 to U+001F.
pub fn json(document: &[u8]) -> Result<(), Failure> {
    match stdout_is_terminal() {
        true => raw(escaped(&String::from_utf8_lossy(document)).as_bytes()),
        false => raw(document),
    }
}

/// Standard output, for whoever writes an archive to it.
pub fn output() -> impl Write {
    io::stdout()
}

/// Standard error, for whoever draws on it.
pub fn error_output() -> impl Write {
    io::stderr()
}

/// Columns and rows of the terminal behind standard error.
pub fn error_size() -> (usize, usize) {
    let plain = (PLAIN_WIDTH, 24);
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => plain,
    }
}

/// Standard output as a file of its own, for whoever lets the kernel copy to it.
pub fn output_file() -> Result<std::fs::File, Failure> {
    let own = output_descriptor().try_clone_to_owned();
    let own = own.map_err(|cause| {
        let text = "cannot write to standard output";
        crate::model::Error::new(crate::model::ErrorKind::System, text).with_source(cause)
    })?;
    Ok(own.into())
}

/// Standard output, for whoever waits and wants to know that its reader is gone.
pub fn output_descriptor() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

/// Bytes to standard error. Nobody is left to be told when that fails.
pub fn raw_error(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

/// Lines to standard error, made harmless as messages are.
pub fn aside_lines(text: &str) {
    aside(&quiet(text));
}

/// One line to standard error: progress of a run, answers that are not results.
pub fn aside(text: &str) {
    raw_error(format!("{text}\n").as_bytes());
}

/// Something the user should know although the command goes on.
pub fn notice(text: &str) {
    raw_error(
        format!(
            "{} {}\n",
            mark("note:", "33", io::stderr().is_terminal()),
            quiet(&called::in_own_words(text))
        )
        .as_bytes(),
    );
}

/// What failed, and what to do about it.
pub fn error(text: &str, hint: Option<&str>) {
    let terminal = io::stderr().is_terminal();
    let who = format!("{}:", called::name());
    let mut message = format!("{} {}\n", mark(&who, "31", terminal), quiet(text));
    if let Some(hint) = hint {
        message.push_str(&format!(
            "{} {}\n",
            mark("hint:", "36", terminal),
            quiet(&called::in_own_words(hint))
        ));
    }
    raw_error(message.as_bytes());
}

/// Messages have words of images, archives and registries: what would steer a terminal, or turn the
/// direction of what is read, stays text.
fn quiet(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\n' | '\t'))
}

fn escaped(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    for c in document.chars() {
        if steers(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Colour repeats what the word says, and only on a terminal that may have it.
fn mark(word: &str, colour: &str, terminal: bool) -> String {
    if terminal && !env::no_color() {
        format!("\x1b[{colour}m{word}\x1b[0m")
    } else {
        word.to_owned()
    }
}

pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Columns of the terminal behind standard output.
pub fn width() -> usize {
    if !stdout_is_terminal() {
        return PLAIN_WIDTH;
    }
    rustix::termios::tcgetwinsize(io::stdout())
        .map_or(PLAIN_WIDTH, |size| usize::from(size.ws_col).max(40))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|cause| match cause.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => crate::model::Error::new(
            crate::model::ErrorKind::System,
            "cannot write to standard output",
        )
        .with_source(cause)
        .into(),
    })
}

/// Sends the `log` crate's records to standard error, one line each.
struct Logger;

impl log::Log for Logger {
    /// Only our own words below a warning: what libraries note for their makers may hold whole
    /// requests, and so passwords.
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        let own = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        metadata.level() <= log::max_level() && (own || metadata.level() <= log::Level::Warn)
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            aside(&format!("{level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Installs the logger. A second call changes the level alone.
pub fn log_to_stderr(level: log::LevelFilter) {
    static LOGGER: Logger = Logger;
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_steer_a_terminal() {
        assert_eq!(
            quiet("no \u{1b}[2J\u{9b}\r\u{202e}file\n\tmore ü"),
            "no \\u{1b}[2J\\u{9b}\\r\\u{202e}file\n\tmore ü"
        );
    }

    #[test]
    fn documents_cannot_steer_a_terminal_and_mean_the_same() {
        let document = "{\n\t\"a\": \"\u{9b}2J\u{7f}\u{202e}ü\"}\n";
        let shown = escaped(document);
        assert_eq!(shown, "{\n\t\"a\": \"\\u009b2J\\u007f\\u202eü\"}\n");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&shown), value(document));
    }
}
