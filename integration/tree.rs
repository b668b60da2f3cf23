//! An unpacked image is the same tree that umoci unpacks as root: paths, types, modes, owners,
//! sizes, times, link counts, targets, extended attributes, content.
//!
//! Both sides are listed by `tree.py`: umoci's by `integration/prepare`, ours from inside a
//! container, because that is the tree a program gets.

use std::collections::BTreeMap;

use crate::case::{Case, shared};

cases! {
    equals_umoci: root ordinary;
    copy_driver_equals_umoci: root ordinary;
}

fn equals_umoci(case: &Case) {
    compare(case, &[]);
}

fn copy_driver_equals_umoci(case: &Case) {
    compare(case, &["--storage-driver=copy"]);
}

fn compare(case: &Case, options: &[&str]) {
    let expected_file = shared().join("images/debian.tree");
    let Ok(expected) = std::fs::read_to_string(&expected_file) else {
        panic!(
            "{} is missing: run integration/prepare as root",
            expected_file.display()
        );
    };
    let script = case.make_file("tree.py", include_str!("tree.py"));
    let archive = shared().join("images/debian.oci.tar");
    let mut load = options.to_vec();
    load.extend(["load", "-q", "-i", archive.to_str().unwrap()]);
    case.words(&load).ok();
    let mount = format!("{}:/tree.py:ro", script.display());
    let mut run = options.to_vec();
    run.extend([
        "run",
        "--rm",
        "--network=none",
        "-v",
        &mount,
        "localhost/debian",
        "python3",
        "-B",
        "/tree.py",
        "/",
    ]);
    let found = case.words(&run).ok();

    let lines = |text: &str| -> BTreeMap<String, String> {
        text.lines()
            .map(|line| {
                let (path, rest) = line.split_once('\t').unwrap_or((line, ""));
                (path.to_owned(), rest.to_owned())
            })
            .collect()
    };
    let (expected, found) = (lines(&expected), lines(&found.stdout));
    assert!(expected.len() > 2000, "{} files", expected.len());
    let mut differences = Vec::new();
    for path in expected
        .keys()
        .chain(found.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let (ours, theirs) = (found.get(path), expected.get(path));
        if ours == theirs || is_expected_difference(case, path, ours, theirs) {
            continue;
        }
        differences.push(format!("{path}\n  ours  {ours:?}\n  umoci {theirs:?}"));
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(40)].join("\n")
    );
}

fn is_expected_difference(
    case: &Case,
    path: &str,
    ours: Option<&String>,
    theirs: Option<&String>,
) -> bool {
    let (Some(ours), Some(_)) = (ours, theirs) else {
        return false;
    };
    // A device node needs the machine's root; its stand-in is an empty file.
    !case.is_root() && matches!(path, "'kinds/null'" | "'kinds/block'") && ours.starts_with("f\t")
}
