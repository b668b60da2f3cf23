//! A hundred mixed commands at once on one store: none fails but for what another one took away, and
//! when they are done everything is whole and nothing is left over.
//!
//! `CORACLE_STRESS=SECONDS` goes on for so long.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use crate::{
    case::{Case, Outcome, shared},
    image::{Image, busybox_layer},
    registry::Registry,
};

cases! {
    everything_at_once: root ordinary;
    ninety_six: root ordinary;
}

/// What each worker does, in turn; the workers begin at different places.
struct Work {
    archives: Vec<String>,
    pulled: String,
    /// Folder for what is saved.
    saved: String,
}

/// How often each kind was given, how often it failed as it may, and the longest time.
type Tally = BTreeMap<&'static str, (usize, usize, Duration)>;

impl Work {
    fn new(case: &Case, registry: &Registry) -> Work {
        let archives = (0..4).map(|n| {
            let mark = busybox_layer().file("mark", &format!("{n}\n")).bytes();
            let own = crate::image::Layer::new()
                .file("own", &format!("{n}\n"))
                .bytes();
            let image = Image::new(&format!("localhost/mixed{n}"), vec![mark, own]);
            let file = case.make_file(&format!("mixed{n}.tar"), image.archive());
            file.display().to_string()
        });
        Work {
            archives: archives.collect(),
            pulled: registry.image("busybox"),
            saved: case.make_dir("saved").display().to_string(),
        }
    }

    /// The command of that turn, and its kind.
    fn command(&self, worker: usize, turn: usize) -> (&'static str, Vec<String>) {
        let which = (worker + turn / 3) % 4;
        let mixed = format!("localhost/mixed{which}");
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let busybox = "localhost/busybox";
        match (worker * 7 + turn) % 10 {
            0 => (
                "load",
                line(&format!("load -q -i {}", self.archives[which])),
            ),
            1 => (
                "run",
                line(&format!("run --rm --network=none {mixed} cat /own")),
            ),
            2 => ("tag", line(&format!("tag {mixed} localhost/tag{worker}"))),
            3 => ("pull", line(&format!("pull -q {}", self.pulled))),
            4 => ("rmi", line(&format!("rmi {mixed}"))),
            5 => (
                "commit",
                line(&format!("commit kept localhost/commit{worker}")),
            ),
            6 if turn.is_multiple_of(2) => ("prune", line("image prune -f")),
            6 => (
                "save",
                line(&format!("save -o {}/{worker}.tar {busybox}", self.saved)),
            ),
            7 => (
                "run",
                line(&format!("run --rm --network=none {busybox} true")),
            ),
            8 => (
                "rmi",
                line(&format!(
                    "rmi localhost/tag{worker} localhost/commit{worker}"
                )),
            ),
            _ => ("images", line("images -a")),
        }
    }
}

/// What may go wrong when others take away: the image is not there, or in use just now.
fn is_fair(kind: &str, outcome: &Outcome) -> bool {
    let others = [
        "not known",
        "no such image",
        "not found",
        "in use",
        "being used",
        "Unable to find",
        "refused",
    ];
    let said = outcome.stderr.to_lowercase();
    outcome.code == 0
        || matches!(kind, "run" | "tag" | "rmi")
            && others
                .iter()
                .any(|word| said.contains(&word.to_lowercase()))
}

fn at_once(
    case: &Case,
    workers: usize,
    work: &Work,
    goes_on: impl Fn(usize) -> bool + Sync,
) -> Tally {
    let (tally, unfair) = (Mutex::new(Tally::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for worker in 0..workers {
            let (tally, unfair, goes_on) = (&tally, &unfair, &goes_on);
            scope.spawn(move || {
                for turn in 0.. {
                    if !goes_on(turn) || !unfair.lock().unwrap().is_empty() {
                        break;
                    }
                    let (kind, words) = work.command(worker, turn);
                    let start = Instant::now();
                    let outcome = case.words(&words);
                    let took = start.elapsed();
                    if !is_fair(kind, &outcome) {
                        unfair.lock().unwrap().push(outcome.to_string());
                    }
                    let mut tally = tally.lock().unwrap();
                    let (count, failed, longest) = tally.entry(kind).or_default();
                    *count += 1;
                    *failed += usize::from(outcome.code != 0);
                    *longest = took.max(*longest);
                }
            });
        }
    });
    let unfair = unfair.into_inner().unwrap();
    assert!(
        unfair.is_empty(),
        "{} failed:\n{}",
        unfair.len(),
        unfair.join("\n")
    );
    tally.into_inner().unwrap()
}

