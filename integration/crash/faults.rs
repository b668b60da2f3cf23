//! One system call fails, whichever it is: the command says so in one line or succeeds all the same,
//! what was finished is there and right, the same command succeeds afterwards, and nothing is leaked.
//!
//! strace lets the n-th call of a name fail that the command makes when it is left alone. Every call
//! that changes something, and those that read the store: a sample of them that differs from case to
//! case, or all of them with `CORACLE_CRASH=full`.

use std::collections::BTreeMap;

use super::{
    builds,
    stepper::{self, Place},
};
use crate::{
    case::{Case, Outcome, finish, shared},
    registry::Registry,
};

cases! {
    load: root ordinary;
    pull: root ordinary;
    commit: root ordinary;
    tag: root ordinary;
    remove_image: root ordinary;
    prune: root ordinary;
    save: root ordinary;
    check: root ordinary;
    repair: root ordinary;
    run: root ordinary;
    push: root ordinary;
    manifest: root ordinary;
    artifact: root ordinary;
    export_store: root ordinary;
    build: root ordinary;
}

/// How many calls of a command fail when not all do.
const SAMPLE: usize = 16;

/// What only asks, and yet may fail.
const READING: &str = "read,pread64,getdents64,statx,newfstatat,fstat,readlinkat,epoll_create1,socket,connect,\
    recvfrom,recvmsg,eventfd2,pipe2,dup,memfd_create,fgetxattr,utimensat,fadvise64,inotify_init1";

/// What may be interrupted by a signal (signal(7)) on some file system or other.
const INTERRUPTIBLE: [&str; 14] = [
    "openat",
    "openat2",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "writev",
    "flock",
    "fallocate",
    "ftruncate",
    "copy_file_range",
    "connect",
    "sendto",
    "recvfrom",
];

/// How a call fails: a worn out disk, a full one, quotas, no more descriptors or memory, a signal.
fn failures(call: &str) -> Vec<&'static str> {
    let mut all = vec!["EIO", "ENOSPC"];
    match call {
        "openat" | "openat2" | "socket" | "memfd_create" | "pipe2" | "epoll_create1"
        | "eventfd2" => {
            all.extend(["EMFILE", "ENOMEM"]);
        }
        "mkdirat" | "renameat" | "renameat2" | "linkat" | "symlinkat" | "write" | "pwrite64" => {
            all.push("EDQUOT");
        }
        "clone3" | "clone" => return vec!["ENOMEM", "EAGAIN"],
        _ => {}
    }
    if INTERRUPTIBLE.contains(&call) {
        all.push("EINTR");
    }
    all
}

/// Every place of the command, by call.
fn places(case: &Case, args: &[&str]) -> Option<BTreeMap<String, Vec<usize>>> {
    let calls = format!("{},{READING}", stepper::CALLS);
    let mut by_call: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (call, n) in stepper::places_of(case, args, &calls)? {
        by_call.entry(call).or_default().push(n);
    }
    Some(by_call)
}

fn injected(case: &Case, (call, n): &Place, errno: &str, args: &[&str]) -> Outcome {
    let inject = format!("inject={call}:error={errno}:when={n}");
    let trace = format!("trace={call}");
    let options = ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    finish(
        case.strace(&options, args)
            .expect("places() was allowed to"),
    )
}

/// Succeeds, or says in one line what is wrong. What failed before the program began is not its own.
fn is_clear(outcome: &Outcome, what: &str) -> bool {
    if outcome.code == 127 && outcome.stderr.contains("shared librar") {
        return false;
    }
    // A write to an eventfd(2) fails for none of these reasons; the network runtime counts on it.
    if outcome.stderr.contains("failed to wake I/O driver") {
        return false;
    }
    assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome}");
    assert!((0..=125).contains(&outcome.code), "{what}: {outcome}");
    // What a check could not read is a finding of it.
    if outcome.code != 0 && !outcome.stdout.contains("BROKEN") {
        let own = outcome
            .stderr
            .lines()
            .filter(|line| line.starts_with("coracle: "))
            .count();
        assert_eq!(own, 1, "{what}: {outcome}");
    }
    true
}

