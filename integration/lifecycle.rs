//! Which command may be given in which state, several containers at once, and the ways to choose
//! them.

use crate::case::{Case, collect};

cases! {
    legal_moves: root ordinary;
    paused: root;
    restarting: root ordinary;
    dead: root ordinary;
    removing: root ordinary;
    several: root ordinary;
    stopped_together: root ordinary;
    chosen: root ordinary single;
    rename: root ordinary single;
    rename_of_one_that_goes: root ordinary;
    dependents: root ordinary;
    wait_for_states: root ordinary;
    wait_is_woken: root ordinary;
    wait_for_several: root ordinary;
    update_for_the_next_start: root ordinary;
    stop_timeouts: root ordinary;
    exists: root ordinary;
    around_a_run: root ordinary;
    refused: root ordinary;
    removed_after_a_killed_supervisor: root ordinary;
}

const SLEEP: &str = "--network none localhost/busybox sleep 1000";

fn sleeping(case: &Case, name: &str) {
    case.engine(&format!("run -d --name {name} {SLEEP}")).ok();
}

fn state(case: &Case, name: &str) -> String {
    let format = "{{.State.Status}}";
    let outcome = case.words(&["inspect", "--format", format, name]).ok();
    outcome.stdout.trim().to_owned()
}

fn names(case: &Case) -> Vec<String> {
    let listed = case.words(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    let mut names: Vec<String> = listed.stdout.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn legal_moves(case: &Case) {
    case.load_busybox();
    case.engine(&format!("create --name box {SLEEP}")).ok();
    for state_of_rest in ["created", "exited"] {
        assert_eq!(state(case, "box"), state_of_rest);
        case.engine("stop box").ok().prints("box");
        case.engine("kill box")
            .fails(1, "cannot kill container: box");
        case.engine("pause box").fails(1, "is not running");
        case.engine("unpause box").fails(1, "is not running");
        case.engine("exec box true").fails(1, "is not running");
        case.engine("top box").fails(1, "is not running");
        case.engine("attach box")
            .fails(1, "cannot attach to a stopped container, start it first");
        case.engine("start box").ok().prints("box");
        // What is there already is no error.
        case.engine("start box").ok().prints("box");
        assert_eq!(state(case, "box"), "running");
        case.engine("unpause box").fails(1, "is not paused");
        case.engine("rm box").fails(
            1,
            "cannot remove container \"/box\": container is running: stop the container before removing or force remove",
        );
        case.engine("kill -s USR2 box").ok().prints("box");
        case.engine("kill box").ok().prints("box");
        assert_eq!(state(case, "box"), "exited");
    }
    case.engine("rm box").ok().prints("box");
    case.engine("rm box").fails(1, "No such container: box");
}

fn paused(case: &Case) {
    case.load_busybox();
    sleeping(case, "box");
    if case.engine("pause box").code != 0 {
        case.skip("no freezer");
        case.engine("rm -f box").ok();
        return;
    }
    assert_eq!(state(case, "box"), "paused");
    case.engine("start box")
        .fails(1, "cannot start a paused container, try unpause instead");
    case.engine("pause box").fails(1, "is already paused");
    case.engine("exec box true")
        .fails(1, "is paused, unpause the container before exec");
    case.engine("attach box")
        .fails(1, "cannot attach to a paused container, unpause it first");
    case.engine("rm box")
        .fails(1, "container is paused and must be unpaused first");
    case.engine("rename box crate").ok().prints("");
    assert_eq!(state(case, "crate"), "paused");
    case.engine("stop -t 0 crate").ok().prints("crate");
    assert_eq!(state(case, "crate"), "exited");
    case.engine("restart crate").ok().prints("crate");
    case.engine("pause crate").ok();
    case.engine("rm -f crate").ok().prints("crate");
}

/// A program that ends at once, always started anew: between two runs, longer each time.
fn restarting(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name box --restart always --network none localhost/busybox false")
        .ok();
    // The fourth wait lasts 0.8 seconds, the fifth 1.6, and so on.
    let deep = || {
        let count = case
            .words(&["inspect", "--format", "{{.RestartCount}}", "box"])
            .ok();
        count.stdout.trim().parse::<u32>().unwrap() >= 4 && state(case, "box") == "restarting"
    };
    case.eventually("it waits for a while", deep);
    case.engine("pause box")
        .fails(1, "is restarting, wait until the container is running");
    case.eventually("it waits for a while", || {
        state(case, "box") == "restarting"
    });
    case.engine("rm box").fails(
        1,
        "container is restarting: stop the container before removing or force remove",
    );
    case.engine("rename box crate").ok();
    case.engine("stop crate").ok().prints("crate");
    assert_eq!(state(case, "crate"), "exited");
    case.engine("rm crate").ok();
}

fn dead(case: &Case) {
    case.load_busybox();
    let outcome = case.engine(&format!("create --name box {SLEEP}")).ok();
    let folder = case.root().join("containers").join(outcome.first());
    std::fs::remove_dir_all(folder.join("upper")).unwrap();
    assert_eq!(state(case, "box"), "dead");
    case.engine("ps -a").ok().contains("Dead");
    case.engine("start box")
        .fails(1, "container is marked for removal and cannot be started");
    case.engine("update -m 50m box")
        .fails(1, "marked for removal");
    case.engine("stop box").ok();
    case.engine("rm box").ok().prints("box");
    assert!(names(case).is_empty());
}

/// `rm -f` waits for the end of what it has killed. With the supervisor stopped it waits long
/// enough for others to look.
fn removing(case: &Case) {
    case.load_busybox();
    sleeping(case, "box");
    let pid = case
        .words(&["inspect", "--format", "{{.State.Pid}}", "box"])
        .ok();
    let supervisor = parent_of(pid.stdout.trim());
    let signal = |signal| {
        let pid = rustix::process::Pid::from_raw(supervisor).unwrap();
        let _ = rustix::process::kill_process(pid, signal);
    };
    signal(rustix::process::Signal::STOP);
    let remover = case.start(&["rm", "-f", "box"]);
    case.eventually("it is being removed", || state(case, "box") == "removing");
    case.engine("ps -a").ok().contains("Removal In Progress");
    case.engine("rm box")
        .fails(1, "removal of container box is already in progress");
    case.engine("start box").fails(1, "marked for removal");
    case.engine("exec box true").fails(1, "not running");
    signal(rustix::process::Signal::CONT);
    collect("rm -f box".to_owned(), remover).ok().prints("box");
    assert!(names(case).is_empty());
}

fn parent_of(pid: &str) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("PPid:"))
        .unwrap();
    line["PPid:".len()..].trim().parse().unwrap()
}

