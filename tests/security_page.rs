//! `docs/security.md` names a test for every rule: they exist, and no attack is left out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Attacks that other engines fell to, by the place in their code where it happened: entering and
/// building a container, then images, volumes, networks and remote control.
const KNOWN: &str = "
    CVE-2016-9962 CVE-2019-5736 CVE-2020-14298 CVE-2022-1227 CVE-2024-21626 CVE-2025-31133
    CVE-2025-52565 CVE-2025-52881 CVE-2019-16884 CVE-2019-19921 CVE-2023-27561 CVE-2023-28642
    CVE-2026-41579 CVE-2026-47766 CVE-2021-30465 CVE-2017-1002101 CVE-2021-25741 CVE-2024-45310
    CVE-2023-25809 CVE-2022-0492 CVE-2022-24769 CVE-2022-27649 CVE-2022-27650 CVE-2022-27651
    CVE-2022-29162 CVE-2022-2989 CVE-2022-2990 CVE-2022-36109 CVE-2023-25173 CVE-2026-46680
    CVE-2026-30892 CVE-2024-9676 CVE-2026-47262 CVE-2021-43784 CVE-2017-5226 CVE-2019-10063
    CVE-2016-0728 CVE-2026-31431 CVE-2015-3629 CVE-2015-3630 CVE-2015-3631 GHSA-jq35-85cj-fj4p
    GHSA-6fw5-f8r9-fgfm

    CVE-2018-15664 CVE-2019-10152 CVE-2019-18466 CVE-2019-14271 CVE-2021-41089 GHSA-x86f-5xw2-fm2r
    GHSA-vp62-88p7-qqf5 CVE-2023-0778 CVE-2026-55686 CVE-2026-57231 CVE-2026-53488 CVE-2024-9341
    CVE-2020-1726 CVE-2024-3727 CVE-2021-41190 CVE-2020-15157 CVE-2017-14992 CVE-2021-20291
    CVE-2026-17106 CVE-2021-32760 CVE-2020-10696 CVE-2021-41091 CVE-2021-41103 CVE-2024-25621
    CVE-2020-15257 CVE-2020-14370 CVE-2021-3602 CVE-2021-20199 CVE-2025-54388 GHSA-x4rx-4gw3-53p4
    CVE-2020-10749 CVE-2020-13401 CVE-2024-29018 CVE-2024-41110 CVE-2025-9566 CVE-2025-6032 CVE-2021-4024 CVE-2024-24557
";

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(tree().join("docs/security.md")).unwrap()
}

/// The words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Rows of tables, without their heads.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let is_row = |line: &&str| line.starts_with("| ");
    text.lines().filter(is_row)
}

/// The file that must hold a test of that name, and the function; `None` if it is no test's name.
fn place(name: &str) -> Option<(PathBuf, String)> {
    if let Some(rest) = name.strip_prefix("tests/") {
        let (file, function) = rest.split_once("::").unwrap_or((rest, ""));
        return Some((tree().join("tests").join(file), function.to_owned()));
    }
    if let Some(rest) = name.strip_prefix("src/") {
        let (file, function) = rest.split_once("::").unwrap_or((rest, ""));
        return Some((tree().join("src").join(file), function.to_owned()));
    }
    let (path, function) = name.rsplit_once("::")?;
    let area = tree().join("integration").join(path.replace("::", "/"));
    let file = if area.is_dir() {
        area.join("mod.rs")
    } else {
        area.with_extension("rs")
    };
    Some((file, function.to_owned()))
}

/// Whether the file has the function, and an integration file also its line in `cases!`.
fn exists(file: &Path, function: &str) -> bool {
    if file.is_dir() {
        return function.is_empty();
    }
    let Ok(text) = fs::read_to_string(file) else {
        return false;
    };
    let is_case = file
        .components()
        .any(|part| part.as_os_str() == "integration");
    let registered = text.contains(&format!("    {function}: "));
    function.is_empty() || text.contains(&format!("fn {function}(")) && (!is_case || registered)
}

#[test]
fn every_test_named_exists() {
    let page = page();
    let mut found = 0;
    for row in rows(&page) {
        let cell = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        for name in quoted(cell) {
            if let Some((file, function)) = place(name) {
                assert!(
                    exists(&file, &function),
                    "docs/security.md: there is no test {name}"
                );
                found += 1;
            }
        }
    }
    assert!(
        found > 50,
        "only {found} names: has the page another shape?"
    );
}

#[test]
fn every_known_attack_is_answered() {
    let page = page();
    let (tested, rest) = page.split_once("## Not there yet").unwrap();
    let (missing, _) = rest.split_once("## What is not promised").unwrap();
    // A row with a test, or a line that says why there is none.
    let answers: Vec<&str> = rows(tested)
        .filter(|row| row.contains('`'))
        .chain(missing.lines())
        .collect();
    let is_named = |line: &&&str, id: &str| {
        let separators = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
        line.split(separators).any(|word| word == id)
    };
    for id in KNOWN.split_whitespace() {
        assert!(
            answers.iter().any(|line| is_named(&line, id)),
            "docs/security.md says nothing about {id}"
        );
    }
}

/// Every attack that is tried stands on the page.
#[test]
fn every_escape_case_is_on_the_page() {
    let page = page();
    let named: BTreeSet<&str> = quoted(&page).collect();
    for entry in fs::read_dir(tree().join("integration/escape")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let Some((_, block)) = text.split_once("cases! {") else {
            continue;
        };
        let (block, _) = block.split_once('}').unwrap();
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            let case = line.split(':').next().unwrap().trim();
            let file = path.file_stem().unwrap().to_str().unwrap();
            let name = format!("escape::{file}::{case}");
            assert!(named.contains(name.as_str()), "docs/security.md: no {name}");
        }
    }
}

/// What the page calls missing is missing: a command comes with the tests of its attacks.
#[test]
fn missing_commands_are_missing() {
    let page = page();
    let (_, rest) = page.split_once("## Not there yet").unwrap();
    let (missing, _) = rest.split_once("These do not apply").unwrap();
    let commands: Vec<&str> = rows(missing)
        .filter_map(|row| quoted(row.split('|').nth(1)?).next())
        .collect();
    assert!(!commands.is_empty());
    for command in commands {
        let file = tree().join("src/cmd").join(format!("{command}.rs"));
        assert!(
            !file.exists(),
            "there is `{command}` now: test its attacks, and move them up in docs/security.md"
        );
    }
}
