//! Hostile and broken input: one clear line, the right exit code, the store as it was.

use crate::{
    case::{Case, Outcome, shared},
    image::{Image, Layer, busybox_layer},
    registry::answering,
};

cases! {
    truncated_archive: root ordinary;
    flipped_bits: root ordinary;
    wrong_digest: root ordinary;
    wrong_diff_id: root ordinary;
    wrong_size: root ordinary;
    not_a_tar: root ordinary;
    unknown_media_type: root ordinary;
    both_manifest_and_index: root ordinary;
    climbing_names: root ordinary;
    links_out_of_the_tree: root ordinary;
    bomb: root ordinary;
    huge_manifest: root ordinary;
    bad_configuration: root ordinary;
    not_an_archive: root ordinary;
    failing_registry: root ordinary;
    nonsense_registry: root ordinary;
    full_disk: root;
    unknown_flags: root ordinary;
    usage: root ordinary;
}

/// Loads what must be refused, into a store that has an image already.
#[track_caller]
fn refused(case: &Case, archive: &[u8], says: &str) -> Outcome {
    if !case.root().join("images").exists() {
        case.load_busybox();
    }
    let before = case.store_listing();
    let outcome = case.with_input(&["load"], archive).fails(1, says);
    assert_eq!(before, case.store_listing(), "the store changed\n{outcome}");
    outcome
}

fn good() -> Image {
    Image::new(
        "localhost/bad",
        vec![busybox_layer().bytes(), Layer::new().file("x", "x").bytes()],
    )
}

fn truncated_archive(case: &Case) {
    let archive = good().archive();
    for part in [10, 512, 1000, archive.len() / 3, archive.len() - 2000] {
        refused(case, &archive[..part], "");
    }
    let docker = std::fs::read(shared().join("images/busybox.tar")).unwrap();
    refused(case, &docker[..docker.len() / 2], "");
}

fn flipped_bits(case: &Case) {
    let archive = good().archive();
    let at = |needle: &[u8]| {
        archive
            .windows(needle.len())
            .position(|window| window == needle)
            .unwrap()
    };
    // In a layer's content, in the configuration, in the manifest.
    for place in [
        archive.len() / 2,
        at(b"\"rootfs\"") + 3,
        at(b"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest") + 2,
    ] {
        let mut flipped = archive.clone();
        flipped[place] ^= 0x10;
        refused(case, &flipped, "");
    }
}

fn wrong_digest(case: &Case) {
    let mut image = good();
    image.spoil = |manifest| {
        manifest["layers"][1]["digest"] = format!("sha256:{}", "a".repeat(64)).into();
    };
    refused(case, &image.archive(), "sha256:aaaa");
    image.spoil =
        |manifest| manifest["layers"][1]["digest"] = "sha256:../../../../etc/passwd".into();
    refused(case, &image.archive(), "manifest");
}

fn wrong_diff_id(case: &Case) {
    let mut image = good();
    image.diff_ids = vec![format!("sha256:{}", "b".repeat(64)); 2];
    refused(case, &image.archive(), "sha256:");
    image.diff_ids.truncate(1);
    refused(case, &image.archive(), "layer");
}

fn wrong_size(case: &Case) {
    let mut image = good();
    image.spoil = |manifest| manifest["layers"][1]["size"] = 7.into();
    refused(case, &image.archive(), "7");
    image.spoil = |manifest| manifest["layers"][0]["size"] = (7_u64 << 40).into();
    refused(case, &image.archive(), "7696581394432");
    image.spoil = |manifest| manifest["config"]["size"] = 7.into();
    refused(case, &image.archive(), "7");
    image.spoil = |manifest| manifest["layers"][0]["size"] = (-1).into();
    refused(case, &image.archive(), "");
}

fn not_a_tar(case: &Case) {
    refused(
        case,
        &Image::new("localhost/bad", vec![b"this is no tar".repeat(1000)]).archive(),
        "",
    );
}

fn unknown_media_type(case: &Case) {
    let mut image = good();
    image.layer_media_type = "application/vnd.example.layer+lz4".into();
    refused(case, &image.archive(), "application/vnd.example.layer+lz4");
}

/// The same bytes must not be an index for one reader and a manifest for another (CVE-2021-41190).
fn both_manifest_and_index(case: &Case) {
    let mut image = good();
    image.spoil = |manifest| manifest["manifests"] = serde_json::json!([]);
    refused(case, &image.archive(), "");
}