/// All places and failures, or a sample: of some calls one place, the first, the middle or the last,
/// and one failure. Which ones depends on the case's name, so that the cases together reach all calls.
fn chosen(places: &BTreeMap<String, Vec<usize>>) -> Vec<(&str, usize, &'static str)> {
    if stepper::is_full() {
        let places = places.iter();
        let all = places.flat_map(|(call, counts)| {
            let counts = counts.iter();
            counts.flat_map(move |&n| {
                let failures = failures(call).into_iter();
                failures.map(move |errno| (call.as_str(), n, errno))
            })
        });
        return all.collect();
    }
    let mut sample: Vec<(u64, &str, usize, &'static str)> = Vec::new();
    for (call, counts) in places {
        let lot = stepper::lot(call);
        let [one, other] = [lot >> 8, lot >> 16].map(|part| usize::try_from(part & 0xff).unwrap());
        let n = [
            counts[0],
            counts[counts.len() / 2],
            counts[counts.len() - 1],
        ][one % 3];
        let failures = failures(call);
        sample.push((lot, call, n, failures[other % failures.len()]));
    }
    sample.sort_unstable();
    sample.truncate(SAMPLE);
    let sample = sample.into_iter();
    sample.map(|(_, call, n, errno)| (call, n, errno)).collect()
}

/// Lets calls of the command fail; `before` makes the state it starts from, `after` gets what the
/// command said.
fn everywhere(case: &Case, args: &[&str], before: impl Fn(&Case), after: impl Fn(&Case, &Outcome)) {
    before(case);
    let Some(places) = places(case, args) else {
        return;
    };
    let (mut tried, mut failed) = (0, 0);
    for (call, n, errno) in chosen(&places) {
        let what = format!("{call}({n}) = {errno}");
        before(case);
        let outcome = injected(case, &(call.to_owned(), n), errno, args);
        if !is_clear(&outcome, &what) {
            continue;
        }
        println!("{what}: {} {}", outcome.code, outcome.stderr.trim());
        tried += 1;
        failed += usize::from(outcome.code != 0);
        case.eventually("everything has ended", || case.processes().is_empty());
        assert!(case.mounts().is_empty(), "mounts after {what}");
        after(case, &outcome);
    }
    super::is_sound(case);
    println!("{tried} failing calls, the command failed for {failed} of them");
    // What a check cannot look at is said in its table.
    let may_fail_never = args.contains(&"check");
    assert!(failed < tried, "{failed} of {tried}");
    assert!(failed > 0 || may_fail_never, "{failed} of {tried}");
}

/// What ends well, ended well: nothing is left in `tmp/` when somebody has swept.
fn nothing_left(case: &Case) {
    case.load_busybox();
    assert_eq!(super::names_in(case, "tmp"), [""; 0]);
}

/// What the command did not do it does now that nothing fails.
fn completed(case: &Case, args: &[&str], outcome: &Outcome) {
    if outcome.code != 0 {
        case.words(args).ok();
    }
}

/// The same of a thing that may have been made by a command that failed afterwards.
fn made(case: &Case, args: &[&str], outcome: &Outcome, there: bool) {
    assert!(there || outcome.code != 0, "{outcome}");
    if !there {
        case.words(args).ok();
    }
}

fn load(case: &Case) {
    let archive = shared().join("images/busybox.tar").display().to_string();
    let args = ["load", "-q", "-i", archive.as_str()];
    everywhere(
        case,
        &args,
        |case| {
            super::witness(case);
            case.engine("rmi localhost/busybox");
        },
        |case, outcome| {
            super::check_witness(case);
            completed(case, &args, outcome);
            case.shell("", "cat /var/www/index.html")
                .ok()
                .prints("hello");
        },
    );
    nothing_left(case);
}

fn pull(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("busybox");
    let args = ["pull", "-q", image.as_str()];
    everywhere(
        case,
        &args,
        |case| {
            super::witness(case);
            case.words(&["rmi", &image]);
        },
        |case, outcome| {
            super::check_witness(case);
            completed(case, &args, outcome);
            let run = [
                "run",
                "--rm",
                "--network=none",
                &image,
                "cat",
                "/var/www/index.html",
            ];
            case.words(&run).ok().prints("hello");
        },
    );
    nothing_left(case);
}

fn commit(case: &Case) {
    let args = ["commit", "source", "localhost/committed"];
    everywhere(
        case,
        &args,
        |case| {
            super::witness(case);
            case.load_busybox();
            case.engine("rmi localhost/committed");
            if !case.engine("ps -aq").ok().stdout.is_empty() {
                return;
            }
            let run = [
                "run",
                "--name=source",
                "--network=none",
                "localhost/busybox",
            ];
            case.words(&[&run[..], &["sh", "-c", "echo new > /new; rm -r /var/www"]].concat())
                .ok();
        },
        |case, outcome| {
            super::check_witness(case);
            completed(case, &args, outcome);
            let run = ["run", "--rm", "--network=none", "localhost/committed"];
            case.words(&[&run[..], &["sh", "-c", "cat /new; ls /var"]].concat())
                .ok()
                .prints("new");
        },
    );
    case.engine("rm source").ok();
    nothing_left(case);
}

fn tag(case: &Case) {
    let args = ["tag", "localhost/busybox", "localhost/second:v1"];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            case.engine("rmi localhost/second:v1");
        },
        |case, outcome| {
            case.shell("", "true").ok();
            completed(case, &args, outcome);
            case.engine("run --rm --network none localhost/second:v1 true")
                .ok();
        },
    );
    nothing_left(case);
}

