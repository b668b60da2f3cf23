//! The cases of a file, played in a store of their own.

use std::{fs, path::Path};

use super::{IN_A_WORLD, differences, peer, report, transcript::Section};
use crate::{
    case::{Case, Outcome, finish, shared},
    world::World,
};

/// Longest that a case may take, in seconds; what is left of it then is killed.
const PATIENCE: u32 = 30;

/// What a step printed, and its code if it ended.
#[derive(Debug)]
pub struct Seen {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

/// Plays a whole file; fails with all that differs.
pub fn file(case: &Case, name: &str) {
    let peer = peer::name();
    let file = super::file_name(name);
    if let Some(peer) = &peer {
        let list = differences::all(peer);
        let whole =
            |known: &&differences::Difference| known.file == file && known.of_the_whole_file();
        if let Some(known) = list.iter().find(whole) {
            return case.skip(&format!("not with {peer}: {}", known.reason));
        }
        if !case.is_root() {
            return case.skip("peers are tried as root only");
        }
    }
    let world = IN_A_WORLD.contains(&name).then(|| World::enter(case));
    if matches!(world, Some(None)) {
        return;
    }
    prepare(case, world.is_some());
    let mut failed = Vec::new();
    let cases = super::read(name).cases;
    let needs_freezer = cases.iter().any(|section| section.needs_freezer);
    let freezes = !needs_freezer || peer.is_some() || can_pause(case);
    for (number, section) in cases.iter().enumerate() {
        if section.needs_freezer && !freezes {
            case.skip(&format!(
                "{}: there is no cgroup that could be frozen",
                section.title
            ));
            continue;
        }
        if let Some(report) = play(case, number, section) {
            failed.push((section.title.clone(), report));
        }
    }
    clean(case);
    match peer {
        Some(peer) => differences::check(&peer, &file, &failed),
        None => assert!(failed.is_empty(), "{}", listing(&file, &failed)),
    }
}

fn listing(file: &str, failed: &[(String, String)]) -> String {
    let reports = failed
        .iter()
        .map(|(title, report)| format!("\n== {title}\n{report}"));
    format!(
        "{file}.txt, {} cases differ:\n{}",
        failed.len(),
        reports.collect::<String>()
    )
}

/// The engine as `docker`, an empty store and an empty folder to work in.
fn prepare(case: &Case, in_a_world: bool) {
    let bin = case.make_dir("bin");
    case.make_dir("steps");
    case.make_dir("work");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    case.set("PATH", &format!("{}:{path}", bin.display()));
    case.set("CORACLE_ROOT", &case.root().display().to_string());
    case.set(
        "CORACLE_RUNROOT",
        &case.dir_path("run").display().to_string(),
    );
    if in_a_world {
        case.set("CORACLE_NETWORK", "bridge");
    }
    peer::install(case, &bin.join("docker"), in_a_world);
    let archive = shared().join("images/busybox.tar");
    // By its full name, which is what `busybox` means to Docker.
    let line = format!(
        "set -e; test -z \"$(docker ps -aq)$(docker images -q)\"; docker load -q -i {}; \
         docker tag localhost/busybox docker.io/library/busybox; docker rmi localhost/busybox",
        archive.display()
    );
    try_line(case, &line).ok();
}

/// A line of shell with the engine, whatever comes of it.
fn try_line(case: &Case, line: &str) -> Outcome {
    let mut shell = case.program("sh");
    shell.args(["-c", line]);
    finish(shell)
}

fn can_pause(case: &Case) -> bool {
    let line = "docker run -d --name tried busybox sleep 100; docker pause tried; code=$?; \
                docker rm -f tried; exit $code";
    try_line(case, line).code == 0
}

/// Nothing of the file is left, whatever went wrong in it.
fn clean(case: &Case) {
    try_line(case, "docker ps -aq | xargs -r docker rm -f -v").ok();
    peer::unmount(case);
}

/// What was otherwise in one case.
fn play(case: &Case, number: usize, section: &Section) -> Option<String> {
    let dir = case.make_dir(&format!("steps/{number}"));
    let mut script = format!("cd {}\n", case.dir_path("work").display());
    for (index, step) in section.steps.iter().enumerate() {
        case.make_file(&format!("steps/{number}/{index}"), &step.command);
        let file = dir.join(index.to_string());
        let file = file.display();
        script += &format!(". {file} >{file}.out 2>{file}.err\necho $? >{file}.code\n");
    }
    let script = case.make_file(&format!("steps/{number}/script"), script);
    let mut shell = case.program("timeout");
    shell.args(["-k1", &PATIENCE.to_string(), "sh"]).arg(script);
    let outcome = finish(shell);
    let reports = section
        .steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| {
            let seen = seen(&dir.join(index.to_string()));
            report::of(step, &seen)
        });
    let report: String = reports.collect();
    if report.is_empty() && outcome.code != 124 {
        return None;
    }
    // What the shell itself says of a command it cannot read.
    Some(report + &outcome.stderr)
}

fn seen(file: &Path) -> Seen {
    let read = |end: &str| {
        let bytes = fs::read(file.with_extension(end)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Seen {
        stdout: read("out"),
        stderr: read("err"),
        code: read("code").trim().parse().ok(),
    }
}
