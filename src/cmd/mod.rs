//! The command line: flags → values → one call on the [`Engine`] → output.
//!
//! ```text
//! tree      every command, found by its words      verb      what a command is
//! parse     words → flags, by Docker's rules       help      help texts
//! settings  flags, environment, config.toml        env       the only reader of variables
//! ui        the only writer to the terminal        failure   what is said, and the exit code
//! template  --format                               columns   aligned tables
//! filter    --filter                               times     ages, dates, --since
//! container_flags  what run and create share       progress  pulls, as lines or bars
//! unsupported  Docker's flags that are not there   each      several objects, one by one
//! containers_conf  podman's defaults for containers
//! chosen    --all, --filter, --latest, --cidfile   refused   commands that are not there
//! prune     the question before cleaning up        container_filters, container_rows  `ps`
//! listing   what lists of named things share          reference  man pages, docs/reference.md
//! contract  all of this as data, for tests and docs  values     what a flag's value may be
//! NAME      one command: its flags, then one function
//! ```
//!
//! Nothing here knows how a container or an image is kept or run. Docker's behaviour is the
//! measure: spellings, texts on standard output, exit codes.

mod account_flags;
mod build_cache_flags;
mod build_output_flags;
mod build_secret_flags;
mod build_show;
mod build_step_flags;
mod build_unsupported;
mod bundle_flags;
mod called;
mod chosen;
mod columns;
mod container_filters;
mod container_flags;
mod container_rows;
mod containers_conf;
mod csv_pairs;
mod device_flags;
mod each;
mod env;
mod failure;
mod filter;
mod go_types;
mod go_values;
mod health_flags;
mod healthcheck;
mod help;
mod listing;
mod log_flags;
mod mount_flags;
mod namespace_flags;
mod network_flags;
mod parse;
mod process_columns;
mod progress;
mod prune;
mod registry_flags;
mod removal_flags;
mod resource_flags;
mod security_flags;
mod settings;
mod signing_flags;
mod template;
mod template_tree;
mod terminal;
mod times;
mod tree;
mod ui;
mod unsupported;
mod user_namespace_flags;
mod values;
mod verb;

mod artifact;
mod attach;
mod build;
mod builder;
mod builder_prune;
mod clone;
mod commit;
mod completion;
mod config_show;
mod container_prune;
mod context;
pub mod contract;
mod cp;
mod create;
mod diff;
mod doctor;
mod events;
mod exec;
mod exists;
mod export;
mod export_store;
mod history;
mod image_files;
mod image_prune;
mod image_scp;
mod image_trust;
mod images;
mod imagetools;
mod import;
mod info;
mod init;
mod inspect;
mod kill;
mod load;
mod login;
mod logs;
mod manifest;
mod manifest_far;
mod network;
mod network_connect;
mod network_create;
mod network_ls;
mod pause;
mod port;
mod ps;
mod pull;
mod push;
mod push_progress;
mod reference;
mod refused;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod secret;
mod spec;
mod start;
mod stats;
mod stop;
mod swarm;
mod system_alias;
mod system_boot;
mod system_check;
mod system_df;
mod system_migrate;
mod system_prune;
mod system_reset;
mod system_resume;
mod tag;
mod top;
mod untag;
mod update;
mod version;
mod volume;
mod volume_archive;
mod volume_ls;
mod volume_prune;
mod wait;

use std::{cell::OnceCell, ffi::OsString};

use clap::Args;

use crate::engine::Engine;
use failure::Failure;
use parse::Parsed;
use settings::{GlobalFlags, Settings};
use verb::{Class, Outcome, Verb};

/// What a command works with: the settings, and the engine once it is needed.
pub(crate) struct Session {
    settings: Settings,
    engine: OnceCell<Engine>,
}

impl Session {
    /// Opens the store. Commands that fail on their own flags never do.
    fn engine(&self) -> Result<&Engine, Failure> {
        if self.engine.get().is_none() {
            let engine = Engine::open(self.settings.engine_options())?;
            let _ = self.engine.set(engine);
        }
        self.engine
            .get()
            .ok_or_else(|| Failure::Plain("the store was not opened".to_owned(), 1))
    }