fn remove_image(case: &Case) {
    everywhere(
        case,
        &["rmi", "localhost/busybox"],
        |case| {
            super::witness(case);
            case.load_busybox();
        },
        |case, outcome| {
            super::check_witness(case);
            let names = case.words(&["images", "--format", "{{.Repository}}"]).ok();
            let there = names.stdout.contains("busybox");
            // Whoever was told that it is gone will not find it.
            assert!(outcome.code != 0 || !there, "{outcome}");
            if there {
                case.shell("", "true").ok();
                case.engine("rmi localhost/busybox").ok();
            }
        },
    );
    case.engine("rmi localhost/witness").ok();
    case.engine("image prune -af").ok();
    for folder in ["blobs/sha256", "layers", "images", "tmp"] {
        assert_eq!(super::names_in(case, folder), [""; 0], "{folder}");
    }
}

fn prune(case: &Case) {
    let args = ["image", "prune", "-f"];
    everywhere(
        case,
        &args,
        |case| {
            super::witness(case);
            case.load_busybox();
            let layer = crate::image::busybox_layer().file("old", "old\n").bytes();
            let image = crate::image::Image::new("localhost/busybox", vec![layer]);
            case.with_input(&["load", "-q"], image.archive()).ok();
            // The name moves, and the other has none any more.
            case.load_busybox();
        },
        |case, outcome| {
            super::check_witness(case);
            case.shell("", "true").ok();
            completed(case, &args, outcome);
            case.engine("images -q --filter dangling=true")
                .ok()
                .prints("");
        },
    );
    nothing_left(case);
}

fn run(case: &Case) {
    let args = [
        "run",
        "--rm",
        "--network=none",
        "--name=failed",
        "localhost/busybox",
        "sh",
        "-c",
        "echo ran > /ran",
    ];
    everywhere(case, &args, Case::load_busybox, |case, _| {
        case.engine("rm -f failed");
        case.words(&args).ok();
        case.engine("ps -aq").ok().prints("");
        assert_eq!(super::names_in(case, "containers"), [""; 0]);
    });
    nothing_left(case);
}

