//! `logs`: what containers have written, each stream to its own.

use clap::{ArgAction, Args};

use super::{
    Session,
    chosen::ChosenFlags,
    failure::Failure,
    parse, times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{LogOptions, LogRecord, LogSink, LogStream},
    model::{ContainerId, Error, ErrorKind, Result},
};

#[derive(Args)]
struct Flags {
    /// A colour for each container, if there are several
    #[arg(long, alias = "colors", action = ArgAction::SetTrue)]
    color: bool,
    #[command(flatten)]
    chosen: ChosenFlags,
    /// Begin lines with the attributes that --log-opt labels= and env= chose
    #[arg(long)]
    details: bool,
    /// Wait for more
    #[arg(long, short = 'f')]
    follow: bool,
    /// Begin the lines of several containers with their names instead of their IDs
    #[arg(long)]
    names: bool,
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
    about: "Show what containers have written",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    arity: Arity::OneUnlessChosen,
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, &parse::flags(matches)?, names),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, names: Vec<String>) -> Outcome {
    let moment = |text: &Option<String>| text.as_deref().map(times::parse_moment).transpose();
    let options = LogOptions {
        follow: flags.follow,
        since: moment(&flags.since)?,
        until: moment(&flags.until)?,
        tail: tail(&flags.tail),
        details: flags.details,
    };
    let names = flags.chosen.names(session, "logs", names)?;
    let mut output = Output::new(flags);
    let result = session.engine()?.logs(&names, &options, &mut output);
    match output.failure {
        Some(failure) => Err(failure),
        None => {
            result?;
            Ok(0)
        }
    }
}

/// What is on its way to the terminal: written in large pieces, and in the order of the records.
struct Output {
    /// One for each container, if there are several.
    prefixes: Vec<String>,
    names: bool,
    timestamps: bool,
    color: bool,
    pending: Vec<u8>,
    stream: LogStream,
    failure: Option<Failure>,
}

/// Written at once.
const PIECE: usize = 64 << 10;

impl Output {
    fn new(flags: &Flags) -> Output {
        Output {
            prefixes: Vec::new(),
            names: flags.names,
            timestamps: flags.timestamps,
            color: flags.color,
            pending: Vec::new(),
            stream: LogStream::Stdout,
            failure: None,
        }
    }

    fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = match self.stream {
            LogStream::Stdout => ui::raw(&self.pending),
            LogStream::Stderr => {
                ui::raw_error(&self.pending);
                Ok(())
            }
        };
        self.pending.clear();
        written.map_err(|failure| {
            self.failure = Some(failure);
            Error::new(ErrorKind::System, "cannot write the log")
        })
    }

    fn add_prefix(&mut self, container: usize) {
        const COLOURS: [&str; 6] = ["37", "31", "33", "34", "35", "32"];
        let Some(prefix) = self.prefixes.get(container) else {
            return;
        };
        let text = if self.color {
            let colour = COLOURS[container % COLOURS.len()];
            format!("\x1b[{colour}m{prefix}\x1b[0m ")
        } else {
            format!("{prefix} ")
        };
        self.pending.extend_from_slice(text.as_bytes());
    }
}

impl LogSink for Output {
    fn begin(&mut self, containers: &[(ContainerId, String)]) {
        if containers.len() < 2 {
            return;
        }
        for (id, name) in containers {
            let shown = if self.names { name } else { id.short() };
            self.prefixes.push(shown.to_owned());
        }
    }

    fn record(&mut self, container: usize, record: &LogRecord<'_>) -> Result<()> {
        if record.stream != self.stream {
            self.flush()?;
            self.stream = record.stream;
        }
        self.add_prefix(container);
        if self.timestamps {
            self.pending.extend_from_slice(record.time.as_bytes());
            self.pending.push(b' ');
        }
        if !record.details.is_empty() {
            self.pending.extend_from_slice(record.details.as_bytes());
            self.pending.push(b' ');
        }
        self.pending.extend_from_slice(record.text);
        if self.pending.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        let written = self.flush();
        self.pending.shrink_to(PIECE);
        written
    }
}

/// Docker takes what is not a number, and negative ones, for "all".
fn tail(text: &str) -> Option<u64> {
    text.parse().ok()
}
