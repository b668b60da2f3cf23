//! Completion of words in shells.
//!
//! `completion SHELL` prints a script for the shell; it asks `__complete WORDS…` at each press of the
//! tab key. Asked and answered is as by programs made with cobra, Docker's client among them, so that
//! scripts for these work, too: a candidate a line, behind a tab what it is; last `:N`, in which 4 says
//! that files are no candidates and 2 that no space follows.
//!
//! What a word may be follows from the command's usage line and the flags that it declares; names are
//! those of the moment.

use clap::{Arg, Command};

use super::{
    Session,
    failure::Failure,
    parse, tree, ui,
    verb::{Arity, Outcome, Verb},
};

mod names;

use names::{Kind, Names};

const NO_FILES: u8 = 4;
const NO_SPACE: u8 = 2;

pub const VERB: Verb = Verb {
    spellings: &["completion"],
    about: "Print the completion script for a shell: bash, zsh or fish",
    usage: "bash|zsh|fish",
    arity: Arity::Exactly(1),
    run: |_, _, shells| {
        let script = match shells[0].as_str() {
            "bash" => include_str!("coracle.bash"),
            "zsh" => include_str!("coracle.zsh"),
            "fish" => include_str!("coracle.fish"),
            other => {
                let text =
                    format!("there is no completion for {other:?}: bash, zsh and fish have one");
                return Err(Failure::Plain(text, 1));
            }
        };
        ui::raw(script.as_bytes())?;
        Ok(0)
    },
    ..Verb::PLAIN
};

/// `__complete`: the last of the words is the one that is being typed.
pub fn complete(session: &Session, words: &[String]) -> Outcome {
    let (typed, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let answer = candidates(session, before, typed);
    for (word, about) in &answer.words {
        match about.is_empty() {
            true => ui::line(word)?,
            false => ui::line(&format!("{word}\t{about}"))?,
        }
    }
    ui::line(&format!(":{}", answer.directive))?;
    Ok(0)
}

#[derive(Default)]
struct Answer {
    words: Vec<(String, String)>,
    directive: u8,
}

impl Answer {
    fn of(words: impl IntoIterator<Item = (String, String)>, typed: &str) -> Answer {
        let fitting = words
            .into_iter()
            .filter(|(word, _)| word.starts_with(typed));
        Answer {
            words: fitting.collect(),
            directive: NO_FILES,
        }
    }
}

fn candidates(session: &Session, before: &[String], typed: &str) -> Answer {
    let Some((first, rest)) = before.split_first() else {
        return Answer::of(spelled(""), typed);
    };
    if let Some((verb, _)) = tree::find(first) {
        return of_verb(session, verb, rest, typed);
    }
    match (tree::group(first), rest.split_first()) {
        (Some(_), None) => Answer::of(spelled(first), typed),
        (Some(_), Some((second, rest))) => match tree::find(&format!("{first} {second}")) {
            Some((verb, _)) => of_verb(session, verb, rest, typed),
            None => Answer::default(),
        },
        (None, _) => Answer::default(),
    }
}

/// The commands and groups below a group, or the first words; those that only say no are left out.
fn spelled(group: &str) -> Vec<(String, String)> {
    let verbs = tree::VERBS
        .iter()
        .flat_map(|verb| verb.spellings.iter().map(|name| (*name, verb.about)));
    let groups = tree::GROUPS.iter().copied();
    let mut found: Vec<(String, String)> = verbs
        .chain(groups)
        .filter_map(|(name, about)| match name.split_once(' ') {
            Some((its, name)) => (its == group).then_some((name, about)),
            None => group.is_empty().then_some((name, about)),
        })
        .map(|(name, about)| (name.to_owned(), about.to_owned()))
        .collect();
    found.sort();
    found
}

fn of_verb(session: &Session, verb: &Verb, before: &[String], typed: &str) -> Answer {
    let command = parse::declare(verb.name(), verb.flags);
    let (arguments, waiting, ended) = read(&command, verb, before);
    let names = Names {
        session,
        verb: verb.name(),
    };
    if let Some(flag) = waiting {
        return of_value(&names, flag, typed);
    }
    if !ended && typed.starts_with('-') {
        if let Some((name, value)) = typed.split_once('=') {
            let flag = find(&command, name.trim_start_matches('-'));
            let mut answer = flag
                .map(|flag| of_value(&names, flag, value))
                .unwrap_or_default();
            for (word, _) in &mut answer.words {
                word.insert_str(0, &format!("{name}="));
            }
            return answer;
        }
        return Answer::of(flags(&command), typed);
    }
    of_argument(&names, verb, arguments, typed)
}

/// How many arguments there are already, the flag whose value comes next, and whether what comes is the
/// program's that is run.
fn read<'c>(
    command: &'c Command,
    verb: &Verb,
    before: &[String],
) -> (usize, Option<&'c Arg>, bool) {
    let (mut arguments, mut at) = (0, 0);
    while let Some(word) = before.get(at) {
        if word == "--" || verb.program_after.is_some_and(|count| arguments >= count) {
            return (arguments + before.len() - at, None, true);
        }
        if word.len() > 1 && word.starts_with('-') {
            if parse::takes_next_word(command, word.as_ref()) {
                at += 1;
                if at == before.len() {
                    let name = word.trim_start_matches('-');
                    let flag = find(command, name);
                    let last = name.chars().next_back();
                    let by_letter = command.get_arguments().find(|arg| arg.get_short() == last);
                    return (arguments, flag.or(by_letter), false);
                }
            }
        } else {
            arguments += 1;
        }
        at += 1;
    }
    let ended = verb.program_after.is_some_and(|count| arguments >= count);
    (arguments, None, ended)
}

