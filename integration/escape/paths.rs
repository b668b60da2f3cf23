//! Paths of images and containers that lead outside, standing still or swapped while we look.

use std::{fs, path::Path};

use serde_json::json;

use super::{detached, load, load_python, python_words, remove};
use crate::{
    case::Case,
    image::{Image, Layer, busybox_layer},
    terminal::Terminal,
};

cases! {
    workdir_through_a_link: root ordinary;
    dev_is_a_link: root ordinary;
    dev_null_is_replaced: root ordinary;
    proc_is_a_link: root ordinary;
    proc_is_faked: root ordinary;
    mount_target_is_a_link: root ordinary;
    tmpfs_target_leads_into_proc: root ordinary;
    hosts_is_a_link: root ordinary;
    volume_target_is_swapped: root ordinary;
    volume_is_swapped_while_exported: root ordinary;
    exec_directory_is_swapped: root ordinary;
    console_is_replaced: root ordinary;
    written_files_are_links: root ordinary;
    targets_of_flags_are_links: root ordinary;
    copied_up_folder_is_a_link: root ordinary;
    sysctl_climbs: root ordinary;
}

/// CVE-2026-55686: a working directory through a link makes folders on the host.
fn workdir_through_a_link(case: &Case) {
    let outside = case.make_dir("outside");
    let mut image = Image::new(
        "localhost/workdir",
        vec![
            busybox_layer()
                .symlink("out", outside.to_str().unwrap())
                .symlink("up", "../../../../../../..")
                .bytes(),
        ],
    );
    for workdir in ["/out/made", "/up/tmp/made-by-coracle-test"] {
        image.config = json!({ "WorkingDir": workdir });
        load(case, &image);
        case.engine("run --rm --network none localhost/workdir pwd");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert!(!Path::new("/tmp/made-by-coracle-test").exists());
    }
}

/// CVE-2026-41579 and others: the image's /dev, or a part of it, is something else than a directory,
/// and nodes are made on the host.
fn dev_is_a_link(case: &Case) {
    let outside = case.make_dir("outside");
    let target = outside.to_str().unwrap();
    let link = |to: &str| busybox_layer().dir("etc/").symlink("dev", to);
    let within = |name: &str| busybox_layer().dir("dev/").symlink(name, target);
    let shapes: [(&str, Layer); 11] = [
        ("to a folder of the host", link(target)),
        ("upwards", link("../../../../../../dev")),
        ("to the working directory", link("/proc/self/cwd")),
        ("to a descriptor", link("/proc/self/fd/3")),
        ("to another folder of the image", link("etc")),
        ("to a link", link("hop").symlink("hop", target)),
        ("to nothing", link("nowhere/at/all")),
        ("a file", busybox_layer().file("dev", "")),
        ("a FIFO", busybox_layer().fifo("dev")),
        (
            "with links for its mounts",
            within("dev/pts").symlink("dev/shm", target),
        ),
        (
            "with links for its nodes",
            within("dev/null").symlink("dev/console", target),
        ),
    ];
    for (shape, layer) in shapes {
        let image = Image::new("localhost/dev", vec![layer.bytes()]);
        load(case, &image);
        let list = ["sh", "-c", "ls /dev /dev/pts /etc; stat -c %t:%T /dev/null"];
        for terminal in ["-i", "-t"] {
            let run = ["run", "--rm", terminal, "--network=none", "localhost/dev"];
            let outcome = case.words(&[&run[..], &list].concat());
            let strangers = fs::read_dir(&outside).unwrap().count();
            assert_eq!(strangers, 0, "{shape}: {outcome}");
            assert!(!outcome.stdout.contains("shadow"), "{shape}: {outcome}");
            // Whatever was there has made room for ours.
            assert!(outcome.stdout.contains("1:3"), "{shape}: {outcome}");
        }
    }
    assert!(case.mounts().is_empty());
}

/// CVE-2025-31133: masks must not be made of the image's idea of /dev/null.
fn dev_null_is_replaced(case: &Case) {
    let layer = busybox_layer()
        .dir("dev/")
        .symlink("dev/null", "/proc/sysrq-trigger")
        .file("dev/zero", "x")
        .bytes();
    load(case, &Image::new("localhost/null", vec![layer]));
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        "localhost/null",
        "stat",
        "-c",
        "%t:%T",
        "/dev/null",
        "/proc/interrupts",
    ])
    .ok()
    .prints("1:3\n1:3");
}

