//! Health checks: what runs them, what they find, what is done about it.

use serde_json::{Value, json};

use crate::{
    case::Case,
    image::{Image, busybox_layer},
};

cases! {
    checks_make_the_status: root ordinary single;
    of_the_image: root ordinary;
    checks_are_like_exec: root ordinary;
    on_demand: root ordinary;
    waited_for: root ordinary;
    changed_while_running: root ordinary;
    unhealthy_containers_end: root ordinary;
    startup_goes_first: root ordinary;
    what_takes_too_long_is_killed: root ordinary single;
    results_are_bounded: root ordinary;
    daemons_do_not_hold_a_check: root ordinary;
    paused_containers_are_not_checked: root;
    in_shared_pid_namespaces: root ordinary;
    nothing_survives_the_supervisor: root ordinary;
    changes_are_events: root ordinary;
    bad_settings_are_refused: root ordinary;
    killed_supervisors_leave_a_true_state: root ordinary;
}

const SLEEP: &[&str] = &["localhost/busybox", "sleep", "100"];

/// Starts a container with a check ten times a second.
fn start(case: &Case, name: &str, flags: &[&str], program: &[&str]) {
    let name = format!("--name={name}");
    let fast = ["--health-interval=100ms", "--health-retries=2"];
    let words = [
        &["run", "-d", "--network=none", &name],
        &fast[..],
        flags,
        program,
    ]
    .concat();
    case.words(&words).ok();
}

fn health(case: &Case, name: &str) -> Value {
    let text = case.words(&["inspect", "--format", "{{json .State.Health}}", name]);
    serde_json::from_str(text.ok().stdout.trim()).unwrap()
}

fn becomes(case: &Case, name: &str, status: &str) {
    case.eventually(&format!("{name} is {status}"), || {
        health(case, name)["Status"] == status
    });
}

/// The last result, once there is one.
fn last(case: &Case, name: &str) -> Value {
    let mut found = Value::Null;
    case.eventually("a check has ended", || {
        found = health(case, name)["Log"]
            .as_array()
            .and_then(|log| log.last().cloned())
            .unwrap_or_default();
        !found.is_null()
    });
    found
}

fn status_in_ps(case: &Case, name: &str) -> String {
    let filter = format!("name={name}");
    let words = ["ps", "-a", "--filter", &filter, "--format", "{{.Status}}"];
    case.words(&words).ok().stdout.trim().to_owned()
}

fn checks_make_the_status(case: &Case) {
    case.load_busybox();
    start(
        case,
        "hh",
        &["--health-cmd=echo checked; test ! -e /sick"],
        SLEEP,
    );
    becomes(case, "hh", "healthy");
    assert!(status_in_ps(case, "hh").ends_with("(healthy)"));
    let result = last(case, "hh");
    assert_eq!(
        (&result["ExitCode"], &result["Output"]),
        (&json!(0), &json!("checked\n"))
    );
    assert!(result["Start"].as_str().unwrap() < result["End"].as_str().unwrap());
    case.engine("exec hh touch /sick").ok();
    becomes(case, "hh", "unhealthy");
    assert!(status_in_ps(case, "hh").ends_with("(unhealthy)"));
    assert!(health(case, "hh")["FailingStreak"].as_u64().unwrap() >= 2);
    case.engine("ps -q --no-trunc --filter health=unhealthy")
        .ok();
    let names = "ps --format {{.Names}} --filter";
    case.engine(&format!("{names} health=unhealthy"))
        .ok()
        .prints("hh");
    case.engine(&format!("{names} health=healthy"))
        .ok()
        .prints("");
    case.engine("ps --filter health=ill")
        .fails(1, "invalid filter 'health=ill'");
    case.engine("exec hh rm /sick").ok();
    becomes(case, "hh", "healthy");
    assert_eq!(health(case, "hh")["FailingStreak"], 0);
    let results = || health(case, "hh")["Log"].as_array().unwrap().len();
    case.eventually("the last five are kept", || results() == 5);
    // Docker's word for one that does not run.
    case.engine("stop -t 0 hh").ok();
    assert_eq!(health(case, "hh")["Status"], "unhealthy");
    assert_eq!(results(), 5);
    // A new start knows nothing of the last one.
    case.engine("update --health-interval 1h hh").ok();
    case.engine("start hh").ok();
    assert_eq!(
        health(case, "hh"),
        json!({"Status": "starting", "FailingStreak": 0, "Log": []})
    );
    assert!(status_in_ps(case, "hh").ends_with("(health: starting)"));
    case.engine("rm -f hh").ok();
    // Without a check there is no health.
    case.engine("run -d --name none --network none localhost/busybox sleep 100")
        .ok();
    assert_eq!(health(case, "none"), Value::Null);
    case.engine(&format!("{names} health=none"))
        .ok()
        .prints("none");
    case.engine("rm -f none").ok();
}

