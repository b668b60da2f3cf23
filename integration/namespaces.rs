//! Namespaces that a container shares: with the host, with another container, by a path. What is
//! compared is what the kernel says inside (`/proc/self/ns`) and outside.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use crate::case::{Case, Outcome};

cases! {
    own_by_default: root ordinary single;
    of_the_host: root ordinary single;
    of_a_container: root ordinary single;
    by_path: root ordinary single;
    through_a_chain: root ordinary;
    every_verb_with_shared_pids: root ordinary;
    nothing_outlives_a_container_in_shared_pids: root ordinary single;
    exec_tells_the_end_in_shared_pids: root ordinary;
    supervisor_killed_with_host_pids: root ordinary;
    pids_of_a_container_that_ends: root ordinary;
    shared_memory: root ordinary single;
    link_at_dev_shm: root ordinary;
    names: root ordinary;
    network_files: root ordinary;
    cgroups_of_the_host_are_read_only: root ordinary;
    masks_with_host_pids: root ordinary;
    supervisor_is_hidden_with_host_pids: root ordinary;
    conflicts_and_bad_values: root ordinary;
    stopped_neighbour: root ordinary;
    inspected: root ordinary;
    exec_enters_them: root ordinary single;
    for_systemd: root ordinary;
    timeout: root ordinary;
    pidfile_and_personality: root ordinary;
}

/// Flags and the names below /proc/self/ns.
const KINDS: [(&str, &str); 5] = [
    ("--pid", "pid"),
    ("--ipc", "ipc"),
    ("--uts", "uts"),
    ("--cgroupns", "cgroup"),
    ("--network", "net"),
];

const IDLE: &str = "trap 'exit 3' TERM; while :; do sleep 0.1; done";

fn of_host(kind: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.to_str().unwrap().to_owned()
}

/// The namespace of a process of a container, which may be another user's to the caller.
fn of_process(case: &Case, container: &str, kind: &str) -> String {
    case.words(&[
        "exec",
        container,
        "readlink",
        &format!("/proc/self/ns/{kind}"),
    ])
    .ok()
    .first()
    .to_owned()
}

fn run(case: &Case, flags: &str, script: &str) -> Outcome {
    let mut words = vec!["run", "--rm"];
    words.extend(flags.split_whitespace());
    words.extend(["localhost/busybox", "sh", "-c", script]);
    case.words(&words)
}

fn inside(case: &Case, flags: &str, kind: &str) -> String {
    let script = format!("readlink /proc/self/ns/{kind}");
    run(case, flags, &script).ok().first().to_owned()
}

fn background(case: &Case, name: &str, flags: &str) {
    start(case, name, flags, IDLE);
}

fn start(case: &Case, name: &str, flags: &str, script: &str) {
    let mut words = vec!["run", "-d", "--name", name];
    words.extend(flags.split_whitespace());
    words.extend(["localhost/busybox", "sh", "-c", script]);
    case.words(&words).ok();
}

fn field(case: &Case, container: &str, template: &str) -> String {
    case.words(&["inspect", "--format", template, container])
        .ok()
        .first()
        .to_owned()
}

fn own_by_default(case: &Case) {
    case.load_busybox();
    for (flag, kind) in KINDS {
        assert_ne!(inside(case, "", kind), of_host(kind), "{flag}");
        let private = if flag == "--network" {
            "none"
        } else {
            "private"
        };
        assert_ne!(
            inside(case, &format!("{flag} {private}"), kind),
            of_host(kind),
            "{flag}"
        );
    }
}

fn of_the_host(case: &Case) {
    case.load_busybox();
    for (flag, kind) in KINDS {
        let flags = format!("{flag} host");
        assert_eq!(inside(case, &flags, kind), of_host(kind), "{flag}");
        for (_, other) in KINDS.iter().filter(|(_, other)| *other != kind) {
            assert_ne!(
                inside(case, &flags, other),
                of_host(other),
                "{flag}: {other}"
            );
        }
    }
    let all = "--pid host --ipc host --uts host --cgroupns host --network host";
    for (_, kind) in KINDS {
        assert_eq!(inside(case, all, kind), of_host(kind));
    }
}

fn of_a_container(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    for (flag, kind) in KINDS {
        let donor = of_process(case, "donor", kind);
        assert_ne!(donor, of_host(kind));
        let flags = format!("{flag} container:donor");
        assert_eq!(inside(case, &flags, kind), donor, "{flag}");
        for (_, other) in KINDS.iter().filter(|(_, other)| *other != kind) {
            let found = inside(case, &flags, other);
            assert_ne!(found, of_process(case, "donor", other), "{flag}: {other}");
            assert_ne!(found, of_host(other), "{flag}: {other}");
        }
    }
    run(
        case,
        "--pid container:donor",
        "cat /proc/1/comm; [ $$ != 1 ]",
    )
    .ok()
    .prints("sh");
    case.engine("rm -f donor").ok();
}

