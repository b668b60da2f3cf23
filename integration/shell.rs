//! In front of a terminal and in a pipeline: job control, signals, raw modes, standard input that
//! ends when it should, readers that go away.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    case::{Case, collect},
    terminal::Terminal,
};

cases! {
    stopped_by_a_key: root ordinary;
    stopped_with_a_terminal: root ordinary;
    background_reader_is_stopped: root ordinary;
    interrupted_often: root ordinary;
    terminal_is_given_back: root ordinary;
    killed_client: root ordinary;
    reader_goes_away: root ordinary;
    input_ends_when_it_should: root ordinary;
    much_in_both_directions: root ordinary;
    output_of_short_lives: root ordinary;
    size_from_the_first_byte: root ordinary;
    keys_that_detach: root ordinary;
    left_by_exec: root ordinary;
    two_at_once: root ordinary;
}

const COUNTING: &str = "while :; do echo x >> /count; sleep 0.05; done";

fn line(case: &Case, words: &str) -> String {
    format!("{} {words}\r", case.engine_words().join(" "))
}

/// The number of the command, not of the supervisor, whose arguments say this.
#[track_caller]
fn command(case: &Case, says: &str) -> Pid {
    let found = || {
        let engine = &case.engine_words()[0];
        case.processes()
            .into_iter()
            .find(|(_, arguments)| arguments.starts_with(engine) && arguments.contains(says))
    };
    case.eventually("the command is there", || found().is_some());
    Pid::from_raw(found().unwrap().0).unwrap()
}

fn process_state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn count(case: &Case, name: &str) -> u32 {
    let outcome = case.words(&["exec", name, "sh", "-c", "wc -l < /count"]);
    outcome.stdout.trim().parse().unwrap_or(0)
}

fn state(case: &Case, name: &str) -> String {
    let format = "{{.State.Status}}";
    let outcome = case.words(&["inspect", "--format", format, name]);
    outcome.stdout.trim().to_owned()
}

#[track_caller]
fn goes_on(case: &Case, name: &str) {
    let before = count(case, name);
    case.eventually("the program goes on", || count(case, name) > before);
}

/// Ctrl-Z is about the command; the container never notices.
fn stopped_by_a_key(case: &Case) {
    case.load_busybox();
    let mut shell = Terminal::shell(case);
    let run = format!("run --rm --network=none --name=keyed localhost/busybox sh -c '{COUNTING}'");
    shell.send(&line(case, &run));
    case.eventually("the program runs", || count(case, "keyed") > 0);
    shell.send("\x1a");
    shell.expect("Stopped");
    shell.expect("host$ ");
    goes_on(case, "keyed");
    shell.send("fg\r");
    shell.expect("keyed");
    case.engine("kill keyed").ok();
    shell.expect("host$ ");
    shell.send("echo code=$?\r");
    shell.expect("code=137");
    shell.send("exit\r");
    shell.exit_code();
}

/// A command that has set the terminal to raw mode gives it back while it stands still.
fn stopped_with_a_terminal(case: &Case) {
    case.load_busybox();
    let mut shell = Terminal::shell(case);
    shell.send(&line(
        case,
        "run --rm -it --network=none --name=stopped localhost/busybox sh",
    ));
    shell.expect("# ");
    let pid = command(case, "--name=stopped");
    for signal in [Signal::TSTP, Signal::STOP] {
        kill_process(pid, signal).unwrap();
        shell.expect("Stopped");
        shell.expect("host$ ");
        assert_eq!(process_state(pid), Some('T'));
        assert_eq!(state(case, "stopped"), "running");
        shell.send("fg\r");
        case.eventually("it goes on", || process_state(pid) != Some('T'));
        shell.send("echo ba''ck\r");
        shell.expect("back");
        // Only in raw mode do keys reach the container one by one.
        shell.send("echo $((6 * 7))\x01\x05\r");
        shell.expect("42");
    }
    shell.send("exit 5\r");
    shell.expect("host$ ");
    shell.send("echo code=$?\r");
    shell.expect("code=5");
    shell.send("exit\r");
    shell.exit_code();
}

