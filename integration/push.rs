//! Images to registries: Debian's docker-registry on loopback, and archives.

use std::{fs, path::Path};

use crate::{
    case::{Case, Outcome},
    registry::Registry,
};

cases! {
    the_digest_stays: root ordinary single;
    what_is_there_is_spared: root ordinary;
    a_neighbour_lends: root ordinary;
    all_tags: root ordinary;
    other_compression: root ordinary;
    other_documents: root ordinary;
    killed_in_the_middle: root ordinary;
    to_archives_and_back: root ordinary;
    wrong_words: root ordinary;
    not_allowed: root ordinary;
    pull_of_several: root ordinary;
    pull_policies: root ordinary;
}

/// What follows `word` in the output: a digest.
fn digest_after(outcome: &Outcome, word: &str) -> String {
    let rest = outcome.stdout.split_once(word);
    let rest = rest.unwrap_or_else(|| panic!("no {word:?} in {outcome}")).1;
    rest.split_whitespace().next().unwrap().to_owned()
}

fn pushed_digest(outcome: &Outcome) -> String {
    digest_after(outcome, ": digest: ")
}

fn pulled_digest(outcome: &Outcome) -> String {
    digest_after(outcome, "Digest: ")
}

fn image_id(case: &Case, image: &str) -> String {
    let words = ["image", "inspect", "--format", "{{.Id}}", image];
    case.words(&words).ok().stdout.trim().to_owned()
}

/// An image of the shared registry under a name in another one.
fn tagged(case: &Case, from: &str, to: &str) -> String {
    let shared = Registry::http(case);
    let source = shared.image(from);
    let digest = pulled_digest(&case.words(&["pull", &source]).ok());
    case.words(&["tag", &source, to]).ok();
    case.words(&["rmi", &source]).ok();
    digest
}

fn the_digest_stays(case: &Case) {
    let registry = Registry::writable(case, "target");
    for name in ["debian", "debian-zstd", "busybox:docker"] {
        let target = format!("{}/copy/{name}", registry.address);
        let pulled = tagged(case, name, &target);
        let outcome = case.words(&["push", &target]).ok();
        assert!(outcome.stdout.contains(&format!(
            "The push refers to repository [{}/copy/",
            registry.address
        )));
        assert_eq!(pushed_digest(&outcome), pulled);
        let before = image_id(case, &target);
        case.words(&["rmi", &target]).ok();
        let again = case.words(&["pull", &target]).ok();
        assert_eq!(pulled_digest(&again), pulled);
        assert_eq!(image_id(case, &target), before);
    }
    let target = format!("{}/copy/debian", registry.address);
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        &target,
        "python3",
        "/app/main.py",
    ])
    .ok()
    .contains("hello from 3.");
}

fn what_is_there_is_spared(case: &Case) {
    let registry = Registry::writable(case, "target");
    let target = format!("{}/app", registry.address);
    tagged(case, "debian", &target);
    let first = case.words(&["push", &target]).ok();
    assert!(
        first.stdout.contains("Using default tag: latest"),
        "{first}"
    );
    assert_eq!(first.stdout.matches(": Pushed").count(), 7, "{first}");
    let second = case.words(&["push", &target]).ok();
    assert_eq!(second.stdout.matches(": Layer already exists").count(), 7);
    assert_eq!(pushed_digest(&first), pushed_digest(&second));
    assert!(!first.stdout.contains('\x1b'), "{first}");
    let quiet = case.words(&["push", "-q", &target]).ok();
    quiet.prints(&format!("{target}:latest"));
    case.words(&["events", "--since", "10m", "--until", "0s"])
        .ok()
        .contains(&format!("image push {target}:latest"));
}

fn a_neighbour_lends(case: &Case) {
    let registry = Registry::writable(case, "target");
    let (first, second) = (
        format!("{}/base:1", registry.address),
        format!("{}/team/app:2", registry.address),
    );
    tagged(case, "debian", &first);
    case.words(&["push", &first]).ok();
    let outcome = case.words(&["push", &first, &second]).ok();
    assert_eq!(
        outcome.stdout.matches(": Mounted from base").count(),
        7,
        "{outcome}"
    );
    // The destination was no name of the store, and is none now.
    case.words(&["image", "inspect", &second])
        .fails(1, "No such");
    case.words(&["pull", &second]).ok();
}

