//! Faults that were found by reading or by trying, each with its story.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Stdio,
    time::Instant,
};

use crate::{
    case::{Case, collect, finish},
    image::{Image, busybox_layer},
    networking,
};

cases! {
    null_device_replaced_before_exec: root ordinary;
    fifo_of_the_caller_keeps_its_owner: root;
    ignored_signals_stay_outside: root ordinary;
    ended_children_ignored_by_the_caller: root ordinary;
    closed_standard_streams: root ordinary;
    output_larger_than_input: root ordinary;
    exec_of_much_input: root ordinary;
    stopped_client_holds_up_nobody: root ordinary;
    detached_exec_with_terminal_lives: root ordinary;
    link_into_proc: root ordinary;
    early_failure_leaves_no_container: root ordinary;
    long_store_path: root ordinary;
    copies_of_a_container_that_never_ran: root ordinary;
    exec_bears_the_name_that_was_called: root ordinary;
}

fn run_detached(case: &Case, name: &str, script: &str) {
    case.load_busybox();
    case.words(&[
        "run",
        "-d",
        "--network=none",
        "--name",
        name,
        "localhost/busybox",
        "sh",
        "-c",
        script,
    ])
    .ok();
}

/// `exec` opened /dev/null by its path in the container, where it may be a link to a descriptor of
/// the joining process itself: the caller's files, opened anew for writing.
fn null_device_replaced_before_exec(case: &Case) {
    let victim = case.make_file("victim", "mine\n");
    run_detached(
        case,
        "swap",
        "rm -f /dev/null; ln -s /proc/self/fd/1 /dev/null; echo ready; sleep 100",
    );
    case.eventually("swapped", || {
        case.engine("logs swap").stdout.contains("ready")
    });
    let output = fs::OpenOptions::new().append(true).open(&victim).unwrap();
    let mut command = case.command(&["exec", "swap", "sh", "-c", "echo stolen >&0"]);
    command
        .stdout(output)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine\n");
    case.engine("rm -f swap").ok();
}

/// `exec` gave the caller's own pipe to the container, and its owner to the container's user: a FIFO
/// in the host's file system changed hands.
fn fifo_of_the_caller_keeps_its_owner(case: &Case) {
    run_detached(case, "fifo", "sleep 100");
    let path = case.root().with_file_name("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut command = case.command(&[
        "exec",
        "-u",
        "1000",
        "fifo",
        "sh",
        "-c",
        "chmod 777 /proc/self/fd/1; echo out",
    ]);
    command
        .stdout(reader.try_clone().unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), 0);
    case.engine("rm -f fifo").ok();
}

fn through_shell(case: &Case, script: &str) -> crate::case::Outcome {
    let engine = case.engine_words().join(" ");
    let mut command = case.program("bash");
    command.args(["-c", &script.replace("ENGINE", &engine)]);
    crate::case::finish(command)
}

/// What a caller ignores (`nohup`, `&` in a script) was ignored by the container too: it could not
/// be stopped with TERM.
fn ignored_signals_stay_outside(case: &Case) {
    case.load_busybox();
    let script = "trap '' INT HUP TERM; ENGINE run --rm --network=none localhost/busybox grep SigIgn /proc/self/status";
    through_shell(case, script)
        .ok()
        .contains("0000000000000000");
}

/// A caller that ignores SIGCHLD made every wait of ours fail.
fn ended_children_ignored_by_the_caller(case: &Case) {
    case.load_busybox();
    let script = "trap '' CHLD; exec ENGINE run --rm --network=none localhost/busybox echo fine";
    through_shell(case, script).ok().prints("fine");
}

/// With a standard stream closed, files of ours got its number.
fn closed_standard_streams(case: &Case) {
    case.load_busybox();
    let script =
        "ENGINE run -d --name closed --network=none localhost/busybox sleep 100 <&- >&- 2>&-";
    through_shell(case, script).ok();
    case.engine("inspect -f {{.State.Running}} closed")
        .ok()
        .prints("true");
    case.engine("rm -f closed").ok();
}

/// The client waited for room to send input, the supervisor for room to send output, for ever.
fn output_larger_than_input(case: &Case) {
    case.load_busybox();
    let input = vec![b'x'; 4 << 20];
    let args = [
        "run",
        "--rm",
        "-i",
        "--network=none",
        "localhost/busybox",
        "od",
        "-v",
        "-tx1",
    ];
    let outcome = case.with_input(&args, input).ok();
    // 16 bytes a line of 4 digits each, with the address before them and after the last.
    assert!(
        outcome.stdout.lines().count() == (4 << 20) / 16 + 1,
        "{} lines",
        outcome.stdout.lines().count()
    );
}

/// The same in `exec`, whose relay wrote to the program while that waited for its output to be read.
fn exec_of_much_input(case: &Case) {
    run_detached(case, "much", "sleep 100");
    let input = case.make_file("much.in", vec![b'y'; 8 << 20]);
    let output = case.make_file("much.out", "");
    let mut command = case.command(&["exec", "-i", "much", "cat"]);
    command.stdin(fs::File::open(&input).unwrap());
    command.stdout(fs::OpenOptions::new().write(true).open(&output).unwrap());
    assert!(command.status().unwrap().success());
    assert!(fs::read(&output).unwrap() == fs::read(&input).unwrap());
    case.engine("rm -f much").ok();
}

