//! Manifest lists, artifacts and referrers in Debian's docker-registry on loopback; skopeo reads what
//! was written. That registry has no referrers API, so the tag stands in for it.

use std::{fs, process::Command};

use crate::{case::Case, registry::Registry};

cases! {
    a_list_of_images_here_and_there: root ordinary single;
    members_of_another_registry: root ordinary;
    run_a_list: root ordinary;
    lists_go_as_images_do: root ordinary;
    a_list_in_place_of_an_image: root ordinary;
    lists_for_other_platforms: root ordinary;
    artifacts_there_and_back: root ordinary single;
    referrers_under_a_tag: root ordinary;
    looking_at_what_is_far: root ordinary;
    what_is_refused: root ordinary;
}

/// What skopeo says about a name, and the bytes of its document.
fn skopeo(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("skopeo");
    command
        .arg("inspect")
        .arg("--tls-verify=false")
        .args(arguments);
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "skopeo: {said}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        // Not installed.
        Err(_) => None,
    }
}

fn a_list_of_images_here_and_there(case: &Case) {
    let shared = Registry::http(case);
    let registry = Registry::writable(case, "target");
    case.load_busybox();
    let list = format!("{}/list/app:1", registry.address);
    let far = format!("docker://{}", shared.image("foreign"));
    case.words(&["manifest", "create", &list, "localhost/busybox", &far])
        .ok()
        .prints(&format!("Created manifest list {list}"));
    case.words(&["manifest", "annotate", "--os-version", "1.2", &list, &far])
        .ok();
    let shown = case.words(&["manifest", "inspect", &list]).ok().json();
    assert_eq!(shown["manifests"][0]["platform"]["os"], "linux");
    assert_eq!(shown["manifests"][1]["platform"]["os.version"], "1.2");
    let pushed = case.words(&["manifest", "push", "-q", &list]).ok();
    if let Some(raw) = skopeo(&["--raw", &format!("docker://{list}")]) {
        let raw: serde_json::Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(raw, shown);
    }
    // What was pushed can be pulled, by another store and by its digest.
    case.words(&["manifest", "rm", &list]).ok();
    case.words(&["manifest", "exists", &list]).exits(1);
    case.words(&["rmi", "localhost/busybox"]).ok();
    let (repository, _) = list.rsplit_once(':').unwrap();
    let by_digest = format!("{repository}@{}", pushed.stdout.trim());
    case.words(&["pull", "-q", &by_digest]).ok();
    case.words(&[
        "run",
        "--rm",
        "--network",
        "none",
        &by_digest,
        "echo",
        "fine",
    ])
    .ok()
    .prints("fine");
}

/// `images` shows them, so `rmi` takes what it shows.
fn lists_go_as_images_do(case: &Case) {
    case.load_busybox();
    let create = || case.words(&["manifest", "create", "list:1", "localhost/busybox"]);
    create().ok();
    let id = case
        .words(&["images", "-q", "list"])
        .ok()
        .first()
        .to_owned();
    case.words(&["rmi", "list:1"])
        .ok()
        .contains("Untagged: list:1\nDeleted: sha256:");
    create().ok();
    case.words(&["rmi", &id]).ok().contains("Untagged: list:1");
    create().ok();
    case.words(&["rmi", "list:1", "list:1"])
        .fails(1, "No such image: list:1");
    create().ok();
    case.words(&["rmi", "--all"])
        .ok()
        .contains("Untagged: list:1");
    case.words(&["images", "-q"]).ok().prints("");
}