    /// The engine, to start a container with: what limits containers here is told first.
    fn starting_engine(&self) -> Result<&Engine, Failure> {
        let engine = self.engine()?;
        if let Some(text) = engine.notice() {
            ui::notice(&text);
        }
        Ok(engine)
    }
}

/// Does what the words (the program's name first) ask for.
pub fn main(args: Vec<OsString>) -> u8 {
    called::note(args.first().map(OsString::as_os_str));
    dispatch(args.get(1..).unwrap_or_default())
}

/// Ends a process that was executed anew by `exec`: with the program's code, or with the word on
/// why it could not be started, in the name of the program that was called first.
pub fn finish_exec(args: &[OsString], outcome: crate::model::Result<i32>) -> u8 {
    called::note(args.get(2).map(OsString::as_os_str));
    match outcome {
        Ok(status) => u8::try_from(status).unwrap_or(255),
        Err(error) => Failure::Engine(error).report(Class::Exec, "exec", ""),
    }
}

const ROOT_USAGE: &str = "[OPTIONS] COMMAND [ARG...]";

fn dispatch(words: &[OsString]) -> u8 {
    let mut root = parse::declare("coracle", GlobalFlags::augment_args);
    let has_flags = words
        .first()
        .is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let table = if has_flags { unsupported::GLOBAL } else { &[] };
    let words = match unsupported::take_out(table, &root, words, 1) {
        Ok(words) => words,
        Err(failure) => return failure.report(Class::Other, "", ROOT_USAGE),
    };
    let words = words.as_slice();
    let end = parse::split(&root, words, 1);
    let globals = match root_flags(&mut root, &words[..end]) {
        Ok(globals) => globals,
        Err(failure) => return failure.report(Class::Other, "", ROOT_USAGE),
    };
    let rest = match &words[end..] {
        [first, rest @ ..] if first == "--" => rest,
        rest => rest,
    };
    match &globals {
        RootFlags::Help => return code(help::show(&help::overview(&root))),
        RootFlags::Given(flags) if flags.version => return code(version::short()),
        // Docker prints this to standard error, with code 0.
        RootFlags::Given(_) if rest.is_empty() => {
            ui::raw_error(help::overview(&root).as_bytes());
            return 0;
        }
        RootFlags::Given(_) => {}
    }
    let RootFlags::Given(flags) = globals else {
        return 0;
    };
    if rest[0] == "__complete" {
        return complete(*flags, &rest[1..]);
    }
    let rest = builder::hoist(rest);
    let found = match find(&rest) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let outcome = execute(*flags, &found);
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(found.verb.class, found.spelling, found.verb.usage),
    }
}

enum RootFlags {
    Help,
    Given(Box<GlobalFlags>),
}

fn root_flags(root: &mut clap::Command, words: &[OsString]) -> Result<RootFlags, Failure> {
    match parse::parse(root, words, None)? {
        Parsed::Help => Ok(RootFlags::Help),
        Parsed::Flags(matches, _) => {
            let flags: GlobalFlags = parse::flags(&matches)?;
            settings::follow_habits(flags.compat.as_deref())?;
            Ok(RootFlags::Given(Box::new(flags)))
        }
    }
}

struct Found<'a> {
    verb: &'static Verb,
    spelling: &'static str,
    words: &'a [OsString],
}