/// As any program of a shell: who reads the terminal without being asked to is stopped.
fn background_reader_is_stopped(case: &Case) {
    case.load_busybox();
    let mut shell = Terminal::shell(case);
    let run = "run --rm -i --network=none --name=behind localhost/busybox cat";
    shell.send(&line(case, &format!("{run} &")));
    case.eventually("the container runs", || state(case, "behind") == "running");
    let pid = command(case, "--name=behind");
    case.eventually("it is stopped", || {
        // Whoever comes first takes what is typed: the shell, mostly.
        shell.send("\r");
        process_state(pid) == Some('T')
    });
    assert_eq!(state(case, "behind"), "running");
    shell.send("fg\r");
    case.eventually("it goes on", || process_state(pid) != Some('T'));
    shell.send("hel''lo\r");
    shell.expect("hel''lo");
    shell.send("\x04");
    case.eventually("it ends with its input", || {
        state(case, "behind").is_empty()
    });
    shell.send("exit\r");
    shell.exit_code();
}

/// A program that listens to no signal can be left: the third SIGINT or SIGTERM is the command's.
fn interrupted_often(case: &Case) {
    case.load_busybox();
    let run = ["run", "--rm", "--network=none", "--name=deaf"];
    let mut words = run.to_vec();
    let deaf = format!("trap '' INT TERM; {COUNTING}");
    words.extend(["localhost/busybox", "sh", "-c", &deaf]);
    let child = case.start(&words);
    case.eventually("the program runs", || count(case, "deaf") > 0);
    let pid = Pid::from_child(&child);
    // Signals of one kind that come at once count once.
    for (signal, taken) in [(Signal::INT, "2"), (Signal::TERM, "3"), (Signal::INT, "")] {
        kill_process(pid, signal).unwrap();
        let status = format!("/proc/{}/status", pid.as_raw_nonzero());
        case.eventually(&format!("signal before number {taken} is taken"), || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let pending = status
                .lines()
                .find_map(|line| line.strip_prefix("ShdPnd:"))
                .map_or("0", str::trim);
            u64::from_str_radix(pending, 16) == Ok(0)
        });
    }
    let outcome = collect("run, interrupted".to_owned(), child);
    assert_eq!(outcome.code, 1, "{outcome}");
    assert!(outcome.stderr.contains("got 3"), "{outcome}");
    goes_on(case, "deaf");
    case.engine("rm -f deaf").ok();
}

/// However the command goes: the shell after it finds its terminal as it was.
fn terminal_is_given_back(case: &Case) {
    case.load_busybox();
    case.engine("run -d --network=none --name=target localhost/busybox sleep 1000")
        .ok();
    let run = "run --rm -it --network=none --sig-proxy=false --name=given localhost/busybox sh";
    for words in [run, "exec -it target sh"] {
        for (signal, code) in [
            (Signal::TERM, 143),
            (Signal::HUP, 129),
            (Signal::INT, 130),
            (Signal::QUIT, 131),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let mut terminal = Terminal::start(case, &words);
            terminal.expect("# ");
            assert!(!terminal.is_cooked(), "raw while the container has it");
            let says = if words[0] == "run" { "given" } else { "exec" };
            let found = case
                .processes()
                .into_iter()
                .find(|(pid, arguments)| {
                    arguments.starts_with("coracle-exec") == (words[0] == "exec")
                        && !arguments.starts_with("setsid")
                        && !arguments.starts_with("coracle-supervisor")
                        && arguments.contains(says)
                        && *pid != 0
                })
                .unwrap_or_else(|| panic!("no command {says}: {:?}", case.processes()));
            kill_process(Pid::from_raw(found.0).unwrap(), signal).unwrap();
            assert_eq!(terminal.exit_code(), code, "{words:?}: {}", terminal.seen());
            assert!(terminal.is_cooked(), "{words:?} after {signal:?}");
            if words[0] == "run" {
                assert_eq!(state(case, "given"), "running", "the container goes on");
                case.engine("rm -f given").ok();
            }
        }
    }
    case.engine("rm -f target").ok();
}

