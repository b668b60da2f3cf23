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
    case.engine("run -d --name tt --network none localhost/busybox sleep 100")
        .ok();
    case.engine("exec -d tt sleep 200").ok();
    case.eventually("the second process is there", || {
        case.engine("top tt -o args").stdout.lines().count() == 3
    });
    let table = case.engine("top tt").ok().stdout;
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
    let pid = case.engine("inspect tt --format {{.State.Pid}}").ok();
    case.engine("top tt -o pid").ok().contains(pid.first());
    case.engine("top tt hpid pid comm").ok().contains("HPID");
    case.engine("top tt aux").ok().contains("%CPU");
    case.engine("top tt --sort=pid").fails(1, "--sort=pid");
    case.engine("rm -f tt").ok();
    case.engine("top tt").fails(1, "No such container");
    case.engine("create --name tt localhost/busybox true").ok();
    case.engine("top tt").fails(1, "not running");
    case.engine("rm tt").ok();
}

fn stats(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name ss --network none localhost/busybox sleep 100")
        .ok();
    let table = case.engine("stats --no-stream").ok().stdout;
    assert!(
        table.starts_with("CONTAINER ID   NAME")
            && table.lines().next().unwrap().ends_with("BLOCK I/O   PIDS"),
        "{table}"
    );
    let row = case
        .engine("stats --no-stream --format {{.Name}}:{{.CPUPerc}}:{{.PIDs}} ss")
        .ok();
    let fields: Vec<&str> = row.first().split(':').collect();
    assert_eq!((fields[0], fields[2]), ("ss", "1"), "{row}");
    assert!(fields[1].ends_with('%'), "{row}");
    case.engine("stats --no-stream nobody")
        .fails(1, "No such container");
    case.engine("stop -t 0 ss").ok();
    case.engine("stats --no-stream -a --format {{.Name}}:{{.MemUsage}}")
        .ok()
        .prints("ss:0B / 0B");
    case.engine("rm ss").ok();
}

fn paused_containers_stand_still(case: &Case) {
    case.load_busybox();
    let count = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done";
    let words = [
        "run",
        "-d",
        "--name",
        "pp",
        "--network",
        "none",
        "localhost/busybox",
        "sh",
        "-c",
        count,
    ];
    case.words(&words).ok();
    let paused = case.engine("pause pp");
    if paused.code != 0 {
        case.skip("no freezer here");
        case.engine("rm -f pp").ok();
        return;
    }
    paused.prints("pp");
    case.engine("ps --format {{.Status}}")
        .ok()
        .contains("(Paused)");
    case.engine("pause pp").fails(1, "already paused");
    case.engine("exec pp true").fails(1, "paused");
    case.engine("unpause pp").ok().prints("pp");
    case.engine("unpause pp").fails(1, "not paused");
    case.engine("pause --all").ok();
    case.engine("unpause --filter name=pp").ok();
    case.engine("pause")
        .fails(1, "requires at least 1 argument");
    case.engine("rm -f pp").ok();
}

fn updates_are_checked(case: &Case) {
    case.load_busybox();
    case.engine("create --name uu localhost/busybox true").ok();
    case.engine("update --memory 64m --pids-limit 9 uu")
        .ok()
        .prints("uu");
    let object = case.engine("inspect uu").ok().json();
    assert_eq!(object[0]["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(object[0]["HostConfig"]["PidsLimit"], 9);
    case.engine("update uu").fails(1, "one or more flags");
    case.engine("update --memory 1k uu").fails(1, "memory");
    case.engine("update --memory 64m nobody")
        .fails(1, "No such container");
    case.engine("rm uu").ok();
}