/// A list stands for its image of this platform; a new name is the list's.
fn a_list_in_place_of_an_image(case: &Case) {
    case.load_busybox();
    case.engine("manifest create list:1 localhost/busybox").ok();
    case.engine("rmi --platform linux/amd64 list:1")
        .fails(1, "list:1 is a manifest list");
    let same = |line: &str| {
        let of_image = case.engine(&line.replace("NAME", "localhost/busybox")).ok();
        case.engine(&line.replace("NAME", "list:1"))
            .ok()
            .prints(of_image.stdout.trim_end());
    };
    same("image inspect -f {{.Id}} NAME");
    same("history -q --no-trunc NAME");
    let file = case.dir.join("list.tar").display().to_string();
    case.words(&["save", "-o", &file, "list:1"]).ok();
    case.engine("tag list:1 list:2").ok();
    case.engine("manifest rm list:1").ok();
    let left = case.engine("manifest inspect list:2").ok().json();
    assert_eq!(left["manifests"].as_array().map(Vec::len), Some(1));
    case.words(&["load", "-i", &file])
        .ok()
        .prints("Loaded image: list:1");
    case.engine("tag list:2 localhost/busybox")
        .fails(1, "localhost/busybox:latest is an image");
}

fn lists_for_other_platforms(case: &Case) {
    let registry = Registry::http(case);
    let far = format!("docker://{}", registry.image("foreign"));
    case.words(&["manifest", "create", "list:1", &far]).ok();
    let file = case.dir.join("list.tar").display().to_string();
    let offer = "list:1 is a manifest list: no image for platform linux/";
    for line in [
        "image inspect list:1",
        "inspect list:1",
        "history list:1",
        "image tree list:1",
        &format!("save -o {file} list:1"),
    ] {
        let said = case.engine(line).fails(1, offer).stderr;
        assert!(said.contains("; there are: linux/"), "{said}");
    }
    assert!(!std::path::Path::new(&file).exists());
    case.engine("tag list:1 other:1").ok();
    case.engine("manifest create empty").ok();
    case.engine("history empty")
        .fails(1, "empty:latest is a manifest list without members");
}

/// Nothing of the members is kept here but manifests and configurations.
fn members_of_another_registry(case: &Case) {
    let shared = Registry::http(case);
    let registry = Registry::writable(case, "target");
    let source = format!("docker://{}", shared.image("multi"));
    let target = format!("{}/copy/multi:1", registry.address);
    case.words(&["manifest", "create", "--all", "multi", &source])
        .ok();
    // A plain push knows a list by its name, too.
    case.words(&["push", "multi", &target])
        .ok()
        .contains("1: digest: sha256:");
    case.words(&["push", "--platform=linux/amd64", "multi", &target])
        .fails(125, "this is a manifest list");
    case.words(&["manifest", "push", "--purge", "multi", &target])
        .ok();
    case.words(&["manifest", "exists", "multi"]).exits(1);
    case.words(&["run", "--rm", "--network", "none", &target, "true"])
        .ok();
    let tmp = fs::read_dir(case.root().join("tmp")).unwrap();
    assert_eq!(tmp.count(), 0);
}

fn run_a_list(case: &Case) {
    let shared = Registry::http(case);
    let (here, there) = (shared.image("busybox"), shared.image("foreign"));
    case.words(&["manifest", "create", "both", &here, &there])
        .ok();
    let run = ["run", "--rm", "--network", "none", "both", "echo", "fine"];
    // Fetched from where the member was added from, and then it is here.
    case.words(&run).ok().prints("fine");
    drop(shared);
    case.words(&run).ok().prints("fine");
    let id = |name: &str| {
        let words = ["image", "inspect", "--format", "{{.Architecture}}", name];
        case.words(&words).ok().stdout
    };
    assert_eq!(id("both").trim(), "amd64");
}

