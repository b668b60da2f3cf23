//! Help texts in Docker's layout.

use clap::{Arg, ArgAction, Command};

use super::{called, failure::Failure, tree, ui, verb::Verb};

/// What is done most, in Docker's order.
const COMMON: [&str; 12] = [
    "run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version",
    "info",
];

/// `coracle`, `coracle --help`. What only answers that it is not there has no place in it.
pub fn overview(root: &Command) -> String {
    let own = called::name();
    let mut text =
        format!("Usage:  {own} [OPTIONS] COMMAND\n\nRuns containers, without a daemon\n");
    let verbs = tree::VERBS.iter();
    let single: Vec<(&str, &str)> = sorted(
        verbs
            .flat_map(|verb| verb.spellings.iter().map(move |name| (*name, verb.about)))
            .filter(|(name, _)| !name.contains(' ')),
    );
    let common = COMMON
        .iter()
        .filter_map(|common| single.iter().find(|(name, _)| name == common).copied());
    let others = single.iter().filter(|(name, _)| !COMMON.contains(name));
    for (heading, commands) in [
        ("Common Commands", common.collect()),
        ("Management Commands", tree::GROUPS.to_vec()),
        ("Commands", others.copied().collect::<Vec<_>>()),
    ] {
        text.push_str(&format!("\n{heading}:\n{}", pairs(&commands)));
    }
    text.push_str(&format!(
        "\nGlobal Options:\n{}\nRun '{own} COMMAND --help' for more information on a command.\n",
        options(root)
    ));
    text
}

/// `coracle container --help`.
pub fn group(name: &str, about: &str) -> String {
    let inside = sorted(
        tree::VERBS
            .iter()
            .flat_map(|verb| {
                verb.spellings
                    .iter()
                    .map(move |spelling| (*spelling, verb.about))
            })
            .filter_map(|(spelling, about)| {
                let (group, verb) = spelling.split_once(' ')?;
                (group == name).then_some((verb, about))
            }),
    );
    let own = called::name();
    format!(
        "Usage:  {own} {name} COMMAND\n\n{about}\n\nCommands:\n{}\nRun '{own} {name} COMMAND --help' for more information on a command.\n",
        pairs(&inside)
    )
}

/// `coracle run --help`.
pub fn verb(verb: &Verb, spelling: &str, command: &Command) -> String {
    let own = called::name();
    let mut text = format!(
        "Usage:  {own} {spelling} {}\n\n{}\n",
        verb.usage, verb.about
    );
    if verb.spellings.len() > 1 {
        let names: Vec<String> = verb
            .spellings
            .iter()
            .map(|name| format!("{own} {name}"))
            .collect();
        text.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let options = options(command);
    if !options.is_empty() {
        text.push_str(&format!("\nOptions:\n{options}"));
    }
    text
}

/// Writes a text to standard output.
pub fn show(text: &str) -> Result<(), Failure> {
    ui::raw(text.as_bytes())
}

fn sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    pairs
}

fn pairs(pairs: &[(&str, &str)]) -> String {
    let wide = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .map(|(name, about)| format!("  {name:wide$}  {about}\n"))
        .collect()
}

/// A flag as help, man pages and the reference show it.
pub struct Shown<'a> {
    pub short: Option<char>,
    pub long: &'a str,
    /// What its value is called; empty for booleans.
    pub value: &'a str,
    pub about: String,
}

/// The flags that are shown, sorted by their long names.
pub fn shown(command: &Command) -> Vec<Shown<'_>> {
    let mut flags: Vec<Shown> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_id() != "help")
        .filter_map(|arg| {
            Some(Shown {
                short: arg.get_short(),
                long: arg.get_long()?,
                value: value_name(arg),
                about: about(arg),
            })
        })
        .collect();
    flags.sort_by_key(|flag| flag.long);
    flags
}

fn value_name(arg: &Arg) -> &str {
    match (arg.get_action(), arg.get_value_names()) {
        (ArgAction::Set | ArgAction::Append, Some([name, ..])) if !arg.is_require_equals_set() => {
            name
        }
        _ => "",
    }
}

/// The texts folded to the terminal's width.
fn options(command: &Command) -> String {
    let flags = shown(command);
    let names: Vec<String> = flags.iter().map(flag_column).collect();
    let wide = names.iter().map(String::len).max().unwrap_or(0);
    let room = ui::width().saturating_sub(wide + 3).max(24);
    let mut text = String::new();
    for (flag, name) in flags.iter().zip(&names) {
        let mut lines = fold(&flag.about, room).into_iter();
        let first = lines.next().unwrap_or_default();
        text.push_str(format!("{name:wide$}   {first}").trim_end());
        text.push('\n');
        for line in lines {
            text.push_str(&format!("{:wide$}   {line}\n", ""));
        }
    }
    text
}

fn flag_column(flag: &Shown) -> String {
    let short = match flag.short {
        Some(letter) => format!("  -{letter}, "),
        None => "      ".to_owned(),
    };
    let long = format!("{short}--{} {}", flag.long, flag.value);
    long.trim_end().to_owned()
}

fn about(arg: &Arg) -> String {
    let mut about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = arg
        .get_default_values()
        .first()
        .and_then(|value| value.to_str());
    if let Some(default) = default
        && !arg.is_hide_default_value_set()
        && !default.is_empty()
    {
        // As Docker writes them: texts in quotes.
        let is_text = arg
            .get_value_names()
            .is_some_and(|names| names[0] == "string");
        let quote = if is_text { "\"" } else { "" };
        about.push_str(&format!(" (default {quote}{default}{quote})"));
    }
    about
}

fn fold(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
