//! Every row of docker's command table and flag table.

use coracle::cmd::contract::{Command, Effect, Flag, is_group, read};

use crate::facts::{Ours, flag, rows};

#[test]
fn every_command_of_dockers_is_found_by_all_its_spellings() {
    let ours = Ours::new();
    let mut wrong = Vec::new();
    for [spelling, _, aliases] in rows::<3>("docker-commands.tsv") {
        let Some(command) = ours.command(&spelling) else {
            if !is_group(&spelling) && !ours.is_absent(&spelling) {
                wrong.push(format!("{spelling}: not there"));
            }
            continue;
        };
        for alias in aliases.split(", ").filter(|alias| !alias.is_empty()) {
            if !command.spellings.contains(&alias) {
                wrong.push(format!("{spelling}: {alias} is not the same"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_flag_of_dockers_is_taken_as_docker_takes_it() {
    let ours = Ours::new();
    let mut wrong = Vec::new();
    for row in rows::<6>("docker-flags.tsv") {
        walk(&ours, &row, &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Builds are BuildKit's, and these of its rows are docker's as well.
#[test]
fn every_flag_of_buildx_is_taken_or_refused() {
    let ours = Ours::new();
    let mut wrong = Vec::new();
    for [spelling, long, short, kind, default] in rows::<5>("buildx-flags.tsv") {
        let row = [spelling, long, short, kind, default, ANY.to_owned()];
        walk(&ours, &row, &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Stands where it is not known what is said of the value `abc`.
const ANY: &str = "?";

fn walk(ours: &Ours, row: &[String; 6], wrong: &mut Vec<String>) {
    let [spelling, long, short, kind, default, refusal] = row;
    if ours.is_absent(spelling) {
        return;
    }
    let mut say = |what: String| wrong.push(format!("{spelling} --{long}: {what}"));
    if is_group(spelling) || spelling == "buildx imagetools" {
        // What stands between the words goes to the command behind them.
        let value = if kind == "bool" { "" } else { "=default" };
        let (first, rest) = spelling.split_once(' ').unwrap_or((spelling, "ls"));
        let below = if rest == "ls" {
            &["ls"][..]
        } else {
            &[rest, "inspect"]
        };
        let flag = format!("--{long}{value}");
        if let Err((_, text)) = read(&[&[first, flag.as_str()], below].concat()) {
            say(text);
        }
        return;
    }
    let Some(command) = ours.command(spelling) else {
        return say("no such command".to_owned());
    };
    let Some(flag) = flag(command, long) else {
        return say("not there".to_owned());
    };
    if let Effect::Refused(reason) | Effect::Nothing(reason) = &flag.effect
        && reason.is_empty()
    {
        say("refused without a reason".to_owned());
    }
    // Where docker has no letter, there may be podman's.
    if !short.is_empty() && short.chars().next() != flag.short && !is_different(command, long) {
        say(format!("{:?} instead of -{short}", flag.short));
    }
    if (kind == "bool") != flag.value.is_none() {
        return say(format!("a {kind}, not {:?}", flag.value));
    }
    if matches!(flag.effect, Effect::Refused(_)) || is_taken_out(flag) {
        return;
    }
    if is_different(command, long) {
        return;
    }
    let is_list = |word: &str| matches!(word, "list" | "strings" | "stringArray");
    // `build` is docker's legacy builder and buildx in one: the former's words and defaults count.
    let is_other_builder = refusal == ANY && command.spellings.contains(&"build");
    if let Some(value) = &flag.value
        && value != help_word(kind)
        && !is_other_builder
        && !(refusal == ANY && is_list(value) && is_list(help_word(kind)))
    {
        say(format!("help shows {value}, not {}", help_word(kind)));
    }
    let ours = shown_default(flag);
    if !is_other_builder && ours != shown(default, kind) {
        say(format!("the default is {ours:?}, not {default:?}"));
    }
    if let Err(what) = read_values(spelling, long, kind, refusal) {
        say(what);
    }
}

/// Known, without effect, and not declared: its values are not looked at.
fn is_taken_out(flag: &Flag) -> bool {
    flag.value.as_deref() == Some("") || flag.is_hidden && flag.about.is_empty()
}

/// What is other than docker's, and why: `docs/compatibility.md` shows it.
pub const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "",
        "config",
        "the folder or file of coracle's own settings; Docker's `config.json` is read there, too",
    ),
    (
        "",
        "log-level",
        "the default is warn, and a level that does not exist is found when the command begins, with code 1",
    ),
    (
        "build",
        "pull",
        "podman's `always`, `missing`, `never` and `newer` are values, too",
    ),
    (
        "rm",
        "link",
        "without the letter `-l`, which is podman's `--latest`; there is no link to be removed",
    ),
];

fn is_different(command: &Command, long: &str) -> bool {
    let mut all = DIFFERENT.iter();
    all.any(|(its, flag, _)| *flag == long && command.spellings.contains(its))
}

/// pflag's words for its types, where they are not the type's name.
fn help_word(kind: &str) -> &str {
    match kind {
        "int64" => "int",
        "uint64" => "uint",
        "stringSlice" => "strings",
        other => other,
    }
}

/// What docker calls zero is no default to users.
fn shown(default: &str, kind: &str) -> String {
    match default {
        "0" | "0s" | "false" => String::new(),
        text if text.is_empty() || kind == "value-type" => String::new(),
        text => text.to_owned(),
    }
}

fn shown_default(flag: &Flag) -> String {
    let in_help = flag
        .about
        .rsplit_once("(default ")
        .map(|(_, rest)| rest.trim_end_matches(')'));
    let text = in_help.unwrap_or(&flag.default).trim_matches('"');
    match text {
        "[]" | "map[]" => String::new(),
        text => shown(text, ""),
    }
}

/// Asks what becomes of `--flag`, `--flag=false` and `--flag=abc`.
fn read_values(spelling: &str, long: &str, kind: &str, refusal: &str) -> Result<(), String> {
    let with = |flag: &str| {
        let mut words: Vec<&str> = spelling
            .split(' ')
            .filter(|word| *word != "(global)")
            .collect();
        words.push(flag);
        read(&words)
    };
    let bare = with(&format!("--{long}"));
    if kind == "bool" {
        bare.map_err(|(_, text)| text)?;
        with(&format!("--{long}=false")).map_err(|(_, text)| text)?;
    } else if bare != Err((125, format!("flag needs an argument: --{long}"))) {
        return Err(format!("without a value: {bare:?}"));
    }
    if refusal == ANY {
        return Ok(());
    }
    let expected = match refusal {
        "" => Ok(()),
        text => Err((125, text.to_owned())),
    };
    let found = with(&format!("--{long}=abc"));
    if found != expected {
        return Err(format!("of abc: {found:?}, not {expected:?}"));
    }
    Ok(())
}

/// Swarm, plugins, trust: answered by a word above, or as secrets are.
#[test]
fn every_flag_of_swarms_is_answered() {
    let ours = Ours::new();
    let mut wrong = Vec::new();
    for [spelling, long, ..] in rows::<5>("docker-swarm-flags.tsv") {
        let is_there = || flag(ours.command(&spelling)?, &long);
        if !ours.is_absent(&spelling) && is_there().is_none() {
            wrong.push(format!("{spelling} --{long}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The program is asked: what is below such a word is no row of the tree.
#[test]
fn every_command_below_an_absent_word_is_known() {
    let ours = Ours::new();
    let mut wrong = Vec::new();
    for [spelling, ..] in rows::<3>("docker-commands.tsv") {
        if ours.is_absent(&spelling) && ours.command(&spelling).is_none() {
            let words = spelling.split(' ').chain(["--help"]);
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_coracle"));
            let output = command.args(words).env_clear().output().unwrap();
            if !output.status.success() || !output.stdout.starts_with(b"Usage:") {
                wrong.push(format!("{spelling}: {output:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
