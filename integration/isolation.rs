//! What a container sees, gets and cannot do, without any flag that changes it.

use std::collections::BTreeMap;

use crate::case::Case;

cases! {
    namespaces: root ordinary single;
    processes_of_the_host_are_hidden: root ordinary single;
    masked_and_read_only_paths: root ordinary;
    mounts_and_their_options: root ordinary;
    devices: root ordinary single;
    capabilities: root ordinary;
    seccomp: root ordinary single;
    denied_calls: root ordinary;
    descriptors: root ordinary single;
    loopback_only: root ordinary single;
    process_attributes: root ordinary;
    identity_maps: ordinary single;
    mounts_of_the_host_are_hidden: root ordinary;
    store_is_private: root ordinary single;
    exec_gets_the_same: root ordinary;
}

fn namespaces(case: &Case) {
    case.load_busybox();
    let outcome = case
        .shell(
            "",
            "cd /proc/self/ns && for n in mnt pid net uts ipc cgroup user; do readlink $n; done",
        )
        .ok();
    for line in outcome.stdout.lines() {
        let kind = line.split(':').next().unwrap();
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let own = host.to_str() != Some(line);
        // As root, ids are the machine's own.
        assert_eq!(own, kind != "user" || !case.is_root(), "{kind}: {outcome}");
    }
    assert_eq!(outcome.stdout.lines().count(), 7, "{outcome}");
}

fn processes_of_the_host_are_hidden(case: &Case) {
    case.load_busybox();
    case.shell("", "ls /proc | grep -c '^[0-9]*$'").ok();
    case.engine("run --rm --network none localhost/busybox ps -o pid,comm")
        .ok()
        .prints("PID   COMMAND\n    1 ps");
}

fn masked_and_read_only_paths(case: &Case) {
    case.load_busybox();
    let script = "for p in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do \
                    [ ! -d $p ] || [ -z \"$(ls -A $p)\" ] || echo $p shows content; done; \
                  for p in /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/sched_debug /proc/interrupts; do \
                    [ ! -e $p ] || { [ -c $p ] && [ -z \"$(head -c 1 $p | tr '\\0' x)\" ]; } || echo $p shows content; done; \
                  for p in /proc/bus /proc/fs /proc/irq /proc/sys; do \
                    [ ! -e $p ] || grep -q \" $p proc ro,\" /proc/mounts || echo $p is writable; done; \
                  (echo x > /proc/sysrq-trigger) 2>/dev/null && echo sysrq; \
                  (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo core_pattern; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null && echo cgroup; true";
    case.shell("", script).ok().prints("");
}

fn mounts_and_their_options(case: &Case) {
    case.load_busybox();
    let outcome = case.shell("", "cat /proc/mounts").ok();
    let mounts: BTreeMap<&str, (&str, &str)> = outcome
        .stdout
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|fields| (fields[1], (fields[2], fields[3])))
        .collect();
    let expected = [
        ("/proc", "proc", "rw,nosuid,nodev,noexec"),
        ("/dev", "tmpfs", "rw,nosuid"),
        ("/dev/pts", "devpts", "rw,nosuid,noexec"),
        ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec"),
        ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec"),
        ("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
    ];
    for (path, kind, options) in expected {
        let (found, has) = mounts
            .get(path)
            .unwrap_or_else(|| panic!("{path} is missing: {outcome}"));
        assert_eq!(found, &kind, "{path}");
        let has: Vec<&str> = has.split(',').collect();
        for option in options.split(',') {
            assert!(has.contains(&option), "{path} lacks {option}: {has:?}");
        }
    }
    case.shell(
        "",
        "df -k /dev/shm | tail -1 | awk '{print $2}'; stat -c %a /dev/shm",
    )
    .ok()
    .prints("65536\n1777");
}

fn devices(case: &Case) {
    case.load_busybox();
    let outcome = case.shell("", "cd /dev; for f in *; do [ -c $f ] && [ ! -L $f ] && stat -c '%n %t:%T %a' $f; done; for f in fd stdin stdout stderr ptmx core; do echo $f $(readlink $f); done").ok();
    let expected = "full 1:7 666\nnull 1:3 666\nrandom 1:8 666\ntty 5:0 666\nurandom 1:9 666\nzero 1:5 666\n\
                    fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\ncore /proc/kcore";
    assert_eq!(outcome.stdout.trim(), expected, "{outcome}");
    case.shell("", "echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; mknod /tmp/sda b 8 0 2>/dev/null && echo made; ls /dev/sd* /dev/vd* 2>/dev/null; true")
        .ok()
        .prints("4\n4");
}

fn capabilities(case: &Case) {
    case.load_busybox();
    case.shell("", "grep ^Cap /proc/self/status | tr -d '\\t'")
        .ok()
        .prints(
            "CapInh:0000000000000000\nCapPrm:00000000800405fb\nCapEff:00000000800405fb\n\
         CapBnd:00000000800405fb\nCapAmb:0000000000000000",
        );
    case.shell("-u 1000", "grep ^Cap /proc/self/status | tr -d '\\t'")
        .ok()
        .prints(
            "CapInh:0000000000000000\nCapPrm:0000000000000000\nCapEff:0000000000000000\n\
         CapBnd:00000000800405fb\nCapAmb:0000000000000000",
        );
}

fn seccomp(case: &Case) {
    case.load_busybox();
    case.shell(
        "",
        "grep -E '^Seccomp(_filters)?:' /proc/self/status | tr -d '\\t'",
    )
    .ok()
    .prints("Seccomp:2\nSeccomp_filters:1");
}

