//! Killed anywhere while a container's life changes: the next command works and tells the truth.
//!
//! `start` is traced until the container has ended, so its supervisor is killed at every step of
//! the container's end too. `stop`, `restart`, `rm` and `logs` act on a container of a supervisor that
//! nobody kills.

use super::stepper::{everywhere, everywhere_until};
use crate::case::Case;

cases! {
    start: root ordinary;
    start_again_and_again: root ordinary;
    end_of_run: root;
    stop: root ordinary;
    restart: root ordinary;
    remove_running: root ordinary;
    logs: root;
}

fn field(case: &Case, name: &str, field: &str) -> String {
    let format = format!("{{{{{field}}}}}");
    let outcome = case.words(&["inspect", "--format", &format, name]).ok();
    outcome.stdout.trim().to_owned()
}

fn create(case: &Case, flags: &[&str], script: &str) {
    case.load_busybox();
    case.engine("rm -f victim");
    let begin = ["create", "--name=victim", "--network=none"];
    let end = ["localhost/busybox", "sh", "-c", script];
    case.words(&[&begin[..], flags, &end[..]].concat()).ok();
}

/// Nothing of the command itself is left; supervisors may be.
fn command_ended(case: &Case) -> bool {
    let own = case.root().display().to_string();
    let mut processes = case.processes().into_iter();
    !processes.any(|(_, arguments)| arguments.contains(&format!("--root={own}")))
}

/// What must hold of a container that does not run: its state, its program's work, another start.
fn ended_truthfully(case: &Case, runs: usize) {
    let state = field(case, "victim", ".State.Status");
    assert!(["created", "exited"].contains(&state.as_str()), "{state}");
    let printed = case.engine("logs victim").ok().stdout;
    if state == "exited" && field(case, "victim", ".State.ExitCode") == "3" {
        // The end was noted, so all that was printed before it is there.
        assert!(printed.ends_with("end\n"), "{printed:?}");
    }
    assert!(printed.lines().filter(|line| *line == "end").count() <= runs);
    case.engine("start -a victim").exits(3).contains("end");
    assert_eq!(field(case, "victim", ".State.ExitCode"), "3");
    assert!(case.engine("logs victim").ok().stdout.ends_with("end\n"));
}

fn start(case: &Case) {
    everywhere(
        case,
        &["start", "victim"],
        |case| create(case, &[], "echo begin; echo end; exit 3"),
        |case| ended_truthfully(case, 1),
    );
    case.engine("rm victim").ok();
}

/// The loop of restarts belongs to the supervisor: it ends with it.
fn start_again_and_again(case: &Case) {
    everywhere(
        case,
        &["start", "victim"],
        |case| create(case, &["--restart=on-failure:1"], "echo end; exit 3"),
        |case| {
            let restarts = field(case, "victim", ".RestartCount");
            assert!(["0", "1"].contains(&restarts.as_str()), "{restarts}");
            ended_truthfully(case, 2);
        },
    );
    case.eventually("the last restart is over", || case.processes().is_empty());
    case.engine("rm victim").ok();
}

/// Detached, and removed by its supervisor.
fn end_of_run(case: &Case) {
    let args = [
        "run",
        "-d",
        "--rm",
        "--network=none",
        "--name=victim",
        "localhost/busybox",
        "true",
    ];
    everywhere(case, &args, Case::load_busybox, |case| {
        case.engine("rm -f victim");
        case.words(&args).ok();
        case.eventually("it is removed", || {
            case.engine("ps -aq").ok().stdout.is_empty()
        });
        case.eventually("its supervisor ends", || case.processes().is_empty());
        let left = std::fs::read_dir(case.root().join("containers")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "directories of containers");
    });
}

/// A container that ends politely when it is asked to.
fn begin_polite(case: &Case) {
    create(
        case,
        &[],
        "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done",
    );
    case.engine("start victim").ok();
    case.eventually("it listens", || {
        case.engine("logs victim").stdout.contains("ready")
    });
}

fn stop(case: &Case) {
    everywhere_until(
        case,
        &["stop", "victim"],
        begin_polite,
        command_ended,
        |case| {
            let state = field(case, "victim", ".State.Status");
            assert!(["running", "exited"].contains(&state.as_str()), "{state}");
            case.engine("stop victim").ok();
            assert_eq!(field(case, "victim", ".State.Status"), "exited");
            assert_eq!(field(case, "victim", ".State.ExitCode"), "4");
            case.engine("logs victim").ok().prints("ready\nbye");
        },
    );
    case.engine("rm victim").ok();
}

/// Traced until the second run has ended, which it does by itself.
fn restart(case: &Case) {
    let script = "[ -e /second ] && { echo end; exit 3; }; touch /second; \
                  trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done";
    let before = |case: &Case| {
        create(case, &[], script);
        case.engine("start victim").ok();
        case.eventually("it listens", || {
            case.engine("logs victim").stdout.contains("ready")
        });
    };
    everywhere_until(
        case,
        &["restart", "victim"],
        before,
        command_ended,
        |case| {
            let state = field(case, "victim", ".State.Status");
            assert!(["running", "exited"].contains(&state.as_str()), "{state}");
            case.engine("restart victim").ok();
            case.eventually("the last run is over", || {
                field(case, "victim", ".State.Status") == "exited"
            });
            assert_eq!(field(case, "victim", ".State.ExitCode"), "3");
            // The first run has ended politely, or with its supervisor.
            let printed = case.engine("logs victim").ok().stdout;
            assert!(
                printed.starts_with("ready\n") && printed.ends_with("end\n"),
                "{printed}"
            );
        },
    );
    case.engine("rm victim").ok();
}

fn remove_running(case: &Case) {
    everywhere_until(
        case,
        &["rm", "-f", "victim"],
        begin_polite,
        command_ended,
        |case| {
            let listed = case.words(&["ps", "-a", "--format", "{{.Names}}"]).ok();
            if listed.stdout.trim() == "victim" {
                case.engine("rm -f victim").ok();
            } else {
                listed.prints("");
            }
            case.eventually("nothing runs", || case.processes().is_empty());
            case.engine("images -q").ok();
            let left = std::fs::read_dir(case.root().join("containers")).map_or(0, Iterator::count);
            assert_eq!(left, 0, "directories of containers");
        },
    );
}

/// Readers leave no trace.
fn logs(case: &Case) {
    begin_polite(case);
    let before = case.store_listing();
    everywhere_until(
        case,
        &["logs", "victim"],
        |_| {},
        command_ended,
        |case| {
            case.engine("logs victim").ok().prints("ready");
            assert_eq!(case.store_listing(), before);
        },
    );
    case.engine("rm -f victim").ok();
}
