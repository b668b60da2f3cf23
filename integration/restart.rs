//! Restart policies, what commands do to a container between two runs, and what runs after a reboot.

use rustix::process::{Pid, Signal, kill_process};

use crate::case::Case;

cases! {
    policies: root ordinary single;
    failures_are_counted: root ordinary;
    between_two_runs: root ordinary;
    stopped_between_two_runs: root ordinary;
    wait_hears_of_each_end: root ordinary;
    foreground_returns_at_the_first_end: root ordinary;
    kill_by_hand: root ordinary;
    policy_is_changed: root ordinary;
    limits_of_an_update_hold: root;
    restart_command: root ordinary;
    restart_keeps_who_removes_itself: root ordinary;
    terminal_is_a_new_one: root ordinary;
    restart_that_cannot_start: root ordinary;
    supervisor_killed_between_two_runs: root ordinary;
    resume: root ordinary;
    resume_at_the_same_time: root ordinary;
    boot: ordinary;
    shut_down: root ordinary;
}

const LIVES: &str = "trap 'exit 0' TERM; trap 'exit 1' HUP; while :; do sleep 0.05; done";

/// Starts a detached container.
fn run(case: &Case, name: &str, policy: &str, script: &str) {
    let policy = format!("--restart={policy}");
    let flags = ["run", "-d", "--name", name, "--network=none", &policy];
    let program = ["localhost/busybox", "sh", "-c", script];
    case.words(&[&flags[..], &program[..]].concat()).ok();
}

fn inspect(case: &Case, name: &str, template: &str) -> String {
    let outcome = case.words(&["inspect", "--format", template, name]).ok();
    outcome.stdout.trim().to_owned()
}

fn state(case: &Case, name: &str) -> String {
    inspect(case, name, "{{.State.Status}}")
}

fn restarts(case: &Case, name: &str) -> u32 {
    inspect(case, name, "{{.RestartCount}}").parse().unwrap()
}

fn becomes(case: &Case, name: &str, wanted: &str) {
    case.eventually(&format!("{name} is {wanted}"), || {
        state(case, name) == wanted
    });
}

/// Until the delay is long enough to act in it.
fn waits(case: &Case, name: &str) {
    case.eventually("it waits long", || {
        restarts(case, name) >= 5 && state(case, name) == "restarting"
    });
}

