//! Logs: drivers, rotation, following, what is lost and what is not.

use crate::case::{Case, finish};

cases! {
    drivers_keep_everything: root ordinary;
    drivers_that_cannot_be_read: root ordinary;
    rotation_under_a_follower: root ordinary;
    attributes: root ordinary;
    exact_bytes_through_a_pipe: root ordinary;
    a_slow_reader_holds_the_program_back: root ordinary;
    the_last_byte_is_there_when_wait_returns: root ordinary;
    follows_over_restarts: root ordinary;
    several_at_once: root ordinary;
    passthrough: root ordinary;
    full_disk: root;
}

/// One sh script for the caller's shell, in which `$C` is the engine.
fn script(case: &Case, text: &str) -> crate::case::Outcome {
    let mut command = case.program("sh");
    let engine = case.engine_words().join(" ");
    command.args(["-c", &format!("C='{engine}'; {text}")]);
    finish(command)
}

fn say(case: &Case, name: &str, flags: &[&str], program: &str) {
    let mut words = vec!["run", "-d", "--network=none", "--name", name];
    words.extend(flags);
    words.extend(["localhost/busybox", "sh", "-c", program]);
    case.words(&words).ok();
    case.words(&["wait", name]).ok();
}

fn drivers_keep_everything(case: &Case) {
    case.load_busybox();
    for driver in ["json-file", "k8s-file", "local"] {
        let flags = ["--log-driver", driver];
        say(
            case,
            driver,
            &flags,
            "seq 1000; echo oops >&2; printf 'no newline'",
        );
        let outcome = case.words(&["logs", driver]).ok();
        let expected: String = (1..=1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(outcome.stdout, expected + "no newline", "{driver}");
        assert_eq!(outcome.stderr, "oops\n", "{driver}");
        // Which of the two streams ended last is not known.
        case.words(&["logs", "--tail=2", driver])
            .ok()
            .prints("no newline");
        case.words(&["inspect", "-f", "{{.HostConfig.LogConfig.Type}}", driver])
            .ok()
            .prints(driver);
    }
}

fn drivers_that_cannot_be_read(case: &Case) {
    case.load_busybox();
    say(case, "silent", &["--log-driver=none"], "echo said");
    case.engine("logs silent").fails(
        1,
        "configured logging driver does not support reading: container silent has --log-driver none",
    );
    case.engine("run --log-driver=splunk localhost/busybox true")
        .fails(125, "log driver splunk is not supported");
    case.engine("run --log-opt max-size=many localhost/busybox true")
        .fails(125, "invalid size: 'many'");
    case.engine("run --log-driver=none --log-opt max-size=1k localhost/busybox true")
        .fails(125, "invalid logging opts for driver none");
    case.engine("rm silent").ok();
}

/// Every line, in order, though the file moves away under the reader again and again.
fn rotation_under_a_follower(case: &Case) {
    case.load_busybox();
    for compress in ["false", "true"] {
        case.words(&[
            "run",
            "-d",
            "--name=turns",
            "--network=none",
            "--log-opt=max-size=10k",
            "--log-opt=max-file=1000",
            &format!("--log-opt=compress={compress}"),
            "localhost/busybox",
            "sh",
            "-c",
            "for i in $(seq 40); do seq $((i * 100)) $((i * 100 + 99)); usleep 10000; done",
        ])
        .ok();
        let followed = case.engine("logs -f turns").ok();
        let expected: String = (100..4100).map(|number| format!("{number}\n")).collect();
        assert_eq!(followed.stdout, expected, "compress={compress}");
        assert_eq!(case.engine("logs turns").ok().stdout, expected);
        case.engine("logs --tail 300 turns").ok().contains("3800\n");
        case.engine("rm turns").ok();
    }
}

fn attributes(case: &Case) {
    case.load_busybox();
    let flags = [
        "--log-opt=labels=a",
        "--log-opt=env-regex=^C",
        "--log-opt=tag={{.Name}}",
        "--label=a=b",
        "--env=COLOUR=sea green",
    ];
    say(case, "tagged", &flags, "echo x");
    case.engine("logs --details tagged")
        .ok()
        .prints("COLOUR=sea+green,a=b,tag=tagged x");
    case.engine("logs tagged").ok().prints("x");
    case.words(&[
        "run",
        "--log-opt=tag={{.Nothing}}",
        "localhost/busybox",
        "true",
    ])
    .fails(125, "log opt tag");
}

fn exact_bytes_through_a_pipe(case: &Case) {
    case.load_busybox();
    let make = "head -c 50000000 /dev/zero | tr '\\0' x | fold -w 77";
    for direction in ["| cat >$D/got", ">$D/got", "2>&1 >/dev/null | cat >$D/got"] {
        let redirect = if direction.starts_with('2') {
            ">&2"
        } else {
            ""
        };
        let text = format!(
            "D={}; $C run --rm --network none localhost/busybox sh -c \"{{ {make}; }} {redirect}\" {direction}; {make} | cmp - $D/got && echo same",
            case.dir.display()
        );
        script(case, &text).ok().prints("same");
    }
}

fn a_slow_reader_holds_the_program_back(case: &Case) {
    case.load_busybox();
    let text =
        "$C run --rm --network none localhost/busybox seq 500000 | (read first; sleep 1; wc -l)";
    script(case, text).ok().prints("499999");
    // One that goes away does not end the program, and the log has everything.
    let text = "$C run --name cut --network none localhost/busybox seq 100000 | head -n 1; $C wait cut; $C logs cut | tail -n 1";
    script(case, text).ok().prints("1\n0\n100000");
    case.engine("rm cut").ok();
}

fn the_last_byte_is_there_when_wait_returns(case: &Case) {
    case.load_busybox();
    for round in 0..10 {
        let name = format!("quick{round}");
        say(case, &name, &[], "seq 3000; printf end");
        let outcome = case.words(&["logs", "--tail=2", &name]).ok();
        assert_eq!(outcome.stdout, "3000\nend", "{outcome}");
        case.words(&["rm", &name]).ok();
    }
}

fn follows_over_restarts(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--name=again",
        "--network=none",
        "--restart=on-failure:2",
        "localhost/busybox",
        "sh",
        "-c",
        "echo turn; sleep 0.2; exit 1",
    ])
    .ok();
    let followed = case.engine("logs -f again").ok();
    assert_eq!(followed.stdout, "turn\nturn\nturn\n", "{followed}");
    case.engine("rm again").ok();
}

