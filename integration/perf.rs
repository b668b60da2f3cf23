//! The cost of a run, counted in system calls: a count holds on any machine, a time does not.
//! `integration/bench` measures times beside the peers.

use std::collections::BTreeMap;

use crate::case::{Case, finish, shared};

cases! {
    system_calls_of_a_run: root ordinary;
    hot_path_has_no_fsync: root ordinary;
    executes_nothing_else: root ordinary;
}

/// Calls that change something outside of the process that makes them.
const CHANGING: [&str; 44] = [
    "bind",
    "capset",
    "chdir",
    "chmod",
    "chown",
    "chroot",
    "clone",
    "clone3",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fork",
    "fsconfig",
    "fsmount",
    "fsopen",
    "ftruncate",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "setgroups",
    "sethostname",
    "setns",
    "symlink",
    "symlinkat",
    "umount2",
    "unlink",
    "unlinkat",
    "unshare",
    "utimensat",
    "vfork",
];

/// Runs the command under strace and counts its calls, those of the container's program (`true`)
/// included.
fn trace(case: &Case) -> Option<(BTreeMap<String, usize>, String)> {
    case.load_busybox();
    case.shell("", "true").ok();
    let log = case.dir.join("trace").display().to_string();
    let run = ["run", "--rm", "--network=none", "localhost/busybox", "true"];
    finish(case.strace(&["-f", "-qq", "-o", &log], &run)?).ok();
    let text = std::fs::read_to_string(&log).unwrap();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        // `PID name(arguments) = result`; the second half of an interrupted one begins with `<...`.
        let call = line.split_whitespace().nth(1).unwrap_or("");
        if let Some((name, _)) = call.split_once('(') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    Some((counts, text))
}

fn system_calls_of_a_run(case: &Case) {
    let Some((counts, text)) = trace(case) else {
        return;
    };
    let all: usize = counts.values().sum();
    let changing: usize = CHANGING.iter().filter_map(|name| counts.get(*name)).sum();
    // Files that are made by being opened count too.
    let creating = text.lines().filter(|line| line.contains("O_CREAT")).count();
    println!(
        "{all} system calls, {} of them change state",
        changing + creating
    );
    assert!(all <= 400, "{all} system calls: {counts:?}");
    assert!(
        changing + creating <= 60,
        "{} state-changing calls: {counts:?}",
        changing + creating
    );
}

fn hot_path_has_no_fsync(case: &Case) {
    let Some((counts, _)) = trace(case) else {
        return;
    };
    for name in ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range"] {
        assert_eq!(counts.get(name), None, "{name} on the hot path");
    }
}

/// Only its own sealed self, newuidmap and newgidmap, and the container's program.
fn executes_nothing_else(case: &Case) {
    let Some((_, text)) = trace(case) else {
        return;
    };
    let own = shared().join("bin/coracle").display().to_string();
    let fine = [
        own.as_str(),
        "newuidmap",
        "newgidmap",
        "/true",
        "/proc/self/fd",
        "AT_EMPTY_PATH",
        "memfd",
        "ENOENT",
    ];
    for line in text
        .lines()
        .filter(|line| line.contains(" execve(") || line.contains(" execveat("))
    {
        assert!(fine.iter().any(|part| line.contains(part)), "{line}");
    }
}
