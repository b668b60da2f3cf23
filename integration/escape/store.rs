//! What other users of the machine, and containers, learn of the caller: files of the store,
//! sockets, the supervisor's process, the environment.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use super::{detached, load, remove};
use crate::{
    case::{Case, finish},
    image::{Image, busybox_layer},
};

cases! {
    environment_of_the_caller: root ordinary;
    labels_are_only_labels: root ordinary;
    files_of_the_store: root ordinary single;
    socket_is_the_users: root;
    supervisor_seen_by_others: root ordinary;
    no_abstract_sockets: root ordinary;
}

/// CVE-2026-57231, CVE-2020-14370, CVE-2021-3602: neither an image that asks for the caller's
/// variables gets them, nor a container for nothing, nor `exec`.
fn environment_of_the_caller(case: &Case) {
    case.set("SECRET_TOKEN", "hunter2");
    for name in [
        "http_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "no_proxy",
        "LD_PRELOAD",
        "LC_ALL",
    ] {
        case.set(name, "/none/hunter2");
    }
    let mut image = Image::new("localhost/env", vec![busybox_layer().bytes()]);
    let show = "cat /proc/1/environ /proc/self/environ";
    for entry in [
        "SECRET_TOKEN=$SECRET_TOKEN",
        "X=${SECRET_TOKEN}",
        "Y=`env`$(env)%SECRET_TOKEN%",
        "http_proxy=",
    ] {
        image.config = json!({ "Env": [entry] });
        load(case, &image);
        let run = [
            "run",
            "--rm",
            "--network=none",
            "localhost/env",
            "sh",
            "-c",
            show,
        ];
        let outcome = case.words(&run).ok();
        assert!(!outcome.stdout.contains("hunter2"), "{outcome}");
    }
    detached(case, "env", "localhost/env");
    let outcome = case.words(&["exec", "env", "sh", "-c", show]).ok();
    assert!(!outcome.stdout.contains("hunter2"), "{outcome}");
    remove(case, "env");
    // `*` and names without values are refused when the image is loaded.
    for entry in ["*", "SECRET_TOKEN", "=x"] {
        image.config = json!({ "Env": [entry] });
        let outcome = case.with_input(&["load", "-q"], image.archive());
        if outcome.code == 0 {
            let run = ["run", "--rm", "--network=none", "localhost/env", "env"];
            let outcome = case.words(&run);
            assert!(!outcome.stdout.contains("hunter2"), "{outcome}");
        }
    }
}

/// CVE-2021-41091, CVE-2021-41103, CVE-2024-25621: whatever mask the caller has, nobody else gets
/// into the store or reads what its containers said. A container's tree stays closed although the
/// root folder was opened to all.
fn files_of_the_store(case: &Case) {
    case.load_busybox();
    let engine = case.engine_words().join(" ");
    let mut command = case.program("sh");
    let run = "run -d --name private --network none localhost/busybox sh -c";
    command.args([
        "-c",
        &format!("umask 0; exec {engine} {run} 'echo secret; sleep 100'"),
    ]);
    finish(command).ok();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for top in ["root", "run"] {
        let top = case.dir.join(top);
        assert_eq!(mode(&top), 0o700, "{}", top.display());
        for entry in fs::read_dir(&top).unwrap().flatten() {
            let open = mode(&entry.path()) & 0o077;
            assert_eq!(open, 0, "{} is open to others", entry.path().display());
        }
    }
    for entry in walkdir::WalkDir::new(&case.dir).into_iter().flatten() {
        let name = entry.file_name().to_string_lossy();
        if name.ends_with(".sock") || name.ends_with(".log") || name.ends_with(".json") {
            let open = mode(entry.path()) & 0o077;
            assert_eq!(open, 0, "{}", entry.path().display());
        }
    }
    remove(case, "private");
}

