//! Processes of ours that a container can meet: the one that joins it, the first one, and the
//! supervisor outside.

use std::fs;

use super::{detached, load, load_python, python_words, remove};
use crate::{
    case::{Case, collect, finish},
    image::{Image, busybox_layer},
    terminal::Terminal,
};

cases! {
    workdir_through_a_descriptor: root ordinary single;
    exec_workdir_through_a_link: root ordinary;
    own_binary_is_out_of_reach: root ordinary;
    joining_process_is_closed: root ordinary;
    starting_process_is_closed: root ordinary;
    traced_joiner_has_nothing_more: root ordinary;
    entrypoint_is_the_engine: root ordinary;
    interpreter_is_the_engine: root ordinary;
    descriptors_of_every_start: root ordinary;
    nothing_of_the_image_is_opened: root ordinary;
    signals_stay_inside: root ordinary single;
}

/// CVE-2024-21626: the working directory is a descriptor that the engine left open on the host.
fn workdir_through_a_descriptor(case: &Case) {
    case.load_busybox();
    for n in 0..24 {
        for path in [
            format!("/proc/self/fd/{n}"),
            format!("/proc/1/fd/{n}"),
            format!("/proc/self/fd/{n}/../../.."),
        ] {
            let outcome = case.words(&[
                "run",
                "--rm",
                "--network=none",
                "-w",
                &path,
                "localhost/busybox",
                "sh",
                "-c",
                "pwd -P; ls /proc/self/cwd/",
            ]);
            if outcome.code == 0 {
                let listed: Vec<&str> = outcome.stdout.lines().collect();
                assert!(
                    !listed.contains(&"lost+found") && !listed[0].contains("unreachable"),
                    "{outcome}"
                );
                assert!(
                    !outcome.stdout.contains("boot"),
                    "the host's root: {outcome}"
                );
            }
        }
    }
}

