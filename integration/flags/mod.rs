//! Every flag of `run` that decides what a container is: one row each, with the state read from
//! inside the container or from the kernel, never from our own records.
//!
//! [`table`] holds the rows. A flag that this build does not have yet is left out, with a line on
//! standard error; a flag that has neither a row nor the name of another test fails
//! [`every_flag_has_a_row`]. Deeper cases stand in the areas of their own.

mod table;

use std::{collections::BTreeSet, fs};

use crate::case::{Case, Outcome};
use table::{
    DEVICES, ELSEWHERE, Expect, LIFECYCLE, LIMITS, Limit, MOUNTS, NAMESPACES, PROCESS, Row,
    SECURITY,
};

cases! {
    every_flag_has_a_row: root ordinary;
    process: root ordinary;
    namespaces: root ordinary;
    mounts: root ordinary;
    devices: root ordinary;
    security: root ordinary;
    lifecycle: root ordinary;
    limits: root ordinary;
    one_id_is_enough_or_says_so: single;
}

fn process(case: &Case) {
    try_all(case, PROCESS);
}

fn namespaces(case: &Case) {
    try_all(case, NAMESPACES);
}

fn mounts(case: &Case) {
    try_all(case, MOUNTS);
}

fn devices(case: &Case) {
    try_all(case, DEVICES);
}

fn security(case: &Case) {
    try_all(case, SECURITY);
}

fn lifecycle(case: &Case) {
    try_all(case, LIFECYCLE);
}

/// The long names of the flags that `run --help` shows, and of those that it hides.
fn known_flags(case: &Case) -> BTreeSet<String> {
    let help = case.engine("run --help").ok().stdout;
    help.lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let line =
                line.split_once(", ").map_or(
                    line,
                    |(letter, rest)| {
                        if letter.len() == 2 { rest } else { line }
                    },
                );
            let name = line.strip_prefix("--")?.split_whitespace().next()?;
            Some(name.to_owned())
        })
        .collect()
}

fn every_flag_has_a_row(case: &Case) {
    let rows = [PROCESS, NAMESPACES, MOUNTS, DEVICES, SECURITY, LIFECYCLE];
    let rows = rows.into_iter().flatten().map(|row| row.flag);
    let limits = LIMITS.iter().map(|limit| limit.flag);
    let elsewhere = ELSEWHERE.iter().map(|(flag, _)| *flag);
    let covered: BTreeSet<&str> = rows.chain(limits).chain(elsewhere).collect();
    let known = known_flags(case);
    let missing: Vec<_> = known
        .iter()
        .filter(|flag| !covered.contains(flag.as_str()))
        .collect();
    assert!(missing.is_empty(), "flags without a row: {missing:?}");
    assert!(known.len() > 30, "{known:?}");
}

/// What the rows' placeholders stand for.
struct World<'a> {
    case: &'a Case,
}

