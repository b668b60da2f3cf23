//! The power fails anywhere: afterwards what was acknowledged is there and right, the same command
//! succeeds, and nothing is leaked.
//!
//! One session of commands is given on an ext4 file system with a journal, on a [`Disk`] that
//! remembers. Then the disk is had as it was at many moments, mounted, and looked at: at random
//! ones, and the very moment when a command had returned. `CORACLE_CRASH=full` takes more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use super::disk::Disk;
use crate::{
    case::{Case, Outcome, finish},
    image::{Image, busybox_layer},
    registry::Registry,
};

cases! {
    cut: root;
}

/// Random moments, besides those when a command had returned.
const SAMPLE: usize = 12;
const FULL: usize = 300;

/// A command of the session.
struct Step {
    /// For the shell; `$C` is the engine.
    command: String,
    /// What succeeds after a cut while the command ran, however far it had come.
    again: String,
    images: Vec<&'static str>,
    containers: Vec<&'static str>,
    /// When it had returned.
    acknowledged: usize,
}

fn session(case: &Case, registry: &Registry) -> Vec<Step> {
    let archive = |name: &str, content: &str| {
        let layer = busybox_layer().file("mark", content).bytes();
        let more = crate::image::Layer::new().file("more", content).bytes();
        let image = Image::new(&format!("localhost/{name}"), vec![layer, more]);
        let file = case.make_file(&format!("{name}.tar"), image.archive());
        format!("$C load -q -i {}", file.display())
    };
    let pull = format!("$C pull -q {}", registry.image("busybox"));
    let pulled = registry.image("busybox");
    let listed = |name: &str| format!("$C ps -a --format '{{{{.Names}}}}' | grep -qx {name}");
    let run = "--network none localhost/first sh -c 'echo ran >/ran; echo said'";
    let mut steps = Vec::new();
    let mut images = Vec::new();
    let mut containers = Vec::new();
    let mut step =
        |command: &str, again: &str, images: &[&'static str], containers: &[&'static str]| {
            steps.push(Step {
                command: command.to_owned(),
                again: again.to_owned(),
                images: images.to_vec(),
                containers: containers.to_vec(),
                acknowledged: 0,
            });
        };
    let load = archive("first", "first");
    images.push("localhost/first");
    step(&load, &load, &images, &containers);
    images.push("pulled");
    step(&pull, &pull, &images, &containers);
    let load = archive("second", "second");
    images.push("localhost/second");
    step(&load, &load, &images, &containers);
    containers.push("made");
    let create = format!("$C create --name made {run}");
    step(
        &create,
        &format!("{} || {create}", listed("made")),
        &images,
        &containers,
    );
    containers.push("ran");
    let create = format!("$C run --name ran {run}");
    step(
        &create,
        &format!("{} || {create}", listed("ran")),
        &images,
        &containers,
    );
    containers.push("served");
    let create = "$C run -d --name served --network none localhost/second busybox sleep 1000";
    let again = format!("{} || {create}", listed("served"));
    step(create, &again, &images, &containers);
    let passing = format!("$C run --rm --name passing {run}");
    step(&passing, &passing, &images, &containers);
    let tag = "$C tag localhost/first localhost/third";
    images.push("localhost/third");
    step(tag, tag, &images, &containers);
    let commit = "$C commit ran localhost/committed";
    images.push("localhost/committed");
    step(commit, commit, &images, &containers);
    containers.retain(|name| *name != "ran");
    let again = format!("! {} || $C rm ran", listed("ran"));
    step("$C rm ran", &again, &images, &containers);
    containers.retain(|name| *name != "served");
    let again = format!("! {} || $C rm -f served", listed("served"));
    step("$C rm -f served", &again, &images, &containers);
    images.retain(|name| *name != "localhost/second");
    let is_there = "$C images --format '{{.Repository}}' | grep -qx localhost/second";
    let again = format!("! {is_there} || $C rmi localhost/second");
    step("$C rmi localhost/second", &again, &images, &containers);
    images.retain(|name| *name != "pulled");
    let is_there = format!("$C images --format '{{{{.Repository}}}}' | grep -qx {pulled}");
    let rmi = format!("$C rmi {pulled}");
    step(
        &rmi,
        &format!("! {is_there} || {rmi}"),
        &images,
        &containers,
    );
    steps
}