fn exec_workdir_through_a_link(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name links --network none localhost/busybox sleep 100")
        .ok();
    let outside = case.make_dir("outside");
    case.words(&[
        "exec",
        "links",
        "ln",
        "-s",
        outside.to_str().unwrap(),
        "/out",
    ])
    .ok();
    for n in 0..16 {
        let outcome = case.words(&[
            "exec",
            "-w",
            &format!("/proc/self/fd/{n}"),
            "links",
            "sh",
            "-c",
            "pwd -P; ls ../../../../..",
        ]);
        assert!(
            outcome.code != 0 || !outcome.stdout.contains("lost+found"),
            "{outcome}"
        );
    }
    case.words(&["exec", "-w", "/out/made", "links", "true"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    case.engine("rm -f links").ok();
}

/// CVE-2019-5736: /proc/PID/exe of what enters the container leads to the engine's binary.
fn own_binary_is_out_of_reach(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name watch --network none localhost/busybox sleep 100")
        .ok();
    let script = "i=0; while [ $i -lt 300 ]; do for p in /proc/[0-9]*; do \
                  l=$(readlink $p/exe 2>/dev/null); case $l in *coracle*) (: >> $p/exe) 2>/dev/null && echo WRITABLE $l;; esac; done; i=$((i+1)); done; echo watched";
    let watcher = case.start(&["exec", "watch", "sh", "-c", script]);
    for _ in 0..20 {
        case.engine("exec watch true").ok();
    }
    let outcome = collect("watcher".into(), watcher).ok();
    assert_eq!(outcome.stdout, "watched\n", "{outcome}");
    case.engine("rm -f watch").ok();
    case.engine("version").ok();
}

/// The image's program is a link to the engine's own binary, by way of /proc.
fn entrypoint_is_the_engine(case: &Case) {
    let layer = busybox_layer().symlink("evil", "/proc/self/exe").bytes();
    load(case, &Image::new("localhost/self", vec![layer]));
    let outcome = case.engine("run --rm --network none localhost/self /evil version");
    assert!(
        !outcome.stdout.to_lowercase().contains("coracle"),
        "our binary ran inside: {outcome}"
    );
}

/// Starts a container whose root lies in wait for processes of ours: `escape/joiner.py`.
fn set_trap(case: &Case) {
    load_python(case);
    let script = include_str!("joiner.py");
    case.words(&python_words(case, &["-d", "--name=trap"], script))
        .ok();
    case.eventually("the trap is set", || {
        case.engine("logs trap").stdout.contains("ready")
    });
}

/// Nothing was caught, although there was something to catch.
fn open_trap(case: &Case) {
    case.words(&["exec", "trap", "touch", "/tmp/done"]).ok();
    let logs = || case.engine("logs trap").stdout;
    case.eventually("the trap is closed", || logs().contains("seen"));
    let said = logs();
    assert!(!said.contains("LEAK"), "{said}");
    let seen = said.lines().find_map(|line| line.strip_prefix("seen "));
    let seen: u32 = seen.unwrap().parse().unwrap();
    assert!(seen > 0, "the attacker never saw a process of ours: {said}");
    remove(case, "trap");
}

/// Names that are looked through before the program is found: time for the attacker.
fn long_search() -> String {
    format!("PATH={}/bin:/usr/bin", "/none:".repeat(8000))
}

/// CVE-2016-9962, CVE-2019-5736: while a process of ours joins, root inside tries to read, trace and
/// impersonate it. The search for the program makes the joining slow.
fn joining_process_is_closed(case: &Case) {
    set_trap(case);
    let path = long_search();
    for _ in 0..25 {
        case.words(&["exec", "-e", &path, "trap", "true"]).ok();
    }
    open_trap(case);
}

/// A container that may trace sees everything of the process that joins it: it must have no right and
/// no descriptor that the program does not have. It had the engine's rights and the machine's cgroup
/// tree, until it executed.
fn traced_joiner_has_nothing_more(case: &Case) {
    load_python(case);
    let script = include_str!("tracer.py");
    let options = ["-d", "--name=trap", "--cap-add=SYS_PTRACE"];
    case.words(&python_words(case, &options, script)).ok();
    case.eventually("the trap is set", || {
        case.engine("logs trap").stdout.contains("ready")
    });
    let path = long_search();
    for _ in 0..25 {
        case.words(&["exec", "-e", &path, "trap", "true"]).ok();
    }
    open_trap(case);
}

/// The same for the first process of a container that is started into the attacker's pid namespace,
/// where it has the machine's file system in front of it for a while.
fn starting_process_is_closed(case: &Case) {
    set_trap(case);
    case.load_busybox();
    let path = long_search();
    let run = [
        "run",
        "--rm",
        "--network=none",
        "--pid=container:trap",
        "-e",
        &path,
    ];
    for round in 0..20 {
        let init: &[&str] = if round % 2 == 0 { &["--init"] } else { &[] };
        case.words(&[&run[..], init, &["localhost/busybox", "true"]].concat())
            .ok();
    }
    open_trap(case);
}

/// CVE-2019-5736's other half: the program's interpreter is whoever executes it. Ours is on a mount
/// that executes nothing.
fn interpreter_is_the_engine(case: &Case) {
    let mut layer = busybox_layer().dir("evil/");
    let interpreters = [
        "/proc/self/exe",
        "/proc/1/exe",
        "/proc/self/fd/3",
        "/proc/self/fd/4",
        "/proc/thread-self/exe",
        "/evil/link",
    ];
    for (number, interpreter) in interpreters.iter().enumerate() {
        layer = layer.member(
            &format!("evil/{number}"),
            tar::EntryType::Regular,
            "",
            0o755,
            format!("#!{interpreter} version\n").as_bytes(),
        );
    }
    let layer = layer.symlink("evil/link", "/proc/self/exe").bytes();
    load(case, &Image::new("localhost/shebang", vec![layer]));
    detached(case, "shebang", "localhost/shebang");
    for number in 0..interpreters.len() {
        let program = format!("/evil/{number}");
        let run = case.words(&[
            "run",
            "--rm",
            "--network=none",
            "localhost/shebang",
            &program,
        ]);
        let exec = case.words(&["exec", "shebang", &program]);
        for outcome in [run, exec] {
            assert!(matches!(outcome.code, 126 | 127), "{outcome}");
            assert_eq!(outcome.stdout, "", "our binary ran inside: {outcome}");
        }
    }
    remove(case, "shebang");
    case.engine("version").ok();
}

/// CVE-2024-21626: the same three descriptors however a program is started, and whatever the
/// caller left open.
fn descriptors_of_every_start(case: &Case) {
    case.load_busybox();
    let engine = case.engine_words().join(" ");
    let through_shell = |line: &str| {
        let mut command = case.program("sh");
        let script = format!("exec 5</etc 7<>/dev/null 9</; exec {engine} {line}");
        command.args(["-c", &script]);
        finish(command).ok()
    };
    let list = "ls /proc/self/fd";
    let image = "--network none localhost/busybox";
    // `ls` itself opens the directory.
    let expected = "0\n1\n2\n3";
    through_shell(&format!("run --rm {image} {list}")).prints(expected);
    through_shell(&format!("run --rm -i {image} {list}")).prints(expected);
    let with_terminal = through_shell(&format!("run --rm -t {image} {list}")).stdout;
    let plain = with_terminal
        .split_whitespace()
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(plain, expected);
    through_shell(&format!("run -d --name held {image} sleep 100"));
    // The first process itself, seen from the next one.
    case.engine("exec held ls /proc/1/fd")
        .ok()
        .prints("0\n1\n2");
    through_shell(&format!("exec held {list}")).prints(expected);
    through_shell(&format!("exec -i held {list}")).prints(expected);
    through_shell("exec -d held sh -c 'ls /proc/self/fd > /fds'");
    case.eventually("the list is there", || {
        case.engine("exec held cat /fds").stdout.lines().count() >= 4
    });
    case.engine("exec held cat /fds").prints(expected);
    let mut terminal = Terminal::start(case, &["exec", "-it", "held", "ls", "/proc/self/fd"]);
    assert_eq!(terminal.exit_code(), 0);
    let seen = terminal.seen().split_whitespace().collect::<Vec<_>>();
    assert_eq!(seen.join("\n"), expected);
    remove(case, "held");
}

/// CVE-2022-1227, CVE-2019-14271: once a process of ours is inside, nothing of the image is opened
/// but what holds users, the null device and the terminal; nothing is executed but the program.
fn nothing_of_the_image_is_opened(case: &Case) {
    let layer = ["etc/", "lib/", "lib64/", "usr/", "usr/lib/"]
        .iter()
        .fold(busybox_layer(), |layer, dir| layer.dir(dir))
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\n")
        .file("etc/nsswitch.conf", "passwd: evil\ngroup: evil\n")
        .file("etc/ld.so.preload", "/lib/evil.so\n")
        .file("lib/libnss_evil.so.2", "evil")
        .bytes();
    let mut image = Image::new("localhost/loaded", vec![layer]);
    image.config = serde_json::json!({
        "Env": ["LD_PRELOAD=/lib/evil.so", "GCONV_PATH=/lib", "LC_ALL=evil", "PATH=/bin"],
    });
    load(case, &image);
    detached(case, "loaded", "localhost/loaded");
    let log = case.dir.join("trace").display().to_string();
    let options = [
        "-f",
        "-qq",
        "-e",
        "trace=open,openat,openat2,execve,execveat,setns",
        "-o",
        &log,
    ];
    let Some(command) = case.strace(&options, &["exec", "-u", "root", "loaded", "true"]) else {
        remove(case, "loaded");
        return;
    };
    finish(command).ok();
    remove(case, "loaded");
    let text = fs::read_to_string(&log).unwrap();
    let joined = text.lines().position(|line| {
        line.contains("setns(") && line.contains("CLONE_NEWNS") && line.ends_with("= 0")
    });
    let joined = joined.unwrap_or_else(|| panic!("nobody joined:\n{text}"));
    let process = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let entered = process(text.lines().nth(joined).unwrap_or_default());
    let outside: Vec<String> = text.lines().take(joined).map(process).collect();
    let fine = [
        "\"/\"",
        "/etc/passwd",
        "/etc/group",
        "/dev/null",
        "\"/bin/true\"",
        "exited",
        "setns(",
    ];
    for line in text
        .lines()
        .skip(joined + 1)
        .filter(|line| line.contains('('))
        // The command itself stays outside.
        .filter(|line| process(line) == entered || !outside.contains(&process(line)))
    {
        assert!(
            fine.iter().any(|part| line.contains(part)),
            "{line}\n{text}"
        );
    }
}

/// A container signals everybody that it can name: nobody but itself is there.
fn signals_stay_inside(case: &Case) {
    case.load_busybox();
    detached(case, "bystander", "localhost/busybox");
    case.shell(
        "",
        "ls /proc | grep -c '^[0-9]*$'; kill -9 -1; kill -9 0 2>/dev/null; echo alive",
    )
    .contains("alive");
    // Every number that a process of the machine has.
    let script = "i=2; while [ $i -lt 70000 ]; do kill -9 $i 2>/dev/null && echo hit $i; i=$((i+1)); done; echo tried";
    let outcome = case.shell("", script);
    assert_eq!(outcome.stdout, "tried\n", "{outcome}");
    case.engine("exec bystander echo unharmed")
        .ok()
        .prints("unharmed");
    remove(case, "bystander");
}
