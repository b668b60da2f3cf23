//! Every flag of docker's that acts is tried by a test.
//!
//! The search is simple: the sources of tests/ and integration/ are cut into functions. A function tries
//! a flag of a command if one of its texts begins with a spelling of the command (or it calls a helper of
//! that name: `build(…)`) and one of its texts has the flag as a word, by its long name or its letter.
//! It says nothing of how well the flag is tried; a flag that no function names is tried by nobody.
//!
//! `run` and `create` share their flags and the code that reads them: either counts for both. The rows of
//! integration/flags are of `run`, and `shell(…)` of integration/case.rs is `run`.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
};

use coracle::cmd::contract::{Command, Effect};

use crate::facts::{Ours, flag, repository, rows};

#[test]
fn every_flag_of_dockers_that_acts_is_tried() {
    let ours = Ours::new();
    let functions = functions();
    let mut untried = BTreeSet::new();
    for [spelling, long, ..] in rows::<6>("docker-flags.tsv") {
        let Some(command) = ours.command(&spelling) else {
            continue;
        };
        let Some(flag) = flag(command, &long) else {
            continue;
        };
        if command.is_absent || flag.effect != Effect::Acts {
            continue;
        }
        let mut functions = functions.iter().filter(|function| function.is_of(command));
        // Anything may have the letter of a global flag.
        let is_global = command.spellings == [""];
        let names = |function: &Function| {
            function.flags.contains(&format!("--{long}"))
                || !is_global && function.has_letter(flag.short)
        };
        if !functions.any(names) {
            untried.insert(format!("{} --{long}", command.spellings.last().unwrap()));
        }
    }
    let untried: Vec<String> = untried.into_iter().collect();
    assert!(
        untried.is_empty(),
        "{} flags:\n{}",
        untried.len(),
        untried.join("\n")
    );
}

/// One function of a test: what it says.
struct Function {
    /// What its texts begin with, up to three words; texts behind each other; helpers that it calls.
    speaks_of: HashSet<String>,
    /// The words of its texts that begin with a dash, without values.
    flags: HashSet<String>,
    /// Its rows are flags of `run`.
    is_of_run: bool,
}

impl Function {
    fn new(source: &str, is_of_run: bool) -> Function {
        let texts = texts(source);
        let words = texts.iter().flat_map(|text| text.split_whitespace());
        let flags = words.filter(|word| word.starts_with('-'));
        let flags = flags.map(|word| word.split('=').next().unwrap_or(word).to_owned());
        Function {
            flags: flags.collect(),
            speaks_of: texts
                .windows(3)
                .chain(texts.windows(2))
                .chain(texts.windows(1))
                .flat_map(beginnings)
                .chain(calls(source))
                .collect(),
            is_of_run,
        }
    }

    fn is_of(&self, command: &Command) -> bool {
        let spellings = command.spellings;
        let is_run = spellings.contains(&"run") || spellings.contains(&"create");
        let of_run = ["run", "create", "shell"];
        spellings == [""]
            || is_run
                && (self.is_of_run || of_run.iter().any(|name| self.speaks_of.contains(*name)))
            || spellings.iter().any(|name| self.speaks_of.contains(*name))
    }

    /// `-f`, `-itd`, `-c2`.
    fn has_letter(&self, short: Option<char>) -> bool {
        self.flags.iter().any(|word| is_letter(word, short))
    }
}

/// `"network connect …"`, or `"network", "connect"`.
fn beginnings(texts: &[String]) -> Vec<String> {
    let words: Vec<&str> = texts[0].split_whitespace().take(3).collect();
    let mut all: Vec<String> = (1..=words.len())
        .map(|count| words[..count].join(" "))
        .collect();
    all.push(texts.join(" "));
    all
}

fn calls(source: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let before = source.match_indices('(').map(|(end, _)| &source[..end]);
    let names = before.filter_map(|text| text.rsplit(|letter| !is_part(letter)).next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_letter(word: &str, short: Option<char>) -> bool {
    match (word.strip_prefix('-'), short) {
        (Some(letters), Some(short)) if !letters.starts_with('-') => {
            letters.starts_with(short)
                || letters.len() < 5
                    && letters.chars().all(|letter| letter.is_ascii_alphabetic())
                    && letters.contains(short)
        }
        _ => false,
    }
}

fn functions() -> Vec<Function> {
    let mut all = Vec::new();
    for folder in ["tests", "integration"] {
        for entry in walkdir::WalkDir::new(repository().join(folder)) {
            let entry = entry.unwrap();
            let path = entry.path();
            let is_ours = path.components().any(|part| part.as_os_str() == "contract");
            if path.extension().is_none_or(|ending| ending != "rs") || is_ours {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let is_of_run = path.starts_with(repository().join("integration/flags"));
            let starts: Vec<usize> = text.match_indices("fn ").map(|(start, _)| start).collect();
            let ends = starts.iter().skip(1).copied().chain([text.len()]);
            for (start, end) in starts.iter().copied().zip(ends) {
                all.push(Function::new(&text[start..end], is_of_run));
            }
        }
    }
    all
}

/// The texts between quotation marks, as they are written.
fn texts(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for line in source.split('\n') {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        let mut parts = line.replace("\\\"", "'");
        parts = parts.replace("'\"'", "''");
        texts.extend(parts.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    texts
}