fn cut(case: &Case) {
    let registry = Registry::http(case);
    let mut steps = session(case, &registry);
    let base = case.dir.join("base");
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-J", "size=4"])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(&base)
        .arg("64M")
        .status();
    let disk = match made {
        Ok(status) if status.success() => Disk::new(fs::read(&base).unwrap()),
        _ => None,
    };
    let Some(mut disk) = disk else {
        return case.skip("needs mkfs.ext4 and /dev/fuse");
    };
    let Some(trees) = give(case, &mut disk, &mut steps) else {
        return case.skip("cannot mount FUSE or loop devices");
    };
    disk.join();

    let full = std::env::var("CORACLE_CRASH").is_ok_and(|value| value == "full");
    let first = steps[0].acknowledged;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let acknowledged = steps.iter().map(|step| (step.acknowledged, 0));
    let mut cuts: Vec<(usize, usize)> = acknowledged.collect();
    for _ in 0..if full { FULL } else { SAMPLE } {
        // Nothing, everything, or half of what was not flushed has survived.
        let of_eight = [0, 8, 4][random.below(3)];
        cuts.push((first + random.below(disk.moment() - first), of_eight));
    }
    for (moment, of_eight) in cuts {
        let image = case.dir.join("cut");
        disk.cut(moment, || random.below(8) < of_eight, &image);
        println!("moment {moment}, {of_eight} of 8 blocks not flushed survive");
        check(case, &steps, moment, &registry.image("busybox"), &trees);
    }
}

/// A reproducible one.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Lists every layer that counts: what it is made of, line by line.
const TREES: &str = "cd $ROOT/layers && for layer in *; do \
        [ -s $layer/layer.json ] || continue; \
        (cd $layer && find tree -printf '%p %y %m %U %G %s %l %T@\\n' | sort \
            && find tree -type f | sort | xargs -r sha256sum) | sed \"s|^|$layer |\"; \
    done";

fn in_mount_namespace(case: &Case, script: &str) -> Command {
    let mut command = case.program("unshare");
    command
        .args(["-m", "--propagation", "private", "sh", "-c", script])
        .env("C", case.engine_words().join(" "))
        .env("ROOT", case.root());
    command
}