fn proc_is_a_link(case: &Case) {
    let outside = case.make_dir("outside");
    for name in ["proc", "sys"] {
        let layer = busybox_layer()
            .symlink(name, outside.to_str().unwrap())
            .bytes();
        load(case, &Image::new("localhost/proc", vec![layer]));
        let outcome = case.engine("run --rm --network none localhost/proc ls /");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{outcome}");
    }
    assert!(case.mounts().is_empty());
}

fn mount_target_is_a_link(case: &Case) {
    let outside = case.make_dir("outside");
    let source = case.make_dir("source");
    let layer = busybox_layer()
        .symlink("out", outside.to_str().unwrap())
        .symlink("up", "../../../../..")
        .bytes();
    load(case, &Image::new("localhost/target", vec![layer]));
    for target in ["/out/x", "/out", "/up/x", "/proc/self/x", "/out/../../x"] {
        let mount = format!("{}:{target}", source.display());
        case.words(&[
            "run",
            "--rm",
            "--network=none",
            "-v",
            &mount,
            "localhost/target",
            "true",
        ]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{target}");
    }
    case.load_busybox();
    // Nothing may lie over what the engine itself writes through.
    for target in ["/proc", "/proc/self", "/proc/sys/kernel"] {
        let mount = format!("{}:{target}", source.display());
        case.words(&[
            "run",
            "--rm",
            "--network=none",
            "-v",
            &mount,
            "localhost/busybox",
            "true",
        ])
        .exits(125);
    }
}

fn hosts_is_a_link(case: &Case) {
    let canary = case.make_file("canary", "alive\n");
    let target = canary.to_str().unwrap();
    let layer = busybox_layer()
        .dir("etc/")
        .symlink("etc/hosts", target)
        .symlink("etc/hostname", target)
        .symlink("etc/resolv.conf", "../../../../../../etc/hostname")
        .bytes();
    load(case, &Image::new("localhost/hosts", vec![layer]));
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        "localhost/hosts",
        "sh",
        "-c",
        "cat /etc/hosts; echo dead > /etc/hosts",
    ]);
    assert_eq!(fs::read_to_string(&canary).unwrap(), "alive\n");
}

/// CVE-2019-19921 and others: the image, or a volume, brings a /proc and a /sys of its own, to be
/// written and masked in place of the kernel's.
fn proc_is_faked(case: &Case) {
    let outside = case.make_dir("outside");
    let target = outside.to_str().unwrap();
    let layer = [
        "proc/",
        "proc/self/",
        "proc/self/attr/",
        "proc/sys/",
        "proc/1/",
        "sys/",
        "sys/fs/",
    ]
    .iter()
    .fold(busybox_layer(), |layer, dir| layer.dir(dir))
    .symlink("proc/self/attr/exec", target)
    .symlink("proc/kcore", target)
    .symlink("proc/acpi", target)
    .file("proc/sysrq-trigger", "mine")
    .symlink("sys/fs/cgroup", target)
    .symlink("sys/firmware", target)
    .bytes();
    load(case, &Image::new("localhost/fake", vec![layer]));
    let script = "stat -f -c %t /proc /proc/self/attr /proc/sys /sys; cat /proc/sysrq-trigger 2>/dev/null; \
                  [ ! -e /proc/kcore ] || head -c 1 /proc/kcore | wc -c | grep -v 0";
    let run = ["run", "--rm", "--network=none"];
    let fake = [&run[..], &["localhost/fake", "sh", "-c", script]].concat();
    case.words(&fake).prints("9fa0\n9fa0\n9fa0\n62656572");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    for place in [
        "/proc",
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/sysrq-trigger",
        "/proc/../proc/x",
    ] {
        for kind in ["-v", "--tmpfs"] {
            let value = match kind {
                "-v" => format!("{target}:{place}"),
                _ => place.to_owned(),
            };
            let words = [&run[..], &[kind, &value, "localhost/fake", "true"]].concat();
            case.words(&words).fails(125, "/proc");
        }
    }
}