/// Nobody watches any more; the supervisor does what is left to do.
fn killed_client(case: &Case) {
    case.load_busybox();
    let words = |name: &'static str, script: &'static str| {
        let run = ["run", "--rm", "-i", "--network=none", name];
        [&run[..], &["localhost/busybox", "sh", "-c", script]].concat()
    };
    let mut child = case.start(&words("--name=alone", COUNTING));
    case.eventually("the program runs", || count(case, "alone") > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    goes_on(case, "alone");
    case.engine("stop -t 0 alone").ok();
    case.eventually("it is removed", || state(case, "alone").is_empty());
    // Its input ends with the client.
    let mut child = case.start(&words("--name=reads", "cat; touch /gone; exit 3"));
    case.eventually("the program runs", || state(case, "reads") == "running");
    child.kill().unwrap();
    child.wait().unwrap();
    case.eventually("it ends and is removed", || state(case, "reads").is_empty());
}

/// `run … | head -1` ends as every pipeline does, and the container goes on (as with Docker).
fn reader_goes_away(case: &Case) {
    case.load_busybox();
    case.engine("run -d --network=none --name=target localhost/busybox sleep 1000")
        .ok();
    for words in [
        "run --network=none --name=gushing localhost/busybox yes",
        "run -t --network=none --name=gushing localhost/busybox yes",
        "exec target yes",
        "exec -t target yes",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let mut child = case.start(&words);
        let mut bytes = [0; 2];
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut bytes).unwrap();
        drop(output);
        let outcome = collect(format!("{words:?}"), child);
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (141, ""),
            "{outcome}"
        );
        if words[0] == "run" {
            assert_eq!(state(case, "gushing"), "running");
            case.engine("rm -f gushing").ok();
        } else {
            case.eventually("the program ends with its reader", || {
                !case.engine("top target -o args").stdout.contains("yes")
            });
        }
    }
    case.engine("rm -f target").ok();
}

fn input_ends_when_it_should(case: &Case) {
    case.load_busybox();
    case.engine("run -d --network=none --name=target localhost/busybox sleep 1000")
        .ok();
    let run = ["run", "--rm", "--network=none", "-i", "localhost/busybox"];
    let exec = ["exec", "-i", "target"];
    for begin in [&run[..], &exec[..]] {
        // Ours ends: the program's does.
        case.with_input(&[begin, &["cat"]].concat(), "through\n")
            .ok()
            .prints("through");
        // The program ends, or wants no more, while ours stays open.
        for script in ["exit 4", "exec <&-; echo; exit 4", "read line; exit 4"] {
            let mut child = case.start(&[begin, &["sh", "-c", script]].concat());
            let mut stdin = child.stdin.take().unwrap();
            let _ = stdin.write_all(b"one\ntwo\n");
            let outcome = collect(script.to_owned(), child);
            assert_eq!(outcome.code, 4, "{outcome}");
            drop(stdin);
        }
        // Without -i there is none.
        let without: Vec<&str> = begin.iter().copied().filter(|word| *word != "-i").collect();
        case.with_input(&[&without[..], &["cat"]].concat(), "unread\n")
            .ok()
            .prints("");
    }
    case.engine("rm -f target").ok();
}

/// Neither direction waits for the other.
fn much_in_both_directions(case: &Case) {
    const BYTES: usize = 64 << 20;
    case.load_busybox();
    case.engine("run -d --network=none --name=target localhost/busybox sleep 1000")
        .ok();
    let run = "run --rm --network=none --log-driver=none -i localhost/busybox cat";
    for words in [run, "exec -i target cat"] {
        let words: Vec<&str> = words.split(' ').collect();
        let mut command = case.command(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            let piece: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
            for _ in 0..BYTES >> 20 {
                stdin.write_all(&piece).unwrap();
            }
        });
        let mut output = Vec::with_capacity(BYTES);
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut output)
            .unwrap();
        writer.join().unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(output.len(), BYTES, "{words:?}");
        let as_sent = |(at, byte): (usize, &u8)| *byte == (at % 256) as u8;
        assert!(output.iter().enumerate().all(as_sent), "{words:?}");
    }
    case.engine("rm -f target").ok();
}

