//! Nothing breaks the store: whoever is killed, whatever call fails, when the power goes, with a hundred
//! commands at once. Afterwards what was finished is there and right, the same command succeeds, and
//! nothing is leaked.
//!
//! ```text
//! (here)    commands on images, containers, volumes and secrets, killed anywhere
//! life      the same of what acts on running containers
//! store     the same of what reads the store as a whole: save, system check --repair
//! network   the same of what sends: push, login
//! networks  the same of networks, and of what joins and leaves them
//! builds    the same of builds, and of who carries their steps out
//! lists     the same of manifest lists, artifacts and stores for others
//! faults    one system call fails: EIO, ENOSPC, EINTR, and more
//! power     cut at any write, on a `disk` that remembers
//! stress    everything at once on one store
//! stepper   how a command is killed at its n-th call
//! ```
//!
//! A sample of the places is tried, a larger one with `CORACLE_CRASH=60`, and all of them with
//! `CORACLE_CRASH=full`. Figures are in docs/reliability.md.

mod builds;
mod disk;
mod faults;
mod life;
mod lists;
mod network;
mod networks;
mod power;
pub mod stepper;
mod store;
mod stress;

use crate::{
    case::{Case, shared, usage},
    registry::Registry,
};
use stepper::everywhere;

cases! {
    load: root ordinary;
    pull: root ordinary;
    run: root ordinary;
    remove_container: root ordinary;
    rename_container: root ordinary;
    remove_image: root ordinary;
    tag: root ordinary;
    create_volume: root ordinary;
    fill_volume: root ordinary;
    create_secret: root ordinary;
    shift_owners: ordinary;
    commit: root ordinary;
    commit_of_a_running_container: root;
    prune: root ordinary;
    copy_into: root ordinary;
    copy_out_of: root ordinary;
}

fn busybox() -> String {
    shared().join("images/busybox.tar").display().to_string()
}

/// An acknowledged image that no crash of anything else may touch.
fn witness(case: &Case) {
    let names = case.words(&["images", "--format", "{{.Repository}}"]).ok();
    if !names.stdout.contains("witness") {
        let layer = crate::image::busybox_layer()
            .file("witness", "here\n")
            .bytes();
        let archive = crate::image::Image::new("localhost/witness", vec![layer]).archive();
        case.with_input(&["load", "-q"], archive).ok();
    }
}

/// A registry, and the name that an image is pushed there by.
fn destination(case: &Case) -> (Registry, String) {
    let registry = Registry::writable(case, "pushed");
    let image = format!("{}/some/image:1", registry.address);
    (registry, image)
}

/// Before a push: the image has that name.
fn tagged(case: &Case, image: &str) {
    case.load_busybox();
    case.words(&["tag", "localhost/busybox", image]).ok();
}

const MAKE_LIST: [&str; 4] = ["manifest", "create", "list", "localhost/busybox"];

/// Before a manifest list is made.
fn without_list(case: &Case) {
    witness(case);
    case.load_busybox();
    case.engine("manifest rm list");
}

/// Before an artifact is made.
fn without_artifact(case: &Case) {
    witness(case);
    case.engine("artifact rm localhost/files");
}

/// Nothing of the store is other than it says.
fn is_sound(case: &Case) {
    case.engine("system check").ok();
}

/// After one step of many: what refers to what. The contents are looked at when all steps are done,
/// or each time if everything is tried.
fn check_witness(case: &Case) {
    match stepper::is_full() {
        true => is_sound(case),
        false => drop(case.engine("system check --quick").ok()),
    }
    check_witness_alone(case);
}

/// Of a store that may be known to be damaged elsewhere.
fn check_witness_alone(case: &Case) {
    case.engine("run --rm --network none localhost/witness cat /witness")
        .ok()
        .prints("here");
}

