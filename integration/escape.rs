//! Attacks that worked elsewhere. `docs/security.md` lists the rule behind each.

use serde_json::json;

use crate::{
    case::Case,
    image::{Image, busybox_layer},
};

cases! {
    workdir_through_a_descriptor: root ordinary single;
    workdir_through_a_link: root ordinary;
    dev_is_a_link: root ordinary;
    dev_null_is_replaced: root ordinary;
    proc_is_a_link: root ordinary;
    mount_target_is_a_link: root ordinary;
    hosts_is_a_link: root ordinary;
    passwd_is_a_fifo: root ordinary;
    passwd_is_endless: root ordinary;
    passwd_leads_outside: root ordinary;
    own_binary_is_out_of_reach: root ordinary;
    entrypoint_is_the_engine: root ordinary;
    exec_workdir_through_a_link: root ordinary;
    environment_of_the_caller: root ordinary;
    terminal_injection: root ordinary;
    dangerous_families_and_calls: root ordinary;
}

fn load(case: &Case, image: &Image) {
    case.with_input(&["load", "-q"], image.archive()).ok();
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
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert!(!std::path::Path::new("/tmp/made-by-coracle-test").exists());
    }
}

/// CVE-2026-41579 and others: the image's /dev is a link, and nodes are made on the host.
fn dev_is_a_link(case: &Case) {
    let outside = case.make_dir("outside");
    for target in [
        outside.to_str().unwrap(),
        "../../../../../../dev",
        "/proc/self/cwd",
        "etc",
    ] {
        load(
            case,
            &Image::new(
                "localhost/dev",
                vec![busybox_layer().dir("etc/").symlink("dev", target).bytes()],
            ),
        );
        let outcome = case.engine("run --rm --network none localhost/dev ls /dev/null /etc");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{outcome}");
        assert!(!outcome.stdout.contains("shadow"), "{outcome}");
    }
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
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{outcome}");
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
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{target}");
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
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive\n");
}

/// CVE-2024-9676: the user is looked up in a file that never ends.
fn passwd_is_a_fifo(case: &Case) {
    load(
        case,
        &Image::new(
            "localhost/fifo",
            vec![
                busybox_layer()
                    .dir("etc/")
                    .fifo("etc/passwd")
                    .fifo("etc/group")
                    .bytes(),
            ],
        ),
    );
    let begin = std::time::Instant::now();
    case.engine("run --rm --network none -u alice localhost/fifo true")
        .exits(125);
    case.engine("run --rm --network none localhost/fifo true");
    assert!(begin.elapsed().as_secs() < 10);
}

fn passwd_is_endless(case: &Case) {
    let long = "x:x:1:1::/:/bin/sh\n".repeat(400_000);
    let layer = busybox_layer()
        .dir("etc/")
        .member(
            "etc/passwd",
            tar::EntryType::Regular,
            "",
            0o644,
            long.as_bytes(),
        )
        .member(
            "etc/group",
            tar::EntryType::Regular,
            "",
            0o644,
            "g:x:7:x\n".repeat(400_000).as_bytes(),
        )
        .bytes();
    load(case, &Image::new("localhost/long", vec![layer]));
    let begin = std::time::Instant::now();
    case.engine("run --rm --network none -u nobody localhost/long true")
        .exits(125);
    assert!(begin.elapsed().as_secs() < 10);
}

fn passwd_leads_outside(case: &Case) {
    let secret = case.make_file("secret", "eve:x:4321:4321::/:/bin/sh\n");
    let layer = busybox_layer()
        .dir("etc/")
        .symlink("etc/passwd", secret.to_str().unwrap())
        .bytes();
    load(case, &Image::new("localhost/outside", vec![layer]));
    case.engine("run --rm --network none -u eve localhost/outside id")
        .exits(125);
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
    let outcome = crate::case::collect("watcher".into(), watcher).ok();
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
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    case.engine("rm -f links").ok();
}