/// A client that does not read held back the container's end: `stop` failed, `ps` said "Up".
fn stopped_client_holds_up_nobody(case: &Case) {
    case.load_busybox();
    let client = case.start(&[
        "run",
        "--network=none",
        "--name",
        "stalled",
        "localhost/busybox",
        "yes",
    ]);
    case.eventually("running", || {
        case.engine("inspect -f {{.State.Running}} stalled")
            .stdout
            .trim()
            == "true"
    });
    let begun = Instant::now();
    // Nobody reads the client's output: it stalls by itself.
    case.engine("stop -t 1 stalled").ok();
    assert!(begun.elapsed().as_secs() < 8, "took {:?}", begun.elapsed());
    case.engine("inspect -f {{.State.Status}} stalled")
        .ok()
        .prints("exited");
    assert_eq!(collect("run yes".into(), client).code, 137);
    case.engine("rm stalled").ok();
}

/// `exec -d -t` closed the terminal at once, and the program died of it.
fn detached_exec_with_terminal_lives(case: &Case) {
    run_detached(case, "held", "sleep 100");
    case.engine("exec -dt held sleep 77").ok();
    std::thread::sleep(std::time::Duration::from_millis(300));
    case.engine("exec held ps").ok().contains("sleep 77");
    case.engine("rm -f held").ok();
}

/// A mount target is checked by its text; a link of the image led it into /proc nevertheless.
fn link_into_proc(case: &Case) {
    let layer = busybox_layer()
        .dir("etc/")
        .symlink("etc/q", "/proc/sys")
        .symlink("etc/hosts", "q/kernel/hostname")
        .symlink("data", "/proc")
        .bytes();
    case.with_input(
        &["load", "-q"],
        Image::new("localhost/links", vec![layer]).archive(),
    )
    .ok();
    let run = ["run", "--rm", "--network=none"];
    let shows = [&run[..], &["localhost/links", "true"]].concat();
    case.words(&shows).fails(125, "/proc");
    let dir = case.make_dir("dir");
    let volume = format!("{}:/data", dir.display());
    let covers = [&run[..], &["-v", &volume, "localhost/links", "true"]].concat();
    case.words(&covers).fails(125, "/proc");
}

/// A `--rm` container that failed before its supervisor was there kept its name for ever.
fn early_failure_leaves_no_container(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "--rm",
        "--name",
        "early",
        "-v",
        "/tmp:/proc/x",
        "localhost/busybox",
        "true",
    ])
    .fails(125, "/proc");
    case.engine("ps -aq").ok().prints("");
}

/// fsconfig(2) takes 255 bytes of a layer's path; with more the whole store fell back to copies.
fn long_store_path(case: &Case) {
    case.load_busybox();
    let long = case.make_dir(&"long".repeat(50));
    let words = [
        format!("--root={}", long.display()),
        format!("--runroot={}", case.make_dir("longrun").display()),
    ];
    let engine = |rest: &[&str]| {
        let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
        all.extend(rest);
        let mut command = case.program(&case.engine_words()[0]);
        command.args(all);
        crate::case::finish(command)
    };
    let archive = crate::case::shared().join("images/busybox.tar");
    engine(&["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let run = [
        "run",
        "--rm",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "head -1 /proc/mounts",
    ];
    engine(&run).ok().contains("overlay");
}

/// The files of ours in /etc of a container with a network are written by its first start, which knows
/// the addresses. `cp` mounted them before that: "cannot mount …/hostname", in the way that most people
/// take files out of an image.
fn copies_of_a_container_that_never_ran(case: &Case) {
    let Some(_world) = networking::begin(case) else {
        return;
    };
    case.engine("create --name never localhost/busybox cat /given /etc/hostname")
        .ok();
    case.engine("cp never:/etc/passwd passwd").ok();
    assert!(case.dir_path("passwd").exists());
    case.make_file("given", "given\n");
    case.engine("cp given never:/").ok();
    case.engine("cp never:/etc/hostname none").fails(
        1,
        "Could not find the file /etc/hostname in container never",
    );
    let started = case.engine("start -a never").ok();
    let id = case.engine("inspect -f {{.Config.Hostname}} never").ok();
    assert_eq!(started.stdout, format!("given\n{}", id.stdout));
    case.engine("rm never").ok();
}

/// The program that joins a container is executed anew, and had forgotten as what it was called.
fn exec_bears_the_name_that_was_called(case: &Case) {
    run_detached(case, "named", "sleep 100");
    let docker = case.dir_path("docker");
    symlink(&case.engine_words()[0], &docker).unwrap();
    let mut command = case.program(docker.to_str().unwrap());
    command.args(&case.engine_words()[1..]);
    command.args(["exec", "named", "no-such-program"]);
    let said = finish(command).exits(127).stderr;
    let expected = "docker: exec: \"no-such-program\": executable file not found in $PATH";
    assert_eq!(said.trim_end(), expected);
    case.engine("rm -f -t 0 named").ok();
}
