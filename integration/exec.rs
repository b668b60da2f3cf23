//! `exec`, and terminals.

use crate::{case::Case, terminal::Terminal};

cases! {
    commands: root ordinary single;
    exit_codes: root ordinary;
    detached: root ordinary;
    terminal_of_run: root ordinary single;
    terminal_of_exec: root ordinary;
    window_size: root ordinary;
    detach_keys: root ordinary;
    terminal_is_restored: root ordinary;
    terminal_wants_a_terminal: root ordinary;
}

fn target(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name target --network none -e BASE=1 localhost/busybox sleep 100")
        .ok();
}

fn commands(case: &Case) {
    target(case);
    case.engine("exec target echo hello").ok().prints("hello");
    case.words(&[
        "exec",
        "-e",
        "MORE=2",
        "-w",
        "/etc",
        "target",
        "sh",
        "-c",
        "echo $BASE $MORE $PWD",
    ])
    .ok()
    .prints("1 2 /etc");
    case.with_input(&["exec", "-i", "target", "wc", "-c"], "x".repeat(200_000))
        .ok()
        .prints("200000");
    case.with_input(&["exec", "target", "wc", "-c"], "ignored")
        .ok()
        .prints("0");
    let outcome = case
        .words(&["exec", "target", "sh", "-c", "echo out; echo err >&2"])
        .ok();
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("out\n", "err\n")
    );
    if case.user.kind != "single" {
        case.engine("exec -u alice target id -u")
            .ok()
            .prints("1000");
        case.engine("exec -u 77:78 target id -g").ok().prints("78");
    }
    case.engine("exec target ps -o comm").ok().contains("sleep");
    case.engine("rm -f target").ok();
}

fn exit_codes(case: &Case) {
    target(case);
    case.words(&["exec", "target", "sh", "-c", "exit 42"])
        .exits(42);
    case.words(&["exec", "target", "sh", "-c", "kill -9 $$"])
        .exits(137);
    case.engine("exec target /no/such").fails(127, "/no/such");
    case.engine("exec target /etc/not-executable")
        .fails(126, "/etc/not-executable");
    case.engine("exec no-such true").fails(1, "no-such");
    case.engine("exec target").fails(1, "exec");
    case.engine("kill target").ok();
    case.engine("wait target").ok();
    case.engine("exec target true").fails(1, "not running");
    case.engine("rm target").ok();
}

fn detached(case: &Case) {
    target(case);
    case.words(&[
        "exec",
        "-d",
        "target",
        "sh",
        "-c",
        "sleep 0.2; echo done > /done",
    ])
    .ok()
    .prints("");
    case.eventually("it went on alone", || {
        case.engine("exec target cat /done").stdout == "done\n"
    });
    case.engine("rm -f target").ok();
}

fn terminal_of_run(case: &Case) {
    case.load_busybox();
    let mut terminal = Terminal::start(
        case,
        &[
            "run",
            "--rm",
            "-it",
            "--network=none",
            "--name=tty",
            "localhost/busybox",
            "sh",
        ],
    );
    terminal.expect("# ");
    terminal.send("tty; echo TERM=$TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all\r");
    terminal.expect("/dev/pts/0");
    terminal.expect("TERM=xterm");
    terminal.expect("all");
    // The line discipline is the container's: Ctrl-C reaches its foreground process only.
    terminal.send("sleep 100\r");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("\x03");
    terminal.send("echo sur''vived\r");
    terminal.expect("survived");
    terminal.send("stat -c %t:%T /dev/console; exit 6\r");
    assert_eq!(terminal.exit_code(), 6, "{}", terminal.seen());
}

fn terminal_of_exec(case: &Case) {
    target(case);
    let mut terminal = Terminal::start(case, &["exec", "-it", "target", "sh"]);
    terminal.expect("# ");
    terminal.send("[ -t 0 ] && echo is''tty; exit 3\r");
    terminal.expect("istty");
    assert_eq!(terminal.exit_code(), 3);
    case.engine("rm -f target").ok();
}

fn window_size(case: &Case) {
    case.load_busybox();
    let mut terminal = Terminal::start(
        case,
        &[
            "run",
            "--rm",
            "-it",
            "--network=none",
            "localhost/busybox",
            "sh",
        ],
    );
    terminal.expect("# ");
    terminal.send("stty size\r");
    terminal.expect("24 80");
    terminal.resize(33, 99);
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("stty size\r");
    terminal.expect("33 99");
    terminal.send("exit\r");
    assert_eq!(terminal.exit_code(), 0);
}

fn detach_keys(case: &Case) {
    case.load_busybox();
    let mut terminal = Terminal::start(
        case,
        &[
            "run",
            "-it",
            "--network=none",
            "--name=left",
            "localhost/busybox",
            "sh",
        ],
    );
    terminal.expect("# ");
    terminal.send("X=kept\r");
    terminal.expect("# ");
    terminal.send("\x10\x11"); // ctrl-p ctrl-q
    assert_eq!(terminal.exit_code(), 0, "{}", terminal.seen());
    case.words(&["inspect", "--format", "{{.State.Status}}", "left"])
        .ok()
        .prints("running");
    let mut terminal = Terminal::start(case, &["attach", "left"]);
    terminal.send("echo $X-value\r");
    terminal.expect("kept-value");
    terminal.send("exit 8\r");
    assert_eq!(terminal.exit_code(), 8);
    case.engine("rm left").ok();
}

fn terminal_is_restored(case: &Case) {
    case.load_busybox();
    let mut terminal = Terminal::start(
        case,
        &[
            "run",
            "--rm",
            "-it",
            "--network=none",
            "localhost/busybox",
            "sh",
        ],
    );
    terminal.expect("# ");
    assert!(!terminal.is_cooked(), "raw while the container has it");
    terminal.send("exit\r");
    terminal.exit_code();
    assert!(terminal.is_cooked(), "as it was, afterwards");
}

fn terminal_wants_a_terminal(case: &Case) {
    case.load_busybox();
    case.engine("run --rm -it --network none localhost/busybox true")
        .fails(1, "TTY");
    // -t alone is fine: the output goes through a terminal nevertheless.
    let outcome = case
        .engine("run --rm -t --network none localhost/busybox echo x")
        .ok();
    assert_eq!(outcome.stdout, "x\r\n");
}