/// Files below the store once everything dead has been swept by an ordinary command.
fn files(case: &Case) -> usize {
    case.engine("images -q").ok();
    case.engine("ps -aq").ok();
    usage(&case.root()).1
}

fn load(case: &Case) {
    let archive = busybox();
    let args = ["load", "-q", "-i", archive.as_str()];
    everywhere(
        case,
        &args,
        |case| {
            witness(case);
            case.engine("rmi localhost/busybox");
        },
        |case| {
            check_witness(case);
            case.words(&args).ok();
            case.shell("", "cat /var/www/index.html")
                .ok()
                .prints("hello");
        },
    );
    case.engine("rmi localhost/busybox").ok();
    let after = files(case);
    case.words(&args).ok();
    case.engine("rmi localhost/busybox").ok();
    assert!(files(case).abs_diff(after) <= 4, "files are leaked");
    let tmp = std::fs::read_dir(case.root().join("tmp")).map_or(0, Iterator::count);
    assert!(tmp <= 2, "{tmp} leftovers in tmp/");
}

fn pull(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("busybox");
    let args = ["pull", "-q", image.as_str()];
    everywhere(
        case,
        &args,
        |case| {
            witness(case);
            case.words(&["rmi", &image]);
        },
        |case| {
            check_witness(case);
            case.words(&args).ok();
            case.words(&[
                "run",
                "--rm",
                "--network=none",
                &image,
                "cat",
                "/var/www/index.html",
            ])
            .ok()
            .prints("hello");
        },
    );
}

fn run(case: &Case) {
    let args = [
        "run",
        "--rm",
        "--network=none",
        "--name=crashed",
        "localhost/busybox",
        "sh",
        "-c",
        "echo ran > /ran",
    ];
    everywhere(case, &args, Case::load_busybox, |case| {
        // What is left can be removed, and the name is free again.
        case.engine("rm -f crashed");
        case.words(&args).ok();
        case.engine("ps -aq").ok().prints("");
        let left = std::fs::read_dir(case.root().join("containers")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "directories of containers");
    });
}

fn rename_container(case: &Case) {
    everywhere(
        case,
        &["rename", "before", "after"],
        |case| {
            case.load_busybox();
            case.engine("rm -f before after");
            case.engine("create --name before --network none localhost/busybox echo same")
                .ok();
        },
        |case| {
            // It has one of the names, by which it is found.
            let listed = case
                .words(&["ps", "-a", "--format", "{{.Names}} {{.State}}"])
                .ok();
            let name = match listed.stdout.trim() {
                "before created" => "before",
                "after created" => "after",
                _ => panic!("{listed}"),
            };
            let other = if name == "after" { "before" } else { "after" };
            case.words(&["start", "-a", name]).ok().prints("same");
            case.words(&["container", "exists", other]).exits(1);
            // The other is free.
            case.words(&["rename", name, other]).ok();
            case.words(&[
                "create",
                "--name",
                name,
                "--network=none",
                "localhost/busybox",
            ])
            .ok();
            case.engine("rm -f before after").ok();
            assert_eq!(names_in(case, "names"), [""; 0]);
        },
    );
}

fn remove_container(case: &Case) {
    everywhere(
        case,
        &["rm", "victim"],
        |case| {
            case.load_busybox();
            case.engine("rm -f victim other");
            case.engine("create --name other --network none localhost/busybox echo other")
                .ok();
            case.words(&[
                "run",
                "--name=victim",
                "--network=none",
                "localhost/busybox",
                "sh",
                "-c",
                "mkdir -p a/b/c; touch a/b/c/d",
            ])
            .ok();
        },
        |case| {
            // Either it is still there, whole, or it is gone.
            let listed = case.words(&["ps", "-a", "--format", "{{.Names}}"]).ok();
            let mut names: Vec<&str> = listed.stdout.lines().collect();
            names.sort_unstable();
            assert!(
                names == ["other"] || names == ["other", "victim"],
                "{listed}"
            );
            if names.len() == 2 {
                case.engine("rm victim").ok();
            }
            case.engine("start -a other").ok().prints("other");
            let left = std::fs::read_dir(case.root().join("containers"))
                .unwrap()
                .count();
            assert_eq!(left, 1, "directories of containers");
        },
    );
    case.engine("rm other").ok();
}