/// What the filter is for: new namespaces and mounts stay out of reach although root inside has
/// powers over its own.
fn denied_calls(case: &Case) {
    case.load_busybox();
    let script = "unshare -U true 2>/dev/null && echo new user namespace; \
                  unshare -m true 2>/dev/null && echo new mount namespace; \
                  mount -t tmpfs none /mnt 2>/dev/null && echo mounted; \
                  umount /proc 2>/dev/null && echo unmounted; \
                  mount -o remount,rw /sys 2>/dev/null && echo remounted; \
                  hostname other 2>/dev/null && echo renamed; \
                  chroot / true && echo chroot is allowed";
    case.shell("", &format!("mkdir -p /mnt; {script}"))
        .ok()
        .prints("chroot is allowed");
}

fn descriptors(case: &Case) {
    case.load_busybox();
    // The shell's glob opens the directory itself: 3.
    case.engine("run --rm --network none localhost/busybox ls /proc/self/fd")
        .ok()
        .prints("0\n1\n2\n3");
    // Not even those that the caller left open.
    let words = case.engine_words().join(" ");
    let mut command = case.program("sh");
    command.args(["-c", &format!("exec 7</etc 8<>/dev/null 9</; exec {words} run --rm --network none localhost/busybox ls /proc/self/fd")]);
    crate::case::finish(command).ok().prints("0\n1\n2\n3");
}

fn loopback_only(case: &Case) {
    case.load_busybox();
    case.shell("", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
        .ok()
        .prints("lo");
    case.shell("", "(echo hello | nc -l -p 4444 -w 3 >/dev/null &) ; sleep 0.2; nc -w 2 127.0.0.1 4444 </dev/null").ok().prints("hello");
}

fn process_attributes(case: &Case) {
    case.load_busybox();
    case.shell("", "umask; grep -E '^NoNewPrivs' /proc/self/status | tr -d '\\t'; cat /proc/self/oom_score_adj").ok().prints("0022\nNoNewPrivs:0\n0");
    // A session of its own: nothing of the caller's terminal is in reach.
    case.engine("run --rm --network none localhost/busybox cat /proc/1/stat")
        .ok();
    let outcome = case
        .engine("run --rm --network none localhost/busybox awk {print($6,$7)} /proc/self/stat")
        .ok();
    assert_eq!(
        outcome.stdout.trim(),
        "1 0",
        "session 1, no terminal: {outcome}"
    );
    case.shell(
        "",
        "cat /proc/1/environ | tr '\\0' '\\n' | grep -c CORACLE; true",
    )
    .ok()
    .prints("0");
}

fn identity_maps(case: &Case) {
    case.load_busybox();
    let map = case.shell("", "cat /proc/self/uid_map").ok().stdout;
    let first: Vec<u32> = map
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(first, [0, case.user.uid, 1], "{map}");
    match case.user.kind {
        "single" => assert_eq!(map.lines().count(), 1, "{map}"),
        _ => assert!(
            map.lines()
                .nth(1)
                .unwrap()
                .split_whitespace()
                .nth(2)
                .unwrap()
                .parse::<u32>()
                .unwrap()
                >= 65535,
            "{map}"
        ),
    }
}

fn mounts_of_the_host_are_hidden(case: &Case) {
    case.load_busybox();
    let outcome = case.shell("", "cut -d' ' -f4,5 /proc/self/mountinfo").ok();
    let store = case.root().display().to_string();
    for line in outcome.stdout.lines() {
        let target = line.split(' ').nth(1).unwrap();
        assert!(
            !target.starts_with("/old") && !target.contains(&store),
            "{outcome}"
        );
    }
    // The root is the bottom: there is no way up.
    case.shell(
        "",
        "cd ../../../../..; pwd; ls -di / /.. | awk '{print $1}' | uniq | wc -l",
    )
    .ok()
    .prints("/\n1");
}

/// Files of a container may be setuid and owned by anybody: nobody else may reach them
/// (CVE-2021-41091).
fn store_is_private(case: &Case) {
    case.load_busybox();
    case.shell("", "true").ok();
    for part in ["root", "run"] {
        let data = std::fs::metadata(case.dir.join(part)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&data.permissions());
        assert_eq!(mode & 0o077, 0, "{part} has mode {mode:o}");
    }
}

/// `exec` must not be weaker than the container (CVE-2022-27650 and others).
fn exec_gets_the_same(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name target --network none localhost/busybox sleep 100")
        .ok();
    let script = "grep -E '^(Cap|Seccomp|NoNewPrivs|Groups|Uid|Gid)' /proc/self/status; for n in mnt net user cgroup; do readlink /proc/self/ns/$n; done; umask";
    let inside = case
        .words(&["exec", "target", "sh", "-c", script])
        .ok()
        .stdout;
    let run = case
        .shell(
            "",
            "grep -E '^(Cap|Seccomp|NoNewPrivs|Groups|Uid|Gid)' /proc/self/status; umask",
        )
        .ok()
        .stdout;
    let comparable: Vec<&str> = inside.lines().filter(|line| !line.contains(":[")).collect();
    assert_eq!(comparable, run.lines().collect::<Vec<_>>());
    let first = case
        .words(&[
            "exec",
            "target",
            "sh",
            "-c",
            "for n in mnt net user cgroup; do readlink /proc/1/ns/$n; done",
        ])
        .ok()
        .stdout;
    let joined: Vec<&str> = inside.lines().filter(|line| line.contains(":[")).collect();
    assert_eq!(joined, first.lines().collect::<Vec<_>>());
    case.words(&["exec", "target", "ls", "/proc/self/fd"])
        .ok()
        .prints("0\n1\n2\n3");
    case.engine("rm -f target").ok();
}