fn climbing_names(case: &Case) {
    let canary = case.make_file("canary", "alive");
    for name in [
        "../../../../../../../canary",
        "a/../../../../../../../../../canary",
    ] {
        let layer = Layer::new().file(name, "dead").bytes();
        let outcome = case.with_input(
            &["load"],
            Image::new("localhost/climb", vec![layer]).archive(),
        );
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        assert!(!std::path::Path::new("/canary").exists());
    }
    // Absolute names mean the image's root, as everywhere.
    let absolute = canary.to_str().unwrap();
    let layer = busybox_layer()
        .file(&absolute[..absolute.len().min(99)], "dead")
        .bytes();
    case.with_input(
        &["load"],
        Image::new("localhost/absolute", vec![layer]).archive(),
    );
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
}

/// A link first, then something through it: by name, by hard link, by whiteout, by mode.
fn links_out_of_the_tree(case: &Case) {
    let outside = case.make_dir("outside");
    let canary = case.make_file("outside/canary", "alive");
    let out = outside.to_str().unwrap().to_owned();
    let layers = [
        Layer::new()
            .symlink("link", &out)
            .file("link/canary", "dead"),
        Layer::new().symlink("link", &out).file("link/new", "dead"),
        Layer::new()
            .hardlink("name", &format!("{out}/canary"))
            .file("name", "dead"),
        Layer::new()
            .symlink("link", &out)
            .hardlink("name", "link/canary")
            .file("name", "dead"),
        Layer::new()
            .symlink("link", &out)
            .file("link/.wh.canary", ""),
        Layer::new()
            .symlink("link", &out)
            .file("link/.wh..wh..opq", ""),
        Layer::new().symlink("link", &out).dir("link/"),
        Layer::new()
            .symlink("a", "b")
            .symlink("b", &out)
            .file("a/canary", "dead"),
        Layer::new().file(".wh...", "").file(".wh..", ""),
    ];
    for layer in layers {
        let outcome = case.with_input(
            &["load"],
            Image::new("localhost/link", vec![layer.bytes()]).archive(),
        );
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        assert_eq!(
            std::fs::read_to_string(&canary).unwrap(),
            "alive",
            "{outcome}"
        );
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{outcome}");
    }
    // The same over two layers.
    let below = Layer::new().symlink("link", &out).bytes();
    let above = Layer::new().file("link/canary", "dead").bytes();
    case.with_input(
        &["load"],
        Image::new("localhost/link", vec![below, above]).archive(),
    );
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
}

/// Zeros that shrink a thousandfold are refused long before they fill the disk.
fn bomb(case: &Case) {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(20 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    gzip.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..512 {
        gzip.write_all(&zeros).unwrap();
    }
    let mut image = Image::new("localhost/bomb", vec![gzip.finish().unwrap()]);
    image.layer_media_type = "application/vnd.oci.image.layer.v1.tar+gzip".into();
    image.diff_ids = vec![format!("sha256:{}", "c".repeat(64))];
    refused(case, &image.archive(), "");
}

fn huge_manifest(case: &Case) {
    let mut image = good();
    image.spoil =
        |manifest| manifest["annotations"] = serde_json::json!({ "x": "y".repeat(5 << 20) });
    refused(case, &image.archive(), "");
}

fn bad_configuration(case: &Case) {
    let mut image = good();
    for config in [
        serde_json::json!({ "Env": ["*"] }),
        serde_json::json!({ "Env": ["NAME_ALONE"] }),
        serde_json::json!({ "Cmd": "a string" }),
        serde_json::json!({ "Entrypoint": [1, 2] }),
    ] {
        image.config = config;
        refused(case, &image.archive(), "config");
    }
}

fn not_an_archive(case: &Case) {
    refused(case, b"hello, world\n", "");
    refused(case, &[0; 4096], "");
    refused(case, &Layer::new().file("something", "else").bytes(), "");
    case.engine("load -i /no/such/file")
        .fails(1, "/no/such/file");
    case.engine("load -i /dev/null").exits(1);
}

fn failing_registry(case: &Case) {
    case.load_busybox();
    let before = case.store_listing();
    for (response, says) in [
        (
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "500",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "503",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "limits",
        ),
    ] {
        let address = answering(response);
        case.words(&["pull", &format!("{address}/x/y")])
            .fails(1, says);
    }
    assert_eq!(before, case.store_listing());
}

fn nonsense_registry(case: &Case) {
    case.load_busybox();
    let before = case.store_listing();
    for response in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 302 Found\r\nLocation: /v2/x/y/manifests/latest\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ] {
        let address = answering(response);
        case.words(&["pull", &format!("{address}/x/y")])
            .fails(1, "");
    }
    assert_eq!(before, case.store_listing());
}