fn of_the_image(case: &Case) {
    let mut image = Image::new("localhost/checked", vec![busybox_layer().bytes()]);
    let check = json!({
        "Test": ["CMD-SHELL", "echo of the image"],
        "Interval": 100_000_000,
        "Retries": 7,
    });
    image.config = json!({"Cmd": ["sleep", "100"], "Healthcheck": check});
    let archive = case.make_file("image.tar", image.archive());
    case.words(&["load", "-i", archive.to_str().unwrap()]).ok();
    case.engine("run -d --name own --network none localhost/checked")
        .ok();
    becomes(case, "own", "healthy");
    assert_eq!(last(case, "own")["Output"], "of the image\n");
    case.engine("rm -f own").ok();
    // Flags lie over it.
    case.engine("create --name over --health-retries 2 localhost/checked")
        .ok();
    let shown = case.words(&[
        "inspect",
        "--format",
        "{{json .Config.Healthcheck}}",
        "over",
    ]);
    let shown: Value = serde_json::from_str(shown.ok().stdout.trim()).unwrap();
    let mut expected = check;
    expected["Retries"] = json!(2);
    assert_eq!(shown, expected);
    case.engine("rm over").ok();
    case.engine("run -d --name off --no-healthcheck --network none localhost/checked")
        .ok();
    assert_eq!(health(case, "off"), Value::Null);
    case.engine("rm -f off").ok();
}

/// The container's user, variables, folder, ids and network.
fn checks_are_like_exec(case: &Case) {
    case.load_busybox();
    let check = "--health-cmd=id -u; pwd; echo $OF_IT; echo to stderr >&2; cat /proc/self/status | grep NoNewPrivs";
    let flags = [
        check,
        "--user=1000",
        "--workdir=/etc",
        "--env=OF_IT=variable",
        "--security-opt=no-new-privileges",
    ];
    start(case, "alike", &flags, SLEEP);
    let output = "1000\n/etc\nvariable\nto stderr\nNoNewPrivs:\t1\n";
    assert_eq!(last(case, "alike")["Output"], output);
    case.engine("rm -f alike").ok();
    // A list of words needs no shell; one that is not there is a failure with its reason.
    start(case, "words", &["--health-cmd=[\"echo\", \"a  b\"]"], SLEEP);
    assert_eq!(last(case, "words")["Output"], "a  b\n");
    case.engine("rm -f words").ok();
    start(case, "missing", &["--health-cmd=[\"/no/such\"]"], SLEEP);
    becomes(case, "missing", "unhealthy");
    let result = last(case, "missing");
    assert_eq!(result["ExitCode"], -1);
    let output = result["Output"].as_str().unwrap();
    assert!(
        output.contains("/no/such") && output.contains("no such file"),
        "{output}"
    );
    case.engine("rm -f missing").ok();
}