/// The text of a tmpfs's target is checked; a link of the image must not lead it over /proc
/// nevertheless.
fn tmpfs_target_leads_into_proc(case: &Case) {
    let layer = busybox_layer()
        .dir("proc/")
        .symlink("data", "/proc")
        .symlink("more", "proc/sys")
        .symlink("control", "/sys/fs/cgroup")
        .bytes();
    load(case, &Image::new("localhost/tmp", vec![layer]));
    for target in ["/data", "/more", "/data/fs", "/control"] {
        let run = ["run", "--rm", "--network=none", "--tmpfs", target];
        case.words(&[&run[..], &["localhost/tmp", "true"]].concat())
            .fails(125, "/proc");
    }
}

/// CVE-2021-30465, CVE-2024-45310: two containers share a folder. One exchanges a directory with a
/// link as fast as it can while others are started whose mounts, working directory and files go
/// through that name.
fn volume_target_is_swapped(case: &Case) {
    load_python(case);
    case.load_busybox();
    let outside = case.make_dir("outside");
    let (shared, source) = (case.make_dir("shared"), case.make_dir("source"));
    let volume = format!("{}:/shared", shared.display());
    let target = outside.display().to_string();
    let words = python_words(
        case,
        &[
            "-d",
            "--name=peer",
            "-v",
            &volume,
            "-e",
            &format!("TARGET={target}"),
        ],
        include_str!("swap.py"),
    );
    case.words(&words).ok();
    case.eventually("the peer is at work", || {
        case.engine("logs peer").stdout.contains("ready")
    });
    let below = |name: &str| format!("{}:/shared/{name}", source.display());
    let through: [&[&str]; 4] = [
        &["-v", &below("door/escaped")],
        &["--tmpfs", "/shared/door/escaped-tmpfs"],
        &["-w", "/shared/door/escaped-work"],
        &["-v", &below("door/../door/escaped-deep/er")],
    ];
    let mut started = 0;
    for round in 0..24 {
        let run = ["run", "--rm", "--network=none", "-v", &volume];
        let words = [
            &run[..],
            through[round % through.len()],
            &["localhost/busybox", "true"],
        ]
        .concat();
        let outcome = case.words(&words);
        assert!(matches!(outcome.code, 0 | 125 | 126 | 127), "{outcome}");
        started += usize::from(outcome.code == 0);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{outcome}");
        assert!(case.mounts().is_empty(), "{outcome}");
    }
    assert!(started > 0, "no start got through: the race was never run");
    let swaps = case.words(&["exec", "peer", "cat", "/tmp/swaps"]).ok();
    let swaps: u64 = swaps.stdout.trim().parse().unwrap();
    assert!(swaps > 1000, "{swaps} swaps");
    remove(case, "peer");
    // `..` of the folder, where the links also lead.
    for name in ["escaped", "escaped-tmpfs", "escaped-work", "escaped-deep"] {
        assert!(!case.dir.join(name).exists(), "{name}");
        assert!(!Path::new("/").join(name).exists(), "/{name}");
    }
}

/// CVE-2023-0778: a file of the volume is exchanged with links to the host's while the volume is
/// written out.
fn volume_is_swapped_while_exported(case: &Case) {
    let known = case.engine("volume export --help");
    if known.code != 0 || !known.stdout.contains("export") {
        return case.skip("there is no `volume export`");
    }
    load_python(case);
    let secrets = case.make_dir("secrets");
    case.make_file("secrets/secret", "hunter2");
    case.engine("volume create swapped").ok();
    let target = format!("TARGET={}", secrets.display());
    let words = python_words(
        case,
        &["-d", "--name=peer", "-v", "swapped:/shared", "-e", &target],
        include_str!("swap.py"),
    );
    case.words(&words).ok();
    case.eventually("the peer is at work", || {
        case.engine("logs peer").stdout.contains("ready")
    });
    for _ in 0..20 {
        let outcome = case.engine("volume export swapped");
        assert!(
            !outcome.stdout.contains("hunter2"),
            "the host's file is in it"
        );
    }
    remove(case, "peer");
}