fn all_tags(case: &Case) {
    let registry = Registry::writable(case, "target");
    let name = format!("{}/app", registry.address);
    case.load_busybox();
    for tag in ["a", "b", "c"] {
        case.words(&["tag", "localhost/busybox", &format!("{name}:{tag}")])
            .ok();
    }
    let outcome = case.words(&["push", "-a", &name]).ok();
    assert_eq!(outcome.stdout.matches("The push refers to").count(), 1);
    assert_eq!(
        outcome.stdout.matches(": digest: sha256:").count(),
        3,
        "{outcome}"
    );
    for tag in ["a", "b", "c"] {
        case.words(&["rmi", &format!("{name}:{tag}")]).ok();
    }
    let outcome = case.words(&["pull", "-a", &name]).ok();
    assert_eq!(
        outcome.stdout.lines().last(),
        Some(name.as_str()),
        "{outcome}"
    );
    for tag in ["a", "b", "c"] {
        case.words(&["image", "inspect", &format!("{name}:{tag}")])
            .ok();
    }
    case.words(&["push", "-a", &format!("{name}:a")])
        .fails(1, "tag can't be used with --all-tags/-a");
    case.words(&["pull", "-a", &format!("{name}:a")])
        .fails(1, "tag can't be used with --all-tags/-a");
    case.words(&["push", "-a", "localhost/nothing"])
        .fails(1, "does not exist locally");
}

fn other_compression(case: &Case) {
    let registry = Registry::writable(case, "target");
    let target = format!("{}/app", registry.address);
    let stored = tagged(case, "debian", &target);
    let id = image_id(case, &target);
    let file = case.dir_path("digest");
    let outcome = case
        .words(&[
            "push",
            "--compression-format=zstd",
            "--compression-level=3",
            "--digestfile",
            file.to_str().unwrap(),
            &target,
        ])
        .ok();
    let packed = pushed_digest(&outcome);
    assert_ne!(packed, stored);
    assert_eq!(fs::read_to_string(&file).unwrap(), packed);
    // The store's own copy is as it was.
    case.words(&["push", &target]).ok().contains(&stored);
    case.words(&["rmi", &target]).ok();
    let by_digest = format!("{target}@{packed}");
    case.words(&["pull", &by_digest]).ok();
    assert_eq!(image_id(case, &by_digest), id);
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        &by_digest,
        "python3",
        "/app/main.py",
    ])
    .ok()
    .contains("hello from 3.");
    let forced = case
        .words(&["push", "--compression-format=zstd", &by_digest, &target])
        .ok();
    assert_eq!(pushed_digest(&forced), packed, "what is zstd already stays");
}

fn other_documents(case: &Case) {
    let registry = Registry::writable(case, "target");
    let target = format!("{}/app", registry.address);
    let stored = tagged(case, "busybox", &target);
    let id = image_id(case, &target);
    let docker = case.words(&["push", "--format=v2s2", &target]).ok();
    assert_ne!(pushed_digest(&docker), stored);
    case.words(&["rmi", &target]).ok();
    case.words(&["pull", &target]).ok();
    assert_eq!(image_id(case, &target), id);
    case.words(&["run", "--rm", "--network=none", &target, "true"])
        .ok();
    case.words(&[
        "push",
        "--format=v2s2",
        "--compression-format=zstd",
        &target,
    ])
    .fails(1, "zstd");
    case.words(&["push", "--format=v2s1", &target])
        .fails(125, "v2s1");
}

/// Whether the registry has begun to take a blob.
fn takes(folder: &Path) -> bool {
    let uploads = folder.join("docker/registry/v2/repositories/app/_uploads");
    fs::read_dir(uploads).is_ok_and(|mut entries| entries.next().is_some())
}

fn killed_in_the_middle(case: &Case) {
    let registry = Registry::writable(case, "target");
    let target = format!("{}/app", registry.address);
    let stored = tagged(case, "debian", &target);
    let folder = case.dir.join("target");
    let mut child = case.start(&["push", &target]);
    case.eventually("the registry takes something", || {
        takes(&folder) || child.try_wait().unwrap().is_some()
    });
    let _ = child.kill();
    let _ = child.wait();
    let outcome = case.words(&["push", &target]).ok();
    assert_eq!(pushed_digest(&outcome), stored);
    case.words(&["rmi", &target]).ok();
    case.words(&["pull", &target]).ok();
    let leases = fs::read_dir(case.root().join("tmp")).unwrap().flatten();
    assert_eq!(leases.count(), 0);
}