fn remove_image(case: &Case) {
    everywhere(
        case,
        &["rmi", "localhost/busybox"],
        |case| {
            witness(case);
            case.load_busybox();
        },
        |case| {
            check_witness(case);
            let names = case.words(&["images", "--format", "{{.Repository}}"]).ok();
            if names.stdout.contains("busybox") {
                // What has a name runs.
                case.shell("", "true").ok();
                case.engine("rmi localhost/busybox").ok();
            }
        },
    );
    case.engine("rmi localhost/witness").ok();
    files(case);
    // The journal of events grows with every command.
    let folders = ["blobs", "layers", "images", "tmp", "partial"];
    let bytes: u64 = folders
        .iter()
        .map(|folder| usage(&case.root().join(folder)).0)
        .sum();
    assert!(bytes < 300_000, "{bytes} bytes are left of removed images");
}

fn tag(case: &Case) {
    everywhere(
        case,
        &["tag", "localhost/busybox", "localhost/second:v1"],
        |case| {
            case.load_busybox();
            case.engine("rmi localhost/second:v1");
        },
        |case| {
            case.shell("", "true").ok();
            case.engine("tag localhost/busybox localhost/second:v1")
                .ok();
            case.engine("run --rm --network none localhost/second:v1 true")
                .ok();
        },
    );
}

/// Names in a directory of the store.
fn names_in(case: &Case, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(case.root().join(folder)).into_iter();
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What is loaded is staged in a lease, and whoever begins one sweeps.
fn sweep(case: &Case) {
    case.load_busybox();
}

fn create_volume(case: &Case) {
    let args = ["volume", "create", "--label=of=mine", "--uid=5", "made"];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            case.engine("volume rm -f made").ok();
        },
        |case| {
            // It is there whole, or not at all.
            if names_in(case, "volumes").contains(&"made".to_owned()) {
                let label = "{{index .Labels \"of\"}}";
                case.words(&["volume", "inspect", "-f", label, "made"])
                    .ok()
                    .prints("mine");
            }
            case.words(&args).ok().prints("made");
            case.shell("-v made:/x", "stat -c %u /x").ok().prints("5");
        },
    );
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

fn fill_volume(case: &Case) {
    let layer = crate::image::busybox_layer()
        .dir("data")
        .file("data/one", "1\n")
        .dir("data/sub")
        .file("data/sub/two", "2\n")
        .hardlink("data/sub/three", "data/one")
        .symlink("data/link", "one")
        .fifo("data/pipe");
    let image = crate::image::Image::new("localhost/filled", vec![layer.bytes()]);
    case.with_input(&["load", "-q"], image.archive()).ok();
    let run = |script: &'static str| {
        [
            "run",
            "--rm",
            "--network=none",
            "--name=crashed",
            "-v=new:/data",
            "-v=/nameless",
            "localhost/filled",
            "sh",
            "-c",
            script,
        ]
    };
    everywhere(
        case,
        &run("true"),
        |case| {
            case.engine("volume rm -f new").ok();
        },
        |case| {
            case.engine("rm -f crashed");
            case.words(&run(
                "cat /data/one /data/sub/two /data/link; stat -c %h /data/sub/three; test -p /data/pipe && ls /data | wc -l",
            ))
            .ok()
            .prints("1\n2\n1\n2\n4");
            assert_eq!(
                names_in(case, "volumes/new"),
                ["data", "lock", "volume.json"]
            );
            sweep(case);
            assert_eq!(
                names_in(case, "volumes"),
                ["new"],
                "nameless volumes are left"
            );
        },
    );
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