/// A store on a full file system: whatever adds to it says so in one line and changes nothing, and
/// what takes away works and makes room.
fn full_disk(case: &Case) {
    let disk = case.dir.join("disk");
    let ext4 = format!(
        "truncate -s 24M {0} && mkfs.ext4 -q -F -b 4096 -m 0 {0} && mount -o loop {0}",
        disk.display()
    );
    fill_up(case, "mount -t tmpfs -o size=10m none", true);
    // It keeps a few blocks back, in which a record or two find room.
    fill_up(case, &ext4, false);
}

fn fill_up(case: &Case, mount: &str, to_the_last_block: bool) {
    let registry = crate::registry::Registry::http(case);
    let store = case.make_dir("root");
    let other = Image::new(
        "localhost/other",
        vec![busybox_layer().file("other", "other").bytes()],
    );
    let other = case.make_file("other.tar", other.archive());
    let script = format!(
        "{mount} {store} || exit 99\n\
         C='{engine}'; busybox='load -q -i {images}/busybox.tar'\n\
         listing() {{ (cd {store} && find . -not -path './tmp*' -not -path './partial*' -not -name filler \
             -printf '%p %y\\n' | sort; find {store} -type f -not -path '*/tmp/*' -not -path '*/partial/*' \
             -not -name filler | sort | xargs sha256sum); }}\n\
         try() {{ what=$1; shift; $C \"$@\" >/dev/null 2>{store}.err; \
             echo $what $? $(grep -c ^coracle: {store}.err) $(grep -c panicked {store}.err) \
                 $(grep -qiE 'no space|is full' {store}.err && echo told); }}\n\
         $C $busybox >/dev/null && $C run --name kept --network none localhost/busybox sh -c 'echo x >/x' || exit 1\n\
         listing >{store}.before\n\
         try half load -q -i {images}/debian.oci.tar\n\
         fill() {{ for n in 1 2 3; do cat /dev/zero 2>/dev/null >>{store}/filler; sync -f {store}; done; }}\n\
         fill; try load load -q -i {other}\n\
         fill; try pull pull -q {pulled}\n\
         ! {to_the_last_block} || try tag tag localhost/busybox localhost/tagged\n\
         ! {to_the_last_block} || try create create --network none localhost/busybox true\n\
         ! {to_the_last_block} || try run run --rm --network none localhost/busybox true\n\
         listing | diff {store}.before - >&2 && echo unchanged\n\
         try images images\n\
         try rm rm kept\n\
         try rmi rmi localhost/busybox\n\
         find {store}/layers {store}/blobs/sha256 {store}/containers {store}/names {store}/images {store}/tmp -mindepth 1\n\
         rm {store}/filler\n\
         try again $busybox\n\
         $C run --rm --network none localhost/busybox echo runs",
        store = store.display(),
        engine = case.engine_words().join(" "),
        images = shared().join("images").display(),
        other = other.display(),
        pulled = registry.image("debian"),
    );
    let mut command = case.program("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &script]);
    let outcome = crate::case::finish(command);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let mut expected = vec![
        "half 1 1 0 told",
        "load 1 1 0 told",
        "pull 1 1 0 told",
        "tag 1 1 0 told",
        "create 1 1 0 told",
        "run 125 1 0 told",
        "unchanged",
        "images 0 0 0",
        "rm 0 0 0",
        "rmi 0 0 0",
        "again 0 0 0",
        "runs",
    ];
    if !to_the_last_block {
        let small = ["tag", "create", "run"];
        expected.retain(|line| {
            !small
                .iter()
                .any(|word| line.starts_with(&format!("{word} ")))
        });
    }
    assert_eq!(lines, expected, "{mount}\n{outcome}");
}

fn unknown_flags(case: &Case) {
    case.engine("--no-such-flag ps")
        .fails(125, "--no-such-flag");
    case.engine("ps --no-such-flag")
        .fails(125, "--no-such-flag");
    case.engine("pull --no-such-flag x")
        .fails(125, "--no-such-flag");
    case.engine("--storage-driver nonsense ps")
        .fails(1, "nonsense");
}

fn usage(case: &Case) {
    case.engine("no-such-command").fails(1, "no-such-command");
    case.engine("pull").fails(1, "pull");
    case.engine("run").fails(1, "run");
    case.engine("rm").fails(1, "rm");
    case.engine("version").ok();
    case.engine("--help").ok().contains("run");
    case.engine("run --help").ok().contains("--rm");
}
