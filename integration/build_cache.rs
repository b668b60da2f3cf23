//! `build --cache-to` and `--cache-from`: what others have built, in registries, images and folders.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::Digest as _;

use crate::{
    build::{build, context},
    case::Case,
    registry::Registry,
};

cases! {
    through_a_registry: root ordinary single;
    in_the_image: root ordinary;
    in_a_folder: root ordinary single;
    other_documents: root;
    caches_that_are_not_there: root ordinary;
    stages_that_nobody_needs: root ordinary;
    a_lying_cache: root ordinary;
    only_for_who_asks: root ordinary;
}

const STAGES: &str = "FROM localhost/busybox AS maker\nWORKDIR /src\nCOPY file .\n\
     RUN cat /proc/sys/kernel/random/uuid > made && cat file >> made\nRUN true\n\
     FROM localhost/busybox\nENV A=b\nCOPY --from=maker /src/made /made\n\
     RUN cat /proc/sys/kernel/random/uuid > /when\nCOPY file /file\n";

/// The image ID, and how many steps were in a cache.
fn built(case: &Case, words: &[&str]) -> (String, usize) {
    let file = case.dir_path("id");
    let id_file = ["--iidfile", file.to_str().unwrap()];
    let log = build(case, &[&id_file, words].concat()).ok().stderr;
    let cached = log.lines().filter(|line| line.ends_with(" CACHED")).count();
    (fs::read_to_string(file).unwrap(), cached)
}

/// As on another machine.
fn forget(case: &Case) {
    case.words(&["system", "prune", "-af"]).ok();
    case.words(&["builder", "prune", "-af"]).ok();
    case.load_busybox();
}

fn through_a_registry(case: &Case) {
    case.load_busybox();
    let registry = Registry::writable(case, "far");
    let context = context(case, STAGES);
    let cache = format!("type=registry,ref={}/app/cache", registry.address);
    let to = format!("{cache},mode=max");
    let words = [
        "-t",
        "app",
        "--cache-from",
        &cache,
        "--cache-to",
        &to,
        &context,
    ];
    // As a pipeline does it, the first time and any other.
    let (first, cached) = built(case, &words);
    assert_eq!(cached, 0);
    for _ in 0..2 {
        forget(case);
        assert_eq!(built(case, &words), (first.clone(), 7));
    }
    // Now they are here: nothing is fetched.
    let fetched = registry.deliveries().len();
    assert_eq!(built(case, &words), (first.clone(), 7));
    let layers = registry.deliveries().len() - fetched;
    assert!(
        layers <= 1,
        "{layers} blobs but for the cache's configuration"
    );
    // A file that changes takes what comes after it along.
    forget(case);
    case.make_file("context/file", "other\n");
    let (other, cached) = built(case, &words);
    assert_ne!(other, first);
    assert_eq!(cached, 1);
    // Without the stage that makes what is copied.
    let smaller = format!("type=registry,ref={}/app/small", registry.address);
    let (first, _) = built(case, &["--no-cache", "--cache-to", &smaller, &context]);
    forget(case);
    let again = built(case, &["--cache-from", &smaller, &context]);
    assert_eq!(again, (first, 7));
}

fn in_the_image(case: &Case) {
    case.load_busybox();
    let registry = Registry::writable(case, "far");
    let context = context(case, STAGES);
    let name = format!("{}/app:1", registry.address);
    let inline = [
        "--build-arg",
        "BUILDKIT_INLINE_CACHE=1",
        "--push",
        "-t",
        &name,
    ];
    let (first, _) = built(case, &[&inline[..], &[&context]].concat());
    forget(case);
    let again = [&inline[..], &["--cache-from", &name, &context]].concat();
    assert_eq!(built(case, &again), (first.clone(), 7));
    // The image may be here already.
    forget(case);
    case.words(&["pull", "-q", &name]).ok();
    assert_eq!(built(case, &again).0, first);
    // Packed in another way, the layers are what they were.
    let packed = format!(
        "type=registry,name={}/app:2,compression=zstd,force-compression=true",
        registry.address
    );
    let to = ["--cache-to", "type=inline", "-o", &packed, &context];
    let (first, _) = built(case, &to);
    forget(case);
    let from = format!("{}/app:2", registry.address);
    let (second, cached) = built(
        case,
        &["--cache-from", &from, "--cache-to", "type=inline", &context],
    );
    assert!(cached >= 3, "{cached}");
    assert_eq!(second, first);
    // One without a cache is told of.
    let plain = format!("{}/plain", registry.address);
    built(case, &["--push", "-t", &plain, &context]);
    let log = build(case, &["--cache-from", &plain, &context]).ok().stderr;
    assert!(log.contains("it is an image without a cache"), "{log}");
}