fn create_secret(case: &Case) {
    let value = case.make_file("value", "hidden");
    let value = value.display().to_string();
    let args = ["secret", "create", "kept", value.as_str()];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            case.engine("secret rm kept");
        },
        |case| {
            let listed = case.words(&["secret", "ls", "--format", "{{.Name}}"]).ok();
            if listed.stdout.trim() != "kept" {
                listed.prints("");
                case.words(&args).ok();
            }
            case.shell("--secret kept", "cat /run/secrets/kept")
                .ok()
                .prints("hidden");
        },
    );
    // What was staged holds the value: it goes with the next change.
    case.engine("secret rm kept").ok();
    assert_eq!(names_in(case, "secrets"), [""; 0]);
}

/// The first start with ids that the image's files have to be given.
fn shift_owners(case: &Case) {
    let args = [
        "run",
        "--rm",
        "--network=none",
        "--name=crashed",
        "--userns=keep-id",
        "localhost/busybox",
        "sh",
        "-c",
        "cat /var/www/index.html; stat -c %u /bin/busybox",
    ];
    everywhere(
        case,
        &args,
        |case| {
            // With the image goes its tree with other owners.
            case.engine("rmi -f localhost/busybox");
            case.load_busybox();
            assert_eq!(names_in(case, "shifted"), [""; 0]);
        },
        |case| {
            case.engine("rm -f crashed");
            case.words(&args).ok().prints("hello\n0");
            assert_eq!(names_in(case, "containers"), [""; 0]);
        },
    );
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

/// Blobs, layers and image records. A crash may leave some that nothing names; the next garbage
/// collection takes them.
fn content(case: &Case) -> [Vec<String>; 3] {
    ["blobs/sha256", "layers", "images"].map(|folder| names_in(case, folder))
}

const COMMITTED: &str = "cat /new; ls /var/www; cat /etc/passwd 2>/dev/null; stat -c %h /linked";

fn commit(case: &Case) {
    let args = ["commit", "-m=why", "source", "localhost/committed"];
    let made = std::cell::OnceCell::new();
    everywhere(
        case,
        &args,
        |case| {
            witness(case);
            case.load_busybox();
            case.engine("rmi localhost/committed");
            case.engine("rm -f source").ok();
            let script = "echo new > /new; ln /new /linked; rm /etc/passwd; rm -r /var/www; mkdir /var/www; touch /var/www/fresh";
            let run = [
                "run",
                "--name=source",
                "--network=none",
                "localhost/busybox",
            ];
            case.words(&[&run[..], &["sh", "-c", script]].concat()).ok();
            made.get_or_init(|| content(case));
        },
        |case| {
            check_witness(case);
            let run = ["run", "--rm", "--network=none", "localhost/committed"];
            let look = [&run[..], &["sh", "-c", COMMITTED]].concat();
            // There whole, or not at all; and so it is asked for again.
            let named = case.words(&["images", "--format", "{{.Repository}}"]).ok();
            if named.stdout.contains("committed") {
                case.words(&look).ok().prints("new\nfresh\n2");
            }
            case.words(&args).ok();
            case.words(&look).ok().prints("new\nfresh\n2");
            case.engine("start -a source").ok();
        },
    );
    case.engine("rmi localhost/committed").ok();
    case.engine("image prune -f").ok();
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
    assert_eq!(Some(&content(case)), made.get());
}

/// Whoever dies, the container goes on.
fn commit_of_a_running_container(case: &Case) {
    let args = ["commit", "busy", "localhost/committed"];
    let script = "while true; do echo x >> /count; done";
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            case.engine("rm -f busy").ok();
            let run = ["run", "-d", "--name=busy", "--network=none"];
            let program = ["localhost/busybox", "sh", "-c", script];
            case.words(&[&run[..], &program[..]].concat()).ok();
        },
        |case| {
            let count = || case.engine("exec busy stat -c %s /count").ok().stdout;
            let before = count();
            case.eventually("it goes on", || count() != before);
            case.words(&args).ok();
            case.engine("run --rm --network none localhost/committed test -e /count")
                .ok();
        },
    );
    case.engine("rm -f busy").ok();
}

