//! What containers do and use: `top`, `stats`, `pause`, `update`.

use crate::case::Case;

cases! {
    top: root ordinary single;
    stats: root ordinary single;
    paused_containers_stand_still: root;
    updates_are_checked: root ordinary;
}

fn top(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name t --network none localhost/busybox sleep 100")
        .ok();
    case.engine("exec -d t sleep 200").ok();
    case.eventually("the second process is there", || {
        case.engine("top t -o args").stdout.lines().count() == 3
    });
    let table = case.engine("top t").ok().stdout;
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    assert!(
        table.contains("sleep 100") && table.contains("sleep 200"),
        "{table}"
    );
    // Numbers are the host's.
    let pid = case.engine("inspect t --format {{.State.Pid}}").ok();
    case.engine("top t -o pid").ok().contains(pid.first());
    case.engine("top t hpid pid comm").ok().contains("HPID");
    case.engine("top t aux").ok().contains("%CPU");
    case.engine("top t --sort=pid").fails(1, "--sort=pid");
    case.engine("rm -f t").ok();
    case.engine("top t").fails(1, "No such container");
    case.engine("create --name t localhost/busybox true").ok();
    case.engine("top t").fails(1, "not running");
    case.engine("rm t").ok();
}

fn stats(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name s --network none localhost/busybox sleep 100")
        .ok();
    let table = case.engine("stats --no-stream").ok().stdout;
    assert!(
        table.starts_with("CONTAINER ID   NAME")
            && table.lines().next().unwrap().ends_with("BLOCK I/O   PIDS"),
        "{table}"
    );
    let row = case
        .engine("stats --no-stream --format {{.Name}}:{{.CPUPerc}}:{{.PIDs}} s")
        .ok();
    let fields: Vec<&str> = row.first().split(':').collect();
    assert_eq!((fields[0], fields[2]), ("s", "1"), "{row}");
    assert!(fields[1].ends_with('%'), "{row}");
    case.engine("stats --no-stream nobody")
        .fails(1, "No such container");
    case.engine("stop -t 0 s").ok();
    case.engine("stats --no-stream -a --format {{.Name}}:{{.MemUsage}}")
        .ok()
        .prints("s:0B / 0B");
    case.engine("rm s").ok();
}

fn paused_containers_stand_still(case: &Case) {
    case.load_busybox();
    let count = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done";
    let words = [
        "run",
        "-d",
        "--name",
        "p",
        "--network",
        "none",
        "localhost/busybox",
        "sh",
        "-c",
        count,
    ];
    case.words(&words).ok();
    let paused = case.engine("pause p");
    if paused.code != 0 {
        case.skip("no freezer here");
        case.engine("rm -f p").ok();
        return;
    }
    paused.prints("p");
    case.engine("ps --format {{.Status}}")
        .ok()
        .contains("(Paused)");
    case.engine("pause p").fails(1, "already paused");
    case.engine("exec p true").fails(1, "paused");
    case.engine("unpause p").ok().prints("p");
    case.engine("unpause p").fails(1, "not paused");
    case.engine("pause --all").ok();
    case.engine("unpause --filter name=p").ok();
    case.engine("pause")
        .fails(1, "requires at least 1 argument");
    case.engine("rm -f p").ok();
}

fn updates_are_checked(case: &Case) {
    case.load_busybox();
    case.engine("create --name u localhost/busybox true").ok();
    case.engine("update --memory 64m --pids-limit 9 u")
        .ok()
        .prints("u");
    let object = case.engine("inspect u").ok().json();
    assert_eq!(object[0]["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(object[0]["HostConfig"]["PidsLimit"], 9);
    case.engine("update u").fails(1, "one or more flags");
    case.engine("update --memory 1k u").fails(1, "memory");
    case.engine("update --memory 64m nobody")
        .fails(1, "No such container");
    case.engine("rm u").ok();
}