fn to_archives_and_back(case: &Case) {
    case.load_busybox();
    let id = image_id(case, "localhost/busybox");
    for transport in ["docker-archive", "oci-archive", "oci"] {
        let path = case.dir_path(transport);
        let place = format!("{transport}:{}:example.org/app:1", path.display());
        case.words(&["push", "localhost/busybox", &place]).ok();
        case.words(&["pull", &place]).ok().contains(&id);
        assert_eq!(image_id(case, "example.org/app:1"), id);
        case.words(&["rmi", "example.org/app:1"]).ok();
    }
    case.words(&["push", "localhost/busybox", "oci:"])
        .fails(1, "names no file");
    case.words(&["push", "localhost/busybox", "ostree:x"])
        .fails(1, "ostree");
}

fn wrong_words(case: &Case) {
    case.load_busybox();
    case.engine("push localhost/nothing")
        .fails(1, "An image does not exist locally with the tag");
    case.words(&[
        "push",
        &format!("localhost/busybox@sha256:{}", "0".repeat(64)),
    ])
    .fails(1, "cannot push a digest reference");
    case.engine("push --sign-by me@example.org localhost/busybox")
        .fails(125, "--sign-by");
    case.engine("push --encryption-key k localhost/busybox")
        .fails(125, "--encryption-key");
    case.engine("push --compression-format=lzma localhost/busybox")
        .fails(125, "lzma");
    case.engine("push --compression-format=gzip --compression-level=10 localhost/busybox")
        .fails(125, "1 to 9");
    case.engine("push --platform=linux/s390x localhost/busybox 127.0.0.1:1/x")
        .fails(1, "linux/s390x");
    case.engine("push --retry=0 localhost/busybox 127.0.0.1:1/x")
        .fails(1, "127.0.0.1:1");
    case.engine("pull --decryption-key=k localhost/busybox")
        .fails(125, "--decryption-key");
    case.engine("pull --arch=arm64 --platform=linux/amd64 localhost/busybox")
        .fails(125, "--platform");
    case.engine("pull --policy=sometimes localhost/busybox")
        .fails(125, "sometimes");
}

fn not_allowed(case: &Case) {
    let registry = Registry::guarded(case, "target");
    let target = format!("{}/app", registry.address);
    case.load_busybox();
    case.words(&["tag", "localhost/busybox", &target]).ok();
    let outcome = case.words(&["push", &target]);
    assert!(outcome.stderr.contains("coracle login"), "{outcome}");
    outcome.fails(1, "unauthorized: authentication required");
    let outcome = case.words(&["push", "--creds=user:falsch", &target]);
    assert!(!outcome.stderr.contains("falsch"), "{outcome}");
    outcome.fails(1, "denies access");
    case.words(&["push", "--creds=user:geheim", &target]).ok();
    case.words(&["pull", &target]).fails(1, "unauthorized");
    case.words(&["pull", "--creds=user:geheim", &target]).ok();
    case.words(&["pull", "--creds=user:geheim", &format!("{target}:none")])
        .fails(1, "manifest unknown");
    case.words(&["push", "--creds=user:geheim", &target]).ok();
}

fn pull_of_several(case: &Case) {
    let registry = Registry::http(case);
    let (one, two) = (registry.image("busybox"), registry.image("multi"));
    let outcome = case.words(&["pull", "-q", &one, &registry.image("nothing"), &two]);
    assert_eq!(
        outcome.stdout,
        format!("{one}:latest\n{two}:latest\n"),
        "{outcome}"
    );
    outcome.fails(1, "nothing");
    case.words(&["pull", "--arch=arm64", &two]).ok();
    let format = "--format={{.Architecture}}";
    case.words(&["image", "inspect", format, &two])
        .ok()
        .prints("arm64");
}

fn pull_policies(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("busybox");
    case.words(&["pull", "--policy=never", &image])
        .fails(1, "never");
    case.words(&["pull", "--policy=missing", &image]).ok();
    drop(registry);
    case.words(&["pull", "--policy=missing", &image]).ok();
    case.words(&["pull", "--policy=never", &image]).ok();
    case.words(&["pull", "--policy=newer", "--retry=0", &image])
        .ok()
        .contains("up to date");
    case.words(&["pull", "--retry=0", &image]).fails(1, "");
}