fn save(case: &Case) {
    let file = case.make_dir("saved").join("image.tar");
    let path = file.display().to_string();
    let args = ["save", "-o", path.as_str(), "localhost/busybox"];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            let _ = std::fs::remove_file(&file);
        },
        |case, outcome| {
            // Who was told that it is there finds all of it.
            if outcome.code != 0 {
                assert!(!file.exists(), "half of an archive {outcome}");
                case.words(&args).ok();
            }
            case.words(&["load", "-q", "-i", &path]).ok();
            super::is_sound(case);
        },
    );
    nothing_left(case);
}

/// A look at a sound store changes nothing, and never calls it broken because it could not look.
fn check(case: &Case) {
    everywhere(case, &["system", "check"], super::witness, |case, _| {
        super::check_witness(case);
    });
    nothing_left(case);
}

fn repair(case: &Case) {
    everywhere(
        case,
        &["system", "check", "--repair"],
        |case| {
            super::witness(case);
            case.load_busybox();
            super::store::damage(&super::store::in_a_layer(case, "var/www/index.html"));
        },
        |case, _| {
            super::check_witness_alone(case);
            case.engine("system check --repair").ok();
            super::is_sound(case);
            case.shell("", "cat /var/www/index.html")
                .ok()
                .prints("hello");
        },
    );
    nothing_left(case);
}

/// What the registry was given by halves is no image.
fn push(case: &Case) {
    let (_registry, image) = super::destination(case);
    let args = ["push", "-q", image.as_str()];
    everywhere(
        case,
        &args,
        |case| super::tagged(case, &image),
        |case, outcome| {
            completed(case, &args, outcome);
            case.words(&["rmi", &image]).ok();
            case.words(&["pull", "-q", &image]).ok();
            super::is_sound(case);
        },
    );
    nothing_left(case);
}

fn manifest(case: &Case) {
    let args = super::MAKE_LIST;
    everywhere(case, &args, super::without_list, |case, outcome| {
        super::check_witness(case);
        let there = case.engine("manifest exists list").code == 0;
        made(case, &args, outcome, there);
        case.engine("run --rm --network none list true").ok();
    });
    nothing_left(case);
}

fn artifact(case: &Case) {
    let file = case.make_file("file", "one\n").display().to_string();
    let args = ["artifact", "add", "localhost/files", file.as_str()];
    everywhere(case, &args, super::without_artifact, |case, outcome| {
        super::check_witness(case);
        let listed = case.engine("artifact ls --noheading").ok();
        let there = listed.stdout.contains("localhost/files");
        made(case, &args, outcome, there);
        case.engine("artifact inspect localhost/files").ok();
    });
    nothing_left(case);
}

/// What was said to be done counts, and what is made of a step that failed does not.
fn build(case: &Case) {
    let words = builds::words(case, builds::DOCKERFILE);
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    everywhere(case, &args, builds::forgotten, |case, outcome| {
        super::check_witness(case);
        builds::goes_on(case, &args, outcome);
    });
    builds::forgotten(case);
    nothing_left(case);
}

fn export_store(case: &Case) {
    let folder = case.dir.join("exported");
    let path = folder.display().to_string();
    let args = ["image", "export-store", "localhost/busybox", path.as_str()];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            let _ = std::fs::remove_dir_all(&folder);
        },
        |case, outcome| {
            super::is_sound(case);
            completed(case, &args, outcome);
            let option = format!("additionalimagestore={path}");
            let root = case.dir.join("elsewhere").display().to_string();
            let options = ["--root", root.as_str(), "--storage-opt", option.as_str()];
            let run = ["run", "--rm", "--network=none", "--pull=never"];
            let program = ["localhost/busybox", "true"];
            case.words(&[&options[..], &run, &program].concat()).ok();
        },
    );
    let _ = std::fs::remove_dir_all(&folder);
    nothing_left(case);
}