fn several(case: &Case) {
    case.load_busybox();
    for name in ["one", "two"] {
        case.engine(&format!("create --name {name} {SLEEP}")).ok();
    }
    // Each is told of, and those that can be are dealt with.
    for command in [
        "start",
        "pause",
        "unpause",
        "restart -t 0",
        "stop -t 0",
        "rm -f",
    ] {
        if command == "pause" || command == "unpause" {
            // Not everybody may freeze.
            case.engine(&format!("{command} one two"));
            continue;
        }
        let outcome = case.engine(&format!("{command} one nosuch two"));
        assert_eq!(outcome.stdout, "one\ntwo\n", "{outcome}");
        assert!(
            outcome.stderr.contains("No such container: nosuch"),
            "{outcome}"
        );
        assert_eq!(outcome.code, i32::from(command != "rm -f"), "{outcome}");
    }
    assert!(names(case).is_empty());
    let ids: Vec<String> = (0..17)
        .map(|_| {
            case.engine(&format!("create {SLEEP}"))
                .ok()
                .first()
                .to_owned()
        })
        .collect();
    // Seventeen have at least two with the same first digit.
    let shared = ids.iter().find_map(|id| {
        let digit = &id[..1];
        (ids.iter().filter(|other| other.starts_with(digit)).count() > 1).then_some(digit)
    });
    case.words(&["start", shared.unwrap()])
        .fails(1, "beginning of several container IDs");
    let outcome = case.words(&["rm", &ids[0][..12], &ids[1][..12]]).ok();
    outcome.prints(&format!("{}\n{}", &ids[0][..12], &ids[1][..12]));
    case.engine("rm -a").ok();
}

