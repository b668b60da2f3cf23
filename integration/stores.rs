//! The whole store: looked at and mended (`system check`), removed (`system reset`), brought to today's
//! format (`system migrate`), shared with others (additional stores, `image export-store`).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    case::{Case, Outcome},
    registry::Registry,
};

cases! {
    a_sound_store: root ordinary single;
    damage_is_named_and_mended: root ordinary;
    what_cannot_be_mended: root ordinary;
    layers_of_running_containers: root ordinary;
    an_additional_store: root ordinary;
    somebody_elses_store: ordinary single;
    an_additional_store_that_vanished: root;
    exported_stores: root ordinary;
    everything_goes: root ordinary single;
    only_stores_are_removed: root ordinary;
    older_and_newer: root ordinary;
}

/// The findings of a check: name of the check, result, and how many findings it has.
fn check(case: &Case, flags: &str) -> (Outcome, Vec<(String, String, usize)>) {
    let outcome = case.engine(&format!("system check --format json {flags}"));
    let checks: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let count = |value: &Value| value.as_array().map_or(0, Vec::len);
    let rows = checks
        .iter()
        .map(|check| {
            (
                text(&check["Name"]),
                text(&check["Result"]),
                count(&check["Findings"]),
            )
        })
        .collect();
    (outcome, rows)
}

fn broken(case: &Case, flags: &str) -> Vec<String> {
    let (_, rows) = check(case, flags);
    let names = rows.into_iter();
    names
        .filter(|(_, result, _)| result == "broken")
        .map(|(name, _, _)| name)
        .collect()
}