fn by_path(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    let pid = field(case, "donor", "{{.State.Pid}}");
    for (flag, kind) in KINDS {
        let flags = format!("{flag} ns:/proc/{pid}/ns/{kind}");
        assert_eq!(
            inside(case, &flags, kind),
            of_process(case, "donor", kind),
            "{flag}"
        );
    }
    run(case, "--network ns:/etc/passwd", "true").fails(125, "/etc/passwd is not a namespace");
    run(case, "--network ns:/nowhere", "true").fails(125, "/nowhere");
    run(case, "--network ns:relative", "true").fails(125, "absolute");
    let wrong = format!("--network ns:/proc/{pid}/ns/ipc");
    run(case, &wrong, "true").fails(125, "cannot join the network namespace");
    case.engine("rm -f donor").ok();
}

/// Who joins one that has joined is where that one is, be it the host.
fn through_a_chain(case: &Case) {
    case.load_busybox();
    background(case, "donor", "-h donor --network none");
    let of = |name: &str| {
        format!("--pid container:{name} --ipc container:{name} --network container:{name}")
    };
    background(case, "middle", &of("donor"));
    background(case, "open", "--pid host --ipc host --network host");
    for kind in ["pid", "ipc", "net"] {
        let donor = of_process(case, "donor", kind);
        assert_eq!(inside(case, &of("middle"), kind), donor);
        assert_eq!(inside(case, &of("open"), kind), of_host(kind));
    }
    run(case, &of("middle"), "hostname").ok().prints("donor");
    case.engine("rm -f middle open donor").ok();
}

fn every_verb_with_shared_pids(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    for flags in ["--pid host", "--pid container:donor", "--pid host --init"] {
        start(
            case,
            "guest",
            &format!("{flags} --network none"),
            &format!("echo said; {IDLE}"),
        );
        let pid = field(case, "guest", "{{.State.Pid}}");
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert!(
            ["sh\n", "coracle-init\n"].contains(&name.as_str()),
            "{flags}: {name}"
        );
        case.eventually("it speaks", || {
            case.engine("logs guest").ok().stdout == "said\n"
        });
        case.engine("exec guest true").ok();
        case.engine("ps --format {{.Names}}").ok().contains("guest");
        case.engine("stop guest").ok();
        assert_eq!(field(case, "guest", "{{.State.ExitCode}}"), "3", "{flags}");
        case.engine("start guest").ok();
        case.engine("kill guest").ok();
        case.engine("wait guest").ok().prints("137");
        case.engine("start guest").ok();
        case.engine("rm -f guest").ok();
    }
    case.engine("rm -f donor").ok();
}

/// There is no pid namespace that would end with the first process.
fn nothing_outlives_a_container_in_shared_pids(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    let script = "(setsid sleep 4327 >/dev/null 2>&1 </dev/null &); (setsid sh -c 'setsid sleep 4327 & sleep 4327' >/dev/null 2>&1 </dev/null &); true";
    let sleepers = || {
        let has = |pid: &str| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x004327\0")
        };
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|pid| has(pid))
            .filter(|pid| {
                let uid = fs::metadata(format!("/proc/{pid}"))
                    .map(|it| std::os::unix::fs::MetadataExt::uid(&it));
                uid.is_ok_and(|uid| uid == case.user.uid)
            })
            .count()
    };
    for flags in ["--pid host", "--pid container:donor"] {
        for _ in 0..5 {
            run(case, &format!("{flags} --network none"), script).ok();
            assert_eq!(sleepers(), 0, "{flags}");
        }
        background(case, "guest", &format!("{flags} --network none"));
        case.engine("exec -d guest sleep 4327").ok();
        case.eventually("it runs", || sleepers() == 1);
        case.engine("kill guest").ok();
        case.engine("wait guest").ok();
        assert_eq!(sleepers(), 0, "{flags}");
        case.engine("rm guest").ok();
    }
    case.engine("rm -f donor").ok();
}