/// The last byte is there, though nobody was asked to wait for it.
fn output_of_short_lives(case: &Case) {
    case.load_busybox();
    for _ in 0..20 {
        let outcome = case
            .shell("", "head -c 100000 /dev/zero | tr '\\0' x; echo end >&2")
            .ok();
        assert_eq!(
            (outcome.stdout.len(), outcome.stderr.trim()),
            (100_000, "end")
        );
    }
}

fn size_from_the_first_byte(case: &Case) {
    case.load_busybox();
    case.engine("run -d --network=none --name=target localhost/busybox sleep 1000")
        .ok();
    let run = "run --rm -it --network=none localhost/busybox stty size";
    for words in [run, "exec -it target stty size"] {
        let words: Vec<&str> = words.split(' ').collect();
        let mut terminal = Terminal::start(case, &words);
        terminal.expect("24 80");
        assert_eq!(terminal.exit_code(), 0);
    }
    case.engine("rm -f target").ok();
}

fn keys_that_detach(case: &Case) {
    case.load_busybox();
    for (keys, typed) in [
        ("ctrl-@", "\0"),
        ("ctrl-_,a", "\x1fa"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^", "\x1b\x1c\x1d\x1e"),
        // What was begun may be the beginning of another try.
        ("a,a,b", "aaab"),
        ("DEL", "\x7f"),
    ] {
        let flag = format!("--detach-keys={keys}");
        let begin = ["run", "-it", "--network=none", "--name=keys", &flag];
        let mut terminal =
            Terminal::start(case, &[&begin[..], &["localhost/busybox", "sh"]].concat());
        terminal.expect("# ");
        terminal.send(typed);
        assert_eq!(terminal.exit_code(), 0, "{keys}: {}", terminal.seen());
        assert!(terminal.is_cooked());
        assert_eq!(state(case, "keys"), "running");
        case.engine("rm -f keys").ok();
    }
    for keys in ["ctrl-A", "ctrl-", "ab", "a,,b", "ctrl-p,ctrl-1"] {
        let flag = format!("--detach-keys={keys}");
        case.words(&["run", "--rm", &flag, "localhost/busybox", "true"])
            .fails(125, &format!("Invalid detach keys ({keys}) provided"));
        case.words(&["attach", &flag, "nobody"])
            .fails(1, &format!("Invalid detach keys ({keys}) provided"));
    }
}

/// A program of `exec` that was left keeps its terminal.
fn left_by_exec(case: &Case) {
    case.load_busybox();
    case.engine("run -d --network=none --name=target localhost/busybox sleep 1000")
        .ok();
    let script = "read line; echo got $line; sleep 1; tty; echo still > /left; sleep 100";
    let mut terminal = Terminal::start(case, &["exec", "-it", "target", "sh", "-c", script]);
    terminal.send("word\r");
    terminal.expect("got word");
    terminal.send("\x10\x11");
    assert_eq!(terminal.exit_code(), 0, "{}", terminal.seen());
    case.eventually("it writes to its terminal and lives", || {
        case.engine("exec target cat /left").stdout == "still\n"
    });
    case.engine("rm -f target").ok();
}

/// Two terminals see the same and may both type; one that leaves does not disturb the other.
fn two_at_once(case: &Case) {
    case.load_busybox();
    case.engine("run -dit --network=none --name=shared localhost/busybox sh")
        .ok();
    let mut one = Terminal::start(case, &["attach", "shared"]);
    one.send("echo fir''st\r");
    one.expect("first");
    let mut two = Terminal::start(case, &["attach", "shared"]);
    two.send("echo sec''ond\r");
    two.expect("second");
    one.expect("second");
    two.send("\x10\x11");
    assert_eq!(two.exit_code(), 0);
    one.send("echo th''ird; exit 7\r");
    one.expect("third");
    assert_eq!(one.exit_code(), 7);
    case.engine("rm shared").ok();
}
