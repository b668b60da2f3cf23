//! `ps`, `port` and `inspect`: what they show, and that they wait for nobody.

use std::{fs::File, os::fd::OwnedFd, process::Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::case::Case;

cases! {
    filters: root ordinary;
    sorted: root ordinary;
    columns: root ordinary;
    namespaces: root ordinary;
    watched: root ordinary;
    cost: root ordinary;
    waits_for_no_lock: root ordinary;
    port: root ordinary;
    inspect: root ordinary;
    mistakes: root ordinary;
}

fn names(case: &Case, words: &[&str]) -> String {
    let words = [&["ps", "-a", "--format", "{{.Names}}"], words].concat();
    let shown = case.words(&words).ok().stdout;
    shown.lines().collect::<Vec<_>>().join(" ")
}

/// One that runs, one that has ended with 3, one that was never started; oldest first.
fn three(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name runs --label a=b --restart always --network none localhost/busybox sleep 1000")
        .ok();
    case.words(&[
        "run",
        "--name",
        "ended",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "exit 3",
    ])
    .exits(3);
    case.engine("create --name fresh -v store:/store --network host localhost/busybox true")
        .ok();
}

fn filters(case: &Case) {
    three(case);
    for (filter, expected) in [
        ("status=running", "runs"),
        ("status=exited", "ended"),
        ("status=stopped", "ended"),
        ("status=created", "fresh"),
        ("exited=3", "ended"),
        ("exited=0", ""),
        ("name=^r", "runs"),
        ("name=^/(runs|ended)$", "ended runs"),
        ("name=s{2}", ""),
        ("label=a", "runs"),
        ("label=a=c", ""),
        ("label!=a", "fresh ended"),
        ("network=host", "fresh"),
        ("volume=store", "fresh"),
        ("volume=/store", "fresh"),
        ("ancestor=localhost/busybox", "fresh ended runs"),
        ("ancestor=localhost/nothing", ""),
        ("before=ended", "runs"),
        ("since=ended", "fresh"),
        ("until=0s", "fresh ended runs"),
        ("until=1h", ""),
        ("health=none", "fresh ended runs"),
        ("health=healthy", ""),
        ("restart-policy=always", "runs"),
        ("command=sleep", "runs"),
        ("expose=80", ""),
        ("publish=80/tcp", ""),
        ("is-task=false", "fresh ended runs"),
        ("is-task=true", ""),
        ("isolation=default", "fresh ended runs"),
        ("pod=any", ""),
    ] {
        assert_eq!(names(case, &["-f", filter]), expected, "{filter}");
    }
    assert_eq!(
        names(case, &["-f", "name=runs", "-f", "name=fresh"]),
        "fresh runs"
    );
    assert_eq!(names(case, &["-f", "name=runs", "-f", "status=exited"]), "");
    case.engine("rm -f runs ended fresh").ok();
}

fn sorted(case: &Case) {
    three(case);
    for (order, expected) in [
        ("names", "ended fresh runs"),
        ("created", "runs ended fresh"),
        ("command", "ended runs fresh"),
        ("status", "fresh ended runs"),
    ] {
        assert_eq!(names(case, &["--sort", order]), expected, "{order}");
    }
    assert_eq!(
        names(case, &["--last", "2", "--sort", "names"]),
        "ended fresh"
    );
    assert_eq!(names(case, &["--latest"]), "fresh");
    case.engine("rm -f runs ended fresh").ok();
}

fn columns(case: &Case) {
    three(case);
    let table = case.engine("container ls").ok().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("CONTAINER ID   IMAGE"), "{table}");
    assert_eq!(lines.len(), 2, "{table}");
    let bare = case.engine("ps --noheading").ok().stdout;
    assert_eq!(bare.lines().count(), 1, "{bare}");
    // Accepted, and without an effect.
    case.engine("ps --sync --external --noheading -q").ok();
    case.engine("ps --pod").ok().contains("POD ID");
    let sized = case.engine("ps -a --size --format {{.Size}}").ok().stdout;
    assert_eq!(sized.matches("virtual").count(), 3, "{sized}");
    let json = case.engine("ps --format json").ok().json();
    assert_eq!(json["Names"], "runs");
    assert_eq!(json["State"], "running");
    let labels = json["Labels"].as_str().unwrap();
    assert!(labels.starts_with("a=b"), "{labels}");
    case.engine("rm -f runs ended fresh").ok();
}

fn namespaces(case: &Case) {
    three(case);
    let shown = case.engine("ps -a --ns --noheading").ok().stdout;
    let pid = case.engine("inspect -f {{.State.Pid}} runs").ok();
    let line = shown.lines().find(|line| line.contains("runs")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[2], pid.first(), "{shown}");
    let link = std::fs::read_link(format!("/proc/{}/ns/mnt", pid.first())).unwrap();
    let number = link.display().to_string();
    assert!(
        words.iter().any(|word| number == format!("mnt:[{word}]")),
        "{shown}"
    );
    // One that does not run has none.
    let fresh = shown.lines().find(|line| line.contains("fresh")).unwrap();
    assert_eq!(fresh.split_whitespace().count(), 2, "{shown}");
    case.engine("rm -f runs ended fresh").ok();
}