fn on_demand(case: &Case) {
    case.load_busybox();
    let flags = ["--health-cmd=test ! -e /sick", "--health-interval=disable"];
    start(case, "asked", &flags, SLEEP);
    assert_eq!(health(case, "asked")["Status"], "starting");
    case.engine("healthcheck run asked").ok().prints("");
    assert_eq!(health(case, "asked")["Status"], "healthy");
    case.engine("exec asked touch /sick").ok();
    case.engine("healthcheck run asked")
        .exits(1)
        .prints("unhealthy");
    case.engine("healthcheck run asked")
        .exits(1)
        .prints("unhealthy");
    case.engine("healthcheck run --ignore-result asked").ok();
    assert_eq!(health(case, "asked")["Log"].as_array().unwrap().len(), 4);
    case.engine("stop -t 0 asked").ok();
    case.engine("healthcheck run asked")
        .fails(125, "not running");
    case.engine("rm asked").ok();
    case.engine("healthcheck run asked")
        .fails(125, "No such container");
    case.engine("run -d --name unasked --network none localhost/busybox sleep 100")
        .ok();
    case.engine("healthcheck run unasked")
        .fails(125, "no defined healthcheck");
    case.engine("rm -f unasked").ok();
}

fn waited_for(case: &Case) {
    case.load_busybox();
    let flags = ["--health-cmd=test -e /well", "--health-retries=1000"];
    start(case, "awaited", &flags, SLEEP);
    let waiting = case.start(&["wait", "--condition=healthy", "awaited"]);
    case.engine("exec awaited touch /well").ok();
    let outcome = waiting.wait_with_output().unwrap();
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!(health(case, "awaited")["Status"], "healthy");
    case.engine("rm -f awaited").ok();
}

fn changed_while_running(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name cc --network none localhost/busybox sleep 100")
        .ok();
    case.words(&[
        "update",
        "--health-cmd=echo first",
        "--health-interval=50ms",
        "cc",
    ])
    .ok();
    becomes(case, "cc", "healthy");
    case.words(&["update", "--health-cmd=echo second; exit 1", "cc"])
        .ok();
    becomes(case, "cc", "unhealthy");
    assert_eq!(last(case, "cc")["Output"], "second\n");
    case.engine("update --no-healthcheck cc").ok();
    assert_eq!(health(case, "cc"), Value::Null);
    case.engine("update --no-healthcheck --health-cmd=true cc")
        .fails(125, "conflicts");
    case.engine("update --health-retries=-1 cc")
        .fails(125, "cannot be negative");
    case.engine("rm -f cc").ok();
}

fn unhealthy_containers_end(case: &Case) {
    case.load_busybox();
    let polite: &[&str] = &[
        "localhost/busybox",
        "sh",
        "-c",
        "trap 'exit 7' TERM; while :; do sleep 0.05; done",
    ];
    let code = |name: &str| case.words(&["wait", name]).ok().first().to_owned();
    let ill = |action| ["--health-cmd=false", action];
    start(case, "killed", &ill("--health-on-failure=kill"), polite);
    assert_eq!(code("killed"), "137");
    start(case, "stopped", &ill("--health-on-failure=stop"), polite);
    assert_eq!(code("stopped"), "7");
    // Who does not listen is killed when its time is over.
    let flags = [
        "--health-cmd=false",
        "--health-on-failure=stop",
        "--stop-timeout=0",
    ];
    start(case, "deaf", &flags, SLEEP);
    assert_eq!(code("deaf"), "137");
    // A file of the container outlives its runs: each has one line.
    let each = "echo x >> /runs; exec sleep 100";
    let program = ["localhost/busybox", "sh", "-c", each];
    let flags = [
        "--health-cmd=test $(wc -l < /runs) -gt 1",
        "--health-on-failure=restart",
        "--stop-timeout=0",
    ];
    start(case, "again", &flags, &program);
    becomes(case, "again", "healthy");
    case.engine("exec again cat /runs").ok().prints("x\nx");
    case.engine("rm -f killed stopped deaf again").ok();
}

