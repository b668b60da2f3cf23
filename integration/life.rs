//! The life of detached containers, and what is left when something dies.

use std::io::Write;

use rustix::process::{Pid, Signal, kill_process};

use crate::case::Case;

cases! {
    detached: root ordinary single;
    create_and_start: root ordinary;
    logs: root ordinary;
    logs_follow: root ordinary;
    logs_of_much: root ordinary;
    attach: root ordinary;
    attach_gives_input: root ordinary;
    stop: root ordinary;
    stop_kills_who_does_not_listen: root ordinary;
    kill: root ordinary;
    wait: root ordinary;
    remove: root ordinary;
    start_again: root ordinary;
    inspect_container: root ordinary;
    list: root ordinary;
    supervisor_killed: root ordinary single;
    first_process_killed: root ordinary;
    changes_are_kept: root ordinary;
    idle_supervisor_is_small: root;
    replaced_by_name: root ordinary;
    named_by_file_or_latest: root ordinary;
    image_goes_with_its_run: root ordinary;
}

fn names(case: &Case, flags: &str) -> Vec<String> {
    let mut words = vec!["ps", "--format", "{{.Names}}"];
    words.extend(flags.split_whitespace());
    let listed = case.words(&words).ok().stdout;
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn state(case: &Case, name: &str) -> String {
    case.words(&[
        "inspect",
        "--format",
        "{{.State.Status}} {{.State.ExitCode}}",
        name,
    ])
    .ok()
    .stdout
    .trim()
    .to_owned()
}

fn detached(case: &Case) {
    case.load_busybox();
    let outcome = case
        .engine("run -d --name one --network none localhost/busybox sleep 100")
        .ok();
    assert_eq!(outcome.first().len(), 64, "{outcome}");
    assert_eq!(names(case, ""), ["one"]);
    case.engine("rm one").fails(1, "running");
    case.engine("rm -f one").ok().prints("one");
    assert!(names(case, "-a").is_empty());
    // Its directory goes with it.
    let outcome = case
        .engine("run -d --rm --network none localhost/busybox sleep 0.1")
        .ok();
    case.eventually("--rm removes it", || names(case, "-a").is_empty());
    drop(outcome);
    // Failing to start is told by the command that starts.
    case.engine("run -d --network none --name never localhost/busybox /no/such/program")
        .exits(127);
    case.engine("rm -f never");
}

fn create_and_start(case: &Case) {
    case.load_busybox();
    case.engine("create --name later --network none localhost/busybox sh -c exit\\ 3")
        .ok();
    assert_eq!(state(case, "later"), "created 0");
    assert!(names(case, "").is_empty());
    case.words(&[
        "create",
        "--name=says",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "echo said; exit 3",
    ])
    .ok();
    case.engine("start -a says").exits(3).contains("said");
    assert_eq!(state(case, "says"), "exited 3");
    case.engine("start says").ok().prints("says");
    case.engine("wait says").ok().prints("3");
    case.engine("rm later says").ok();
}

fn logs(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--name=talk",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo out $i; done; echo err >&2; printf unfinished",
    ])
    .ok();
    case.engine("wait talk").ok();
    let outcome = case.engine("logs talk").ok();
    assert_eq!(
        outcome.stdout, "out 1\nout 2\nout 3\nout 4\nout 5\nunfinished",
        "{outcome}"
    );
    assert_eq!(outcome.stderr, "err\n", "{outcome}");
    let tail = case.engine("logs --tail 2 talk").ok();
    assert!(
        !tail.stdout.contains("out 4") && tail.stdout.contains("unfinished"),
        "{tail}"
    );
    let stamped = case.engine("logs -t talk").ok();
    assert!(
        stamped.first().starts_with("20") && stamped.first().ends_with(" out 1"),
        "{stamped}"
    );
    case.engine("logs --since 2100-01-01T00:00:00Z talk")
        .ok()
        .prints("");
    case.engine("logs --since 1h --tail all talk")
        .ok()
        .contains("out 1");
    case.engine("logs no-such-container")
        .fails(1, "no-such-container");
    case.engine("rm talk").ok();
}

fn logs_follow(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--name=slow",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "for i in 1 2 3; do echo tick $i; sleep 0.2; done",
    ])
    .ok();
    // Ends when the container does, with everything.
    case.engine("logs -f slow")
        .ok()
        .prints("tick 1\ntick 2\ntick 3");
    case.engine("rm -f slow").ok();
}

