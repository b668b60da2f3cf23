//! `logs`: what a container has written, each stream to its own.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse, times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{LogLine, LogOptions, LogStream},
    model::{Error, ErrorKind},
};

#[derive(Args)]
struct Flags {
    /// For Docker's sake: there are no further attributes
    #[arg(long, hide = true)]
    details: bool,
    /// Wait for more
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only lines after a moment (2026-01-31T12:00:00Z) or a time ago (10m)
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Only so many lines from the end, or all
    #[arg(long, short = 'n', value_name = "string", default_value = "all")]
    tail: String,
    /// Begin lines with their time
    #[arg(long, short = 't')]
    timestamps: bool,
    /// Only lines before a moment or a time ago
    #[arg(long, value_name = "string")]
    until: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["container logs", "logs"],
    about: "Show what a container has written",
    usage: "[OPTIONS] CONTAINER",
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, name: &str) -> Outcome {
    let options = LogOptions {
        follow: flags.follow,
        since: flags
            .since
            .as_deref()
            .map(times::parse_moment)
            .transpose()?,
        until: flags
            .until
            .as_deref()
            .map(times::parse_moment)
            .transpose()?,
        tail: tail(&flags.tail),
    };
    let mut stopped = None;
    let mut sink = |line: LogLine| {
        write(&line, flags.timestamps).map_err(|failure| {
            stopped = Some(failure);
            Error::new(ErrorKind::System, "cannot write the log")
        })
    };
    let result = session.engine()?.logs(name, &options, &mut sink);
    match stopped {
        Some(failure) => Err(failure),
        None => {
            result?;
            Ok(0)
        }
    }
}

fn write(line: &LogLine, timestamps: bool) -> Result<(), Failure> {
    let bytes = if timestamps {
        [line.time.as_bytes(), b" ", &line.text].concat()
    } else {
        line.text.clone()
    };
    match line.stream {
        LogStream::Stdout => ui::raw(&bytes),
        LogStream::Stderr => {
            ui::raw_error(&bytes);
            Ok(())
        }
    }
}

/// Docker takes what is not a number, and negative ones, for "all".
fn tail(text: &str) -> Option<u64> {
    text.parse().ok()
}