fn startup_goes_first(case: &Case) {
    case.load_busybox();
    let flags = [
        "--health-cmd=ls /up",
        "--health-retries=1",
        "--health-startup-cmd=test -e /ready && touch /up",
        "--health-startup-interval=50ms",
    ];
    start(case, "slow", &flags, SLEEP);
    case.eventually("the startup probe has failed twice", || {
        health(case, "slow")["Log"].as_array().unwrap().len() > 1
    });
    // It does not count.
    assert_eq!(health(case, "slow")["FailingStreak"], 0);
    assert_eq!(health(case, "slow")["Status"], "starting");
    case.engine("exec slow touch /ready").ok();
    becomes(case, "slow", "healthy");
    case.engine("rm -f slow").ok();
    // Who does not come up is started anew.
    let each = "echo x >> /runs; exec sleep 100";
    let flags = [
        "--health-cmd=true",
        "--health-startup-cmd=test $(wc -l < /runs) -gt 1",
        "--health-startup-interval=50ms",
        "--health-startup-retries=2",
        "--stop-timeout=0",
    ];
    start(
        case,
        "stuck",
        &flags,
        &["localhost/busybox", "sh", "-c", each],
    );
    becomes(case, "stuck", "healthy");
    case.engine("rm -f stuck").ok();
}

fn what_takes_too_long_is_killed(case: &Case) {
    case.load_busybox();
    let flags = [
        "--health-cmd=echo began; sleep 4711; echo never",
        "--health-timeout=200ms",
    ];
    start(case, "late", &flags, SLEEP);
    becomes(case, "late", "unhealthy");
    let result = last(case, "late");
    assert_eq!(result["ExitCode"], -1);
    assert_eq!(
        result["Output"],
        "Health check exceeded timeout (200ms): began\n"
    );
    // With what it has started.
    case.engine("update --no-healthcheck late").ok();
    let lives = || case.engine("exec late ps -o args").stdout.contains("4711");
    case.eventually("nothing of a check is left", || !lives());
    case.engine("rm -f late").ok();
}

fn results_are_bounded(case: &Case) {
    case.load_busybox();
    let flags = [
        "--health-cmd=head -c 50000000 /dev/zero | tr '\\0' x",
        "--health-timeout=20s",
    ];
    start(case, "much", &flags, SLEEP);
    becomes(case, "much", "healthy");
    let output = last(case, "much")["Output"].as_str().unwrap().to_owned();
    assert_eq!(output, "x".repeat(4096) + "...");
    case.engine("rm -f much").ok();
    let flags = [
        "--health-cmd=echo 1234567890",
        "--health-max-log-count=2",
        "--health-max-log-size=4",
    ];
    start(case, "few", &flags, SLEEP);
    case.eventually("there are two", || {
        health(case, "few")["Log"][1].is_object()
    });
    let mut before = String::new();
    case.eventually("there are others", || {
        let log = health(case, "few")["Log"].clone();
        assert_eq!(log.as_array().unwrap().len(), 2);
        assert_eq!(log[0]["Output"], "1234...");
        let start = log[0]["Start"].as_str().unwrap().to_owned();
        let first = std::mem::replace(&mut before, start);
        !first.is_empty() && first != before
    });
    case.engine("rm -f few").ok();
}

fn daemons_do_not_hold_a_check(case: &Case) {
    case.load_busybox();
    let flags = [
        "--health-cmd=sleep 50 & echo left",
        "--health-timeout=5s",
        "--health-interval=disable",
    ];
    start(case, "daemon", &flags, SLEEP);
    case.engine("healthcheck run daemon").ok();
    assert_eq!(last(case, "daemon")["Output"], "left\n");
    case.engine("exec daemon ps -o args")
        .ok()
        .contains("sleep 50");
    case.engine("rm -f daemon").ok();
}

fn paused_containers_are_not_checked(case: &Case) {
    case.load_busybox();
    start(case, "pp", &["--health-cmd=true"], SLEEP);
    becomes(case, "pp", "healthy");
    if case.engine("pause pp").code != 0 {
        case.engine("rm -f pp").ok();
        return case.skip("there is no cgroup to freeze");
    }
    case.engine("healthcheck run pp").fails(125, "paused");
    assert!(status_in_ps(case, "pp").ends_with("(Paused)"));
    case.engine("unpause pp").ok();
    let before = last(case, "pp");
    case.eventually("checks go on", || last(case, "pp") != before);
    assert_eq!(health(case, "pp")["Status"], "healthy");
    case.engine("rm -f pp").ok();
}