fn clean(case: &Case) {
    let (outcome, rows) = check(case, "--max 0s");
    let outcome = outcome.ok();
    assert!(
        rows.iter().all(|(_, result, _)| result == "fine"),
        "{outcome}"
    );
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn works(case: &Case, image: &str) {
    case.engine(&format!(
        "run --rm --network none {image} cat /var/www/index.html"
    ))
    .ok()
    .prints("hello");
}

fn a_sound_store(case: &Case) {
    case.load_busybox();
    case.engine("run --network none --name one localhost/busybox true")
        .ok();
    clean(case);
    case.engine("system check --quick").ok();
    case.engine("system check --max nonsense")
        .fails(125, "invalid duration");
}

fn damage_is_named_and_mended(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("busybox");
    case.words(&["pull", &image]).ok();
    case.engine(&format!(
        "run --network none --name one -v vol:/x {image} true"
    ))
    .ok();
    let root = case.root();
    // Every blob, in one way or another.
    for (index, blob) in names(&root.join("blobs/sha256")).into_iter().enumerate() {
        match index % 3 {
            0 => fs::write(&blob, b"not what it was").unwrap(),
            1 => fs::remove_file(&blob).unwrap(),
            _ => fs::File::options()
                .write(true)
                .open(&blob)
                .unwrap()
                .set_len(7)
                .unwrap(),
        }
    }
    assert_eq!(broken(case, ""), ["blobs"]);
    case.engine("system check --repair").ok();
    clean(case);
    works(case, &image);

    let layer = names(&root.join("layers")).remove(0);
    let page = layer.join("tree/var/www/index.html");
    let spoil: [(&str, &dyn Fn()); 5] = [
        ("layers", &|| fs::write(&page, b"HELLO").unwrap()),
        ("layers", &|| fs::remove_file(&page).unwrap()),
        ("layers", &|| {
            fs::write(layer.join("tree/more"), b"").unwrap();
        }),
        ("layers", &|| {
            fs::write(layer.join("layer.json"), b"").unwrap();
        }),
        ("access", &|| {
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(root.join("volumes"), mode).unwrap();
        }),
    ];
    for (name, spoil) in spoil {
        spoil();
        assert_eq!(broken(case, ""), [name]);
        case.engine("system check --repair").ok();
        clean(case);
        works(case, &image);
    }
    fs::remove_file(root.join("names/one")).unwrap();
    assert_eq!(broken(case, ""), ["containers"]);
    case.engine("system check --repair").ok();
    case.engine("start one").ok();
    leftovers(case, &root);
}

fn leftovers(case: &Case, root: &Path) {
    let made = case
        .program("sh")
        .args([
            "-c",
            "umask 077; mkdir tmp/lease-of-the-dead; echo half > partial/0123",
        ])
        .current_dir(root)
        .status();
    assert!(made.unwrap().success());
    // Young ones are the business of the next command.
    case.engine("system check").ok();
    assert_eq!(broken(case, "--max 0s"), ["leftovers"]);
    case.engine("system check --repair --max 0s").ok();
    clean(case);
    let made = case
        .program("sh")
        .args(["-c", "umask 077; echo { > images/rubbish"])
        .current_dir(root)
        .status();
    assert!(made.unwrap().success());
    assert_eq!(broken(case, ""), ["records"]);
    case.engine("system check --repair").ok();
    clean(case);
    // Not ours: told of, and left.
    fs::write(root.join("notes"), b"mine").unwrap();
    case.engine("system check --repair --force")
        .ok()
        .contains("notes");
    assert!(root.join("notes").exists());
}

fn what_cannot_be_mended(case: &Case) {
    case.load_busybox();
    case.engine("run --network none --name one localhost/busybox true")
        .ok();
    let root = case.root();
    for blob in names(&root.join("blobs/sha256")) {
        fs::remove_file(&blob).unwrap();
    }
    let layer = names(&root.join("layers")).remove(0);
    fs::remove_file(layer.join("layer.json")).unwrap();
    case.engine("run --rm --network none --pull never localhost/busybox true")
        .fails(125, "system check --repair");
    case.engine("system check --repair").exits(1);
    case.engine("system check --repair --force").ok();
    case.engine("images -q").ok().prints("");
    case.engine("ps -aq").ok().prints("");
    clean(case);
    case.load_busybox();
    works(case, "localhost/busybox");
}

fn layers_of_running_containers(case: &Case) {
    case.load_busybox();
    case.engine("run -d --network none --name one localhost/busybox sleep 1000")
        .ok();
    let layer = names(&case.root().join("layers")).remove(0);
    fs::write(layer.join("tree/more"), b"").unwrap();
    case.engine("system check --repair")
        .exits(1)
        .contains("a running container uses it");
    case.engine("exec one cat /var/www/index.html")
        .ok()
        .prints("hello");
    case.engine("rm -f one").ok();
    case.engine("system check --repair").ok();
    clean(case);
}

/// Busybox in a store beside the case's own, which it can read.
fn beside(case: &Case) -> String {
    let folder = case.dir.join("beside").display().to_string();
    let run = case.dir.join("run-beside").display().to_string();
    let archive = crate::case::shared().join("images/busybox.tar");
    let mut words = case.engine_words();
    words.truncate(1);
    let mut command = case.program(&words[0]);
    command.args(["--root", &folder, "--runroot", &run, "load", "-qi"]);
    command.arg(archive);
    crate::case::finish(command).ok();
    folder
}

fn with(case: &Case, folder: &str, line: &str) -> Outcome {
    case.engine(&format!(
        "--storage-opt additionalimagestore={folder} {line}"
    ))
}

fn an_additional_store(case: &Case) {
    let folder = beside(case);
    let before = tree(Path::new(&folder));
    with(
        case,
        &folder,
        "images --format {{.Repository}}:{{.ReadOnly}}",
    )
    .ok()
    .prints("localhost/busybox:true");
    with(
        case,
        &folder,
        "run --rm --network none --pull never localhost/busybox cat /var/www/index.html",
    )
    .ok()
    .prints("hello");
    // Used where they are.
    assert_eq!(names(&case.root().join("layers")), Vec::<PathBuf>::new());
    with(case, &folder, "rmi -f localhost/busybox").fails(1, "read-only store");
    with(case, &folder, "tag localhost/busybox mine").ok();
    with(case, &folder, "run --rm --network none mine true").ok();
    with(case, &folder, "rmi mine").ok();
    with(case, &folder, "system prune -af").ok();
    with(case, &folder, "system check --repair --force --max 0s").ok();
    with(
        case,
        &folder,
        "run --rm --network none localhost/busybox true",
    )
    .ok();
    assert_eq!(tree(Path::new(&folder)), before);
    with(case, "/nowhere/at/all", "images -q").ok();
    with(case, &case.dir.display().to_string(), "images -q").fails(1, "is not an image store");
    with(case, "relative", "images").fails(1, "must be absolute");
}

/// Names below a folder, layers' files left out.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = names(folder);
    for name in ["images", "blobs/sha256", "layers", "tmp", "containers"] {
        found.extend(names(&folder.join(name)));
    }
    found
}