/// Three that do not listen take as long as one.
fn stopped_together(case: &Case) {
    case.load_busybox();
    for name in ["one", "two", "three"] {
        case.words(&[
            "run",
            "-d",
            &format!("--name={name}"),
            "--network=none",
            "localhost/busybox",
            "sh",
            "-c",
            "trap : TERM; echo ready; while :; do sleep 1000 & wait; done",
        ])
        .ok();
    }
    for name in ["one", "two", "three"] {
        case.eventually("it does not listen", || {
            case.words(&["logs", name]).stdout == "ready\n"
        });
    }
    // All are asked before the first is killed: each has seen its signal when the time is over.
    let since = std::time::Instant::now();
    case.engine("stop -t 2 one two three")
        .ok()
        .prints("one\ntwo\nthree");
    println!("stopped after {:?}", since.elapsed());
    let format = "{{.State.ExitCode}} {{.State.StartedAt}} {{.State.FinishedAt}}";
    for name in ["one", "two", "three"] {
        case.words(&["inspect", "--format", format, name])
            .ok()
            .contains("137");
    }
    case.engine("rm one two three").ok();
}

fn chosen(case: &Case) {
    case.load_busybox();
    let first = case.dir_path("first").display().to_string();
    case.engine(&format!(
        "create --name one --label team=a --cidfile {first} {SLEEP}"
    ))
    .ok();
    let two = case.engine(&format!("create --name two {SLEEP}")).ok();
    case.words(&["start", "--latest"]).ok().prints(two.first());
    let filtered = case.words(&["start", "--filter", "label=team=a"]).ok();
    assert_eq!(filtered.stdout.lines().count(), 1, "{filtered}");
    assert_eq!(state(case, "one"), "running");
    case.words(&["kill", "--cidfile", &first]).ok();
    assert_eq!(state(case, "one"), "exited");
    assert_eq!(state(case, "two"), "running");
    let started = case.words(&["start", "--all"]).ok();
    assert_eq!(started.stdout.lines().count(), 1, "{started}");
    let again = case.words(&["restart", "--running", "-t", "0"]).ok();
    assert_eq!(again.stdout.lines().count(), 2, "{again}");
    case.words(&["stop", "-t", "0", "--filter", "name=two"])
        .ok()
        .prints(two.first());
    case.words(&["stop", "-t0", "-a"]).ok();
    assert_eq!(state(case, "one"), "exited");
    // What contradicts itself changes nothing.
    for words in [
        &["rm", "--all", "one"][..],
        &["rm", "--latest", "one"],
        &["stop", "--all", "--latest"],
        &["start", "-l", "one"],
        &["wait", "-l", "one"],
    ] {
        case.words(words).fails(125, "conflicting options");
    }
    for command in [
        "start", "stop", "restart", "kill", "rm", "wait", "update", "pause", "init",
    ] {
        case.words(&[command])
            .fails(1, "requires at least 1 argument");
    }
    case.engine("attach").fails(1, "requires 1 argument");
    case.words(&["stop", "--cidfile", "/no/such/file"])
        .fails(1, "/no/such/file");
    case.words(&["stop", "--ignore", "--cidfile", "/no/such/file"])
        .ok()
        .prints("");
    case.engine("stop --ignore nosuch").ok().prints("");
    case.engine("rm --ignore nosuch").ok().prints("");
    assert_eq!(names(case), ["one", "two"]);
    case.words(&["rm", "--filter", "label=team=a"]).ok();
    assert_eq!(names(case), ["two"]);
    case.engine("rm -a").ok().prints(two.first());
    case.engine("start -l").fails(1, "there is no container");
}

fn rename(case: &Case) {
    case.load_busybox();
    sleeping(case, "old");
    sleeping(case, "other");
    case.engine("rename old new").ok().prints("");
    case.engine("exec new true").ok();
    case.engine("exec old true")
        .fails(1, "No such container: old");
    case.engine("rename new other")
        .fails(1, "is already in use by container");
    case.engine("rename new new").fails(
        1,
        "renaming a container with the same name as its current name",
    );
    case.words(&["rename", "new", ""]).fails(1, "may be empty");
    case.words(&["rename", "new", "a b"])
        .fails(1, "invalid container name");
    case.engine("rename nosuch name")
        .fails(1, "No such container");
    case.engine("rename new").fails(1, "requires 2 arguments");
    assert_eq!(names(case), ["new", "other"]);
    // Anybody may have the old name, and the new one is kept over an end and a start.
    sleeping(case, "old");
    case.engine("restart -t 0 new").ok();
    case.engine("container rename new /newer").ok();
    assert_eq!(names(case), ["newer", "old", "other"]);
    case.engine("events --since 1h --until 0s --filter event=rename")
        .ok()
        .contains("oldName=/new");
    case.engine("rm -f newer old other").ok();
    assert_eq!(
        std::fs::read_dir(case.root().join("names"))
            .unwrap()
            .count(),
        0
    );
}

