//! Man pages and `docs/reference.md` are written from the tree of commands, and are as new as it.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

fn coracle(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(words)
        .env_clear()
        .output()
        .expect("coracle runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_reference_is_as_new_as_the_commands() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let kept = fs::read_to_string(file).expect("docs/reference.md");
    let now = coracle(&["system", "reference"]);
    let older = kept
        .lines()
        .zip(now.lines())
        .find(|(kept, now)| kept != now);
    assert!(
        kept == now,
        "docs/reference.md is not what the commands say; `make reference` writes it anew\n{older:#?}"
    );
}

/// The flags that `--help` shows are those of the man page, command by command.
#[test]
fn every_command_has_its_man_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manual = folder.path().to_str().expect("text");
    let said = coracle(&["system", "man", "--dir", manual]);
    let pages: BTreeSet<String> = fs::read_dir(folder.path().join("man1"))
        .expect("man1")
        .map(|page| page.expect("page").file_name().into_string().expect("text"))
        .collect();
    assert_eq!(said, format!("{} pages in {manual}/man1\n", pages.len()));
    let page = |name: &str| {
        let file = folder.path().join("man1").join(name);
        fs::read_to_string(&file).unwrap_or_else(|_| panic!("no page {name}"))
    };
    for spelling in [
        "run",
        "container ls",
        "system man",
        "manifest annotate",
        "ps",
    ] {
        let mut text = page(&format!("coracle-{}.1", spelling.replace(' ', "-")));
        if let Some(other) = text.strip_prefix(".so man1/") {
            text = page(other.trim_end());
        }
        let words: Vec<&str> = spelling.split(' ').chain(["--help"]).collect();
        let help = coracle(&words);
        let flags: Vec<&str> = help
            .lines()
            .filter_map(|line| {
                line.trim_start()
                    .split("--")
                    .nth(1)
                    .filter(|_| line.trim_start().starts_with('-'))
            })
            .filter_map(|flag| flag.split_whitespace().next())
            .collect();
        assert!(!flags.is_empty(), "{spelling}");
        for flag in flags {
            let written = format!("\\-\\-{}", flag.replace('-', "\\-"));
            assert!(
                text.contains(&written),
                "{spelling}: no {written} in\n{text}"
            );
        }
    }
    // Whatever leads to another page leads to one that is there.
    for name in &pages {
        if let Some(other) = page(name).strip_prefix(".so man1/") {
            assert!(pages.contains(other.trim_end()), "{name} leads to {other}");
        }
    }
}
