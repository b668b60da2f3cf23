//! Podman's tables, softer: each command and each flag of its most used commands is there, refused with
//! a reason, or in a list here. The lists may only become shorter.

use std::collections::BTreeSet;

use coracle::cmd::contract::is_group;

use crate::facts::{Ours, flag, rows};

/// Commands that are neither there nor refused.
const NO_COMMANDS: &[&str] = &[];

/// Flags that are neither there nor refused, `command --flag`.
const NO_FLAGS: &[&str] = &[];

/// Flags that take a value there and none here, or the other way round.
const OTHER_KIND: &[&str] = &[
    // A boolean that may be given a value, and is one here.
    "build --inherit-annotations",
    // May stand without a value, as here.
    "build --pull",
    // The table calls it a boolean, podman's manual and we a policy.
    "pull --policy",
];

#[test]
fn every_command_of_podmans_is_there_or_refused() {
    let ours = Ours::new();
    let rows = rows::<2>("podman-commands.tsv");
    let missing = rows.iter().map(|[spelling, _]| spelling.as_str());
    let missing = missing.filter(|spelling| {
        let above = spelling.rsplit_once(' ').map(|(above, _)| above);
        let is_answered_above = above.is_some_and(|above| ours.command(above).is_some());
        let is_found = ours.command(spelling).is_some() || is_group(spelling);
        !is_found && !is_answered_above && !ours.is_absent(spelling) && *spelling != "help"
    });
    compare(missing.map(str::to_owned).collect(), NO_COMMANDS);
}

#[test]
fn flags_of_podmans_are_there_or_refused() {
    let ours = Ours::new();
    let (mut missing, mut other) = (BTreeSet::new(), BTreeSet::new());
    for [spelling, long, _, kind] in rows::<4>("podman-flags.tsv") {
        if !is_walked(&spelling) || ours.is_absent(&spelling) {
            continue;
        }
        let Some(command) = ours.command(&spelling) else {
            continue;
        };
        let row = format!("{spelling} --{long}");
        match flag(command, &long) {
            None => drop(missing.insert(row)),
            Some(flag) if (kind == "bool") != flag.value.is_none() => drop(other.insert(row)),
            Some(_) => {}
        }
    }
    compare(missing, NO_FLAGS);
    compare(other, OTHER_KIND);
}

fn is_walked(spelling: &str) -> bool {
    let first = spelling.split(' ').next().unwrap_or_default();
    matches!(
        first,
        "(global)"
            | "run"
            | "create"
            | "exec"
            | "ps"
            | "images"
            | "build"
            | "network"
            | "volume"
            | "start"
            | "stop"
            | "rm"
            | "rmi"
            | "logs"
            | "pull"
            | "push"
            | "kill"
            | "restart"
    )
}

fn compare(found: BTreeSet<String>, known: &[&str]) {
    let known: BTreeSet<String> = known.iter().map(|row| (*row).to_owned()).collect();
    let new: Vec<&String> = found.difference(&known).collect();
    let mended: Vec<&String> = known.difference(&found).collect();
    assert!(
        new.is_empty() && mended.is_empty(),
        "new: {new:#?}\nmended, take them out of the list: {mended:#?}"
    );
}