fn find<'c>(command: &'c Command, long: &str) -> Option<&'c Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long))
}

fn flags(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    shown
        .filter_map(|arg| {
            let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", arg.get_long()?), about))
        })
        .collect()
}

fn of_value(names: &Names<'_>, flag: &Arg, typed: &str) -> Answer {
    let words = |all: &str| {
        let all: Vec<(String, String)> = all
            .split(' ')
            .map(|word| (word.to_owned(), String::new()))
            .collect();
        Answer::of(all, typed)
    };
    match flag.get_long().unwrap_or_default() {
        "network" | "net" => Answer::of(names.of(Kind::Network), typed),
        "volumes-from" | "link" => Answer::of(names.of(Kind::Container), typed),
        "secret" => Answer::of(names.of(Kind::Secret), typed),
        "volume" if !typed.starts_with(['/', '.', '~']) => Answer {
            directive: NO_SPACE,
            ..Answer::of(names.of(Kind::Volume), typed)
        },
        "ipc" | "pid" | "uts" | "cgroupns" => words("host private"),
        "userns" => words("host keep-id nomap auto"),
        "restart" => words("no always on-failure unless-stopped"),
        "pull" => words("always missing never newer"),
        "log-driver" => words("json-file local journald none"),
        "log-level" => words("debug info warn error fatal"),
        "progress" => words("auto plain tty quiet rawjson"),
        "signal" | "stop-signal" => words("HUP INT QUIT KILL USR1 USR2 TERM STOP CONT"),
        "type" => words("container image network volume"),
        "format" => words("json table"),
        "condition" => words(
            "configured created exited healthy initialized paused removing running stopped unhealthy",
        ),
        // Files, or nobody knows.
        _ => Answer::default(),
    }
}

fn of_argument(names: &Names<'_>, verb: &Verb, place: usize, typed: &str) -> Answer {
    let words = verb.usage.lines().next().unwrap_or_default();
    let places: Vec<&str> = words
        .split_whitespace()
        .filter(|word| *word != "[OPTIONS]")
        .collect();
    let Some(place) = places
        .get(place)
        .or_else(|| places.last().filter(|last| last.contains("...")))
    else {
        return Answer {
            directive: NO_FILES,
            ..Answer::default()
        };
    };
    let place = place.trim_matches(['[', ']', '.']);
    if place.contains('|') && !place.contains(|c: char| c.is_uppercase() || c == '-') {
        let words = place
            .split('|')
            .map(|word| (word.to_owned(), String::new()));
        return Answer::of(words.collect::<Vec<_>>(), typed);
    }
    match Kind::of_place(place) {
        Some(Kind::Path) => Answer {
            directive: NO_SPACE,
            ..Answer::of(names.of(Kind::Path), typed)
        },
        Some(kind) => Answer::of(names.of(kind), typed),
        None => Answer::default(),
    }
}
