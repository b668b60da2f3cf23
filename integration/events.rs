//! `events`: what every verb leaves in the journal, and how it is followed.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout},
};

use crate::case::Case;

cases! {
    of_a_run: root ordinary single;
    of_a_life: root ordinary;
    of_exec: root ordinary;
    of_images_and_volumes: root ordinary;
    formats: root ordinary;
    filters: root ordinary;
    followed: root ordinary;
    since_and_until: root ordinary;
    ends_with_its_reader: root ordinary;
    nowhere_to_write: root ordinary;
    mistakes: root ordinary;
}

/// What happened to the things that fit, in order.
fn actions(case: &Case, filters: &[&str]) -> String {
    let mut words = vec!["events", "--stream=false", "--format", "{{.Action}}"];
    words.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    let shown = case.words(&words).ok().stdout;
    shown.lines().collect::<Vec<_>>().join(" ")
}

fn of_a_run(case: &Case) {
    case.load_busybox();
    case.shell("--name brief --label a=b", "exit 3").exits(3);
    assert_eq!(
        actions(case, &["container=brief"]),
        "create attach start die destroy"
    );
    let format =
        "{{.Actor.Attributes.exitCode}} {{.Actor.Attributes.image}} {{.Actor.Attributes.a}}";
    case.words(&[
        "events",
        "--stream=false",
        "-f",
        "event=die",
        "--format",
        format,
    ])
    .ok()
    .prints("3 localhost/busybox b");
    // What does not start has happened too.
    case.engine("run --rm --name never --network none localhost/busybox /no/such/program")
        .exits(127);
    assert_eq!(
        actions(case, &["container=never"]),
        "create attach die destroy"
    );
}

fn of_a_life(case: &Case) {
    case.load_busybox();
    case.engine("create --name boat --network none localhost/busybox sleep 1000")
        .ok();
    for line in [
        "start boat",
        "kill --signal USR2 boat",
        "top boat",
        "export -o /dev/null boat",
    ] {
        case.engine(line).ok();
    }
    case.engine("restart -t 0 boat").ok();
    case.engine("stop -t 0 boat").ok();
    case.engine("rm boat").ok();
    assert_eq!(
        actions(case, &["container=boat"]),
        "create start kill die start restart kill kill die stop destroy".replace(
            "kill die start restart",
            "kill top export kill kill die stop start restart"
        ),
    );
    case.words(&[
        "events",
        "--stream=false",
        "--filter=event=kill",
        "--format={{.Actor.Attributes.signal}}",
    ])
    .ok()
    .prints("12\n15\n9\n15\n9");
}

fn of_exec(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name boat --network none localhost/busybox sleep 1000")
        .ok();
    case.words(&["exec", "boat", "sh", "-c", "exit 7"]).exits(7);
    let told = actions(case, &["container=boat"]);
    assert_eq!(
        told,
        "create start exec_create: sh -c exit 7 exec_start: sh -c exit 7 exec_die"
    );
    let ids = case.words(&[
        "events",
        "--stream=false",
        "--filter=event=exec_start",
        "--filter=event=exec_die",
        "--format={{.Actor.Attributes.execID}} {{.Actor.Attributes.exitCode}}",
    ]);
    let ids = ids.ok().stdout;
    let lines: Vec<&str> = ids.lines().collect();
    assert_eq!(lines.len(), 2, "{ids}");
    assert_eq!(lines[0].split(' ').next(), lines[1].split(' ').next());
    assert!(lines[1].ends_with(" 7"), "{ids}");
    case.engine("rm -f boat").ok();
}

fn of_images_and_volumes(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox localhost/other").ok();
    case.engine("rmi localhost/other").ok();
    assert_eq!(actions(case, &["type=image"]), "load tag untag");
    case.engine("volume create store").ok();
    case.shell("-v store:/store", "true").ok();
    case.engine("volume rm store").ok();
    assert_eq!(
        actions(case, &["volume=store"]),
        "create mount unmount destroy"
    );
}

fn formats(case: &Case) {
    case.load_busybox();
    case.shell("--name brief", "true").ok();
    let line = case
        .engine("events --stream=false -f container=brief -f event=create")
        .ok();
    let line = line.stdout.trim_end();
    // 2026-11-21T12:00:00.123456789+01:00 container create ID (image=…, name=…)
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[1..3], ["container", "create"], "{line}");
    assert_eq!(words[0].as_bytes()[19], b'.', "{line}");
    assert_eq!(words[3].len(), 64, "{line}");
    assert!(
        line.ends_with(" (image=localhost/busybox, name=brief)"),
        "{line}"
    );
    let object = case
        .engine("events --stream=false -f container=brief -f event=create --format json")
        .ok()
        .json();
    assert_eq!(object["status"], "create");
    assert_eq!(object["id"], words[3]);
    assert_eq!(object["from"], "localhost/busybox");
    assert_eq!(object["Type"], "container");
    assert_eq!(object["Actor"]["ID"], words[3]);
    assert_eq!(object["scope"], "local");
    assert_eq!(
        object["timeNano"].as_i64().unwrap() / 1_000_000_000,
        object["time"].as_i64().unwrap()
    );
}