fn prune(case: &Case) {
    everywhere(
        case,
        &["system", "prune", "-f", "--volumes"],
        |case| {
            witness(case);
            case.load_busybox();
            case.engine("rm -f victim other").ok();
            for _ in 0..2 {
                let run = ["run", "--name=victim", "--network=none", "-v=/nameless"];
                let program = ["localhost/busybox", "sh", "-c", "date > /x"];
                case.words(&[&run[..], &program[..]].concat()).ok();
                case.engine("commit victim localhost/dangling").ok();
                case.engine("rm victim").ok();
            }
            case.engine("create --name victim --network none localhost/busybox true")
                .ok();
            case.engine("run -d --name other --network none localhost/busybox sleep 100")
                .ok();
        },
        |case| {
            check_witness(case);
            case.engine("run --rm --network none localhost/dangling test -e /x")
                .ok();
            case.engine("system prune -f --volumes").ok();
            let listed = case.words(&["ps", "-a", "--format", "{{.Names}}"]).ok();
            listed.prints("other");
            case.engine("volume ls -q").ok().prints("");
            case.engine("images -q --filter dangling=true")
                .ok()
                .prints("");
        },
    );
    case.engine("rm -f other").ok();
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

/// What is copied into a container and what is copied out of one, in a volume.
fn copied(case: &Case) -> String {
    let folder = case.make_dir("copied");
    case.make_file("copied/one", "1\n");
    case.make_file("copied/two", vec![7_u8; 300 << 10]);
    folder.display().to_string()
}

fn with_a_volume(case: &Case) {
    case.load_busybox();
    case.engine("rm -f target").ok();
    case.engine("volume rm -f data").ok();
    let create = ["create", "--name=target", "--network=none", "-v=data:/data"];
    let script = "ls -A /data /data/copied; cat /data/copied/one; stat -c %s /data/copied/two";
    let program = ["localhost/busybox", "sh", "-c", script];
    case.words(&[&create[..], &program[..]].concat()).ok();
}

/// Into a container that does not run: afterwards it can be had at once, and has some of the files,
/// but nothing else.
fn copy_into(case: &Case) {
    let folder = copied(case);
    let args = ["cp", folder.as_str(), "target:/data"];
    everywhere(case, &args, with_a_volume, |case| {
        let state = ["ps", "-a", "--format", "{{.State}}"];
        case.words(&state).ok().prints("created");
        case.words(&args).ok();
        case.engine("start -a target")
            .ok()
            .prints("/data:\ncopied\n\n/data/copied:\none\ntwo\n1\n307200");
    });
    case.engine("rm target").ok();
    case.engine("volume rm data").ok();
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

fn copy_out_of(case: &Case) {
    let folder = copied(case);
    let out = case.make_dir("out");
    let to = out.display().to_string();
    let args = ["cp", "target:/data/copied", to.as_str()];
    with_a_volume(case);
    case.words(&["cp", folder.as_str(), "target:/data"]).ok();
    everywhere(
        case,
        &args,
        |_| {
            let _ = std::fs::remove_dir_all(out.join("copied"));
        },
        |case| {
            case.words(&args).ok();
            assert_eq!(std::fs::read(out.join("copied/one")).unwrap(), b"1\n");
            let two = std::fs::read(out.join("copied/two")).unwrap();
            assert!(two == [7_u8; 300 << 10]);
            assert_eq!(std::fs::read_dir(out.join("copied")).unwrap().count(), 2);
            case.engine("start -a target").ok().contains("307200");
        },
    );
    case.engine("rm target").ok();
    case.engine("volume rm data").ok();
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}