fn logs_of_much(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--name=much",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "head -c 3000000 /dev/zero | tr '\\0' x; echo; seq 20000",
    ])
    .ok();
    case.engine("wait much").ok();
    let outcome = case.engine("logs much").ok();
    assert_eq!(
        outcome.first().len(),
        3_000_000,
        "a line longer than any buffer is one line"
    );
    assert_eq!(outcome.stdout.lines().count(), 20_001);
    case.engine("logs --tail 1 much").ok().prints("20000");
    case.engine("rm much").ok();
}

fn attach(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--name=later",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "sleep 0.7; echo now; exit 5",
    ])
    .ok();
    case.engine("attach --no-stdin later")
        .exits(5)
        .contains("now");
    case.engine("attach later").fails(1, "later");
    case.engine("rm later").ok();
}

fn attach_gives_input(case: &Case) {
    case.load_busybox();
    case.engine("create -i --name=reader --network none localhost/busybox cat")
        .ok();
    case.engine("start reader").ok();
    case.with_input(&["attach", "reader"], "through the socket\n")
        .ok()
        .prints("through the socket");
    case.eventually("cat ends with its input", || {
        state(case, "reader") == "exited 0"
    });
    case.engine("rm reader").ok();
    // What was started by itself keeps its input open, as with Docker (StdinOnce).
    let program = "read a; echo got $a; read b; echo $a and $b; exit 4";
    case.words(&[
        "run",
        "-d",
        "-i",
        "--name=patient",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        program,
    ])
    .ok();
    case.words(&["inspect", "-f", "{{.Config.StdinOnce}}", "patient"])
        .ok()
        .prints("false");
    let mut before = case.start(&["attach", "patient"]);
    before.stdin.take().unwrap().write_all(b"one\n").unwrap();
    case.eventually("the first line is read", || {
        case.engine("logs patient").stdout == "got one\n"
    });
    case.with_input(&["attach", "patient"], "two\n")
        .exits(4)
        .contains("one and two");
    assert_eq!(before.wait().unwrap().code(), Some(4));
    case.engine("rm patient").ok();
    case.engine("run -dt --name=screen --network none localhost/busybox sleep 1000")
        .ok();
    case.with_input(&["attach", "screen"], "not typed\n")
        .fails(1, "the input device is not a TTY");
    case.engine("rm -f screen").ok();
}

fn stop(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--name=polite",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done",
    ])
    .ok();
    case.eventually("it is ready", || {
        case.engine("logs polite").stdout.contains("ready")
    });
    case.engine("stop polite").ok().prints("polite");
    assert_eq!(state(case, "polite"), "exited 4");
    case.engine("logs polite").ok().contains("bye");
    case.engine("stop polite").ok();
    case.engine("rm polite").ok();
}

fn stop_kills_who_does_not_listen(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name deaf --network none localhost/busybox sleep 100")
        .ok();
    let begin = std::time::Instant::now();
    case.engine("stop -t 1 deaf").ok();
    let took = begin.elapsed().as_secs_f64();
    assert!((0.9..5.0).contains(&took), "{took} s");
    assert_eq!(state(case, "deaf"), "exited 137");
    case.engine("rm deaf").ok();
}

fn kill(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--name=victim",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done",
    ])
    .ok();
    case.eventually("it is ready", || {
        case.engine("logs victim").stdout.contains("ready")
    });
    case.engine("kill -s USR1 victim").ok();
    case.eventually("it heard", || {
        case.engine("logs victim").stdout.contains("usr1")
    });
    case.engine("kill -s NONSENSE victim").fails(1, "NONSENSE");
    case.engine("kill victim").ok();
    case.engine("wait victim").ok().prints("137");
    case.engine("kill victim").fails(1, "not running");
    case.engine("rm victim").ok();
}

fn wait(case: &Case) {
    case.load_busybox();
    for (name, code) in [("a", "0"), ("b", "12")] {
        case.words(&[
            "run",
            "-d",
            "--name",
            &format!("w-{name}"),
            "--network=none",
            "localhost/busybox",
            "sh",
            "-c",
            &format!("sleep 0.3; exit {code}"),
        ])
        .ok();
    }
    case.engine("wait w-a w-b").ok().prints("0\n12");
    case.engine("wait w-b").ok().prints("12");
    case.engine("wait no-such").fails(1, "no-such");
    case.engine("rm w-a w-b").ok();
}

fn remove(case: &Case) {
    case.load_busybox();
    let id = case
        .engine("create --name gone --network none localhost/busybox true")
        .ok()
        .first()
        .to_owned();
    case.words(&["rm", &id[..8]]).ok();
    case.engine("rm gone").fails(1, "gone");
    case.engine("rm -f gone").ok();
    for name in ["r1", "r2"] {
        case.engine(&format!(
            "run --name {name} --network none localhost/busybox mkdir -m 0 /locked"
        ))
        .ok();
    }
    // One that fails does not keep the others.
    case.engine("rm r1 no-such r2").exits(1).prints("r1\nr2");
    let left = std::fs::read_dir(case.root().join("containers")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "directories of removed containers");
}