/// The command that waits for what it added is not part of the container, and not killed with it.
fn exec_tells_the_end_in_shared_pids(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    for flags in ["--pid host", "--pid container:donor"] {
        background(case, "guest", &format!("{flags} --network none"));
        let exec = case.start(&["exec", "guest", "sh", "-c", "echo in; exec sleep 4329"]);
        let init = field(case, "guest", "{{.State.Pid}}");
        let mounts = fs::read_link(format!("/proc/{init}/ns/mnt")).unwrap();
        let inside = || {
            fs::read_dir("/proc")
                .unwrap()
                .flatten()
                .filter(|entry| {
                    fs::read(entry.path().join("cmdline"))
                        .is_ok_and(|line| line == b"sleep\x004329\0")
                        && fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|it| it == mounts)
                })
                .count()
        };
        case.eventually("it runs", || inside() == 1);
        case.engine("kill guest").ok();
        crate::case::collect("exec guest".to_owned(), exec).exits(137);
        case.engine("rm -f guest").ok();
    }
    case.engine("rm -f donor").ok();
}

fn supervisor_killed_with_host_pids(case: &Case) {
    case.load_busybox();
    for flags in ["", "-u 7:7", "--init -u 7:7"] {
        let mut words = vec![
            "run",
            "-d",
            "--name",
            "guest",
            "--pid",
            "host",
            "--network",
            "none",
        ];
        words.extend(flags.split_whitespace());
        words.extend(["localhost/busybox", "sleep", "4328"]);
        case.words(&words).ok();
        let init = field(case, "guest", "{{.State.Pid}}");
        let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent: i32 = parent.unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(parent).unwrap(), Signal::KILL).unwrap();
        case.eventually("the container dies with it", || {
            !Path::new(&format!("/proc/{init}")).exists()
        });
        case.engine("start guest").ok();
        case.engine("rm -f guest").ok();
    }
}

fn pids_of_a_container_that_ends(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    background(case, "guest", "--pid container:donor --network none");
    case.engine("kill donor").ok();
    case.engine("wait guest").ok().prints("137");
    case.engine("start guest")
        .fails(1, "cannot join PID of a non running container");
    case.engine("start donor").ok();
    case.engine("start guest").ok();
    case.engine("rm -f guest donor").ok();
}

fn shared_memory(case: &Case) {
    case.load_busybox();
    let write = format!("echo hello > /dev/shm/word; {IDLE}");
    start(case, "donor", "--network none", &write);
    case.eventually("it is written", || {
        case.engine("exec donor cat /dev/shm/word").stdout == "hello\n"
    });
    run(
        case,
        "--ipc container:donor",
        "cat /dev/shm/word; echo back > /dev/shm/answer",
    )
    .ok()
    .prints("hello");
    case.engine("exec donor cat /dev/shm/answer")
        .ok()
        .prints("back");
    run(case, "", "ls /dev/shm").ok().prints("");
    run(
        case,
        "--ipc none",
        "test ! -e /dev/shm && test -d /dev/mqueue",
    )
    .ok();
    run(case, "--ipc host", "stat -c %d /dev/shm").ok().prints(
        &std::os::unix::fs::MetadataExt::dev(&fs::metadata("/dev/shm").unwrap()).to_string(),
    );
    background(case, "closed", "--ipc private --network none");
    run(case, "--ipc container:closed", "true").fails(125, "non-shareable IPC");
    case.engine("rm -f donor closed").ok();
}

/// Who shares the memory of a container must not be led elsewhere by it: a link through procfs
/// leads to the host's tree.
fn link_at_dev_shm(case: &Case) {
    case.load_busybox();
    let script = format!(
        "umount /dev/shm && rmdir /dev/shm && ln -s /proc/1/root/tmp /dev/shm && echo ready; {IDLE}"
    );
    start(
        case,
        "donor",
        "--privileged --pid host --network none",
        &script,
    );
    case.eventually("it is ready", || {
        case.engine("logs donor").stdout == "ready\n"
    });
    run(case, "--ipc container:donor", "true").fails(125, "cannot share /dev/shm of container");
    case.engine("rm -f donor").ok();
    // Another tmpfs is the donor's to give, but no devices and programs with it.
    let script = format!("umount /dev/shm && echo ready; {IDLE}");
    start(case, "donor", "--privileged --network none", &script);
    case.eventually("it is ready", || {
        case.engine("logs donor").stdout == "ready\n"
    });
    let options = "awk '$2 == \"/dev/shm\" {print $4}' /proc/mounts | cut -d, -f1-4";
    run(case, "--ipc container:donor", options)
        .ok()
        .prints("rw,nosuid,nodev,noexec");
    case.engine("rm -f donor").ok();
}