/// Gives the session's commands one by one. `None` if the machine cannot mount the disk; otherwise
/// the listing of every layer there ever was.
fn give(case: &Case, disk: &mut Disk, steps: &mut [Step]) -> Option<BTreeSet<String>> {
    let (fuse, root) = (case.make_dir("fuse"), case.make_dir("root"));
    let script = format!(
        "mount -i -t fuse -o {} disk {} && mount -o loop {}/disk {} || exit 99\n\
         echo mounted; while IFS= read -r line; do eval \"$line\" >&2; echo \"code $?\"; {TREES}; echo .; done",
        disk.mount_options(),
        fuse.display(),
        fuse.display(),
        root.display(),
    );
    let mut shell = in_mount_namespace(case, &script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input: ChildStdin = shell.stdin.take().unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    if next_line(&mut output).as_deref() != Some("mounted") {
        shell.wait().unwrap();
        return None;
    }
    let mut trees = BTreeSet::new();
    for step in steps {
        writeln!(input, "{}", step.command).unwrap();
        let code = next_line(&mut output);
        step.acknowledged = disk.moment();
        assert_eq!(code.as_deref(), Some("code 0"), "{}", step.command);
        while let Some(line) = next_line(&mut output).filter(|line| line != ".") {
            trees.insert(line);
        }
    }
    drop(input);
    assert!(shell.wait().unwrap().success());
    Some(trees)
}

fn next_line(output: &mut BufReader<ChildStdout>) -> Option<String> {
    let mut line = String::new();
    let length = output.read_line(&mut line).unwrap();
    (length > 0).then(|| line.trim_end().to_owned())
}

/// Mounts the disk as the cut left it, in `cut`, and looks.
fn check(case: &Case, steps: &[Step], moment: usize, pulled: &str, trees: &BTreeSet<String>) {
    let done = steps
        .iter()
        .rposition(|step| step.acknowledged <= moment)
        .unwrap();
    let before = &steps[done];
    let running = steps.get(done + 1).unwrap_or(before);
    // The run root is on a tmpfs: gone too.
    let script = format!(
        "rm -rf {run}; mount -o loop {image} $ROOT || exit 99\n\
         $C system check >&2 || exit 9\n\
         echo images; $C images --format '{{{{.Repository}}}}' || exit 1\n\
         echo containers; $C ps -a --format '{{{{.Names}}}}' || exit 2\n\
         echo ended; $C ps -a --filter status=exited --format '{{{{.Names}}}}' || exit 2\n\
         echo trees; ({TREES})\n\
         echo runs; for image in $($C images --format '{{{{.Repository}}}}'); do \
             $C run --rm --network none $image sh -c 'cat /mark 2>/dev/null || echo -n none; echo' || exit 3; done\n\
         echo started; for name in $($C ps -a --format '{{{{.Names}}}}' | grep -v served); do \
             $C start -a $name || exit 4; done\n\
         echo again; eval \"$AGAIN\" >&2 || exit 5\n\
         echo left; for name in $($C ps -aq); do $C rm -f $name >&2 || exit 6; done\n\
         for image in $($C images --format '{{{{.Repository}}}}'); do $C rmi $image >&2 || exit 7; done\n\
         for image in $($C images -q); do $C rmi $image >&2 || exit 8; done\n\
         cd $ROOT && find blobs layers images containers names tmp -mindepth 1 -not -path 'blobs/sha???'",
        run = case.dir.join("run").display(),
        image = case.dir.join("cut").display(),
    );
    let mut command = in_mount_namespace(case, &script);
    command.env("AGAIN", &running.again);
    let outcome = finish(command);
    let when = format!("after `{}`, during `{}`\n", before.command, running.command);
    assert_eq!(outcome.code, 0, "{when}{outcome}");
    let parts = parts(&outcome);
    let expect = |what: &str, before: &[&str], running: &[&str]| {
        let there: BTreeSet<&str> = parts[what].iter().map(String::as_str).collect();
        for name in &there {
            // What `--rm` was to remove may be there until somebody looks for garbage.
            let may = before.contains(name) || running.contains(name) || *name == "passing";
            assert!(may, "{name} should not be there {when}{outcome}");
        }
        for name in before.iter().filter(|name| running.contains(name)) {
            assert!(there.contains(name), "{name} is lost {when}{outcome}");
        }
    };
    let names = |step: &Step| -> Vec<&str> {
        let names = step.images.iter();
        names
            .map(|name| if *name == "pulled" { pulled } else { name })
            .collect()
    };
    expect("images", &names(before), &names(running));
    expect("containers", &before.containers, &running.containers);
    let ended = |name: &&str| parts["ended"].iter().any(|other| other == name);
    for name in before.containers.iter().filter(|name| **name == "ran") {
        let kept = running.containers.contains(name);
        assert!(
            !kept || ended(name),
            "the end of {name} is lost {when}{outcome}"
        );
    }
    // Every layer that is there is whole: all lines of it that there ever were.
    let layers: BTreeSet<&str> = parts["trees"]
        .iter()
        .filter_map(|line| layer_of(line))
        .collect();
    let expected: BTreeSet<&String> = trees
        .iter()
        .filter(|line| layer_of(line).is_some_and(|layer| layers.contains(layer)))
        .collect();
    let found: BTreeSet<&String> = parts["trees"].iter().collect();
    assert!(
        found == expected,
        "a layer is not what it was {when}{outcome}"
    );
    let marks: Vec<&str> = parts["images"]
        .iter()
        .map(|name| match name.as_str() {
            "localhost/first" | "localhost/third" | "localhost/committed" => "first",
            "localhost/second" => "second",
            _ => "none",
        })
        .collect();
    assert_eq!(parts["runs"], marks, "{when}{outcome}");
    assert!(
        parts["started"].iter().all(|line| line == "said"),
        "{when}{outcome}"
    );
    assert_eq!(parts["left"], [""; 0], "{when}{outcome}");
}

fn layer_of(line: &str) -> Option<&str> {
    line.split(' ').next()
}

/// Standard output between the words that the script says.
fn parts(outcome: &Outcome) -> BTreeMap<String, Vec<String>> {
    const WORDS: [&str; 8] = [
        "images",
        "containers",
        "ended",
        "trees",
        "runs",
        "started",
        "again",
        "left",
    ];
    let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in outcome.stdout.lines() {
        if WORDS.contains(&line) {
            current = line.to_owned();
            parts.entry(current.clone()).or_default();
        } else {
            parts
                .entry(current.clone())
                .or_default()
                .push(line.to_owned());
        }
    }
    parts
}