fn start_again(case: &Case) {
    case.load_busybox();
    case.words(&[
        "create",
        "--name=again",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "echo x >> /count; wc -l < /count",
    ])
    .ok();
    for n in ["1", "2", "3"] {
        case.engine("start -a again").ok().prints(n);
    }
    let outcome = case.engine("logs again").ok();
    assert_eq!(
        outcome.stdout.split_whitespace().collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    case.engine("rm again").ok();
}

fn inspect_container(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name seen --network none -e A=b -l key=value -w /var --read-only localhost/busybox sleep 100").ok();
    let all = case.engine("inspect seen").ok().json();
    let one = &all[0];
    assert_eq!(one["State"]["Running"], true);
    assert_eq!(one["State"]["Status"], "running");
    assert_eq!(one["Config"]["Labels"]["key"], "value");
    assert_eq!(one["Config"]["Labels"]["test.origin"], "busybox");
    assert_eq!(one["Config"]["WorkingDir"], "/var");
    assert_eq!(one["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(one["HostConfig"]["NetworkMode"], "none");
    assert!(one["State"]["Pid"].as_i64().unwrap() > 0);
    assert!(
        one["Config"]["Env"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry == "A=b")
    );
    case.words(&[
        "inspect",
        "--format",
        "{{.Path}} {{join .Args \" \"}}",
        "seen",
    ])
    .ok()
    .prints("sleep 100");
    case.words(&["inspect", "--format", "{{.NoSuch.Field}}", "seen"])
        .exits(1);
    case.engine("rm -f seen").ok();
    case.engine("inspect seen").exits(1);
}

fn list(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name up --network none localhost/busybox sleep 100")
        .ok();
    case.engine("run --name down --network none localhost/busybox sh -c false")
        .exits(1);
    assert_eq!(names(case, ""), ["up"]);
    assert_eq!(names(case, "-a"), ["down", "up"]);
    assert_eq!(names(case, "-a --filter status=exited"), ["down"]);
    assert_eq!(names(case, "-a --filter name=up"), ["up"]);
    let table = case.engine("ps -a").ok();
    let head: Vec<&str> = table.first().split_whitespace().collect();
    assert_eq!(
        head,
        [
            "CONTAINER",
            "ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES"
        ]
    );
    assert!(
        table.stdout.contains("Exited (1)") && table.stdout.contains("Up "),
        "{table}"
    );
    case.engine("ps -q").ok();
    case.engine("rm -f up down").ok();
}

/// The kernel says what runs: nothing has to be told that the supervisor is gone.
fn supervisor_killed(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name orphan --network none localhost/busybox sleep 4321")
        .ok();
    let init: i32 = case
        .words(&["inspect", "--format", "{{.State.Pid}}", "orphan"])
        .ok()
        .stdout
        .trim()
        .parse()
        .unwrap();
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(parent > 1, "the supervisor is the parent");
    kill_process(Pid::from_raw(parent).unwrap(), Signal::KILL).unwrap();
    case.eventually("the container dies with it", || {
        !std::path::Path::new(&format!("/proc/{init}")).exists()
    });
    let listed = case
        .words(&["ps", "-a", "--format", "{{.Names}} {{.State}}"])
        .ok();
    assert!(
        listed.first().starts_with("orphan ") && !listed.first().contains("running"),
        "{listed}"
    );
    assert!(names(case, "").is_empty());
    assert!(case.mounts().is_empty());
    case.engine("start orphan").ok();
    assert_eq!(names(case, ""), ["orphan"]);
    case.engine("rm -f orphan").ok();
}

fn first_process_killed(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name shot --network none localhost/busybox sleep 4321")
        .ok();
    let init: i32 = case
        .words(&["inspect", "--format", "{{.State.Pid}}", "shot"])
        .ok()
        .stdout
        .trim()
        .parse()
        .unwrap();
    kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
    case.engine("wait shot").ok().prints("137");
    assert_eq!(state(case, "shot"), "exited 137");
    case.engine("rm shot").ok();
}

fn changes_are_kept(case: &Case) {
    case.load_busybox();
    case.words(&["run", "--name=edits", "--network=none", "localhost/busybox", "sh", "-c",
        "echo new > /etc/issue; rm /etc/not-a-program; rm -r /var/www; mkdir /var/www; echo 2 > /var/www/two; chown 7:8 /etc/issue; ln /etc/issue /etc/issue2"]).ok();
    case.engine("rm edits").ok();
    // The image is as it was.
    case.shell(
        "",
        "cat /var/www/index.html; ls /etc/issue 2>/dev/null; test -f /etc/not-a-program",
    )
    .exits(0);
}

/// At most what conmon needs: 450 KiB of its own.
fn idle_supervisor_is_small(case: &Case) {
    case.load_busybox();
    let names: Vec<String> = (0..10).map(|number| format!("idle{number}")).collect();
    for name in &names {
        case.words(&[
            "run",
            "-d",
            "--name",
            name,
            "--network=none",
            "localhost/busybox",
            "sleep",
            "100",
        ])
        .ok();
    }
    let field = |file: &str, name: &str| -> String {
        let text = std::fs::read_to_string(file).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().trim_end_matches(" kB").to_owned()
    };
    let supervisors: Vec<String> = names
        .iter()
        .map(|name| {
            let init = case
                .words(&["inspect", "--format", "{{.State.Pid}}", name])
                .ok();
            field(&format!("/proc/{}/status", init.stdout.trim()), "PPid:")
        })
        .collect();
    let mean = || {
        let pss = |pid: &String| {
            field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
                .parse::<u64>()
                .unwrap()
        };
        supervisors.iter().map(pss).sum::<u64>() / supervisors.len() as u64
    };
    // The last one may still be on its way to idleness.
    case.eventually(
        "450 KiB each, as ten of them share the program's pages",
        || mean() <= 450,
    );
    let mut remove = vec!["rm", "-f"];
    remove.extend(names.iter().map(String::as_str));
    case.words(&remove).ok();
}

/// A request that is refused replaces nothing.
fn replaced_by_name(case: &Case) {
    case.load_busybox();
    let run = "run -d --network none --stop-timeout 0 --name";
    case.engine(&format!("{run} one localhost/busybox sleep 100"))
        .ok();
    case.engine(&format!("{run} one localhost/busybox true"))
        .fails(125, "already in use");
    for refused in [
        "--memory 1 localhost/busybox",
        "--volumes-from nobody localhost/busybox",
        "localhost/nothing",
    ] {
        case.engine(&format!("{run} one --replace --pull never {refused} true"))
            .fails(125, "");
        case.engine("exec one true").ok();
    }
    case.engine(&format!("{run} one --replace localhost/busybox sleep 200"))
        .ok();
    case.engine("top one args").ok().contains("sleep 200");
    case.engine("create --replace --name two localhost/busybox true")
        .ok();
    assert_eq!(names(case, "-a"), ["one", "two"]);
    case.engine("create --replace localhost/busybox true")
        .fails(125, "--name");
    case.engine("rm -f one two").ok();
}

fn named_by_file_or_latest(case: &Case) {
    case.load_busybox();
    let file = case.dir_path("cid");
    let file = file.display();
    let run = "run -d --network none --stop-timeout 0";
    case.engine(&format!(
        "{run} --cidfile {file} --name first localhost/busybox sleep 100"
    ))
    .ok();
    case.engine(&format!("{run} --name second localhost/busybox sleep 200"))
        .ok();
    case.engine(&format!("exec --cidfile {file} ps"))
        .ok()
        .contains("sleep 100");
    case.engine("exec -l ps").ok().contains("sleep 200");
    case.engine(&format!("top --cidfile {file} args"))
        .ok()
        .contains("sleep 100");
    case.engine("top --latest args").ok().contains("sleep 200");
    case.engine("stats --no-stream --format {{.Name}} --latest")
        .ok()
        .prints("second");
    case.engine("pause --latest first").fails(125, "--latest");
    case.engine("pause").fails(1, "'coracle pause' requires");
    case.engine("update").fails(1, "'coracle update' requires");
    case.engine("exec --latest").fails(1, "requires");
    case.engine("top --cidfile /nowhere").fails(1, "/nowhere");
    case.engine("rm -f first second").ok();
    case.engine("top --latest").fails(1, "no container");
}

/// The program's exit code is kept, also when another container holds the image.
fn image_goes_with_its_run(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox localhost/other").ok();
    case.words(&["run", "--rmi", "localhost/other", "sh", "-c", "exit 3"])
        .exits(3);
    case.engine("images -q localhost/other").ok().prints("");
    case.engine("create --name user localhost/busybox true")
        .ok();
    let kept = case.words(&["run", "--rmi", "localhost/busybox", "sh", "-c", "exit 4"]);
    kept.exits(4);
    case.engine("inspect user").ok();
    assert_eq!(names(case, "-a"), ["user"]);
    case.engine("run -d --rmi localhost/busybox true")
        .fails(125, "--detach");
    case.engine("rm user").ok();
}