fn names(case: &Case) {
    case.load_busybox();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim();
    let show = "hostname; cat /etc/hostname; echo $HOSTNAME";
    run(case, "--uts host", show)
        .ok()
        .prints(&format!("{host}\n{host}\n{host}"));
    background(case, "donor", "-h first --network none");
    run(case, "--uts container:donor", show)
        .ok()
        .prints("first\nfirst\nfirst");
    run(
        case,
        "--domainname example.org",
        "cat /proc/sys/kernel/domainname",
    )
    .ok()
    .prints("example.org");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim(),
        host
    );
    case.engine("rm -f donor").ok();
}

fn network_files(case: &Case) {
    case.load_busybox();
    background(case, "donor", "-h first --network none");
    run(
        case,
        "--network container:donor",
        "hostname; tail -n 1 /etc/hosts; cat /etc/hostname",
    )
    .ok()
    .prints("first\n127.0.0.1\tfirst\nfirst");
    // It is one file: what one writes the other reads.
    run(
        case,
        "--network container:donor",
        "echo 10.0.0.1 added >> /etc/hosts",
    )
    .ok();
    case.engine("exec donor tail -n 1 /etc/hosts")
        .ok()
        .prints("10.0.0.1 added");
    run(
        case,
        "--no-hosts --no-hostname",
        "grep -c localhost /etc/hosts /etc/hostname; true",
    )
    .ok();
    case.engine("rm -f donor").ok();
}

fn cgroups_of_the_host_are_read_only(case: &Case) {
    case.load_busybox();
    let script = "ls /sys/fs/cgroup | head -n 1 | wc -l; \
                  awk '$2 ~ \"^/sys/fs/cgroup\" && $4 !~ /^ro/' /proc/mounts; \
                  for d in $(find /sys/fs/cgroup -maxdepth 2 -type d); do mkdir $d/x 2>/dev/null && echo made; done; true";
    run(case, "--cgroupns host", script).ok().prints("1");
    run(case, "--cgroupns host --network host --pid host", script)
        .ok()
        .prints("1");
}

fn masks_with_host_pids(case: &Case) {
    case.load_busybox();
    let script = "for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do \
                    [ ! -e $p ] || [ -z \"$(head -c 1 $p | tr '\\0' x)\" ] || echo $p shows content; done; \
                  (echo x > /proc/sysrq-trigger) 2>/dev/null && echo sysrq; \
                  (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo core_pattern; \
                  awk '$2 == \"/proc\" {print $4}' /proc/mounts | tail -n 1 | cut -d, -f1-4";
    run(case, "--pid host", script)
        .ok()
        .prints("rw,nosuid,nodev,noexec");
}

/// The container sees the supervisor's entry in /proc, but nothing that is in it.
fn supervisor_is_hidden_with_host_pids(case: &Case) {
    case.load_busybox();
    background(case, "guest", "--pid host --network none");
    let status = "cut -d' ' -f4 /proc/1/stat; awk '/^PPid/ {print $2}' /proc/$1/status";
    let init = field(case, "guest", "{{.State.Pid}}");
    let parent = case
        .words(&["exec", "guest", "sh", "-c", status, "sh", &init])
        .ok();
    let parent = parent.stdout.lines().last().unwrap().to_owned();
    let script = "p=/proc/$1; grep -q coracle $p/comm || echo who; \
                  for f in exe cwd root fd/0 fd/3 fd/4 fd/5; do readlink $p/$f && echo $f; done; \
                  cat $p/environ $p/maps 2>/dev/null; (echo x > $p/mem) 2>/dev/null && echo mem; true";
    case.words(&["exec", "guest", "sh", "-c", script, "sh", &parent])
        .ok()
        .prints("");
    case.engine("rm -f guest").ok();
}

fn conflicts_and_bad_values(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    let before = case.store_listing();
    for (flags, says) in [
        (
            "--uts host -h x",
            "conflicting options: hostname and the UTS mode",
        ),
        (
            "--uts host --domainname x",
            "conflicting options: domainname and the UTS mode",
        ),
        (
            "--network container:donor -h x",
            "conflicting options: hostname and the network mode",
        ),
        (
            "--network container:",
            "invalid container format container:<name|id>",
        ),
        ("--pid shareable", "--pid: invalid PID mode"),
        ("--uts none", "--uts: invalid UTS mode"),
        ("--cgroupns nobody", "--cgroupns: invalid CGROUP mode"),
        ("--ipc nobody", "invalid IPC mode: nobody"),
        ("--pid container:nobody", "No such container: nobody"),
        ("--systemd perhaps", "invalid systemd mode"),
        ("--personality bsd", "invalid personality"),
    ] {
        run(case, flags, "true").fails(125, says);
        let create = format!("create {flags} localhost/busybox true");
        let code = if says.starts_with("No such") { 1 } else { 125 };
        case.engine(&create).fails(code, says);
    }
    assert_eq!(case.store_listing(), before);
    case.engine("rm -f donor").ok();
}