/// CVE-2020-15257: another user connects to a supervisor's socket although somebody opened all the
/// folders above it. Only its own user is heard.
fn socket_is_the_users(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name quiet --network none localhost/busybox sleep 100")
        .ok();
    let socket = walkdir::WalkDir::new(&case.dir)
        .into_iter()
        .flatten()
        .find(|entry| std::os::unix::fs::FileTypeExt::is_socket(&entry.file_type()))
        .expect("a supervisor listens");
    let above = socket.path().ancestors();
    let opened: Vec<_> = above
        .take_while(|path| path.starts_with(&case.dir))
        .collect();
    for path in &opened {
        fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let script = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.settimeout(5)\n\
        try:\n\
        \x20 s.connect(sys.argv[1]); s.send(b'x' * 64); print('heard', len(s.recv(4096)))\n\
        except OSError as e: print('refused', e.errno)";
    let ask = |uid: u32| {
        let mut command = case.program("/usr/bin/python3");
        command.args(["-c", script]).arg(socket.path());
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        finish(command).ok().stdout
    };
    let said = ask(65534);
    // Closed without a word.
    assert!(said.starts_with("refused") || said == "heard 0\n", "{said}");
    // Nor does the engine itself go on in a folder that anybody can write to.
    case.engine("exec quiet true")
        .fails(1, "writable by others");
    for path in opened {
        fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
    }
    case.engine("exec quiet echo alive").ok().prints("alive");
    remove(case, "quiet");
}

/// What /proc shows of a supervisor: no environment to anybody, nothing at all to other users.
fn supervisor_seen_by_others(case: &Case) {
    case.set("SECRET_TOKEN", "hunter2");
    case.load_busybox();
    detached(case, "seen", "localhost/busybox");
    let supervisors: Vec<i32> = case
        .processes()
        .into_iter()
        .filter(|(_, arguments)| arguments.starts_with("coracle-supervisor"))
        .map(|(pid, _)| pid)
        .collect();
    assert_eq!(supervisors.len(), 1, "{supervisors:?}");
    let pid = supervisors[0];
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("hunter2"));
    if rustix::process::geteuid().is_root() {
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        let mut command = case.program("sh");
        let look = "for f in environ maps auxv; do cat /proc/$1/$f; done; \
                    for l in exe cwd root fd/3; do readlink /proc/$1/$l; done; ls /proc/$1/fd";
        command.args(["-c", look, "sh", &pid.to_string()]);
        command.current_dir("/");
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        assert_eq!(finish(command).stdout, "");
    }
    if !case.is_root() {
        let mut command = case.program("sh");
        command.args([
            "-c",
            "cat /proc/$1/environ /proc/$1/maps; ls /proc/$1/fd",
            "sh",
            &pid.to_string(),
        ]);
        let said = finish(command).stdout;
        assert!(!said.contains("hunter2"), "{said}");
    }
    remove(case, "seen");
}

/// CVE-2020-15257: an abstract socket is reached from every container on the host's network.
fn no_abstract_sockets(case: &Case) {
    case.load_busybox();
    // Those of the machine may come and go; ours would be there with each container.
    let names = || -> Vec<String> {
        let table = fs::read_to_string("/proc/net/unix").unwrap();
        let names = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(7));
        names
            .filter(|name| name.starts_with('@'))
            .map(str::to_owned)
            .collect()
    };
    detached(case, "shim", "localhost/busybox");
    let mark = case.dir.display().to_string();
    for name in names() {
        assert!(!name.contains("coracle") && !name.contains(&mark), "{name}");
    }
    let outcome = case.engine("run --rm --network host localhost/busybox cat /proc/net/unix");
    if outcome.code == 0 {
        let ours = outcome
            .stdout
            .lines()
            .filter(|line| line.contains('@') && line.contains("coracle"));
        assert_eq!(ours.count(), 0, "{outcome}");
    }
    remove(case, "shim");
}

/// CVE-2026-53488, CVE-2024-9341, CVE-2020-1726: labels, annotations and paths of the image that
/// other engines act upon.
fn labels_are_only_labels(case: &Case) {
    let outside = case.make_dir("outside");
    let made = outside.join("made");
    let command = format!("/usr/bin/touch {}", made.display());
    let layer = busybox_layer()
        .dir("etc/")
        .dir("etc/system-fips/")
        .symlink("etc/crypto-policies", outside.to_str().unwrap())
        .symlink("run", outside.to_str().unwrap())
        .bytes();
    let mut image = Image::new("localhost/labels", vec![layer]);
    image.config = json!({
        "Labels": {
            "run": command, "RUN": command, "INSTALL": command,
            "io.containers.capabilities": "SYS_ADMIN,NET_ADMIN",
            "io.podman.annotations.privileged": "TRUE",
            "io.podman.annotations.seccomp": "unconfined",
            "io.containers.trace-syscall": "of:/tmp/trace",
            "run.oci.keep_original_groups": "1",
            "run.oci.handler": "krun",
            "run.oci.hooks.stdout": made,
            "org.systemd.property.DefaultDependencies": "false",
        },
        "Cmd": ["sh", "-c", "grep -h -e ^CapBnd -e ^Seccomp: /proc/self/status"],
    });
    load(case, &image);
    let run = ["run", "--rm", "--network=none", "localhost/labels"];
    let said = case.words(&run).ok().stdout.replace('\t', "");
    assert_eq!(said.trim(), "CapBnd:00000000800405fb\nSeccomp:2");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