fn in_a_folder(case: &Case) {
    case.load_busybox();
    let context = context(case, STAGES);
    let folder = case.dir_path("cache");
    let folder = folder.to_str().unwrap();
    let to = format!("type=local,dest={folder},mode=max");
    let from = format!("type=local,src={folder}");
    let (first, _) = built(case, &["--cache-to", &to, "-t", "app", &context]);
    forget(case);
    let words = ["--cache-from", &from, "--cache-to", &to, &context];
    assert_eq!(built(case, &words), (first.clone(), 7));
    // Beside it there may be others.
    let other = format!("{to},tag=other");
    case.make_file("context/Dockerfile", "FROM localhost/busybox\nRUN true\n");
    built(case, &["--cache-to", &other, &context]);
    case.make_file("context/Dockerfile", STAGES);
    forget(case);
    assert_eq!(built(case, &words), (first, 7));
    let other = format!("{from},tag=other");
    forget(case);
    assert_eq!(built(case, &["--cache-from", &other, &context]).1, 0);
    // Of result's steps alone; what cannot be written, and whether that matters.
    let bad = format!("type=local,dest={folder}/index.json");
    build(case, &["--cache-to", &bad, &context]).exits(1);
    let bad = format!("{bad},ignore-error=true");
    let log = build(case, &["--cache-to", &bad, &context]).ok().stderr;
    assert!(log.contains("cannot write the cache"), "{log}");
}

fn other_documents(case: &Case) {
    case.load_busybox();
    let registry = Registry::writable(case, "far");
    let context = context(case, STAGES);
    for (name, more) in [
        ("index", "image-manifest=false"),
        ("docker", "oci-mediatypes=false"),
        ("zstd", "compression=zstd"),
    ] {
        let cache = format!("type=registry,ref={}/{name}", registry.address);
        let to = format!("{cache},mode=max,{more}");
        let log = build(
            case,
            &["--cache-to", &to, "--iidfile", "/dev/null", &context],
        );
        let log = log.ok().stderr;
        assert_eq!(log.contains("has no effect"), name == "zstd", "{log}");
        forget(case);
        assert_eq!(built(case, &["--cache-from", &cache, &context]).1, 7);
    }
}

fn caches_that_are_not_there(case: &Case) {
    case.load_busybox();
    let registry = Registry::writable(case, "far");
    let context = context(case, "FROM localhost/busybox\nRUN true\n");
    let far = format!("{}/none", registry.address);
    case.make_dir("empty");
    case.make_dir("damaged");
    case.make_file("damaged/index.json", "{");
    let folder = |name: &str| format!("type=local,src={}", case.dir_path(name).display());
    for source in [
        far.as_str(),
        "127.0.0.1:1/nobody",
        &folder("none"),
        &folder("empty"),
        &folder("damaged"),
    ] {
        let log = build(case, &["--cache-from", source, &context]).ok().stderr;
        assert!(log.contains("cannot use the cache"), "{log}");
    }
    for kind in ["gha", "s3,region=x,bucket=y", "azblob,name=x"] {
        let text = format!("type={kind}");
        let log = build(case, &["--cache-from", &text, &context]).ok().stderr;
        assert!(
            log.contains("there are registry, local and inline"),
            "{log}"
        );
        build(case, &["--cache-to", &text, &context])
            .fails(125, "there are registry, local and inline");
    }
    build(case, &["--cache-to", "type=registry", &context]).fails(125, "ref is missing");
}

/// What makes files that are in a cache is not done, and its layers are not fetched.
fn stages_that_nobody_needs(case: &Case) {
    case.load_busybox();
    let context = context(case, STAGES);
    let folder = case.dir_path("cache");
    let to = format!("type=local,dest={},mode=max", folder.display());
    let from = format!("type=local,src={}", folder.display());
    let (first, _) = built(case, &["--cache-to", &to, &context]);
    forget(case);
    let log = build(case, &["-t", "app", "--cache-from", &from, &context])
        .ok()
        .stderr;
    assert_eq!(log.matches("fetching sha256:").count(), 3, "{log}");
    assert_eq!(log.matches(" CACHED").count(), 7, "{log}");
    assert!(log.contains(&first), "{log}");
    // What is copied from it is another file now, so it has to be done; what comes before is there.
    forget(case);
    let other = STAGES.replace("/src/made /made", "/src/file /made");
    case.make_file("context/Dockerfile", &other);
    let log = build(case, &["--cache-from", &from, &context]).ok().stderr;
    assert_eq!(log.matches("fetching sha256:").count(), 3, "{log}");
    assert_eq!(log.matches(" CACHED").count(), 4, "{log}");
    // So it is if the layer cannot be fetched.
    forget(case);
    case.make_file("context/Dockerfile", STAGES);
    let (_, config) = documents(&folder);
    let last = config["records"].as_array().unwrap().len() - 4;
    let copy = config["records"][last]["layers"][0]["layer"]
        .as_u64()
        .unwrap();
    let copy = usize::try_from(copy).unwrap();
    fs::remove_file(blob(&folder, &config["layers"][copy]["blob"])).unwrap();
    let log = build(case, &["-t", "app", "--cache-from", &from, &context])
        .ok()
        .stderr;
    assert!(log.contains("cannot use the cache"), "{log}");
    let run = ["run", "--rm", "--network=none", "app", "cat", "/made"];
    case.words(&run).ok().contains("text");
    // A stage that is not to be taken from a cache is done.
    forget(case);
    let skip = [
        "--no-cache-filter",
        "maker",
        "--cache-from",
        &from,
        &context,
    ];
    let (other, cached) = built(case, &skip);
    assert_ne!(other, first);
    assert_eq!(cached, 0);
}

