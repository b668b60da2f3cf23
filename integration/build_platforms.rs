//! `build --platform A,B`: images for several platforms at once, on a machine of one.

use std::fs;

use serde_json::Value;

use crate::{
    build::{build, context, run},
    case::Case,
    registry::Registry,
};

cases! {
    one_name_for_all: root ordinary single;
    compiled_across: root ordinary;
    programs_of_another_machine: root ordinary;
    bases_keep_their_names: root ordinary;
    what_comes_out: root ordinary single;
    caches_of_several: root ordinary;
}

const BOTH: &str = "--platform=linux/amd64,linux/arm64";

fn inspected(case: &Case, list: &str) -> Value {
    let outcome = case.words(&["manifest", "inspect", list]).ok();
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn architectures(index: &Value) -> Vec<&str> {
    let entries = index["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["platform"]["architecture"].as_str().unwrap())
        .collect()
}

fn one_name_for_all(case: &Case) {
    let shared = Registry::http(case);
    let target = Registry::writable(case, "target");
    let context = context(
        case,
        &format!(
            "FROM {}\nARG TARGETPLATFORM BUILDPLATFORM\nLABEL for=$TARGETPLATFORM on=$BUILDPLATFORM\nCOPY file /file\n",
            shared.image("multi")
        ),
    );
    let metadata = case.dir_path("metadata");
    let name = format!("{}/app:1", target.address);
    let file = ["--metadata-file", metadata.to_str().unwrap()];
    build(case, &[&file[..], &[BOTH, "-t", &name, &context]].concat()).ok();
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let index = inspected(case, &name);
    assert_eq!(architectures(&index), ["amd64", "arm64"]);
    // The others are there as well.
    let created = case.words(&["create", "--platform=linux/arm64", "--name=far", &name]);
    let format = ["inspect", "--format", "{{.Image}}", "far"];
    assert_eq!(created.ok().stdout.lines().count(), 1);
    let image = case.words(&format).ok().stdout;
    let format = [
        "image",
        "inspect",
        "--format",
        "{{.Architecture}}",
        image.trim(),
    ];
    case.words(&format).ok().prints("arm64");
    case.words(&["rm", "far"]).ok();
    case.words(&["create", "--platform=linux/s390x", &name])
        .exits(1);
    // It is listed once, and is what this machine runs.
    let listed = case.words(&["images", "-a", "--format", "{{.Repository}}:{{.Tag}}"]);
    let listed = listed.ok().stdout;
    assert_eq!(listed.matches("app:1").count(), 1, "{listed}");
    assert_eq!(run(case, &name, &["cat", "/file"]), "text");
    // All of it stays as long as its name does, and goes to registries.
    case.words(&["builder", "prune", "-af"]).ok();
    case.words(&["image", "prune", "-f"]).ok();
    case.words(&["system", "check"]).ok();
    let pushed = case.words(&["push", &name]).ok().stdout;
    assert!(pushed.contains(&digest), "{digest}: {pushed}");
    case.words(&["tag", &name, "other"]).ok();
    case.words(&["rmi", &name]).ok();
    assert_eq!(inspected(case, "other"), index);
    case.words(&["rmi", "other"]).ok();
    let label = |platform: &str| {
        case.words(&["pull", "-q", "--platform", platform, &name])
            .ok();
        let format =
            "{{index .Config.Labels \"for\"}} {{index .Config.Labels \"on\"}} {{.Architecture}}";
        let words = ["image", "inspect", "--format", format, &name];
        case.words(&words).ok().stdout.trim().to_owned()
    };
    assert_eq!(label("linux/arm64"), "linux/arm64 linux/amd64 arm64");
    assert_eq!(label("linux/amd64"), "linux/amd64 linux/amd64 amd64");
    // Pushed at once, and built upon.
    let direct = format!("{}/direct:1", target.address);
    build(case, &[BOTH, "--push", "-t", &direct, &context]).ok();
    case.make_file(
        "context/Dockerfile",
        format!("FROM {direct}\nCOPY file /more\n"),
    );
    build(case, &[BOTH, "-t", "more", &context]).ok();
    assert_eq!(architectures(&inspected(case, "more")), ["amd64", "arm64"]);
    // One name, one platform again.
    build(case, &["-t", "more", &context]).ok();
    case.words(&["manifest", "inspect", "more"]).exits(1);
}

/// The compiler runs here, whatever it makes.
const CROSS: &str = "FROM --platform=$BUILDPLATFORM localhost/busybox AS tools\nRUN echo tool > /tool\n\
     FROM tools AS make\nARG TARGETARCH TARGETPLATFORM\nRUN echo \"for $TARGETARCH\" > /program\n\
     FROM scratch\nARG TARGETARCH\nCOPY --from=make /program /bin/program\nENV ARCH=$TARGETARCH\n";

fn compiled_across(case: &Case) {
    case.load_busybox();
    let context = context(case, CROSS);
    let log = build(case, &[BOTH, "-t", "app", &context]).ok().stderr;
    // What is the same for all is done once, and the lines say for whom the others are.
    assert_eq!(log.matches("RUN echo tool").count(), 1, "{log}");
    assert!(log.contains("[linux/amd64->arm64 make 1/1] RUN"), "{log}");
    assert!(log.contains("writing manifest list sha256:"), "{log}");
    let folder = case.dir_path("out");
    let to = format!("type=local,dest={}", folder.display());
    build(case, &[BOTH, "-o", &to, &context]).ok();
    for architecture in ["amd64", "arm64"] {
        let file = folder.join(format!("linux_{architecture}/bin/program"));
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            format!("for {architecture}\n")
        );
    }
    // For another machine alone.
    build(case, &["--platform=linux/riscv64", "-t", "risc", &context]).ok();
    let format = [
        "image",
        "inspect",
        "--format",
        "{{.Architecture}} {{index .Config.Env 1}}",
        "risc",
    ];
    case.words(&format).ok().prints("riscv64 ARCH=riscv64");
}

fn programs_of_another_machine(case: &Case) {
    let shared = Registry::http(case);
    let context = context(
        case,
        &format!(
            "FROM {}\nCOPY file /file\nRUN true\n",
            shared.image("multi")
        ),
    );
    let refused = build(case, &["--platform=linux/arm64", &context]);
    if refused.code == 0 {
        return case.skip("this machine has an emulator for arm64");
    }
    refused.fails(1, "the kernel has no emulator for them");
    build(case, &["--platform=linux/amd64", &context]).ok();
}

fn bases_keep_their_names(case: &Case) {
    let shared = Registry::http(case);
    let base = shared.image("multi");
    case.words(&["pull", "-q", &base]).ok();
    let architecture = || {
        let words = ["image", "inspect", "--format", "{{.Architecture}}", &base];
        case.words(&words).ok().stdout
    };
    assert_eq!(architecture(), "amd64\n");
    let context = context(case, &format!("FROM {base}\nCOPY file /file\n"));
    build(case, &["--platform=linux/arm64", "-t", "app", &context]).ok();
    assert_eq!(architecture(), "amd64\n");
    let words = ["image", "inspect", "--format", "{{.Architecture}}", "app"];
    case.words(&words).ok().prints("arm64");
    // Now it is here: no registry is needed.
    drop(shared);
    build(case, &[BOTH, "-t", "app", &context]).ok();
    // An image that is for one machine is not for another.
    case.load_busybox();
    case.make_file(
        "context/Dockerfile",
        "FROM localhost/busybox\nCOPY file /file\n",
    );
    build(case, &["--platform=linux/arm64", &context]).fails(
        1,
        "localhost/busybox:latest is here for linux/amd64, not for linux/arm64",
    );
    // One that was built here for both is.
    case.make_file("context/Dockerfile", "FROM scratch\nCOPY file /file\n");
    build(case, &[BOTH, "-t", "localhost/own", &context]).ok();
    case.words(&["builder", "prune", "-af"]).ok();
    case.make_file(
        "context/Dockerfile",
        "FROM localhost/own\nCOPY file /more\n",
    );
    build(case, &[BOTH, "-t", "app", &context]).ok();
    assert_eq!(architectures(&inspected(case, "app")), ["amd64", "arm64"]);
}

fn what_comes_out(case: &Case) {
    let context = context(
        case,
        "FROM scratch\nARG TARGETARCH\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\nCOPY file /file\n",
    );
    let archive = case.dir_path("image.tar");
    let oci = format!("type=oci,dest={}", archive.display());
    let files = case.dir_path("files.tar");
    let tar = format!("type=tar,dest={}", files.display());
    build(case, &[BOTH, "-t", "app", "-o", &oci, "-o", &tar, &context]).ok();
    let list = case.program("tar").arg("tf").arg(&files).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for name in ["linux_amd64/arch", "linux_amd64/file", "linux_arm64/arch"] {
        assert!(list.lines().any(|line| line == name), "{list}");
    }
    // The archive has all of them.
    case.words(&["system", "prune", "-af"]).ok();
    let target = Registry::writable(case, "target");
    let folder = case.make_dir("layout");
    let mut tar = case.program("tar");
    tar.arg("xf").arg(&archive).arg("-C").arg(&folder);
    assert!(tar.status().unwrap().success());
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .replace(':', "/");
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("blobs").join(digest)).unwrap()).unwrap();
    assert_eq!(architectures(&index), ["amd64", "arm64"]);
    for entry in index["manifests"].as_array().unwrap() {
        let digest = entry["digest"].as_str().unwrap().replace(':', "/");
        assert!(folder.join("blobs").join(digest).exists());
    }
    case.words(&["load", "-q", "-i", archive.to_str().unwrap()])
        .ok();
    drop(target);
    build(case, &[BOTH, "-o", "type=docker,dest=x.tar", &context])
        .fails(1, "does not currently support exporting manifest lists");
}

