//! The container's cgroup and its limits, read from the kernel.
//!
//! Whoever runs these may have a version 2 tree with controllers, one without beside version 1, or
//! none that is hers: each case says what it needs. `integration/vm/limits.sh` is for the machine
//! of a user: version 2 and systemd.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::case::Case;

cases! {
    born_in_its_own_group: root ordinary;
    group_goes_with_the_container: root ordinary;
    memory_hog_is_killed: root ordinary;
    tasks_are_limited: root ordinary;
    exec_is_limited_too: root ordinary;
    strict_limits: root ordinary single;
    contradictions: root ordinary;
    inspect_shows_limits: root ordinary;
    group_of_a_killed_supervisor: root;
    parent: root;
    writable_or_an_error: root ordinary;
    disabled: root;
}

const TREES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

fn id(case: &Case, name: &str) -> String {
    let id = case.words(&["inspect", "-f", "{{.Id}}", name]).ok();
    id.first().to_owned()
}

/// The container's groups on the host, by whatever version.
pub fn groups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(Path::new(TREES[0]), id, 8, &mut found);
    found
}

fn collect(path: &Path, id: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == id {
            found.push(entry.path());
        } else if depth > 0 {
            collect(&entry.path(), id, depth - 1, found);
        }
    }
}

/// Whether this limit holds for this user here; `info` is believed, the cases then look.
fn holds(case: &Case, ability: &str) -> bool {
    let format = format!("{{{{.{ability}}}}}");
    case.words(&["info", "-f", &format]).ok().first() == "true"
}

fn born_in_its_own_group(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name one --network none localhost/busybox sleep 100")
        .ok();
    let groups = groups(&id(case, "one"));
    if groups.is_empty() {
        case.engine("rm -f one").ok();
        case.skip("no cgroup can be made for this user here");
        return;
    }
    let pid = case.words(&["inspect", "-f", "{{.State.Pid}}", "one"]).ok();
    let inside = fs::read_to_string(groups[0].join("cgroup.procs")).unwrap();
    assert_eq!(inside.trim(), pid.first());
    // What it sees of that is the root.
    let seen = case.engine("exec one cat /proc/self/cgroup").ok();
    assert!(seen.stdout.lines().any(|line| line == "0::/"), "{seen}");
    let outcome = case.engine("exec one mkdir /sys/fs/cgroup/mine");
    assert_eq!(outcome.code, 1, "{outcome}");
    assert!(outcome.stderr.contains("Read-only"), "{outcome}");
    case.engine("rm -f one").ok();
}

fn group_goes_with_the_container(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name one --network none -m 64m localhost/busybox sleep 100")
        .ok();
    let id = id(case, "one");
    case.engine("stop -t 0 one").ok();
    assert_eq!(groups(&id), Vec::<PathBuf>::new());
    case.engine("start one").ok();
    case.engine("rm -f one").ok();
    assert_eq!(groups(&id), Vec::<PathBuf>::new());
}

fn memory_hog_is_killed(case: &Case) {
    if !holds(case, "MemoryLimit") {
        case.skip("no memory controller for this user");
        return;
    }
    case.load_busybox();
    case.engine(
        "run --name hog --network none -m 32m --memory-swap 32m localhost/busybox dd if=/dev/zero of=/dev/null bs=200M count=1",
    )
    .exits(137);
    case.words(&[
        "inspect",
        "-f",
        "{{.State.OOMKilled}} {{.State.ExitCode}}",
        "hog",
    ])
    .ok()
    .prints("true 137");
    case.engine("run --name fine --network none -m 32m localhost/busybox true")
        .ok();
    case.words(&["inspect", "-f", "{{.State.OOMKilled}}", "fine"])
        .ok()
        .prints("false");
}

fn tasks_are_limited(case: &Case) {
    if !holds(case, "PidsLimit") {
        case.skip("no pids controller for this user");
        return;
    }
    case.load_busybox();
    let bomb = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; echo survived";
    let outcome = case.words(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--pids-limit",
        "8",
        "localhost/busybox",
        "sh",
        "-c",
        bomb,
    ]);
    assert!(outcome.stderr.contains("fork"), "{outcome}");
    assert!(!outcome.stdout.contains("survived"), "{outcome}");
}

fn exec_is_limited_too(case: &Case) {
    if !holds(case, "PidsLimit") {
        case.skip("no pids controller for this user");
        return;
    }
    case.load_busybox();
    case.engine("run -d --name one --network none --pids-limit 5 localhost/busybox sleep 100")
        .ok();
    let bomb = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo survived";
    let outcome = case.words(&["exec", "one", "sh", "-c", bomb]);
    assert!(outcome.stderr.contains("fork"), "{outcome}");
    case.engine("rm -f one").ok();
}

