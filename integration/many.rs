//! Many commands on one store at once.

use std::thread;

use crate::case::{Case, usage};

cases! {
    hundred_runs: root ordinary;
    runs_during_load_and_remove: root ordinary;
    same_name_once: root ordinary;
    same_pull_at_once: root ordinary;
}

fn hundred_runs(case: &Case) {
    case.load_busybox();
    case.shell("", "true").ok();
    let (_, before) = usage(&case.root());
    let failures: Vec<String> = at_once(case, 100, |case, n| {
        let outcome = case.shell("", &format!("echo {n}; exit {}", n % 7));
        let right = outcome.code == n % 7 && outcome.stdout == format!("{n}\n");
        (!right).then(|| outcome.to_string())
    });
    assert!(
        failures.is_empty(),
        "{} of 100 failed; the first:\n{}",
        failures.len(),
        failures[0]
    );
    case.engine("ps -aq").ok().prints("");
    let left = std::fs::read_dir(case.root().join("containers")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "directories of containers");
    let (_, after) = usage(&case.root());
    assert!(after <= before + 4, "{before} files before, {after} after");
}

/// Runs the same thing in many threads and collects what it complains about.
fn at_once(
    case: &Case,
    count: i32,
    act: impl Fn(&Case, i32) -> Option<String> + Sync,
) -> Vec<String> {
    let act = &act;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|n| scope.spawn(move || act(case, n)))
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn runs_during_load_and_remove(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox localhost/other").ok();
    let failures = at_once(case, 24, |case, n| {
        let outcome = match n % 4 {
            0 => case.engine("rmi localhost/other"),
            1 => {
                let archive = crate::case::shared().join("images/busybox.tar");
                case.words(&["load", "-q", "-i", archive.to_str().unwrap()])
            }
            2 => case.engine("tag localhost/busybox localhost/other"),
            _ => case.shell("", "echo fine"),
        };
        // A name may be gone already; nothing else may go wrong.
        let right = outcome.code == 0 || n % 4 == 0 && outcome.code == 1;
        (!right).then(|| outcome.to_string())
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    case.shell("", "echo fine").ok().prints("fine");
}

fn same_name_once(case: &Case) {
    case.load_busybox();
    let refusals = at_once(case, 12, |case, _| {
        let outcome = case.engine("create --name one --network none localhost/busybox true");
        (outcome.code != 0).then_some(outcome.stderr)
    });
    assert_eq!(refusals.len(), 11, "exactly one gets the name");
    case.engine("rm one").ok();
}

fn same_pull_at_once(case: &Case) {
    let registry = crate::registry::Registry::http(case);
    let image = registry.image("debian");
    let failures = at_once(case, 4, |case, _| {
        let outcome = case.words(&["pull", "-q", &image]);
        (outcome.code != 0).then(|| outcome.to_string())
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let layers = std::fs::read_dir(case.root().join("layers"))
        .unwrap()
        .flatten();
    assert_eq!(layers.filter(|entry| entry.path().is_dir()).count(), 7);
}
