//! docs/compatibility.md is what the library says of itself. `CORACLE_WRITE=1 cargo test --test contract`
//! writes it anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use coracle::cmd::contract::{Command, Effect};

use crate::{
    docker::DIFFERENT,
    facts::{Ours, repository},
};

const HEAD: &str = "\
# What is not as docker or podman have it

All commands and flags of docker 28.2's client, and nearly all of podman 5's, are known. This page lists those that are refused, with exit code 125 unless said
otherwise, and those that are taken and do nothing; `tests/contract` compares it with the program, and every row of docker's tables with what is
there. What is refused is refused before anything is done.

";

#[test]
fn the_page_says_what_is_refused_and_what_has_no_effect() {
    let page = page(&Ours::new());
    let path = repository().join("docs/compatibility.md");
    if std::env::var_os("CORACLE_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/compatibility.md is not what the program says; write it anew:\nCORACLE_WRITE=1 cargo test --test contract"
    );
}

#[test]
fn every_refusal_and_every_flag_without_effect_has_a_reason() {
    let ours = Ours::new();
    let mut without = Vec::new();
    for command in ours.all() {
        if command.is_absent && command.about.is_empty() {
            without.push(name(command));
        }
        for flag in &command.flags {
            let is_mute = match &flag.effect {
                Effect::Refused(reason) | Effect::Nothing(reason) => reason.is_empty(),
                Effect::Acts => flag.is_hidden && flag.about.is_empty(),
            };
            if is_mute {
                without.push(format!("{} --{}", name(command), flag.long));
            }
        }
    }
    assert!(without.is_empty(), "{}", without.join("\n"));
}

fn page(ours: &Ours) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## Commands that are not there\n\n| command | instead |\n|---|---|\n");
    for command in ours.all().iter().filter(|command| command.is_absent) {
        let spellings: Vec<String> = command
            .spellings
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let reason = command
            .about
            .strip_prefix("Not supported: ")
            .unwrap_or(command.about);
        page.push_str(&format!(
            "| {} | {} |\n",
            spellings.join(", "),
            cell(reason)
        ));
    }
    page.push_str("\nThe commands about swarms, plugins and content trust answer as an engine without them does, with docker's words and its code 1.\n");
    page.push_str("\n## Flags that are refused\n\nValues that ask for what happens anyway (`--isolation default`, `--runtime runc`) are taken.\n\n");
    page.push_str(&table(ours, |effect| match effect {
        Effect::Refused(reason) => Some(reason),
        _ => None,
    }));
    page.push_str("\n## Flags that are taken and have no effect\n\n");
    page.push_str(&table(ours, |effect| match effect {
        Effect::Nothing(reason) => Some(reason),
        _ => None,
    }));
    page.push_str(
        "\n## Flags that are other than docker's\n\n| command | flag | how |\n|---|---|---|\n",
    );
    for (command, flag, how) in DIFFERENT {
        let command = if command.is_empty() {
            "(global)"
        } else {
            command
        };
        page.push_str(&format!("| `{command}` | `--{flag}` | {} |\n", cell(how)));
    }
    page
}

/// One row for a flag and a reason, with all commands that have it.
fn table(ours: &Ours, of: impl Fn(&Effect) -> Option<&String>) -> String {
    let mut rows: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for command in ours.all() {
        for flag in &command.flags {
            if let Some(reason) = of(&flag.effect) {
                let key = (flag.long.clone(), reason.clone());
                rows.entry(key).or_default().insert(name(command));
            }
        }
    }
    let mut text = "| flag | of | why |\n|---|---|---|\n".to_owned();
    for ((long, reason), commands) in rows {
        let commands: Vec<String> = commands.into_iter().collect();
        text.push_str(&format!(
            "| `--{long}` | {} | {} |\n",
            commands.join(", "),
            cell(&reason)
        ));
    }
    text
}

fn name(command: &Command) -> String {
    match command.spellings.last() {
        None | Some(&"") => "(global)".to_owned(),
        Some(name) => (*name).to_owned(),
    }
}

/// Without what would end a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