fn stopped_neighbour(case: &Case) {
    case.load_busybox();
    case.engine("create --name still localhost/busybox true")
        .ok();
    let before = case.store_listing();
    for (flag, _) in KINDS {
        run(case, &format!("{flag} container:still"), "true")
            .fails(125, "of a non running container");
    }
    assert_eq!(case.store_listing(), before);
    case.engine("rm still").ok();
}

fn inspected(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    let id = field(case, "donor", "{{.Id}}");
    let modes = "{{.HostConfig.PidMode}}|{{.HostConfig.IpcMode}}|{{.HostConfig.UTSMode}}|{{.HostConfig.CgroupnsMode}}|{{.HostConfig.NetworkMode}}";
    assert_eq!(field(case, "donor", modes), "|shareable||private|none");
    let host = "--pid host --ipc host --uts host --cgroupns host --network host";
    case.engine(&format!("create --name one {host} localhost/busybox true"))
        .ok();
    assert_eq!(field(case, "one", modes), "host|host|host|host|host");
    let joined = "--pid container:donor --ipc container:donor --uts container:donor --network container:donor";
    case.engine(&format!(
        "create --name two {joined} localhost/busybox true"
    ))
    .ok();
    let whole = format!("container:{id}");
    assert_eq!(
        field(case, "two", modes),
        format!("{whole}|{whole}|{whole}|private|{whole}")
    );
    case.engine("rm -f one two donor").ok();
}

fn exec_enters_them(case: &Case) {
    case.load_busybox();
    background(case, "donor", "--network none");
    for flags in [
        "--pid host",
        "--ipc host --uts host",
        "--cgroupns host --network host",
        "--pid host --ipc host --uts host --cgroupns host --network host",
        "--pid container:donor --network container:donor",
    ] {
        start(
            case,
            "guest",
            flags,
            &format!(
                "for n in pid ipc uts cgroup net mnt; do readlink /proc/self/ns/$n; done; {IDLE}"
            ),
        );
        case.eventually("it speaks", || {
            case.engine("logs guest").stdout.lines().count() == 6
        });
        let first = case.engine("logs guest").ok().stdout;
        let script = "for n in pid ipc uts cgroup net mnt; do readlink /proc/self/ns/$n; done";
        let added = case
            .words(&["exec", "guest", "sh", "-c", script])
            .ok()
            .stdout;
        assert_eq!(first, added, "{flags}");
        case.engine("rm -f guest").ok();
    }
    case.engine("rm -f donor").ok();
}

fn for_systemd(case: &Case) {
    case.load_busybox();
    let script = "for d in /run /run/lock /tmp /var/log/journal; do awk -v d=$d '$2 == d {print d, $3}' /proc/mounts; done; echo $container ${#container_uuid}";
    run(case, "--systemd always", script)
        .ok()
        .prints("/run tmpfs\n/run/lock tmpfs\n/tmp tmpfs\n/var/log/journal tmpfs\noci 32");
    run(case, "--systemd true", script).ok().prints("0");
    // An init is known by its path; the signal by which systemd halts stops it.
    case.engine("create --name init localhost/busybox /sbin/init")
        .ok();
    assert_eq!(field(case, "init", "{{.Config.StopSignal}}"), "SIGRTMIN+3");
    case.engine("rm init").ok();
}

fn timeout(case: &Case) {
    case.load_busybox();
    run(case, "--timeout 1", "exec sleep 60").exits(137);
    run(case, "--timeout 60", "exit 4").exits(4);
}

fn pidfile_and_personality(case: &Case) {
    case.load_busybox();
    let path = case.dir.join("home/pid");
    let mut words = vec!["run", "-d", "--name", "guest", "--pidfile"];
    words.push(path.to_str().unwrap());
    words.extend([
        "--personality",
        "linux32",
        "localhost/busybox",
        "sh",
        "-c",
        IDLE,
    ]);
    case.words(&words).ok();
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, field(case, "guest", "{{.State.Pid}}"));
    let machine = case.engine("exec guest uname -m").ok();
    if cfg!(target_arch = "x86_64") {
        machine.prints("i686");
    }
    case.engine("rm -f guest").ok();
}