impl World<'_> {
    /// A folder with a file and a container to join, if this build can join one.
    fn new<'a>(case: &'a Case, known: &BTreeSet<String>) -> World<'a> {
        case.load_busybox();
        case.make_dir("src");
        case.make_file("src/file", "content\n");
        case.make_file("env", "FROM_FILE=7\n");
        case.make_file("labels", "from=file\n");
        case.set("OF_THE_HOST", "here");
        case.set("http_proxy", "http://proxy.invalid:1");
        let source = format!("{}:/shared", case.dir.join("src").display());
        let mut words = vec!["run", "-d", "--network=none", "--name=peer", "-v", &source];
        if known.contains("ipc") {
            words.push("--ipc=shareable");
        }
        words.extend(["localhost/busybox", "sleep", "1000"]);
        case.words(&words).ok();
        World { case }
    }

    /// `{dir}`, `{uid}`, `{gid}`, `{host:KIND}` and `{peer:KIND}` (the links of namespaces).
    fn fill(&self, text: &str) -> String {
        let case = self.case;
        let mut text = text
            .replace("{dir}", &case.dir.display().to_string())
            .replace("{uid}", &case.user.uid.to_string())
            .replace("{gid}", &case.user.gid.to_string());
        while let Some((before, rest)) = text.split_once("{host:") {
            let (kind, after) = rest.split_once('}').unwrap();
            let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            text = format!("{before}{}{after}", link.display());
        }
        while let Some((before, rest)) = text.split_once("{peer:") {
            let (kind, after) = rest.split_once('}').unwrap();
            let link = format!("/proc/1/ns/{kind}");
            let link = case.words(&["exec", "peer", "readlink", &link]).ok();
            text = format!("{before}{}{after}", link.stdout.trim());
        }
        text
    }

    fn run(&self, words: &[&str], script: &str) -> Outcome {
        let mut all = vec!["run".to_owned(), "--rm".to_owned()];
        if !words.iter().any(|word| word.starts_with("--network")) {
            all.push("--network=none".to_owned());
        }
        all.extend(words.iter().map(|word| self.fill(word)));
        all.extend(["localhost/busybox", "sh", "-c", script].map(str::to_owned));
        self.case.words(&all)
    }

    /// What is wrong with a row, if anything is.
    fn attempt(&self, row: &Row, expect: Expect) -> Option<String> {
        let outcome = match expect {
            Expect::Untried(why) => {
                eprintln!("not tried: --{}: {why}", row.flag);
                return None;
            }
            _ => self.run(row.words, &self.fill(row.script)),
        };
        let fault = match expect {
            Expect::Prints(text) => {
                let said = outcome.stdout.replace('\r', "");
                outcome.code != 0 || said.trim() != self.fill(text)
            }
            // One clear line, and nothing has run.
            Expect::Refused(says) => {
                let lines = outcome.stderr.lines();
                outcome.code != 125
                    || !outcome.stderr.contains(says)
                    || lines.filter(|line| line.starts_with("coracle:")).count() != 1
            }
            Expect::Untried(_) => false,
        };
        fault.then(|| format!("--{}: expected {expect:?} from {outcome}", row.flag))
    }
}

fn try_all(case: &Case, rows: &[Row]) {
    let known = known_flags(case);
    let world = World::new(case, &known);
    let mut faults = Vec::new();
    for row in rows {
        if !known.contains(row.flag) {
            eprintln!("not there yet: --{}", row.flag);
            continue;
        }
        let expect = if case.is_root() {
            row.root
        } else {
            row.ordinary
        };
        faults.extend(world.attempt(row, expect));
    }
    case.words(&["rm", "-f", "peer"]).ok();
    case.engine("ps -aq").ok().prints("");
    let count = faults.len();
    assert!(
        faults.is_empty(),
        "{count} rows fail:\n{}",
        faults.join("\n\n")
    );
}

/// With one id only, a flag works as for everybody, or the command says in one line why not.
fn one_id_is_enough_or_says_so(case: &Case) {
    let known = known_flags(case);
    let world = World::new(case, &known);
    let mut faults = Vec::new();
    let rows = [PROCESS, NAMESPACES, MOUNTS, DEVICES, SECURITY, LIFECYCLE];
    for row in rows.into_iter().flatten() {
        if !known.contains(row.flag) || matches!(row.ordinary, Expect::Untried(_)) {
            continue;
        }
        // Nobody can join a user namespace with one id: every container has its own.
        if row.ordinary == Expect::Prints("{peer:user}") {
            continue;
        }
        if let Some(fault) = world.attempt(row, row.ordinary)
            && world.attempt(row, Expect::Refused("")).is_some()
        {
            faults.push(fault);
        }
    }
    case.words(&["rm", "-f", "peer"]).ok();
    let count = faults.len();
    assert!(
        faults.is_empty(),
        "{count} rows fail:\n{}",
        faults.join("\n\n")
    );
}

/// Where the kernel keeps the limits of a process: its cgroup of one controller.
struct Cgroup {
    path: String,
    is_unified: bool,
}