fn strict_limits(case: &Case) {
    case.load_busybox();
    // Something that no machine has in both versions.
    let line = "run --rm --network none --cgroup-conf memory.high=100000000 --memory-swappiness 3";
    case.engine(&format!("{line} --strict-limits localhost/busybox true"))
        .fails(125, "cannot be held to");
    let outcome = case.engine(&format!("{line} localhost/busybox true")).ok();
    assert!(outcome.stderr.contains("has no effect"), "{outcome}");
    assert!(!case.engine("ps -a").ok().stdout.contains("busybox"));
}

fn contradictions(case: &Case) {
    case.load_busybox();
    for (flags, says) in [
        ("-m 1m", "minimum memory limit"),
        ("--memory-swap 64m", "memory limit"),
        ("-m 64m --memory-swap 32m", "less than"),
        ("--cpus 1 --cpu-quota 5000", "conflicting options"),
        ("--cpus x", "invalid"),
        ("--cpu-period 1", "period"),
        ("--cpuset-cpus a-b", "cpuset"),
        ("--blkio-weight 5", "10 to 1000"),
        ("--device-read-bps sda:1", "/dev"),
        ("--cgroup-conf cgroup.procs=1", "invalid"),
        ("--cgroups maybe", "invalid"),
        ("--cgroup-parent /../x", "invalid"),
    ] {
        case.engine(&format!("create {flags} localhost/busybox true"))
            .fails(125, says);
    }
    assert_eq!(case.engine("ps -aq").ok().stdout, "");
}

fn inspect_shows_limits(case: &Case) {
    case.load_busybox();
    case.engine("create --name one -m 64m --cpus 1.5 --pids-limit 7 --cpu-shares 512 --cpuset-cpus 0 localhost/busybox true")
        .ok();
    let format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.CpuShares}} {{.HostConfig.CpusetCpus}}";
    case.words(&["inspect", "-f", format, "one"])
        .ok()
        .prints("67108864 134217728 1500000000 7 512 0");
}

/// What a crash leaves is removed with the container, processes outside of its pid namespace too.
fn group_of_a_killed_supervisor(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name one --network none --pid host localhost/busybox sleep 100")
        .ok();
    let id = id(case, "one");
    let found = groups(&id);
    if found.is_empty() {
        case.skip("no cgroup can be made here");
        return;
    }
    let pid = case.words(&["inspect", "-f", "{{.State.Pid}}", "one"]).ok();
    let status = fs::read_to_string(format!("/proc/{}/status", pid.first())).unwrap();
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    let supervisor = rustix::process::Pid::from_raw(parent.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    case.eventually("the container is over", || {
        let state = case.words(&["inspect", "-f", "{{.State.Status}}", "one"]);
        state.stdout.trim() == "exited"
    });
    case.engine("rm one").ok();
    case.eventually("its group is gone", || groups(&id).is_empty());
}

fn parent(case: &Case) {
    case.load_busybox();
    let line = "run -d --name one --network none --cgroup-parent /coracle-test/below localhost/busybox sleep 100";
    let outcome = case.engine(line);
    if outcome
        .stderr
        .contains("cannot make the container's cgroup there")
    {
        case.skip("no cgroup can be made here");
        return;
    }
    outcome.ok();
    let found = groups(&id(case, "one"));
    assert!(
        found.iter().any(|path| path
            .parent()
            .is_some_and(|parent| parent.ends_with("coracle-test/below"))),
        "{found:?}"
    );
    case.engine("rm -f one").ok();
    for tree in TREES {
        for path in ["coracle-test/below", "coracle-test"] {
            let _ = fs::remove_dir(Path::new(tree).join(path));
        }
    }
}

fn disabled(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name one --network none --cgroups disabled localhost/busybox sleep 100")
        .ok();
    assert_eq!(groups(&id(case, "one")), Vec::<PathBuf>::new());
    case.engine("run --rm --cgroups disabled -m 64m localhost/busybox true")
        .fails(125, "conflicting");
    case.engine("rm -f one").ok();
}

/// It stayed read-only in silence for who has no cgroup.
fn writable_or_an_error(case: &Case) {
    case.load_busybox();
    let driver = case
        .words(&["info", "--format", "{{.CgroupDriver}}"])
        .ok()
        .stdout;
    let made = case.shell(
        "--security-opt writable-cgroups=true",
        "mkdir /sys/fs/cgroup/below && rmdir /sys/fs/cgroup/below && echo made",
    );
    if driver.trim() == "none" {
        // The advice crosses two processes.
        made.fails(125, "writable cgroup")
            .fails(125, "hint: `coracle doctor`");
    } else {
        made.ok().prints("made");
    }
}
