//! Words of the command line → flags and arguments, by Docker's rules and with its messages.
//!
//! clap declares the flags and reads their values; this file bends it to pflag's habits, which
//! every script for Docker relies on:
//!
//! - a boolean may be given a value: `--rm=false`, `--sig-proxy=0`;
//! - the word behind a flag that takes a value is its value, also if it begins with a dash;
//! - a flag given twice keeps the last value, and flags may stand between arguments, …
//! - … except for commands that run a program: there the first argument (two for `exec`) ends
//!   the flags. clap cannot say that without also swallowing unknown flags before it, so the
//!   words are split here ([`split`]) before clap sees them;
//! - only the flags of the chosen command are built ([`super::tree`]): the whole tree costs
//!   milliseconds.

use std::ffi::{OsStr, OsString};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{failure::Failure, values};

/// Where the arguments of a command are kept among its flags.
const ARGUMENTS: &str = "arguments";
const HELP: &str = "help";

pub enum Parsed {
    Help,
    Flags(ArgMatches, Vec<String>),
}

/// Bends a command's declared flags to pflag's habits.
pub fn declare(name: &'static str, flags: fn(Command) -> Command) -> Command {
    let command = flags(
        Command::new(name)
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true),
    );
    let has_short_h = command
        .get_arguments()
        .any(|arg| arg.get_short() == Some('h'));
    let help = Arg::new(HELP)
        .long(HELP)
        .action(ArgAction::SetTrue)
        .help("Print this text");
    let help = if has_short_h { help } else { help.short('h') };
    command
        .arg(help)
        .arg(
            Arg::new(ARGUMENTS)
                .num_args(0..)
                .action(ArgAction::Append)
                .hide(true),
        )
        .mut_args(like_pflag)
}

fn like_pflag(arg: Arg) -> Arg {
    if arg.is_positional() {
        return arg;
    }
    match arg.get_action() {
        // What clap makes of a field of type bool, whatever its default.
        ArgAction::SetTrue if arg.get_default_values() == ["true"] => boolean(arg, "true"),
        ArgAction::SetTrue => boolean(arg, "false"),
        ArgAction::SetFalse => boolean(arg, "true"),
        // What has a text for its value without one has words, and not the two of a boolean alone.
        _ if arg.is_require_equals_set() && is_boolean(&arg) => arg.value_parser(go_bool),
        ArgAction::Set | ArgAction::Append => values::checked(arg.allow_hyphen_values(true)),
        _ => arg,
    }
}

fn is_boolean(arg: &Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().all(|name| name != "policy")
}

fn boolean(arg: Arg, default: &'static str) -> Arg {
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value(default)
        .hide_default_value(default == "false")
        .value_parser(go_bool)
}

/// strconv.ParseBool
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

/// Reads a command's words.
///
/// `program_after`: so many arguments end the flags.
pub fn parse(
    command: &mut Command,
    words: &[OsString],
    program_after: Option<usize>,
) -> Result<Parsed, Failure> {
    let end = match program_after {
        Some(count) => split(command, words, count),
        None => words.len(),
    };
    let (flags, program) = words.split_at(end);
    let matches = command
        .try_get_matches_from_mut(flags)
        .map_err(|error| Failure::Flag(docker_words(command, flags, &error)))?;
    if matches.get_flag(HELP) {
        return Ok(Parsed::Help);
    }
    let mut arguments: Vec<String> = matches
        .get_many::<String>(ARGUMENTS)
        .unwrap_or_default()
        .cloned()
        .collect();
    // A `--` between the flags and the program is a separator, not a part of the program.
    let separator = program_after.is_some_and(|count| arguments.len() < count);
    let program = match program {
        [first, rest @ ..] if separator && first == "--" => rest,
        all => all,
    };
    for word in program {
        let word = word.to_str().ok_or_else(|| {
            Failure::Flag(format!(
                "argument {word:?} is not valid UTF-8, which a container's configuration must be"
            ))
        })?;
        arguments.push(word.to_owned());
    }
    Ok(Parsed::Flags(matches, arguments))
}

/// How many of the words are flags, their values and the first `count - 1` arguments; the rest
/// begins with the `count`-th argument or with `--`.
pub fn split(command: &Command, words: &[OsString], count: usize) -> usize {
    let mut arguments = 0;
    let mut at = 0;
    while at < words.len() {
        let word = words[at].as_encoded_bytes();
        if word == b"--" {
            return at;
        }
        if word.len() < 2 || word[0] != b'-' {
            arguments += 1;
            if arguments == count {
                return at;
            }
        } else if takes_next_word(command, &words[at]) {
            at += 1;
        }
        at += 1;
    }
    words.len()
}