fn caches_of_several(case: &Case) {
    case.load_busybox();
    let registry = Registry::writable(case, "far");
    let context = context(case, CROSS);
    let cache = format!("type=registry,ref={}/cache", registry.address);
    let to = format!("{cache},mode=max");
    let file = case.dir_path("id");
    let id = ["--iidfile", file.to_str().unwrap(), BOTH, "-t", "app"];
    let words = [
        &id[..],
        &["--cache-from", &cache, "--cache-to", &to, &context],
    ]
    .concat();
    build(case, &words).ok();
    let first = fs::read_to_string(&file).unwrap();
    case.words(&["system", "prune", "-af"]).ok();
    case.words(&["builder", "prune", "-af"]).ok();
    case.load_busybox();
    let log = build(case, &words).ok().stderr;
    assert_eq!(fs::read_to_string(&file).unwrap(), first);
    let cached = log.lines().filter(|line| line.ends_with(" CACHED")).count();
    assert_eq!(cached, 5, "{log}");
    // In the images of an index.
    let name = format!("{}/app", registry.address);
    let inline = [
        "--push",
        "-t",
        &name,
        BOTH,
        "--cache-to",
        "type=inline",
        &context,
    ];
    build(case, &inline).ok();
    case.words(&["system", "prune", "-af"]).ok();
    case.words(&["builder", "prune", "-af"]).ok();
    case.load_busybox();
    let log = build(case, &[BOTH, "--cache-from", &name, &context])
        .ok()
        .stderr;
    let cached = log.lines().filter(|line| line.ends_with(" CACHED")).count();
    assert!(cached >= 2, "{log}");
}