/// Its supervisor knows the name that it began with.
fn rename_of_one_that_goes(case: &Case) {
    case.load_busybox();
    case.engine("run -d --rm -i --name old --network none localhost/busybox sleep 1000")
        .ok();
    case.engine("rename old new").ok();
    case.engine("stop -t 0 new").ok();
    case.eventually("it removes itself", || names(case).is_empty());
    case.eventually("its name goes too", || {
        std::fs::read_dir(case.root().join("names"))
            .unwrap()
            .count()
            == 0
    });
    sleeping(case, "new");
    case.engine("rm -f new").ok();
}

fn dependents(case: &Case) {
    case.load_busybox();
    sleeping(case, "base");
    case.engine("run -d --name user --network container:base localhost/busybox sleep 1000")
        .ok();
    case.engine("create --name far --network none --ipc container:user localhost/busybox true");
    sleeping(case, "apart");
    let outcome = case.engine("rm -f --depend base").ok();
    assert_eq!(outcome.stdout.lines().last(), Some("base"), "{outcome}");
    assert!(outcome.stdout.lines().count() >= 2, "{outcome}");
    assert_eq!(
        names(case)
            .iter()
            .filter(|name| *name != "far")
            .collect::<Vec<_>>(),
        ["apart"]
    );
    case.engine("rm -f apart far --ignore").ok();
}

fn wait_for_states(case: &Case) {
    case.load_busybox();
    case.engine(&format!("create --name box {SLEEP}")).ok();
    case.engine("wait box").ok().prints("0");
    case.engine("wait --condition created box").ok().prints("0");
    case.engine("start box").ok();
    case.engine("wait --condition running box")
        .ok()
        .prints("-1");
    case.engine("wait --condition exited --condition running box")
        .ok()
        .prints("-1");
    case.engine("wait --condition exited,running box")
        .ok()
        .prints("-1");
    case.engine("kill box").ok();
    case.engine("wait --condition stopped box")
        .ok()
        .prints("137");
    case.engine("wait box box").ok().prints("137\n137");
    case.engine("wait --condition soon box")
        .fails(1, "invalid condition");
    case.engine("wait nosuch")
        .fails(1, "No such container: nosuch");
    case.engine("wait --ignore nosuch").ok().prints("-1");
    case.engine("wait nosuch box").exits(1).prints("137");
    case.engine("rm box").ok();
}

/// The waiter is there before what it waits for.
fn wait_is_woken(case: &Case) {
    case.load_busybox();
    case.engine(&format!("create --name box {SLEEP}")).ok();
    let begin = |condition: &str| {
        let child = case.start(&["wait", "--condition", condition, "box"]);
        let fds = format!("/proc/{}/fd", child.id());
        case.eventually("it watches", || {
            let links = std::fs::read_dir(&fds).into_iter().flatten().flatten();
            let mut targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
            targets.any(|target| target.to_string_lossy().contains("inotify"))
        });
        child
    };
    let end = |child, code: &str| {
        collect("wait".to_owned(), child).ok().prints(code);
    };
    let waiter = begin("running");
    case.engine("start box").ok();
    end(waiter, "-1");
    if case.engine("pause box").code == 0 {
        case.engine("unpause box").ok();
        let waiter = begin("paused");
        case.engine("pause box").ok();
        end(waiter, "-1");
        case.engine("unpause box").ok();
    }
    let waiter = begin("next-exit");
    case.engine("kill box").ok();
    end(waiter, "137");
    let waiter = begin("next-exit");
    case.engine("start box").ok();
    case.engine("stop -t 0 box").ok();
    end(waiter, "137");
    let waiter = begin("removed");
    case.engine("rm box").ok();
    end(waiter, "137");
    case.engine(&format!("create --name box {SLEEP}")).ok();
    let waiter = begin("running");
    case.engine("rm box").ok();
    collect("wait".to_owned(), waiter).fails(1, "was removed meanwhile");
}