fn signal_supervisor(case: &Case, name: &str, signal: Signal) {
    let id = inspect(case, name, "{{.Id}}");
    let path = case.root().join("containers").join(id).join("state.json");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pid = record["supervisor"]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn policies(case: &Case) {
    case.load_busybox();
    run(case, "never", "no", "exit 1");
    run(case, "success", "on-failure", "exit 0");
    run(case, "failure", "on-failure", "exit 1");
    run(case, "always", "always", "exit 0");
    run(case, "unless", "unless-stopped", "exit 0");
    for name in ["failure", "always", "unless"] {
        case.eventually("it is started again", || restarts(case, name) >= 2);
    }
    for (name, code) in [("never", "1"), ("success", "0")] {
        becomes(case, name, "exited");
        assert_eq!(restarts(case, name), 0);
        assert_eq!(inspect(case, name, "{{.State.ExitCode}}"), code);
    }
    let policy =
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(inspect(case, "always", policy), "always 0");
    case.words(&[
        "rm", "-f", "never", "success", "failure", "always", "unless",
    ])
    .ok();
    case.engine("run --rm --restart=always --network=none localhost/busybox true")
        .fails(125, "--restart and --rm");
    case.engine("run --restart=sometimes --network=none localhost/busybox true")
        .fails(125, "sometimes");
}

fn failures_are_counted(case: &Case) {
    case.load_busybox();
    run(case, "three", "on-failure:3", "echo run; exit 7");
    case.eventually("it has given up", || {
        inspect(case, "three", "{{.RestartCount}} {{.State.Status}}") == "3 exited"
    });
    assert_eq!(inspect(case, "three", "{{.State.ExitCode}}"), "7");
    assert_eq!(case.engine("logs three").ok().stdout, "run\n".repeat(4));
    let policy = "{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(inspect(case, "three", policy), "3");
    case.engine("rm three").ok();
}

fn between_two_runs(case: &Case) {
    case.load_busybox();
    run(case, "loop", "always", "exit 7");
    waits(case, "loop");
    let seen = inspect(
        case,
        "loop",
        "{{.State.Running}} {{.State.Restarting}} {{.State.ExitCode}} {{.State.Pid}}",
    );
    assert_eq!(seen, "true true 7 0");
    let listed = case.engine("ps --format {{.Names}}|{{.Status}}").ok();
    assert!(
        listed.stdout.starts_with("loop|Restarting (7) "),
        "{listed}"
    );
    case.engine("attach loop")
        .fails(1, "cannot attach to a restarting container");
    case.engine("exec loop true").fails(1, "is restarting");
    case.engine("rm loop").fails(1, "container is restarting");
    // It does not wait for the delay.
    let before = restarts(case, "loop");
    case.engine("start loop").ok().prints("loop");
    case.eventually("it is started at once", || restarts(case, "loop") > before);
    case.engine("rm -f loop").ok().prints("loop");
}

fn stopped_between_two_runs(case: &Case) {
    case.load_busybox();
    run(case, "loop", "always", "exit 7");
    waits(case, "loop");
    let before = restarts(case, "loop");
    case.engine("stop loop").ok().prints("loop");
    let seen = inspect(case, "loop", "{{.State.Status}} {{.State.ExitCode}}");
    assert_eq!(seen, "exited 7");
    assert_eq!(restarts(case, "loop"), before);
    // A later start counts from the beginning.
    case.engine("start loop").ok();
    waits(case, "loop");
    case.engine("kill loop").ok();
    assert_eq!(state(case, "loop"), "exited");
    case.engine("rm loop").ok();
}

fn wait_hears_of_each_end(case: &Case) {
    case.load_busybox();
    run(case, "loop", "always", "exit 7");
    case.engine("wait loop").ok().prints("7");
    case.engine("wait loop").ok().prints("7");
    case.engine("rm -f loop").ok();
}

fn foreground_returns_at_the_first_end(case: &Case) {
    case.load_busybox();
    let flags = ["run", "--name=front", "--restart=always", "--network=none"];
    let program = ["localhost/busybox", "sh", "-c", "echo said; exit 4"];
    let outcome = case.words(&[&flags[..], &program[..]].concat());
    assert_eq!(outcome.stdout, "said\n", "{outcome}");
    outcome.exits(4);
    case.eventually("it goes on", || restarts(case, "front") >= 1);
    case.engine("rm -f front").ok();
}

fn kill_by_hand(case: &Case) {
    case.load_busybox();
    // A signal is a hand: only `always` does not mind. SIGKILL ends both.
    run(case, "unless", "unless-stopped", LIVES);
    run(case, "always", "always", LIVES);
    for name in ["unless", "always"] {
        // The traps are set.
        case.eventually("it listens", || {
            // The last one may have been enough.
            case.words(&["kill", "-s", "HUP", name]);
            state(case, name) == "exited" || restarts(case, name) >= 1
        });
    }
    becomes(case, "unless", "exited");
    becomes(case, "always", "running");
    case.engine("kill always").ok();
    assert_eq!(state(case, "always"), "exited");
    case.engine("start always").ok();
    case.engine("stop -t 1 always").ok();
    assert_eq!(state(case, "always"), "exited");
    case.engine("rm unless always").ok();
}

fn policy_is_changed(case: &Case) {
    case.load_busybox();
    run(case, "loop", "always", "sleep 0.1; exit 1");
    case.engine("update --restart=no loop").ok().prints("loop");
    becomes(case, "loop", "exited");
    case.engine("update --restart=on-failure:2 loop").ok();
    let policy =
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(inspect(case, "loop", policy), "on-failure 2");
    case.engine("start loop").ok();
    case.eventually("the new policy holds", || {
        inspect(case, "loop", "{{.RestartCount}} {{.State.Status}}") == "2 exited"
    });
    case.engine("update --restart=nonsense loop")
        .fails(1, "nonsense");
    case.engine("rm loop").ok();
    case.engine("run -d --rm --name gone --network none localhost/busybox sleep 100")
        .ok();
    case.engine("update --restart=always gone")
        .fails(1, "AutoRemove");
    case.engine("rm -f gone").ok();
}

fn limits_of_an_update_hold(case: &Case) {
    case.load_busybox();
    let flags = "run -d --name=loop --network=none --restart=always --pids-limit=100";
    let mut words: Vec<&str> = flags.split_whitespace().collect();
    let script = "cat /sys/fs/cgroup/pids.max 2>/dev/null; sleep 0.3";
    words.extend(["localhost/busybox", "sh", "-c", script]);
    case.words(&words).ok();
    if case.engine("update --pids-limit=77 loop").code != 0 {
        case.engine("rm -f loop").ok();
        return case.skip("there is no controller for processes");
    }
    let before = restarts(case, "loop");
    case.eventually("it is started again", || restarts(case, "loop") > before);
    assert_eq!(inspect(case, "loop", "{{.HostConfig.PidsLimit}}"), "77");
    // The kernel's own word, from the group that was made for the new run.
    let id = inspect(case, "loop", "{{.Id}}");
    case.eventually("the limit holds", || {
        ["/sys/fs/cgroup/coracle", "/sys/fs/cgroup/pids/coracle"]
            .iter()
            .filter_map(|base| std::fs::read_to_string(format!("{base}/{id}/pids.max")).ok())
            .any(|limit| limit.trim() == "77")
    });
    case.engine("rm -f loop").ok();
}

fn restart_command(case: &Case) {
    case.load_busybox();
    for name in ["one", "two"] {
        run(case, name, "no", &format!("echo run; {LIVES}"));
    }
    let pid = |name| inspect(case, name, "{{.State.Pid}}");
    let (one, two) = (pid("one"), pid("two"));
    let outcome = case.engine("restart -t 2 one two").ok();
    assert_eq!(outcome.stdout, "one\ntwo\n");
    assert_ne!(pid("one"), one);
    assert_ne!(pid("two"), two);
    assert_eq!(restarts(case, "one"), 0);
    // Of one that has stopped it is a start.
    case.engine("stop -t 1 one").ok();
    case.engine("container restart one").ok().prints("one");
    assert_eq!(state(case, "one"), "running");
    case.engine("restart nobody").fails(1, "nobody");
    case.engine("rm -f one two").ok();
}

fn restart_keeps_who_removes_itself(case: &Case) {
    case.load_busybox();
    let flags = "run -d --rm --name=brief --network=none localhost/busybox sh -c";
    let mut words: Vec<&str> = flags.split_whitespace().collect();
    let script = format!("test -e /kept && echo kept; touch /kept; {LIVES}");
    words.push(&script);
    case.words(&words).ok();
    let pid = inspect(case, "brief", "{{.State.Pid}}");
    case.eventually("it has written", || {
        case.engine("exec brief test -e /kept").code == 0
    });
    case.engine("restart -t 2 brief").ok().prints("brief");
    assert_ne!(inspect(case, "brief", "{{.State.Pid}}"), pid);
    case.eventually("its files are there", || {
        case.engine("logs brief").ok().stdout == "kept\n"
    });
    case.engine("stop -t 1 brief").ok();
    case.eventually("--rm holds", || {
        case.engine("ps -aq").ok().stdout.is_empty()
    });
}

fn terminal_is_a_new_one(case: &Case) {
    case.load_busybox();
    let flags = "run -dt --name=loop --network=none --restart=always localhost/busybox sh -c";
    let mut words: Vec<&str> = flags.split_whitespace().collect();
    words.push("test -t 0 && test -t 1 && echo terminal");
    case.words(&words).ok();
    case.eventually("it is started again", || restarts(case, "loop") >= 2);
    case.engine("stop loop").ok();
    let logs = case.engine("logs loop").ok().stdout;
    assert!(logs.lines().count() >= 2, "{logs}");
    assert!(logs.lines().all(|line| line.trim() == "terminal"), "{logs}");
    case.engine("rm loop").ok();
}

fn restart_that_cannot_start(case: &Case) {
    case.load_busybox();
    let folder = case.make_dir("folder");
    let mount = format!("--mount=type=bind,src={},dst=/folder", folder.display());
    case.words(&[
        "run",
        "-d",
        "--name=loop",
        "--network=none",
        "--restart=always",
        &mount,
        "localhost/busybox",
        "sleep",
        "0.3",
    ])
    .ok();
    std::fs::remove_dir(&folder).unwrap();
    becomes(case, "loop", "exited");
    let error = inspect(case, "loop", "{{.State.Error}}");
    assert!(error.contains("folder"), "{error}");
    assert_eq!(inspect(case, "loop", "{{.State.ExitCode}}"), "128");
    case.engine("rm loop").ok();
}

fn supervisor_killed_between_two_runs(case: &Case) {
    case.load_busybox();
    run(case, "loop", "on-failure", "exit 7");
    waits(case, "loop");
    signal_supervisor(case, "loop", Signal::KILL);
    becomes(case, "loop", "exited");
    assert_eq!(inspect(case, "loop", "{{.State.ExitCode}}"), "7");
    case.engine("start loop").ok().prints("loop");
    case.eventually("its policy holds again", || restarts(case, "loop") >= 1);
    case.engine("stop loop").ok();
    case.engine("rm loop").ok();
}

/// What a reboot leaves: supervisors that have been killed, or that were told to end.
fn resume(case: &Case) {
    case.load_busybox();
    let cut = ["cut-no", "cut-always", "cut-unless", "cut-failure"];
    for (name, policy) in cut
        .iter()
        .zip(["no", "always", "unless-stopped", "on-failure"])
    {
        run(case, name, policy, LIVES);
    }
    for (name, policy) in [
        ("halt-always", "always"),
        ("halt-unless", "unless-stopped"),
        ("stop-always", "always"),
        ("stop-unless", "unless-stopped"),
    ] {
        run(case, name, policy, LIVES);
    }
    case.engine("create --name created --restart always --network none localhost/busybox true")
        .ok();
    case.engine("stop -t 1 stop-always stop-unless").ok();
    for name in cut {
        signal_supervisor(case, name, Signal::KILL);
    }
    for name in ["halt-always", "halt-unless"] {
        signal_supervisor(case, name, Signal::TERM);
        // The program may not have set its trap yet, and be process 1: asked again.
        case.eventually("it ends, and is not started again", || {
            if state(case, name) == "running" {
                signal_supervisor(case, name, Signal::TERM);
            }
            state(case, name) == "exited"
        });
    }
    for name in cut {
        becomes(case, name, "exited");
    }
    let outcome = case.engine("system resume").ok();
    let mut started: Vec<&str> = outcome.stdout.lines().collect();
    started.sort_unstable();
    let expected = [
        "cut-always",
        "cut-failure",
        "cut-unless",
        "halt-always",
        "halt-unless",
        "stop-always",
    ];
    assert_eq!(started, expected, "{outcome}");
    for name in expected {
        assert_eq!(state(case, name), "running");
    }
    for (name, wanted) in [
        ("cut-no", "exited"),
        ("stop-unless", "exited"),
        ("created", "created"),
    ] {
        assert_eq!(state(case, name), wanted);
    }
    assert_eq!(case.engine("system resume").ok().stdout, "");
    let all = case.engine("ps -aq").ok().stdout;
    let mut words = vec!["rm", "-f"];
    words.extend(all.split_whitespace());
    case.words(&words).ok();
}

fn resume_at_the_same_time(case: &Case) {
    case.load_busybox();
    let folder = case.make_dir("folder");
    let mount = format!("--mount=type=bind,src={},dst=/folder", folder.display());
    let names = ["one", "two", "three", "four"];
    for name in names {
        let flags = ["run", "-d", "--name", name, "--network=none"];
        let more = [
            "--restart=always",
            &mount,
            "localhost/busybox",
            "sh",
            "-c",
            LIVES,
        ];
        let bound = name == "two";
        let more = more
            .iter()
            .filter(|word| bound || !word.starts_with("--mount"));
        let words: Vec<&str> = flags.iter().chain(more).copied().collect();
        case.words(&words).ok();
    }
    std::fs::remove_dir(&folder).unwrap();
    for name in names {
        signal_supervisor(case, name, Signal::KILL);
        becomes(case, name, "exited");
    }
    let at_once: Vec<_> = (0..4).map(|_| case.start(&["system", "resume"])).collect();
    let outcomes: Vec<_> = at_once
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let mut started: Vec<String> = outcomes
        .iter()
        .flat_map(|outcome| {
            let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    started.sort_unstable();
    // Each by one of them; what cannot start keeps nobody.
    assert_eq!(started, ["four", "one", "three"]);
    assert!(
        outcomes
            .iter()
            .any(|outcome| outcome.status.code() == Some(1))
    );
    case.engine("rm -f one two three four").ok();
}

fn boot(case: &Case) {
    case.load_busybox();
    let home = case.make_dir("configuration");
    case.set("XDG_CONFIG_HOME", &home.display().to_string());
    case.engine("system boot status")
        .exits(1)
        .prints("disabled");
    for _ in 0..2 {
        case.engine("system boot --init=systemd enable").ok();
    }
    case.engine("system boot status").ok().prints("enabled");
    let folder = home.join("systemd/user");
    let link = folder.join("default.target.wants/coracle-resume.service");
    assert_eq!(
        std::fs::read_link(&link).unwrap(),
        folder.join("coracle-resume.service")
    );
    let unit = std::fs::read_to_string(&link).unwrap();
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    // What it says is what works.
    let mut words = command.split_whitespace();
    let mut resume = case.program(words.next().unwrap());
    assert!(resume.args(words).status().unwrap().success());
    for _ in 0..2 {
        case.engine("system boot disable").ok();
    }
    case.engine("system boot status").exits(1);
    assert!(!link.exists());
    let lines = case.engine("system boot --init=cron enable").ok().stdout;
    assert!(lines.contains("\n@reboot /"), "{lines}");
    case.engine("system boot sideways").fails(1, "sideways");
}

/// What init sends to supervisors stops their containers, with their own signal and their own time.
fn shut_down(case: &Case) {
    case.load_busybox();
    let program = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.05; done";
    for (name, flags, script) in [
        ("hears", "--stop-signal=USR1", program),
        ("deaf", "--stop-timeout=0", "echo ready; exec sleep 1000"),
    ] {
        let run = ["run", "-d", "--network=none", "--restart=always", flags];
        let image = ["--name", name, "localhost/busybox", "sh", "-c", script];
        case.words(&[&run[..], &image[..]].concat()).ok();
        case.eventually("it is ready", || {
            case.words(&["logs", name]).ok().stdout.contains("ready")
        });
        signal_supervisor(case, name, Signal::TERM);
        becomes(case, name, "exited");
    }
    let code = "{{.State.ExitCode}}{{.State.Error}}";
    assert_eq!(inspect(case, "hears", code), "5");
    assert_eq!(inspect(case, "deaf", code), "137");
    case.engine("rm hears deaf").ok();
}
