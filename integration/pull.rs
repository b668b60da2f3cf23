//! Images from registries: Debian's docker-registry on loopback, by http and https.

use std::os::unix::fs::symlink;

use crate::{
    case::{Case, shared},
    registry::{Registry, free_address},
};

cases! {
    by_http: root ordinary single;
    by_https_with_a_private_authority: root ordinary;
    unknown_authority_is_refused: root ordinary;
    packings: root ordinary;
    docker_media_types: root ordinary;
    by_digest: root ordinary;
    platform_of_an_index: root ordinary;
    other_platform: root ordinary;
    again_is_up_to_date: root ordinary;
    not_there: root ordinary;
    nobody_answers: root ordinary;
    lines_without_a_terminal: root ordinary;
    debian_by_http_and_https: root ordinary;
}

fn by_http(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("busybox");
    case.words(&["pull", &image]).ok();
    case.engine(&format!(
        "run --rm --network none {image} cat /var/www/index.html"
    ))
    .ok()
    .prints("hello");
    case.words(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok()
        .prints(&format!("{image}:latest"));
}

fn trust(case: &Case) {
    let authority = Registry::authority().display().to_string();
    case.set("SSL_CERT_FILE", &authority);
}

fn by_https_with_a_private_authority(case: &Case) {
    let registry = Registry::https(case);
    trust(case);
    let image = registry.image("busybox");
    case.words(&["pull", &image]).ok();
    case.engine(&format!("run --rm --network none {image} echo fine"))
        .ok()
        .prints("fine");
}

fn unknown_authority_is_refused(case: &Case) {
    let registry = Registry::https(case);
    case.words(&["pull", &registry.image("busybox")])
        .fails(1, "certificate");
    case.words(&["pull", "--tls-verify=false", &registry.image("busybox")])
        .ok();
    // Where Docker looks for authorities of one registry.
    let certs = case
        .make_dir("home/.config")
        .join("containers/certs.d")
        .join(&registry.address);
    std::fs::create_dir_all(&certs).unwrap();
    symlink(shared().join("tls/ca.crt"), certs.join("ca.crt")).unwrap();
    case.words(&["rmi", &registry.image("busybox")]).ok();
    case.words(&[
        "pull",
        "--cert-dir",
        certs.to_str().unwrap(),
        &registry.image("busybox"),
    ])
    .ok();
}

/// gzip, zstd and plain layers unpack to the same layers, so the second and third pull share them.
fn packings(case: &Case) {
    let registry = Registry::http(case);
    for name in ["debian", "debian-zstd", "debian-plain"] {
        let image = registry.image(name);
        case.words(&["pull", "-q", &image]).ok();
        case.words(&[
            "run",
            "--rm",
            "--network=none",
            &image,
            "python3",
            "/app/main.py",
        ])
        .ok()
        .contains("hello from 3.");
    }
    let layers = std::fs::read_dir(case.root().join("layers"))
        .unwrap()
        .flatten();
    assert_eq!(layers.filter(|entry| entry.path().is_dir()).count(), 7);
}

fn docker_media_types(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("busybox:docker");
    case.words(&["pull", &image]).ok();
    case.engine(&format!("run --rm --network none {image} echo docker"))
        .ok()
        .prints("docker");
}

fn by_digest(case: &Case) {
    let registry = Registry::http(case);
    let tagged = registry.image("busybox");
    case.words(&["pull", &tagged]).ok();
    let digests = case
        .words(&[
            "image",
            "inspect",
            "--format",
            "{{index .RepoDigests 0}}",
            &tagged,
        ])
        .ok();
    let pinned = digests.first().to_owned();
    assert!(
        pinned.starts_with(&format!("{tagged}@sha256:")),
        "{digests}"
    );
    case.words(&["rmi", &tagged]).ok();
    case.words(&["pull", &pinned]).ok();
    case.engine(&format!("run --rm --network none {pinned} echo pinned"))
        .ok()
        .prints("pinned");
    let wrong = format!("{tagged}@sha256:{}", "0".repeat(64));
    case.words(&["pull", &wrong]).fails(1, "busybox");
}

fn platform_of_an_index(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("multi");
    let label = |case: &Case| {
        let words = [
            "image",
            "inspect",
            "--format",
            "{{.Architecture}} {{index .Config.Labels \"test.arch\"}}",
            &image,
        ];
        case.words(&words).ok().stdout.trim().to_owned()
    };
    let (own, other) = if std::env::consts::ARCH == "x86_64" {
        ("amd64", "arm64")
    } else {
        ("arm64", "amd64")
    };
    case.words(&["pull", &image]).ok();
    assert_eq!(label(case), format!("{own} {own}"));
    case.words(&["pull", "--platform", &format!("linux/{other}"), &image])
        .ok();
    assert_eq!(label(case), format!("{other} {other}"));
    case.words(&["pull", "--platform", "linux/s390x", &image])
        .fails(1, "s390x");
    case.words(&["pull", "--platform", "a/b/c/d", &image])
        .fails(1, "a/b/c/d");
}

fn other_platform(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("foreign");
    let outcome = case.words(&["run", "--rm", "--network=none", &image, "true"]);
    assert!(
        outcome.code != 0 && outcome.stderr.contains("platform"),
        "{outcome}"
    );
}

fn again_is_up_to_date(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image("busybox");
    case.words(&["pull", &image])
        .ok()
        .contains("Downloaded newer image");
    let before = case.store_listing();
    case.words(&["pull", &image])
        .ok()
        .contains("Image is up to date");
    let names = |listing: &str| {
        listing
            .lines()
            .filter(|line| line.starts_with("./") && !line.contains("images"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&case.store_listing()));
}

fn not_there(case: &Case) {
    let registry = Registry::http(case);
    case.words(&["pull", &registry.image("nothing")])
        .fails(1, "nothing");
    case.words(&["pull", &registry.image("busybox:no-tag")])
        .fails(1, "no-tag");
    case.engine("pull localhost/UPPER").fails(1, "lower");
}

fn nobody_answers(case: &Case) {
    let address = free_address();
    case.words(&["pull", &format!("{address}/test/busybox")])
        .fails(1, &address);
    case.engine("pull no-such-host.invalid/x")
        .fails(1, "no-such-host.invalid");
}

fn lines_without_a_terminal(case: &Case) {
    let registry = Registry::http(case);
    let outcome = case.words(&["pull", &registry.image("debian")]).ok();
    assert!(
        !outcome.stdout.contains('\x1b') && !outcome.stderr.contains('\x1b'),
        "{outcome}"
    );
    assert!(outcome.stdout.contains("Digest: sha256:"), "{outcome}");
    let quiet = case.words(&["pull", "-q", &registry.image("debian")]).ok();
    assert_eq!(quiet.stdout.lines().count(), 1, "{quiet}");
}

/// The main job: a real image of seven layers, from both kinds of registry.
fn debian_by_http_and_https(case: &Case) {
    let http = Registry::http(case);
    let image = http.image("debian");
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        &image,
        "python3",
        "-c",
        "print(1)",
    ])
    .ok()
    .prints("1");
    case.words(&["rmi", &image]).ok();
    drop(http);
    let https = Registry::https(case);
    trust(case);
    let image = https.image("debian");
    case.words(&["pull", &image]).ok();
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        &image,
        "python3",
        "-c",
        "print(1)",
    ])
    .ok()
    .prints("1");
    case.words(&[
        "run",
        "-d",
        "--name=served",
        "--network=none",
        &image,
        "python3",
        "-c",
        "print(2)",
    ])
    .ok();
    case.engine("wait served").ok().prints("0");
    case.engine("logs served").ok().prints("2");
    case.engine("rm served").ok();
}