/// The documents of a folder: the manifest's digest and the cache's configuration.
fn documents(folder: &Path) -> (Value, Value) {
    let index = read(&folder.join("index.json"));
    let manifest = read(&blob(folder, &index["manifests"][0]["digest"]));
    let config = read(&blob(folder, &manifest["config"]["digest"]));
    (manifest, config)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(folder: &Path, digest: &Value) -> std::path::PathBuf {
    let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    folder.join("blobs/sha256").join(digest)
}

fn put(folder: &Path, document: &Value) -> Value {
    let bytes = serde_json::to_vec(document).unwrap();
    let hex: String = sha2::Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::write(folder.join("blobs/sha256").join(&hex), &bytes).unwrap();
    json!({"digest": format!("sha256:{hex}"), "size": bytes.len()})
}

/// Puts another configuration into a cache.
fn replace(folder: &Path, config: &Value) {
    let (mut manifest, _) = documents(folder);
    for (key, value) in put(folder, config).as_object().unwrap() {
        manifest["config"][key] = value.clone();
    }
    let mut index = read(&folder.join("index.json"));
    for (key, value) in put(folder, &manifest).as_object().unwrap() {
        index["manifests"][0][key] = value.clone();
    }
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

const TWO: &str = "FROM localhost/busybox\nRUN echo good > /x\nRUN cat /x > /y\n";

/// A cache of [`TWO`], and the layers of one with another word.
fn cache_with_others_layers(case: &Case, context: &str) -> (std::path::PathBuf, Value) {
    let folder = case.dir_path("cache");
    let to = format!("type=local,dest={},mode=max", folder.display());
    case.make_file("context/Dockerfile", TWO.replace("good", "evil"));
    built(case, &["--cache-to", &to, context]);
    let (_, evil) = documents(&folder);
    case.make_file("context/Dockerfile", TWO);
    built(case, &["--cache-to", &to, context]);
    let (_, mut config) = documents(&folder);
    config["layers"] = evil["layers"].clone();
    forget(case);
    (folder, config)
}

fn a_lying_cache(case: &Case) {
    case.load_busybox();
    let context = context(case, TWO);
    let (folder, mut config) = cache_with_others_layers(case, &context);
    let from = format!("type=local,src={}", folder.display());
    let words = ["-t", "app", "--cache-from", &from, &context];
    let files = || {
        let run = ["run", "--rm", "--network=none", "app", "cat", "/x", "/y"];
        case.words(&run).ok().stdout
    };
    // It says what a layer unpacks to, and that is wrong.
    let (one, two) = (
        config["layers"][0]["annotations"]["diffID"].clone(),
        config["layers"][1]["annotations"]["diffID"].clone(),
    );
    let good = config.clone();
    config["layers"][0]["annotations"]["diffID"] = two;
    config["layers"][1]["annotations"]["diffID"] = one;
    replace(&folder, &config);
    let log = build(case, &words).ok().stderr;
    assert!(log.contains("unpacks to"), "{log}");
    assert_eq!(files(), "good\ngood\n");
    // Its archive is another one, or cut, or none.
    let mut good = good;
    good["records"].as_array_mut().unwrap().truncate(1);
    replace(&folder, &good);
    let archive = blob(&folder, &good["layers"][0]["blob"]);
    let bytes = fs::read(&archive).unwrap();
    for content in [
        Some(vec![b'x'; bytes.len()]),
        Some(bytes[..9].to_vec()),
        None,
    ] {
        forget(case);
        match content {
            Some(content) => fs::write(&archive, content).unwrap(),
            None => fs::remove_file(&archive).unwrap(),
        }
        let log = build(case, &words).ok().stderr;
        assert!(log.contains("cannot use the cache"), "{log}");
        assert_eq!(files(), "good\ngood\n");
    }
}

/// Whoever names a cache believes it, and nobody else does.
fn only_for_who_asks(case: &Case) {
    case.load_busybox();
    let context = context(case, TWO);
    let (folder, mut config) = cache_with_others_layers(case, &context);
    let from = format!("type=local,src={}", folder.display());
    // Of the first step alone: the second one is done on top of it.
    config["records"].as_array_mut().unwrap().truncate(1);
    replace(&folder, &config);
    let files = || {
        let run = ["run", "--rm", "--network=none", "app", "cat", "/x", "/y"];
        case.words(&run).ok().stdout
    };
    let with = ["-t", "app", "--cache-from", &from, &context];
    assert_eq!(built(case, &with).1, 1);
    assert_eq!(files(), "evil\nevil\n");
    assert_eq!(built(case, &["-t", "app", &context]).1, 0);
    assert_eq!(files(), "good\ngood\n");
    // Each finds its own again; who asks has both, and what is known here comes first.
    assert_eq!(built(case, &["-t", "app", &context]).1, 2);
    assert_eq!(built(case, &with).1, 2);
    assert_eq!(files(), "good\ngood\n");
}