/// CVE-2026-57231: an image that asks for the caller's variables gets none.
fn environment_of_the_caller(case: &Case) {
    case.set("SECRET_TOKEN", "hunter2");
    case.set("http_proxy", "http://user:hunter2@127.0.0.1:9");
    let mut image = Image::new("localhost/env", vec![busybox_layer().bytes()]);
    for entry in [
        "SECRET_TOKEN=$SECRET_TOKEN",
        "X=${SECRET_TOKEN}",
        "http_proxy=",
    ] {
        image.config = json!({ "Env": [entry] });
        load(case, &image);
        let outcome = case
            .words(&[
                "run",
                "--rm",
                "--network=none",
                "localhost/env",
                "sh",
                "-c",
                "cat /proc/1/environ",
            ])
            .ok();
        assert!(!outcome.stdout.contains("hunter2"), "{outcome}");
    }
}

/// TIOCSTI would type into the caller's terminal (CVE-2017-5226): the filter refuses it.
fn terminal_injection(case: &Case) {
    load_python(case);
    let script = "import fcntl\nfor request in (0x5412, 0x541C, 0x100005412):\n  try:\n    fcntl.ioctl(0, request & 0xffffffff, b'x'); print('typed')\n  except OSError as e: print(e.errno)";
    let mut terminal = crate::terminal::Terminal::start(
        case,
        &[
            "run",
            "--rm",
            "-it",
            "--network=none",
            "localhost/debian",
            "python3",
            "-c",
            script,
        ],
    );
    terminal.expect("1\r\n");
    terminal.expect("1\r\n");
    assert_eq!(terminal.exit_code(), 0);
    assert!(!terminal.seen().contains("typed"));
}

fn load_python(case: &Case) {
    let archive = crate::case::shared().join("images/debian.oci.tar");
    case.words(&["load", "-q", "-i", archive.to_str().unwrap()])
        .ok();
}

/// Kernel interfaces that nobody needs and many exploits began with.
fn dangerous_families_and_calls(case: &Case) {
    load_python(case);
    let script = r#"
import ctypes, socket, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    ctypes.set_errno(0)
    if libc.syscall(number, *args) >= 0:
        print("ALLOWED", name)
    elif ctypes.get_errno() not in (1, 38):
        print("REACHED", name, ctypes.get_errno())
for name, family in (("alg", 38), ("vsock", 40)):
    try:
        socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_STREAM)
        print("ALLOWED", name)
    except OSError:
        pass
x = platform.machine() == "x86_64"
call("io_uring_setup", 425, 1, ctypes.create_string_buffer(120))
call("userfaultfd", 323 if x else 282, 0)
call("bpf", 321 if x else 280, 0, None, 0)
call("keyctl", 250 if x else 219, 0, -3, 1)
call("add_key", 248 if x else 217, None, None, None, 0, 0)
call("unshare(NEWUSER)", 272 if x else 97, 0x10000000)
call("unshare(NEWNS)", 272 if x else 97, 0x20000)
call("mount", 165 if x else 40, None, b"/", None, 32, None)
call("open_by_handle_at", 304 if x else 265, -1, None, 0)
call("kexec_load", 246 if x else 104, 0, 0, None, 0)
call("init_module", 175 if x else 105, None, 0, None)
call("ptrace beyond", 1000, 0)
# What libc falls back from must look absent, not forbidden.
ctypes.set_errno(0); libc.syscall(9999); print("unknown", ctypes.get_errno())
"#;
    let file = case.make_file("calls.py", script);
    let mount = format!("{}:/calls.py:ro", file.display());
    let outcome = case
        .words(&[
            "run",
            "--rm",
            "--network=none",
            "-v",
            &mount,
            "localhost/debian",
            "python3",
            "/calls.py",
        ])
        .ok();
    assert_eq!(outcome.stdout.trim(), "unknown 38", "{outcome}");
}