fn filters(case: &Case) {
    case.load_busybox();
    case.shell("--name one --label tier=front", "true").ok();
    case.shell("--name two", "true").ok();
    for (filters, expected) in [
        (&["event=start"][..], "start start"),
        (&["event=start", "container=one"], "start"),
        (
            &["event=start", "event=destroy", "container=two"],
            "start destroy",
        ),
        (&["container=one", "container=two", "event=die"], "die die"),
        (&["label=tier=front", "event=create"], "create"),
        (&["label=tier=back"], ""),
        (
            &["image=localhost/busybox", "event=attach"],
            "attach attach",
        ),
        (&["type=volume"], ""),
        (&["scope=swarm"], ""),
    ] {
        assert_eq!(actions(case, filters), expected, "{filters:?}");
    }
}

/// `events` at work, and its lines.
fn follow(case: &Case, more: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let words = [&["events", "--format", "{{.Type}} {{.Action}}"], more].concat();
    let mut child = case.start(&words);
    let lines = BufReader::new(child.stdout.take().unwrap());
    // It has begun once it sees what happens: volumes are cheap.
    (child, lines)
}

fn next(lines: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn followed(case: &Case) {
    case.load_busybox();
    // With --since nothing is missed, however long it takes to begin.
    let (mut child, mut lines) = follow(case, &["--since", "0", "--filter", "type=container"]);
    case.shell("--name brief", "true").ok();
    for expected in ["create", "attach", "start", "die", "destroy"] {
        assert_eq!(next(&mut lines), format!("container {expected}"));
    }
    // The journal is rotated behind its back.
    let journal = case.root().join("events/journal");
    std::fs::rename(&journal, case.root().join("events/journal.1")).unwrap();
    case.shell("--name again", "true").ok();
    for expected in ["create", "attach", "start", "die", "destroy"] {
        assert_eq!(next(&mut lines), format!("container {expected}"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn since_and_until(case: &Case) {
    case.load_busybox();
    case.engine("volume create early").ok();
    let moment = case
        .engine("events --stream=false -f volume=early --format {{.TimeNano}}")
        .ok();
    let nanoseconds: i64 = moment.stdout.trim().parse().unwrap();
    let text = |nanoseconds: i64| {
        let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
        format!("{seconds}.{rest:09}")
    };
    case.engine("volume create late").ok();
    let ids = |flags: &str| {
        let line = format!("events {flags} -f type=volume --format {{{{.Actor.ID}}}}");
        let shown = case.engine(&line).ok().stdout;
        shown.lines().collect::<Vec<_>>().join(" ")
    };
    let (at, after) = (text(nanoseconds), text(nanoseconds + 1));
    assert_eq!(ids(&format!("--since {at} --until 0s")), "early late");
    assert_eq!(ids(&format!("--since {after} --until 0s")), "late");
    assert_eq!(ids(&format!("--until {at}")), "early");
    assert_eq!(ids("--since 1h --stream=false"), "early late");
    // A moment to come ends it by itself.
    assert_eq!(ids("--since 1h --until -1s"), "early late");
}

fn ends_with_its_reader(case: &Case) {
    case.load_busybox();
    let (mut child, lines) = follow(case, &[]);
    drop(lines);
    // Nothing happens: the broken pipe alone ends it.
    let status = child.wait().unwrap();
    assert!(status.code().is_some(), "{status}");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "");
}

fn nowhere_to_write(case: &Case) {
    case.load_busybox();
    let events = case.root().join("events");
    std::fs::remove_dir_all(&events).unwrap();
    std::fs::write(&events, "in the way").unwrap();
    // What cannot be noted is done all the same.
    case.shell("", "echo done").ok().prints("done");
    case.engine("volume create store").ok();
    case.engine("events --stream=false").fails(1, "events");
    std::fs::remove_file(&events).unwrap();
    case.engine("events --stream=false").ok().prints("");
}

fn mistakes(case: &Case) {
    case.engine("events --filter colour=red").fails(1, "colour");
    case.engine("events --filter container").exits(125);
    case.engine("events --since yesterday")
        .fails(1, "yesterday");
    case.engine("events --since 1m --until 2m")
        .fails(1, "time range");
    case.engine("events --format {{").exits(64);
    case.engine("events nothing").exits(1);
    case.engine("events --stream=perhaps").exits(125);
}