fn begin(case: &Case, registry: &Registry) -> Work {
    case.load_busybox();
    let work = Work::new(case, registry);
    for archive in &work.archives {
        case.words(&["load", "-q", "-i", archive]).ok();
    }
    let run = [
        "run",
        "--name=kept",
        "--network=none",
        "localhost/busybox",
        "sh",
        "-c",
        "echo kept > /kept",
    ];
    case.words(&run).ok();
    work
}

/// What was never taken away is there; all of the rest can be, and then nothing is left.
fn check_whole(case: &Case) {
    super::is_sound(case);
    let images = case
        .words(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok();
    for image in images
        .stdout
        .lines()
        .filter(|image| !image.contains("<none>"))
    {
        case.words(&["run", "--rm", "--network=none", image, "busybox", "true"])
            .ok();
    }
    case.engine("start kept").ok();
    case.eventually("it has ended", || case.processes().is_empty());
    assert_eq!(super::names_in(case, "containers").len(), 1);
    case.engine("rm kept").ok();
    for image in images
        .stdout
        .lines()
        .filter(|image| !image.contains("<none>"))
    {
        case.words(&["rmi", image]).ok();
    }
    case.engine("image prune -af").ok();
    for folder in [
        "images",
        "layers",
        "blobs/sha256",
        "containers",
        "names",
        "tmp",
        "partial",
    ] {
        assert_eq!(super::names_in(case, folder), [""; 0], "{folder}");
    }
}

fn everything_at_once(case: &Case) {
    let registry = Registry::http(case);
    let work = begin(case, &registry);
    let seconds = std::env::var("CORACLE_STRESS")
        .ok()
        .and_then(|text| text.parse().ok());
    let start = Instant::now();
    let tally = at_once(case, 100, &work, |turn| match seconds {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => turn < 4,
    });
    let took = start.elapsed().as_secs_f64();
    let count: usize = tally.values().map(|(count, ..)| count).sum();
    println!(
        "{count} commands in {took:.1} s, {:.0} a second",
        count as f64 / took
    );
    for (kind, (count, failed, longest)) in &tally {
        println!(
            "{kind}: {count}, {failed} found nothing, longest {:.2} s",
            longest.as_secs_f64()
        );
    }
    check_whole(case);
}

/// Four rounds of mixed commands in twenty-four workers that take nothing away from each other.
fn ninety_six(case: &Case) {
    case.load_busybox();
    case.shell("", "true").ok();
    let archive = shared().join("images/busybox.tar").display().to_string();
    let longest = Mutex::new(Duration::ZERO);
    let start = Instant::now();
    thread::scope(|scope| {
        for worker in 0..24 {
            let (longest, archive) = (&longest, &archive);
            scope.spawn(move || {
                for turn in 0..4 {
                    let name = format!("localhost/own{worker}");
                    let begun = Instant::now();
                    match (worker + turn) % 6 {
                        0 => case.words(&["load", "-q", "-i", archive]),
                        1 => case.words(&["tag", "localhost/busybox", &name]),
                        2 => case.engine("images -q"),
                        3 => case.engine("ps -a"),
                        4 => case.engine("image inspect localhost/busybox"),
                        _ => case.shell("", "true"),
                    }
                    .ok();
                    let mut longest = longest.lock().unwrap();
                    *longest = begun.elapsed().max(*longest);
                }
            });
        }
    });
    let took = start.elapsed().as_secs_f64();
    let longest = longest.into_inner().unwrap();
    println!(
        "96 in {took:.2} s, {:.0} a second, longest {:.2} s",
        96.0 / took,
        longest.as_secs_f64()
    );
    // Far above what is measured: what waits for a lock that is never given back takes for ever.
    assert!(longest < Duration::from_secs(60));
}