fn wait_for_several(case: &Case) {
    case.load_busybox();
    sleeping(case, "one");
    sleeping(case, "two");
    let waiter = case.start(&["wait", "--exit-first-match", "one", "two"]);
    case.engine("kill -s KILL two").ok();
    collect("wait".to_owned(), waiter).ok().prints("137");
    assert_eq!(state(case, "one"), "running");
    case.engine("rm -f one two").ok();
}

fn update_for_the_next_start(case: &Case) {
    case.load_busybox();
    case.words(&[
        "create",
        "--name=box",
        "--network=none",
        "-eKEPT=1",
        "-eGONE=1",
        "localhost/busybox",
        "sh",
        "-c",
        "echo $KEPT $GONE $NEW; ulimit -n",
    ])
    .ok();
    case.engine("start -a box").ok().contains("1 1\n");
    case.engine("update --env KEPT=2 --env NEW=3 --unsetenv GONE --ulimit nofile=77:77 box")
        .ok()
        .prints("box");
    case.engine("start -a box").ok().prints("2 3\n77");
    case.engine("update box").fails(1, "one or more flags");
    case.engine("update --ulimit nofile=x box")
        .fails(125, "invalid ulimit");
    case.engine("rm box").ok();
}

fn stop_timeouts(case: &Case) {
    case.load_busybox();
    // `sleep` as first process does not listen to SIGTERM: the container's own timeout counts.
    case.engine(&format!("run -d --name box --stop-timeout 0 {SLEEP}"))
        .ok();
    case.engine("stop box").ok();
    case.engine("wait box").ok().prints("137");
    case.engine("start box").ok();
    let stopping = case.start(&["stop", "-t", "-1", "box"]);
    case.eventually("it was asked", || {
        case.engine("events --since 1h --until 0s --filter event=kill")
            .stdout
            .contains("signal=15")
    });
    case.engine("kill box").ok();
    collect("stop -t -1 box".to_owned(), stopping)
        .ok()
        .prints("box");
    case.engine("start box").ok();
    case.engine("rm -t 1 box")
        .fails(125, "--force option must be specified");
    case.engine("rm -f -t 1 box").ok().prints("box");
}

fn exists(case: &Case) {
    case.load_busybox();
    case.engine(&format!("create --name box {SLEEP}")).ok();
    case.engine("container exists box").ok().prints("");
    case.engine("container exists nosuch").exits(1).prints("");
    case.engine("image exists localhost/busybox")
        .ok()
        .prints("");
    case.engine("image exists localhost/nosuch")
        .exits(1)
        .prints("");
    case.engine("container exists")
        .fails(1, "requires 1 argument");
    case.engine("rm box").ok();
}

fn around_a_run(case: &Case) {
    case.load_busybox();
    sleeping(case, "box");
    case.engine("container init box")
        .fails(1, "has been started already");
    case.engine("container cleanup box")
        .fails(1, "refusing to clean up");
    case.engine("kill box").ok();
    case.engine("init box").ok().prints("box");
    case.engine("container cleanup box").ok().prints("box");
    case.engine("container cleanup --rm box").ok().prints("box");
    assert!(names(case).is_empty());
}

fn refused(case: &Case) {
    case.load_busybox();
    for line in [
        "container checkpoint --export file --keep box",
        "container restore -i file",
        "mount",
        "container mount box",
        "unmount -a",
        "container runlabel install localhost/busybox",
        "start --checkpoint name box",
    ] {
        case.engine(line).fails(125, "is not supported");
    }
}

fn removed_after_a_killed_supervisor(case: &Case) {
    case.load_busybox();
    sleeping(case, "box");
    let pid = case
        .words(&["inspect", "--format", "{{.State.Pid}}", "box"])
        .ok();
    let supervisor = rustix::process::Pid::from_raw(parent_of(pid.stdout.trim())).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    case.engine("rm -f box").ok().prints("box");
    assert!(names(case).is_empty());
}