impl Cgroup {
    /// The cgroup of `pid` that has `controller`, if the machine lets anybody use that.
    fn of(pid: &str, controller: &str) -> Option<Cgroup> {
        let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mounted = |kind: &str, option: &str| {
            let line = mounts.lines().find(|line| {
                let (_, file_system) = line.split_once(" - ").unwrap_or_default();
                let mut fields = file_system.split(' ');
                let options = file_system.rsplit(' ').next().unwrap_or_default();
                fields.next() == Some(kind)
                    && (option.is_empty() || options.split(',').any(|word| word == option))
            })?;
            line.split(' ').nth(4).map(str::to_owned)
        };
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            if controllers.split(',').any(|name| name == controller) {
                let path = format!("{}{path}", mounted("cgroup", controller)?);
                return Some(Cgroup {
                    path,
                    is_unified: false,
                });
            }
            if controllers.is_empty() {
                let path = format!("{}{path}", mounted("cgroup2", "")?);
                let has = fs::read_to_string(format!("{path}/cgroup.controllers"));
                let named = if controller == "blkio" {
                    "io"
                } else {
                    controller
                };
                if has.is_ok_and(|list| list.split_whitespace().any(|name| name == named)) {
                    return Some(Cgroup {
                        path,
                        is_unified: true,
                    });
                }
            }
        }
        None
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("{}/{file}", self.path))
            .unwrap_or_else(|cause| cause.to_string())
    }
}

/// The first disk of the machine: its node, and its numbers as cgroup files show them.
fn disk() -> Option<(String, String)> {
    let table = fs::read_to_string("/proc/partitions").ok()?;
    table.lines().skip(2).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [major, minor, _, name] = fields[..] else {
            return None;
        };
        let node = format!("/dev/{name}");
        fs::metadata(&node).ok()?;
        Some((node, format!("{major}:{minor}")))
    })
}

/// Limits are read from the container's cgroup, as this machine sees it. Where the caller cannot
/// have one, the container runs, with a line that says so, and `--strict-limits` refuses.
fn limits(case: &Case) {
    let known = known_flags(case);
    case.load_busybox();
    let mut faults = Vec::new();
    for limit in LIMITS {
        if !known.contains(limit.flag) {
            eprintln!("not there yet: --{}", limit.flag);
            continue;
        }
        faults.extend(try_limit(case, limit));
    }
    case.engine("ps -aq").ok().prints("");
    let count = faults.len();
    assert!(
        faults.is_empty(),
        "{count} rows fail:\n{}",
        faults.join("\n\n")
    );
}

fn try_limit(case: &Case, limit: &Limit) -> Option<String> {
    let Some((node, numbers)) = disk() else {
        eprintln!("not tried: --{}: there is no disk", limit.flag);
        return None;
    };
    let fill = |text: &str| text.replace("{node}", &node).replace("{disk}", &numbers);
    let mut words: Vec<String> = ["run", "-d", "--network=none", "--name=limited"]
        .map(str::to_owned)
        .into();
    words.extend(limit.words.iter().map(|word| fill(word)));
    words.extend(["localhost/busybox", "sleep", "1000"].map(str::to_owned));
    let outcome = case.words(&words);
    if outcome.code != 0 {
        // Never silently, and never half: a limit that this kernel does not know.
        let says = outcome.stderr.contains(limit.flag) || outcome.stderr.contains("cgroup");
        // It was made, and could not be started: it stays, as with Docker.
        case.engine("rm -f limited");
        return (!says || outcome.code != 125).then(|| format!("--{}: {outcome}", limit.flag));
    }
    let pid = case
        .words(&["inspect", "-f", "{{.State.Pid}}", "limited"])
        .ok();
    let cgroup = Cgroup::of(pid.stdout.trim(), limit.controller);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let fault = match cgroup {
        // The caller's own: no limit was set, and that was said.
        Some(cgroup)
            if own
                .lines()
                .any(|line| cgroup.path.ends_with(line.rsplit(':').next().unwrap())) =>
        {
            (outcome.stderr.is_empty()).then(|| format!("--{}: not said: {outcome}", limit.flag))
        }
        None => {
            (outcome.stderr.is_empty()).then(|| format!("--{}: not said: {outcome}", limit.flag))
        }
        Some(cgroup) => {
            let (file, value) = if cgroup.is_unified {
                limit.v2
            } else {
                limit.v1
            };
            let found = if file.is_empty() {
                String::new()
            } else {
                cgroup.read(file)
            };
            let value = fill(value);
            let holds = file.is_empty() || found.lines().any(|line| line.trim() == value);
            let path = &cgroup.path;
            (!holds).then(|| {
                format!(
                    "--{}: {path}/{file} holds {found:?}, not {value:?}",
                    limit.flag
                )
            })
        }
    };
    case.words(&["rm", "-f", "limited"]).ok();
    fault
}