/// Whether the value of this flag is the following word.
pub fn takes_next_word(command: &Command, word: &OsStr) -> bool {
    let Some(word) = word.to_str() else {
        return false;
    };
    let valued = |arg: &Arg| {
        matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
            && !arg.is_require_equals_set()
    };
    if let Some(long) = word.strip_prefix("--") {
        return !long.contains('=') && find_long(command, long).is_some_and(valued);
    }
    let mut letters = word[1..].chars();
    while let Some(letter) = letters.next() {
        match command
            .get_arguments()
            .find(|arg| arg.get_short() == Some(letter))
        {
            Some(arg) if valued(arg) => return letters.as_str().is_empty(),
            Some(_) => {}
            None => return false,
        }
    }
    false
}

fn find_long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name)
            || arg
                .get_all_aliases()
                .is_some_and(|aliases| aliases.contains(&name))
    })
}

/// clap's complaint in Docker's words.
fn docker_words(command: &Command, words: &[OsString], error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let flag = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument => unknown_flag(command, words, &flag),
        ErrorKind::InvalidValue if value.is_empty() => missing_value(words, &flag),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            let complaint =
                find_shown(command, &flag).and_then(|arg| values::complaint(arg, &value));
            let why = complaint.unwrap_or_else(|| {
                std::error::Error::source(error).map_or_else(
                    || "it is not one of the possible values".to_owned(),
                    ToString::to_string,
                )
            });
            format!(
                "invalid argument {value:?} for {:?} flag: {why}",
                both_names(command, words, &flag)
            )
        }
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}

fn unknown_flag(command: &Command, words: &[OsString], flag: &str) -> String {
    if let Some(long) = flag.strip_prefix("--") {
        let there = command.get_arguments().filter(|arg| !arg.is_hide_set());
        return match crate::model::nearest(long, there.filter_map(Arg::get_long)) {
            Some(meant) => format!("unknown flag: {flag}\nhint: did you mean --{meant}?"),
            None => format!("unknown flag: {flag}"),
        };
    }
    let letter = flag.trim_start_matches('-');
    let cluster = words
        .iter()
        .filter_map(|word| word.to_str())
        .find(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter))
        .unwrap_or(flag);
    format!("unknown shorthand flag: '{letter}' in {cluster}")
}

fn missing_value(words: &[OsString], flag: &str) -> String {
    let last = words.last().and_then(|word| word.to_str()).unwrap_or(flag);
    match last.strip_prefix('-') {
        Some(cluster) if !cluster.starts_with('-') => {
            let letter = cluster.chars().next_back().unwrap_or('-');
            format!("flag needs an argument: '{letter}' in {last}")
        }
        _ => format!("flag needs an argument: {last}"),
    }
}

/// `-m, --memory` for clap's `--memory <bytes>`.
fn both_names(command: &Command, words: &[OsString], shown: &str) -> String {
    let found = find_shown(command, shown);
    if let Some(alias) = found.and_then(|arg| typed_alias(arg, words)) {
        return format!("--{alias}");
    }
    match found.map(|arg| (arg.get_short(), arg.get_long())) {
        Some((Some(short), Some(long))) => format!("-{short}, --{long}"),
        Some((None, Some(long))) => format!("--{long}"),
        _ => shown.to_owned(),
    }
}

/// The other name by which the flag was called, if it was: Docker's old names are flags of their own.
fn typed_alias(arg: &Arg, words: &[OsString]) -> Option<String> {
    let mut typed = words
        .iter()
        .filter_map(|word| word.to_str()?.strip_prefix("--"));
    let aliases = arg.get_all_aliases()?;
    typed.find_map(|word| {
        let name = word.split('=').next().unwrap_or(word);
        aliases.contains(&name).then(|| name.to_owned())
    })
}

/// The flag that clap shows as `--memory <bytes>`.
fn find_shown<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let name = shown.split([' ', '=', '[']).next().unwrap_or(shown);
    let name = name.trim_start_matches('-');
    let by_letter = || {
        let is_it = |arg: &&Arg| {
            arg.get_short()
                .is_some_and(|short| name == short.to_string())
        };
        command.get_arguments().find(is_it)
    };
    find_long(command, name).or_else(by_letter)
}

/// What clap's derive makes of the flags that were read.
pub fn flags<T: clap::FromArgMatches>(matches: &ArgMatches) -> Result<T, Failure> {
    T::from_arg_matches(matches).map_err(|error| Failure::Flag(error.to_string()))
}

/// Whether the tag of `reference` was filled in.
pub fn is_without_tag(typed: &str, reference: &crate::model::Reference) -> bool {
    reference.digest().is_none()
        && reference
            .tag()
            .is_some_and(|tag| !typed.ends_with(&format!(":{tag}")))
}
