//! How long commands take that have next to nothing to do, beside a static program that has nothing at
//! all to do: shells call them for every prompt and every completion. A ratio of the shortest of many
//! runs that alternate holds on a busy machine too; a time alone would not.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::case::Case;

cases! {
    of_short_commands: root ordinary;
    of_every_help: root ordinary;
}

/// The kernel's own part: a static program without a line in it.
fn floor(case: &Case) -> PathBuf {
    let program = case.dir.join("floor");
    let source = case.make_file("floor.c", "int main(void) { return 0; }\n");
    let made = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .args([&program, &source])
        .status();
    assert!(made.expect("a compiler").success());
    program
}

fn once(mut command: Command) -> Duration {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status().expect("it starts");
    let took = begin.elapsed();
    assert!(status.success(), "{command:?}");
    took
}

/// The shortest of `rounds` of each, and that of the floor.
fn shortest(
    case: &Case,
    floor: &Path,
    commands: &[Vec<&str>],
    rounds: usize,
) -> (Duration, BTreeMap<String, Duration>) {
    let mut least = Duration::MAX;
    let mut each = BTreeMap::new();
    for _ in 0..rounds {
        for words in commands {
            least = least.min(once(case.program(&floor.display().to_string())));
            let took = once(case.command(words));
            let known = each.entry(words.join(" ")).or_insert(took);
            *known = took.min(*known);
        }
    }
    (least, each)
}

fn assert_ratios(floor: Duration, each: &BTreeMap<String, Duration>, limit: f64) {
    for (command, took) in each {
        let ratio = took.as_secs_f64() / floor.as_secs_f64();
        println!("{command}: {took:?}, {ratio:.2} times {floor:?}");
        assert!(
            ratio < limit,
            "{command}: {took:?}, {ratio:.2} times {floor:?}"
        );
    }
}

/// On an empty store.
fn of_short_commands(case: &Case) {
    let floor = floor(case);
    let commands = [vec!["--version"], vec!["ps"], vec!["images"]];
    case.engine("ps").ok();
    let (least, each) = shortest(case, &floor, &commands, 60);
    assert_ratios(least, &each, 3.0);
}

/// Three milliseconds where the floor takes half of one.
fn of_every_help(case: &Case) {
    let floor = floor(case);
    let reference = case.engine("system reference").ok().stdout;
    let commands: Vec<Vec<&str>> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|name| name.split(' ').chain(["--help"]).collect())
        .collect();
    assert!(commands.len() > 100, "{} commands", commands.len());
    let (least, each) = shortest(case, &floor, &commands, 4);
    assert_ratios(least, &each, 6.0);
}
