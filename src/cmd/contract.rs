//! The command line as data: which commands there are, which flags they take, which are refused and
//! why. What is promised can so be compared with what Docker's client has (`tests/contract`), and
//! shown to users (`docs/compatibility.md`).

use clap::{Arg, ArgAction};

use super::{
    builder,
    failure::Failure,
    find, parse, refused, root_flags,
    settings::GlobalFlags,
    swarm, tree,
    unsupported::{self, Answer, Unsupported},
    verb::{Class, Verb},
};

/// One command and its spellings; the global flags are those of a command without a spelling.
pub struct Command {
    pub spellings: &'static [&'static str],
    pub about: &'static str,
    /// It answers that it is not there.
    pub is_absent: bool,
    pub flags: Vec<Flag>,
}

pub struct Flag {
    pub long: String,
    pub aliases: Vec<String>,
    pub short: Option<char>,
    /// The word that help shows for the value; nothing for a boolean.
    pub value: Option<String>,
    pub default: String,
    pub about: String,
    pub is_hidden: bool,
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Acts,
    /// An error, but for values that ask for what happens anyway.
    Refused(String),
    /// Nothing, and why that is right.
    Nothing(String),
}

/// Whether this is a word with commands below it.
pub fn is_group(name: &str) -> bool {
    tree::group(name).is_some()
}

/// Every command; first the global flags.
pub fn commands() -> Vec<Command> {
    let mut root = parse::declare("coracle", <GlobalFlags as clap::Args>::augment_args);
    root.build();
    let globals = Command {
        spellings: &[""],
        about: "",
        is_absent: false,
        flags: flags(&root, unsupported::GLOBAL),
    };
    let act = tree::VERBS.iter().copied().map(|verb| of(verb, false));
    let absent = swarm::VERBS.iter().chain(refused::VERBS);
    let absent = absent.map(|verb| of(verb, true));
    std::iter::once(globals).chain(act).chain(absent).collect()
}

fn of(verb: &Verb, is_absent: bool) -> Command {
    let mut command = parse::declare(verb.name(), verb.flags);
    command.build();
    Command {
        spellings: verb.spellings,
        about: verb.about,
        is_absent: is_absent || unsupported::refused_by_its_command(verb.about).is_some(),
        flags: flags(&command, verb.unsupported),
    }
}

fn flags(command: &clap::Command, unsupported: &[Unsupported]) -> Vec<Flag> {
    let declared = command.get_arguments().filter(|arg| !arg.is_positional());
    let declared = declared.map(declared_flag);
    let mut all: Vec<Flag> = declared
        .chain(unsupported.iter().map(unsupported_flag))
        .collect();
    all.sort_by(|one, other| one.long.cmp(&other.long));
    all
}

fn declared_flag(arg: &Arg) -> Flag {
    let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
        && !arg.is_require_equals_set();
    let names = arg.get_value_names().unwrap_or_default();
    let default = arg.get_default_values().first();
    let default = default.filter(|_| !arg.is_hide_default_value_set());
    Flag {
        long: arg.get_long().unwrap_or_default().to_owned(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        short: arg.get_short(),
        value: takes_value.then(|| names.first().map(ToString::to_string).unwrap_or_default()),
        default: default.map_or(String::new(), |value| value.to_string_lossy().into_owned()),
        effect: effect(&about),
        about,
        is_hidden: arg.is_hide_set(),
    }
}

fn effect(about: &str) -> Effect {
    let refused = unsupported::refused_by_its_command(about);
    let refused = refused.map(|reason| Effect::Refused(reason.to_owned()));
    let nothing = || {
        Some(Effect::Nothing(
            unsupported::without_effect(about)?.to_owned(),
        ))
    };
    refused.or_else(nothing).unwrap_or(Effect::Acts)
}

fn unsupported_flag(flag: &Unsupported) -> Flag {
    let reason = flag.instead.to_owned();
    Flag {
        long: flag.long.to_owned(),
        aliases: Vec::new(),
        short: flag.short,
        value: flag.valued.then(String::new),
        default: String::new(),
        about: String::new(),
        is_hidden: true,
        effect: match flag.answer {
            Answer::Refuse => Effect::Refused(reason),
            Answer::Ignore => Effect::Nothing(reason),
        },
    }
}

/// Reads a command line as far as its flags and does nothing: the command's exit code and message if
/// they are wrong.
pub fn read(words: &[&str]) -> Result<(), (u8, String)> {
    let words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
    let starts_with_flag = words
        .first()
        .is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    if starts_with_flag {
        return read_globals(&words).map_err(|failure| told(&failure, Class::Other));
    }
    let words = builder::hoist(&words);
    let found = find(&words).map_err(|code| (code, "unknown command".to_owned()))?;
    let verb = found.verb;
    let read = || {
        let mut command = parse::declare(verb.name(), verb.flags);
        let until = verb.program_after.unwrap_or(usize::MAX);
        let words = unsupported::take_out(verb.unsupported, &command, found.words, until)?;
        parse::parse(&mut command, &words, verb.program_after).map(drop)
    };
    read().map_err(|failure| told(&failure, verb.class))
}

fn read_globals(words: &[std::ffi::OsString]) -> Result<(), Failure> {
    let mut root = parse::declare("coracle", <GlobalFlags as clap::Args>::augment_args);
    let words = unsupported::take_out(unsupported::GLOBAL, &root, words, 1)?;
    let end = parse::split(&root, &words, 1);
    root_flags(&mut root, &words[..end]).map(drop)
}

fn told(failure: &Failure, class: Class) -> (u8, String) {
    (failure.code(class), failure.text())
}