fn watched(case: &Case) {
    use std::io::{BufRead, BufReader};
    three(case);
    let mut child = case.start(&["ps", "--watch", "1", "--format", "{{.Names}}"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert_eq!(lines.next().unwrap().unwrap(), "runs");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    case.engine("rm -f runs ended fresh").ok();
}

/// System calls for each container that has ended: three files are opened, read and closed, and its
/// root file system is looked for.
fn cost(case: &Case) {
    case.load_busybox();
    let count = || {
        let log = case.dir.join("trace").display().to_string();
        let traced = case.strace(&["-f", "-qq", "-o", &log], &["ps", "-a"])?;
        crate::case::finish(traced).ok();
        let text = std::fs::read_to_string(&log).unwrap();
        // A build with debug assertions asks about every descriptor that it closes.
        let counts = |line: &&str| line.contains('(') && !line.contains("F_GETFD");
        Some(text.lines().filter(counts).count())
    };
    let run = |name: &str| {
        let line = format!("run --name {name} --network none localhost/busybox true");
        case.engine(&line).ok();
    };
    run("first");
    let Some(before) = count() else { return };
    let more = ["aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj"];
    more.iter().for_each(|name| run(name));
    let Some(after) = count() else { return };
    let each = (after - before) as f64 / more.len() as f64;
    println!("{each} system calls a container");
    // Now and then the list of the folder needs one more.
    assert!(each < 11.0, "{each} system calls a container");
}

/// An exclusive `flock` on a file or folder of the store, for as long as it lives.
fn hold(case: &Case, place: &str) -> OwnedFd {
    let file: OwnedFd = File::open(case.root().join(place)).unwrap().into();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

fn waits_for_no_lock(case: &Case) {
    three(case);
    let id = |name: &str| {
        let line = format!("inspect -f {{{{.Id}}}} {name}");
        case.engine(&line).ok().first().to_owned()
    };
    let mut places = [
        "lock",
        "containers",
        "images",
        "names",
        "tmp",
        "events",
        "volumes",
    ]
    .map(str::to_owned)
    .to_vec();
    for name in ["runs", "ended", "fresh"] {
        let id = id(name);
        places.push(format!("containers/{id}"));
        places.push(format!("containers/{id}/lock"));
    }
    let held: Vec<OwnedFd> = places.iter().map(|place| hold(case, place)).collect();
    for line in [
        "ps -a",
        "ps -q",
        "ps -a --size",
        "inspect runs ended fresh",
        "inspect --size runs",
        "logs runs",
        "logs ended",
        "events --stream=false",
        "port runs",
        "top runs",
        "images",
        "volume ls",
        "info",
    ] {
        let outcome = case.engine(line).ok();
        // A wait says for whom.
        assert!(!outcome.stderr.contains("waiting"), "{outcome}");
    }
    drop(held);
    case.engine("rm -f runs ended fresh").ok();
}

fn port(case: &Case) {
    three(case);
    case.engine("port runs").ok().prints("");
    case.engine("container port fresh").ok().prints("");
    case.engine("port --all").ok().prints("");
    case.engine("port runs 80")
        .fails(1, "no public port '80' published for runs");
    case.engine("port runs eighty").fails(1, "invalid port");
    case.engine("port nobody").fails(1, "no such container");
    case.engine("port").exits(1);
    case.engine("rm -f runs ended fresh").ok();
}

fn inspect(case: &Case) {
    three(case);
    case.engine("inspect --latest -f {{.Name}}")
        .ok()
        .prints("/fresh");
    case.engine("inspect -t container -f {{.State.ExitCode}} ended fresh")
        .ok()
        .prints("3\n0");
    case.engine("inspect --type=volume -f {{.Name}} store")
        .ok()
        .prints("store");
    case.engine("inspect --type=network none").ok();
    case.engine("inspect --type=network nothing")
        .fails(1, "network nothing not found");
    case.engine("inspect --type=image --size localhost/busybox")
        .ok();
    let outcome = case.engine("inspect runs nobody").exits(1);
    assert_eq!(outcome.json().as_array().unwrap().len(), 1, "{outcome}");
    case.engine("rm -f runs ended fresh").ok();
}

fn mistakes(case: &Case) {
    for line in [
        "ps --filter colour=red",
        "ps --filter status=asleep",
        "ps --filter health=fine",
        "ps --filter until=yesterday",
        "ps --filter before=nobody",
    ] {
        case.engine(line).fails(1, "");
    }
    case.engine("ps --sort colour").fails(125, "--sort");
    case.engine("ps --watch 0").fails(125, "interval");
    case.engine("ps --ns --quiet").fails(125, "--ns");
    let mut closed = case.command(&["ps", "-a"]);
    closed.stdout(Stdio::null());
    assert!(closed.status().unwrap().success());
}