fn several_at_once(case: &Case) {
    case.load_busybox();
    say(case, "one", &[], "echo first");
    say(case, "two", &["--log-driver=local"], "echo second");
    case.engine("logs --names one two")
        .ok()
        .prints("one first\ntwo second");
    let followed = case.engine("logs -f one two").ok();
    let (first, second) = (
        followed.stdout.contains(" first\n"),
        followed.stdout.contains(" second\n"),
    );
    assert!(first && second, "{followed}");
    case.engine("logs --latest").ok().prints("second");
    case.engine("rm one two").ok();
}

fn passthrough(case: &Case) {
    case.load_busybox();
    let text = "echo in | $C run --rm -i --log-driver passthrough --network none localhost/busybox sh -c 'cat; echo err >&2' 2>&1 | cat";
    script(case, text).ok().prints("in\nerr");
}

/// The container ends as it would, and the log says how much it lacks.
/// The program makes room when the log has met the end of the disk: no sooner, or the room would be
/// full, too, and no later than it goes on printing.
fn full_disk(case: &Case) {
    case.load_busybox();
    let text = "mount -t tmpfs -o size=64k none $D && dd if=/dev/zero of=$D/filler bs=4k count=12 2>/dev/null; \
        $C run -d --name stuck --network none -v $D:/disk --log-opt path=$D/log --log-opt max-size=-1 localhost/busybox \
            sh -c 'seq 2000; until [ -s /disk/log ]; do :; done; sleep 0.3; \
                rm /disk/filler; echo there is room; exit 3' >/dev/null; \
        $C wait stuck; $C logs stuck 2>&1 | grep -q 'lines of output are missing here: no space' && echo told; \
        $C logs stuck | tail -n 1; $C rm stuck >/dev/null";
    let mut command = case.program("unshare");
    let engine = case.engine_words().join(" ");
    let place = case.make_dir("small");
    let text = format!("C='{engine}'; D={}; {text}", place.display());
    command.args(["-m", "--propagation", "private", "sh", "-c", &text]);
    finish(command).ok().prints("3\ntold\nthere is room");
}
