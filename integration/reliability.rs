//! What the machine does to a container that nobody asked for: numbers of processes that come
//! again, a clock that is set back, another boot, a full disk.

use std::{fs, path::PathBuf, process::Stdio};

use crate::case::{Case, finish};

cases! {
    number_of_somebody_else: root ordinary;
    another_boot: root ordinary;
    clock_set_back: root ordinary;
    full_disk: root;
}

fn folder(case: &Case, name: &str) -> PathBuf {
    let id = case
        .words(&["inspect", "--format", "{{.Id}}", name])
        .ok()
        .stdout;
    case.root().join("containers").join(id.trim())
}

fn change(file: PathBuf, change: impl Fn(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, serde_json::to_vec(&value).unwrap()).unwrap();
}

fn state(case: &Case, name: &str) -> String {
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    let outcome = case.words(&["inspect", "--format", format, name]).ok();
    outcome.stdout.trim().to_owned()
}

/// A process number that was the container's is another program's by now: no command touches it.
fn number_of_somebody_else(case: &Case) {
    case.load_busybox();
    let mut stranger = case
        .program("sleep")
        .arg("1000")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for dead in [true, false] {
        case.engine("run -d --name=mistaken --network=none localhost/busybox sleep 1000")
            .ok();
        let record = folder(case, "mistaken").join("state.json");
        let pids = |record: &PathBuf| -> [i64; 2] {
            let value: serde_json::Value =
                serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
            ["init", "supervisor"].map(|who| value[who]["pid"].as_i64().unwrap())
        };
        let true_pids = pids(&record);
        if dead {
            let supervisor = rustix::process::Pid::from_raw(true_pids[1] as i32).unwrap();
            rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
            case.eventually("the container is gone", || {
                !state(case, "mistaken").starts_with("running")
            });
        }
        let mistaken = i64::from(stranger.id());
        change(record.clone(), |value| {
            for who in ["init", "supervisor"] {
                value[who]["pid"] = mistaken.into();
            }
        });
        for words in [
            "kill -s TERM mistaken",
            "exec mistaken true",
            "top mistaken",
        ] {
            let outcome = case.engine(words);
            // A supervisor that lives knows its own container.
            assert!(outcome.code != 0 || !dead, "{outcome}");
            assert!(stranger.try_wait().unwrap().is_none(), "killed by {words}");
        }
        if !dead {
            change(record.clone(), |value| {
                for (who, pid) in ["init", "supervisor"].iter().zip(true_pids) {
                    value[*who]["pid"] = pid.into();
                }
            });
        }
        case.engine("rm -f mistaken").ok();
        assert!(stranger.try_wait().unwrap().is_none(), "killed by rm -f");
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// After a reboot the run root is empty and nobody holds a lock: nothing runs, everything starts.
fn another_boot(case: &Case) {
    case.load_busybox();
    for name in ["ended", "cut"] {
        case.words(&[
            "run",
            "-d",
            "--name",
            name,
            "--network=none",
            "localhost/busybox",
        ])
        .ok();
    }
    for (name, script) in [("off", "exit 5"), ("on", "sleep 1000")] {
        let name = format!("--name={name}");
        let words = [
            "run",
            "-d",
            &name,
            "--network=none",
            "localhost/busybox",
            "sh",
            "-c",
        ];
        case.words(&[&words[..], &[script]].concat()).ok();
    }
    case.engine("wait off").ok().prints("5");
    let record = folder(case, "on").join("state.json");
    let text = fs::read(&record).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let pid = value["supervisor"]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    case.engine("rm -f ended cut").ok();
    case.eventually("the machine is off", || case.processes().is_empty());
    change(record, |value| {
        for who in ["init", "supervisor"] {
            value[who]["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        }
    });
    let _ = fs::remove_dir_all(case.dir_path("run"));
    assert_eq!(state(case, "off"), "exited 5");
    assert!(!state(case, "on").starts_with("running"));
    case.engine("ps -q").ok().prints("");
    case.engine("start on").ok();
    assert_eq!(state(case, "on"), "running 0");
    case.engine("exec on true").ok();
    case.engine("start -a off").exits(5);
    case.engine("rm -f on off").ok();
}

/// Times of the future are no reason for negative ages or wrong states.
fn clock_set_back(case: &Case) {
    case.load_busybox();
    let future = "2199-01-01T00:00:00.000000000Z";
    case.engine("run -d --name=early --network=none localhost/busybox sleep 1000")
        .ok();
    change(folder(case, "early").join("state.json"), |value| {
        value["started"] = future.into();
    });
    case.engine("run --name=over --network=none localhost/busybox true")
        .ok();
    change(folder(case, "over").join("state.json"), |value| {
        value["started"] = future.into();
    });
    change(folder(case, "over").join("exit.json"), |value| {
        value["started"] = future.into();
        value["finished"] = future.into();
    });
    let table = case
        .words(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"])
        .ok();
    assert!(!table.stdout.contains('-'), "{table}");
    assert!(table.stdout.contains("early Up"), "{table}");
    assert!(table.stdout.contains("over Exited (0)"), "{table}");
    case.engine("exec early true").ok();
    case.engine("stop -t 0 early").ok();
    assert_eq!(state(case, "early"), "exited 137");
    case.engine("start early").ok();
    assert_eq!(state(case, "early"), "running 0");
    case.engine("rm -f early over").ok();
}

/// The log cannot grow, records cannot be written: the program goes on, and its code is told.
fn full_disk(case: &Case) {
    let root = case.make_dir("root");
    let mut mount = case.program("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs"])
        .arg(&root);
    finish(mount).ok();
    case.load_busybox();
    let fill = "yes 0123456789 | head -c 16000000; echo > /dev/null; echo end >&2; exit 7";
    let words = [
        "run",
        "--name=wordy",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        fill,
    ];
    let outcome = case.words(&words);
    assert_eq!(outcome.code, 7, "{}", outcome.stderr);
    assert_eq!(outcome.stdout.len(), 16_000_000);
    assert!(outcome.stderr.contains("end"), "{}", outcome.stderr);
    // Commands that need no room work, and room can be made.
    case.engine("ps -a").ok().contains("wordy");
    case.engine("logs --tail 1 wordy").ok();
    case.engine("rm -f wordy").ok();
    case.engine("run --rm --network=none localhost/busybox echo room")
        .ok()
        .prints("room");
    // Full while it runs, and asked to end.
    let sleep =
        "trap 'exit 9' TERM; cat /dev/zero > /fill; echo ready; while :; do sleep 0.05; done";
    let begin = [
        "run",
        "-d",
        "--name=full",
        "--network=none",
        "localhost/busybox",
    ];
    case.words(&[&begin[..], &["sh", "-c", sleep]].concat())
        .ok();
    let waiting = case.start(&["wait", "full"]);
    case.eventually("the disk is full", || {
        case.engine("exec full sh -c true").code == 0
            // Asked, not tried: what a try takes nobody fills again.
            && rustix::fs::statvfs(&root).unwrap().f_bavail == 0
    });
    let _ = fs::remove_file(root.join("probe"));
    case.engine("stop full").ok();
    let outcome = crate::case::collect("wait full".to_owned(), waiting);
    assert_eq!(outcome.stdout.trim(), "9", "{outcome}");
    assert_eq!(state(case, "full"), "exited 9");
    case.engine("rm full").ok();
    let mut unmount = case.program("umount");
    unmount.arg(&root);
    finish(unmount).ok();
}