/// CVE-2024-21626 with a race: the container exchanges the directory that `exec -w` names with links
/// to descriptors and upwards.
fn exec_directory_is_swapped(case: &Case) {
    load_python(case);
    let words = python_words(
        case,
        &[
            "-d",
            "--name=swap",
            "-e",
            "TARGET=/proc/self/fd/5",
            "--tmpfs=/shared",
        ],
        include_str!("swap.py"),
    );
    case.words(&words).ok();
    case.eventually("it is at work", || {
        case.engine("logs swap").stdout.contains("ready")
    });
    let host_root = fs::metadata("/").unwrap();
    let host_root = std::os::unix::fs::MetadataExt::ino(&host_root).to_string();
    let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata("/").unwrap());
    let script = "/bin/pwd -P; stat -c '%d %i' ../../../../../../..";
    let mut entered = 0;
    for round in 0..40 {
        let directory = ["/shared/door", "/shared/door/..", "/shared/door/sub"][round % 3];
        let outcome = case.words(&["exec", "-w", directory, "swap", "sh", "-c", script]);
        if outcome.code != 0 {
            continue;
        }
        entered += 1;
        assert!(outcome.stdout.starts_with('/'), "{outcome}");
        let top = format!("{device} {host_root}");
        assert!(!outcome.stdout.lines().any(|line| line == top), "{outcome}");
    }
    assert!(entered > 0, "the race was never run");
    remove(case, "swap");
}

/// CVE-2025-52565: names in /dev lead elsewhere when a terminal is made, by the image or by the
/// container before `exec -t`.
fn console_is_replaced(case: &Case) {
    let victim = case.make_file("victim", "mine\n");
    let target = victim.to_str().unwrap();
    let layer = busybox_layer()
        .dir("dev/")
        .dir("dev/pts/")
        .symlink("dev/console", target)
        .symlink("dev/ptmx", target)
        .symlink("dev/pts/0", target)
        .symlink("dev/tty", "/proc/sysrq-trigger")
        .bytes();
    load(case, &Image::new("localhost/console", vec![layer]));
    let show = "stat -c %t:%T /dev/console /dev/tty; readlink /proc/self/fd/0; echo through > /dev/console";
    let run = [
        "run",
        "--rm",
        "-it",
        "--network=none",
        "localhost/console",
        "sh",
        "-c",
        show,
    ];
    let mut terminal = Terminal::start(case, &run);
    terminal.expect("88:0\r\n5:0\r\n/dev/pts/0\r\nthrough");
    assert_eq!(terminal.exit_code(), 0);

    detached(case, "console", "localhost/console");
    let replace = "cd /dev && rm -f ptmx tty console && ln -s /proc/1/fd/1 ptmx && ln -s /proc/1/fd/1 tty \
                   && ln -s /proc/self/fd/4 console; mv pts away 2>/dev/null; ls -d pts";
    case.words(&["exec", "console", "sh", "-c", replace])
        .ok()
        .prints("pts");
    let exec = [
        "exec",
        "-it",
        "console",
        "sh",
        "-c",
        "readlink /proc/self/fd/0",
    ];
    let mut terminal = Terminal::start(case, &exec);
    terminal.expect("/dev/pts/0");
    assert_eq!(terminal.exit_code(), 0);
    remove(case, "console");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine\n");
}

/// Files that the engine itself writes into a container: the image has links to the host's in their
/// places, and in the places of their folders.
fn written_files_are_links(case: &Case) {
    let outside = case.make_dir("outside");
    for name in [
        "passwd",
        "group",
        "localtime",
        "shadow",
        "hosts",
        "hostname",
        "resolv.conf",
    ] {
        case.make_file(&format!("outside/{name}"), "mine\n");
    }
    let before = fs::read_dir(&outside).unwrap().count();
    let target = |name: &str| outside.join(name).display().to_string();
    let mut files = busybox_layer().dir("etc/");
    for name in [
        "passwd",
        "group",
        "localtime",
        "hosts",
        "hostname",
        "resolv.conf",
    ] {
        files = files.symlink(&format!("etc/{name}"), &target(name));
    }
    let folders = busybox_layer()
        .symlink("etc", &target(""))
        .symlink("run", &target(""));
    let secret = case.make_file("secret", "hunter2");
    let has_secret = case
        .words(&["secret", "create", "pass", secret.to_str().unwrap()])
        .code
        == 0;
    for (shape, layer) in [("files", files), ("folders", folders)] {
        load(case, &Image::new("localhost/written", vec![layer.bytes()]));
        let mut flags = vec!["--user=4321:4322", "--tz=Europe/Paris", "--hostuser=nobody"];
        flags.push("--passwd-entry=eve:x:4321:4322::/:/bin/sh");
        flags.push("--group-entry=crew:x:4322:");
        if has_secret {
            flags.push("--secret=pass");
        }
        for flag in flags {
            let run = [
                "run",
                "--rm",
                "--network=none",
                flag,
                "localhost/written",
                "true",
            ];
            let outcome = case.words(&run);
            assert_eq!(
                fs::read_dir(&outside).unwrap().count(),
                before,
                "{shape}: {outcome}"
            );
            for entry in fs::read_dir(&outside).unwrap().flatten() {
                let content = fs::read_to_string(entry.path()).unwrap();
                assert_eq!(content, "mine\n", "{shape}: {outcome}");
            }
        }
    }
}