/// Files of another user's store have other owners: unpacked from its blobs, without a registry.
fn somebody_elses_store(case: &Case) {
    if rustix::process::geteuid().as_raw() != 0 {
        return case.skip("needs root, to make a store for others");
    }
    let folder = PathBuf::from(format!("{}-shared", case.dir.display()));
    let engine = case.engine_words().remove(0);
    let run = |words: &[&str]| {
        let outcome = std::process::Command::new(&engine)
            .args(["--root", &format!("{}-root", folder.display())])
            .args(["--runroot", &format!("{}-run", folder.display())])
            .args(words)
            .output()
            .unwrap();
        assert!(outcome.status.success(), "{outcome:?}");
    };
    let archive = crate::case::shared().join("images/busybox.tar");
    let shown = folder.display().to_string();
    run(&["load", "-qi", &archive.display().to_string()]);
    run(&["image", "export-store", "localhost/busybox", &shown]);
    with(
        case,
        &shown,
        "run --rm --network none --pull never localhost/busybox cat /var/www/index.html",
    )
    .ok()
    .prints("hello");
    assert_eq!(names(&case.root().join("layers")).len(), 1);
    for place in ["", "-root", "-run"] {
        let _ = fs::remove_dir_all(format!("{shown}{place}"));
    }
    // What was unpacked stays.
    case.engine("run --rm --network none localhost/busybox true")
        .exits(125);
    case.engine("images -q").ok();
}

fn an_additional_store_that_vanished(case: &Case) {
    let folder = beside(case);
    with(
        case,
        &folder,
        "run --network none --name one localhost/busybox true",
    )
    .ok();
    fs::remove_dir_all(&folder).unwrap();
    with(case, &folder, "start one").fails(1, "is not in the store");
    case.engine("ps -a --format {{.Names}}").ok().prints("one");
    case.engine("rm one").ok();
}

fn exported_stores(case: &Case) {
    case.load_busybox();
    let one = case.dir.join("one").display().to_string();
    case.engine(&format!("image export-store localhost/busybox {one}"))
        .ok()
        .prints("Exported image: localhost/busybox:latest");
    // Again: nothing new.
    case.engine(&format!("image export-store localhost/busybox {one}"))
        .ok();
    let format = fs::metadata(Path::new(&one).join("format")).unwrap();
    assert_eq!(format.permissions().mode() & 0o777, 0o644);
    let own = case.root().display().to_string();
    case.engine(&format!("image export-store localhost/busybox {own}"))
        .fails(1, "somebody's own store");
    let home = case.make_dir("home-like");
    fs::write(home.join("letter"), b"dear").unwrap();
    case.engine(&format!(
        "image export-store localhost/busybox {}",
        home.display()
    ))
    .fails(1, "is not a store");
    case.engine(&format!("image export-store nosuch {one}-2"))
        .fails(1, "No such image");
    assert!(!Path::new(&format!("{one}-2")).exists());
    case.engine("system reset -f").ok();
    with(
        case,
        &one,
        "run --rm --network none --pull never localhost/busybox cat /var/www/index.html",
    )
    .ok()
    .prints("hello");
}

fn everything_goes(case: &Case) {
    case.load_busybox();
    case.engine("run -d --network none --name one -v vol:/x localhost/busybox sleep 1000")
        .ok();
    case.with_input(&["system", "reset"], "n\n").exits(1);
    case.engine("exec one true").ok();
    case.engine("system reset --force").ok();
    assert_eq!(names(&case.root()), Vec::<PathBuf>::new());
    case.engine("system reset -f").ok();
    case.load_busybox();
    works(case, "localhost/busybox");
}

fn only_stores_are_removed(case: &Case) {
    let home = case.make_dir("home-like");
    fs::write(home.join("letter"), b"dear").unwrap();
    let shown = home.display();
    case.engine(&format!("--root {shown} system reset -f"))
        .fails(1, "is not a store");
    assert!(home.join("letter").exists());
    assert_eq!(names(&home).len(), 1);
    case.load_busybox();
    fs::write(case.root().join("notes"), b"mine").unwrap();
    case.engine("system reset -f").ok();
    assert_eq!(names(&case.root()), [case.root().join("notes")]);
}

fn older_and_newer(case: &Case) {
    case.load_busybox();
    let format = case.root().join("format");
    fs::write(&format, r#"{"version":0,"features":[]}"#).unwrap();
    fs::remove_dir_all(case.root().join("volumes")).unwrap();
    case.engine("images").fails(1, "older version 0");
    case.engine("system migrate").ok();
    case.engine("system migrate")
        .ok()
        .contains("nothing to migrate");
    clean(case);
    works(case, "localhost/busybox");
    fs::write(&format, r#"{"version":1,"features":["tomorrow"]}"#).unwrap();
    for command in ["images", "system migrate", "system reset -f"] {
        case.engine(command).fails(1, "newer coracle (tomorrow)");
    }
    fs::write(
        &format,
        r#"{"version":1,"features":[],"compatible_features":["x"]}"#,
    )
    .unwrap();
    works(case, "localhost/busybox");
    case.engine("system migrate --new-runtime crun")
        .fails(125, "no other runtime");
    case.engine("system renumber").ok();
}