fn in_shared_pid_namespaces(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name peer --network none localhost/busybox sleep 100")
        .ok();
    for pid in ["--pid=host", "--pid=container:peer"] {
        start(
            case,
            "shares",
            &[pid, "--health-cmd=echo well; exit 0"],
            SLEEP,
        );
        becomes(case, "shares", "healthy");
        assert_eq!(last(case, "shares")["Output"], "well\n");
        case.engine("rm -f shares").ok();
        let flags = [
            pid,
            "--health-cmd=exec sleep 4712",
            "--health-timeout=100ms",
        ];
        start(case, "shares", &flags, SLEEP);
        becomes(case, "shares", "unhealthy");
        case.engine("rm -f shares").ok();
        let left = || {
            case.processes()
                .iter()
                .any(|(_, args)| args.contains("4712"))
        };
        assert!(!left(), "{pid}: {:?}", case.processes());
    }
    case.engine("rm -f peer").ok();
}

fn supervisor_of(case: &Case, name: &str) -> i32 {
    let id = case.words(&["inspect", "--format", "{{.Id}}", name]).ok();
    let supervisor =
        |args: &String| args.contains("coracle-supervisor") && args.contains(id.first());
    let found = case
        .processes()
        .into_iter()
        .find(|(_, args)| supervisor(args));
    found.expect("its supervisor").0
}

fn kill_supervisor(case: &Case, name: &str) {
    let pid = rustix::process::Pid::from_raw(supervisor_of(case, name)).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// In the middle of a check.
fn nothing_survives_the_supervisor(case: &Case) {
    case.load_busybox();
    start(case, "cut", &["--health-cmd=sleep 4713"], SLEEP);
    let checks = || {
        case.processes()
            .iter()
            .any(|(_, args)| args.contains("4713"))
    };
    case.eventually("a check runs", checks);
    kill_supervisor(case, "cut");
    case.eventually("nothing is left", || !checks());
    case.engine("rm -f cut").ok();
}

fn killed_supervisors_leave_a_true_state(case: &Case) {
    case.load_busybox();
    start(case, "gone", &["--health-cmd=true"], SLEEP);
    becomes(case, "gone", "healthy");
    kill_supervisor(case, "gone");
    case.eventually("it has ended", || {
        status_in_ps(case, "gone").starts_with("Exited")
    });
    assert_eq!(health(case, "gone")["Status"], "unhealthy");
    case.engine("start gone").ok();
    becomes(case, "gone", "healthy");
    case.engine("rm -f gone").ok();
}

fn changes_are_events(case: &Case) {
    case.load_busybox();
    start(case, "told", &["--health-cmd=test ! -e /sick"], SLEEP);
    becomes(case, "told", "healthy");
    case.engine("exec told touch /sick").ok();
    becomes(case, "told", "unhealthy");
    let words = [
        "events",
        "--since=1h",
        "--until=0s",
        "--filter=event=health_status",
        "--format={{.Action}}",
    ];
    let told = || case.words(&words).ok().stdout;
    case.eventually("both changes are told", || told().lines().count() == 2);
    assert_eq!(told(), "health_status: healthy\nhealth_status: unhealthy\n");
    case.engine("rm -f told").ok();
}

fn bad_settings_are_refused(case: &Case) {
    case.load_busybox();
    for (flags, says) in [
        (
            "--health-interval=-1s",
            "--health-interval cannot be negative",
        ),
        (
            "--health-timeout=1us",
            "Timeout in Healthcheck cannot be less than 1ms",
        ),
        ("--health-timeout=soon", "invalid duration"),
        ("--health-retries=-1", "--health-retries cannot be negative"),
        (
            "--no-healthcheck --health-cmd=true",
            "conflicts with --health-*",
        ),
        ("--health-on-failure=reboot", "reboot"),
        ("--health-log-destination=/tmp", "not supported"),
    ] {
        case.engine(&format!("run {flags} localhost/busybox true"))
            .fails(125, says);
    }
    case.engine("ps -aq").ok().prints("");
}