/// What flags put somewhere: the place is a link of the image.
fn targets_of_flags_are_links(case: &Case) {
    let outside = case.make_dir("outside");
    let target = outside.to_str().unwrap();
    let layer = busybox_layer()
        .dir("proc/")
        .symlink("out", target)
        .symlink("up", "../../../../../..")
        .symlink("kernel", "/proc/sys/kernel")
        .bytes();
    load(case, &Image::new("localhost/places", vec![layer]));
    let secret = case.make_file("secret", "hunter2");
    case.words(&["secret", "create", "pass", secret.to_str().unwrap()]);
    let source = case.make_dir("source");
    let bind = format!("{}", source.display());
    for place in ["/out", "/up/out-by-coracle", "/kernel"] {
        let flags = [
            format!("--device=/dev/null:{place}/made"),
            format!("--secret=pass,target={place}/made"),
            format!("--mount=type=bind,src={bind},dst={place}/made"),
            format!("--mount=type=tmpfs,dst={place}/made"),
            format!("--mount=type=volume,src=named,dst={place}/made"),
            format!("--mount=type=devpts,dst={place}/made"),
            format!("--security-opt=mask={place}/made"),
            format!("--workdir={place}/made"),
        ];
        for flag in &flags {
            let run = [
                "run",
                "--rm",
                "--network=none",
                flag,
                "localhost/places",
                "true",
            ];
            let outcome = case.words(&run);
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{outcome}");
            assert!(!Path::new("/out-by-coracle").exists(), "{outcome}");
            assert!(!Path::new("/made").exists(), "{outcome}");
            assert!(case.mounts().is_empty(), "{outcome}");
        }
    }
}

/// A new volume gets what the image has at its place: never what a link there names on the host, nor
/// through one.
fn copied_up_folder_is_a_link(case: &Case) {
    let outside = case.make_dir("outside");
    case.make_file("outside/secret", "hunter2");
    let target = outside.to_str().unwrap();
    let layer = busybox_layer()
        .symlink("data", target)
        .symlink("climb", "../../../../../..")
        .dir("real/")
        .symlink("real/link", target)
        .fifo("real/fifo")
        .bytes();
    let mut image = Image::new("localhost/copied", vec![layer]);
    let climb = format!("/climb{target}");
    image.config = json!({ "Volumes": { "/data": {}, climb: {}, "/real": {}, "/../up": {} } });
    load(case, &image);
    let show = "cat /data/secret /real/link/secret /climb*/secret 2>/dev/null; ls /real";
    let shapes: [&[&str]; 3] = [
        &[],
        &["-v", "one:/data"],
        &["-v", "two:/real/link", "-v", "three:/real"],
    ];
    for flags in shapes {
        let run = ["run", "--rm", "--network=none"];
        let rest = ["localhost/copied", "sh", "-c", show];
        let outcome = case.words(&[&run[..], flags, &rest].concat());
        assert!(!outcome.stdout.contains("hunter2"), "{outcome}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{outcome}");
    }
    let secret = fs::read_to_string(outside.join("secret")).unwrap();
    assert_eq!(secret, "hunter2");
    case.engine("volume rm one two three");
}

/// CVE-2025-52881's neighbour: the name of a setting is a path in /proc/sys.
fn sysctl_climbs(case: &Case) {
    case.load_busybox();
    let panic = fs::read_to_string("/proc/sys/kernel/panic").unwrap();
    for name in [
        "net/../kernel/panic",
        "net.ipv4/../../kernel/panic",
        "net.//.kernel.panic",
        "net.ipv4.///../kernel.panic",
        "/net/ipv4/../../kernel/panic",
        "net/ipv4/../../../1/oom_score_adj",
        "kernel.panic",
        "net.",
        "../net.x.y",
    ] {
        let flag = format!("--sysctl={name}=77");
        let run = [
            "run",
            "--rm",
            "--network=none",
            &flag,
            "localhost/busybox",
            "true",
        ];
        case.words(&run).exits(125);
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/panic").unwrap(), panic);
}