fn artifacts_there_and_back(case: &Case) {
    let registry = Registry::writable(case, "target");
    let name = format!("{}/files/model:1", registry.address);
    let text = case.make_file("read me.txt", "hello\n");
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let large_file = case.make_file("large.bin", &large);
    let kind = "application/vnd.example.model";
    let added = case
        .words(&[
            "artifact",
            "add",
            "--type",
            kind,
            "--annotation",
            "a=b",
            &name,
            text.to_str().unwrap(),
            large_file.to_str().unwrap(),
        ])
        .ok();
    case.words(&["artifact", "push", "-q", &name]).ok();
    case.words(&["artifact", "rm", "--all"]).ok();
    case.words(&["artifact", "ls", "--noheading"])
        .ok()
        .prints("");
    let blobs = fs::read_dir(case.root().join("blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 0);
    let pulled = case.words(&["artifact", "pull", "-q", &name]).ok();
    assert_eq!(pulled.stdout, added.stdout);
    let to = case.make_dir("out");
    case.words(&["artifact", "extract", &name, to.to_str().unwrap()])
        .ok();
    assert_eq!(
        fs::read_to_string(to.join("read me.txt")).unwrap(),
        "hello\n"
    );
    assert!(fs::read(to.join("large.bin")).unwrap() == large);
    let shown = case.words(&["artifact", "inspect", &name]).ok().json();
    assert_eq!(shown["Manifest"]["artifactType"], kind);
    if let Some(raw) = skopeo(&["--raw", &format!("docker://{name}")]) {
        let raw: serde_json::Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(raw, shown["Manifest"]);
    }
}

fn referrers_under_a_tag(case: &Case) {
    let registry = Registry::writable(case, "target");
    case.load_busybox();
    let image = format!("{}/app/busybox:1", registry.address);
    case.words(&["tag", "localhost/busybox", &image]).ok();
    case.words(&["push", "-q", &image]).ok();
    let file = case.make_file("bill.json", "{}");
    let bill = "application/spdx+json";
    let subject = format!("docker://{image}");
    let add = |name: &str, kind: &str| {
        let words = [
            "artifact",
            "add",
            "--type",
            kind,
            "--subject",
            &subject,
            name,
            file.to_str().unwrap(),
        ];
        case.words(&words).ok();
        let target = format!("{}/app/busybox:{name}", registry.address);
        case.words(&["artifact", "push", "-q", name, &target]).ok();
    };
    add("bill", bill);
    add("note", "text/x-note");
    let list = |more: &[&str]| {
        let mut words = vec!["manifest", "referrers", "-q"];
        words.extend(more);
        words.push(&image);
        case.words(&words).ok().stdout.lines().count()
    };
    assert_eq!(list(&[]), 2);
    assert_eq!(list(&["--artifact-type", bill]), 1);
    assert_eq!(list(&["--artifact-type", "none/such"]), 0);
}

fn looking_at_what_is_far(case: &Case) {
    let shared = Registry::http(case);
    let far = format!("docker://{}", shared.image("multi"));
    let raw = case.words(&["image", "inspect", "--raw", &far]).ok();
    let object = case.words(&["image", "inspect", &far]).ok().json();
    assert_eq!(object["Architecture"], "amd64");
    assert!(
        object["RepoTags"]
            .as_array()
            .is_some_and(|tags| !tags.is_empty())
    );
    if let Some(same) = skopeo(&["--raw", &far]) {
        assert_eq!(raw.stdout, same);
    }
    if let Some(text) = skopeo(&[&far]) {
        let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in [
            "Name", "Digest", "RepoTags", "Created", "Labels", "Os", "Layers", "Env",
        ] {
            assert_eq!(object[key], theirs[key], "{key}");
        }
    }
    // Nothing of it is here now.
    case.words(&["images", "-q"]).ok().prints("");
}

fn what_is_refused(case: &Case) {
    let registry = Registry::writable(case, "target");
    let nowhere = format!("{}/no/such:1", registry.address);
    case.words(&["manifest", "inspect", &nowhere])
        .fails(1, "no such manifest");
    case.words(&["manifest", "create", "list"]).ok();
    case.words(&["manifest", "create", "list"])
        .fails(1, "--amend");
    case.words(&["manifest", "add", "list", &nowhere])
        .fails(1, "is not in registry");
    case.words(&["manifest", "push", "nothing"])
        .fails(1, "No such manifest list");
    case.words(&["manifest", "push", "--sign-by", "x", "list"])
        .fails(1, "not supported");
    case.words(&["artifact", "add", "files", "/nowhere"])
        .fails(1, "/nowhere");
    case.words(&["artifact", "add", "list", "/etc/hostname"])
        .fails(1, "is a manifest list");
    case.words(&["artifact", "pull", &nowhere])
        .fails(1, "is not in registry");
}