/// The command that the first one or two words name, or the code after having said otherwise.
fn find(words: &[OsString]) -> Result<Found<'_>, u8> {
    let first = words[0].to_string_lossy();
    let Some((name, about)) = tree::group(&first) else {
        return match tree::find(&first) {
            Some((verb, spelling)) => Ok(Found {
                verb,
                spelling,
                words: &words[1..],
            }),
            None if first == "help" => Err(help_for(&words[1..])),
            None => Err(unknown(&first, "")),
        };
    };
    let second = words.get(1).map(|word| word.to_string_lossy());
    match second.as_deref() {
        None => {
            ui::raw_error(help::group(name, about).as_bytes());
            Err(0)
        }
        Some("--help" | "-h") => Err(code(help::show(&help::group(name, about)))),
        Some(second) => match below(name, second, words) {
            Some(found) => Ok(found),
            None if second.starts_with('-') => Err(Failure::Flag(format!(
                "unknown flag: {second}"
            ))
            .report(Class::Other, name, "COMMAND")),
            None => Err(unknown(&format!("{name} {second}"), name)),
        },
    }
}

/// The command of a group: of two words, or of three.
fn below<'a>(name: &str, second: &str, words: &'a [OsString]) -> Option<Found<'a>> {
    let third = words.get(2).map(|word| word.to_string_lossy());
    let long = third.and_then(|third| tree::find(&format!("{name} {second} {third}")));
    let (verb, spelling, count) = match (long, tree::find(&format!("{name} {second}"))) {
        (Some((verb, spelling)), _) => (verb, spelling, 3),
        (None, Some((verb, spelling))) => (verb, spelling, 2),
        (None, None) => return None,
    };
    Some(Found {
        verb,
        spelling,
        words: &words[count..],
    })
}

/// `coracle help run` is `coracle run --help`.
fn help_for(words: &[OsString]) -> u8 {
    let mut words = words.to_vec();
    words.push("--help".into());
    dispatch(&words)
}

fn unknown(command: &str, group: &str) -> u8 {
    let usage = if group.is_empty() {
        ROOT_USAGE
    } else {
        "COMMAND"
    };
    let message = format!("unknown command: {} {command}", called::name());
    let meant = crate::model::nearest(command, tree::spellings(group)).map(str::to_owned);
    Failure::UnknownCommand(message, meant).report(Class::Other, group, usage)
}

fn execute(globals: GlobalFlags, found: &Found) -> Outcome {
    let verb = found.verb;
    unsupported::refuse_content_trust(verb.name(), found.words)?;
    let mut command = parse::declare(verb.name(), verb.flags);
    let words = unsupported::take_out(
        verb.unsupported,
        &command,
        found.words,
        verb.program_after.unwrap_or(usize::MAX),
    )?;
    match parse_with_conf(verb, &mut command, &words)? {
        Parsed::Help => {
            help::show(&help::verb(verb, found.spelling, &command))?;
            Ok(0)
        }
        Parsed::Flags(matches, arguments) => {
            verb.arity
                .check(found.spelling, arguments.len(), &matches)?;
            let session = Session {
                settings: Settings::resolve(globals)?,
                engine: OnceCell::new(),
            };
            let outcome = (verb.run)(&session, &matches, arguments);
            // The process ends now, and what is still open closes with it.
            let _ = std::mem::ManuallyDrop::new(session);
            outcome
        }
    }
}

/// The words, for commands that make containers behind those of containers.conf.
fn parse_with_conf(
    verb: &Verb,
    command: &mut clap::Command,
    words: &[OsString],
) -> Result<Parsed, Failure> {
    let parsed = parse::parse(command, words, verb.program_after)?;
    let Parsed::Flags(own, _) = &parsed else {
        return Ok(parsed);
    };
    if !matches!(verb.class, Class::Run | Class::Create) {
        return Ok(parsed);
    }
    let before = containers_conf::words(command, own)?;
    if before.is_empty() {
        return Ok(parsed);
    }
    let words = [before.as_slice(), words].concat();
    parse::parse(command, &words, verb.program_after)
}

/// The words that a shell asks about: whatever is wrong with them, there is only nothing to offer.
fn complete(flags: GlobalFlags, words: &[OsString]) -> u8 {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let done = Settings::resolve(flags).and_then(|settings| {
        let engine = OnceCell::new();
        completion::complete(&Session { settings, engine }, &words)
    });
    done.unwrap_or(1)
}

fn code(result: Result<(), Failure>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(failure) => failure.report(Class::Other, "", ROOT_USAGE),
    }
}
