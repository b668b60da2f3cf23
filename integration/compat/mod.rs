//! The command line as a contract: transcripts of sessions with Docker, played on an engine.
//!
//! ```text
//! NAME.txt           cases of one topic            transcript  text → cases and their steps
//! ENGINE.differences where a peer is otherwise     pattern     an expected line, against a seen one
//! play               cases → what was seen         report      expected and seen, side by side
//! peer               another engine in our world   differences the list, against what was found
//! ```
//!
//! What is expected is what Docker 28 prints, whoever is asked. Ours has to pass all of it; another
//! engine (`make compat`, or `ENGINE=podman make integration CASES=compat`) has to differ in exactly
//! the cases that its list names, so a list says with reasons what that engine does otherwise.
//!
//! A transcript reads like a terminal. Before the first case stands what the file is about.
//!
//! ```text
//! == the name of a case                unique in its file
//! needs: freezer                       where nothing can be paused, the case is skipped; other lines
//!                                      before the first command are notes
//! $ docker run --rm busybox echo hi    a command for sh; `docker` is the engine
//! > …                                  more lines of that command
//! hi                                   its standard output
//! $ docker rm nothing-here
//! ? 1                                  its exit code, if that is not 0
//! 2> [..]No such container[..]         such a line is in standard error, among others
//! 2>                                   nothing is in standard error
//! ```
//!
//! | in expected lines | stands for |
//! |---|---|
//! | `...` alone | any lines, or none |
//! | `[..]` | anything in a line |
//! | `[HEX64]` `[HEX12]` | an ID |
//! | `[N]` `[SIZE]` `[AGE]` `[TIME]` | a number, `1.2MB`, `5 seconds`, a time as in RFC 3339 |
//!
//! Blanks that follow one of these may be more or fewer, as columns are as wide as what is in them.
//! Lines end where their last word ends. The steps of a case share one shell, with its variables and
//! its folder; the cases of a file share a store, in the order of the file, in which at the beginning
//! there is only `busybox`. Standard input is empty. Containers have no network, but for the files
//! that are played in a world of their own (`IN_A_WORLD`).

mod differences;
mod pattern;
mod peer;
mod play;
mod report;
mod transcript;

use std::{collections::BTreeSet, path::PathBuf};

/// Registers transcripts as tests, each for root and for an ordinary user.
macro_rules! transcripts {
    ($($name:ident)+) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];

        $(mod $name {
            fn whole(case: &crate::case::Case) {
                super::play::file(case, stringify!($name));
            }

            #[test]
            fn root() {
                crate::case::Case::run("root", concat!(module_path!(), "::root"), whole);
            }

            #[test]
            fn ordinary() {
                crate::case::Case::run("ordinary", concat!(module_path!(), "::ordinary"), whole);
            }
        })+
    };
}

transcripts! {
    build commit cp env_and_labels events exec exit_codes formats grammar health images inspect logs
    login networks ports prune ps restart run save_load stats_top streams tag_rmi volumes
}

/// Those whose containers have Docker's default network.
const IN_A_WORLD: &[&str] = &["networks", "ports"];

/// At least as many cases as were promised.
const PROMISED: usize = 550;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/integration/compat"))
}

/// The file of a topic: `exit_codes` is in `exit-codes.txt`.
fn file_name(name: &str) -> String {
    name.replace('_', "-")
}

fn read(name: &str) -> transcript::Transcript {
    let path = folder().join(file_name(name)).with_extension("txt");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    transcript::parse(&text).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()))
}

#[test]
fn every_transcript_is_played() {
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".txt").map(str::to_owned)
        })
        .collect();
    let played: BTreeSet<String> = NAMES.iter().map(|name| file_name(name)).collect();
    assert_eq!(there, played);
}

#[test]
fn as_many_as_promised() {
    let count: usize = NAMES.iter().map(|name| read(name).cases.len()).sum();
    assert!(count >= PROMISED, "only {count} cases");
}

/// A list that names a case that is not there would hide the next one of that name.
#[test]
fn differences_are_of_cases_that_are_there() {
    for known in differences::all("podman") {
        let titles: Vec<String> = match NAMES.iter().find(|name| file_name(name) == known.file) {
            Some(name) => read(name)
                .cases
                .into_iter()
                .map(|case| case.title)
                .collect(),
            None => panic!("podman.differences: there is no {}.txt", known.file),
        };
        let there = known.of_the_whole_file() || titles.contains(&known.title);
        assert!(
            there,
            "podman.differences: {}: no case {:?}",
            known.file, known.title
        );
    }
}
