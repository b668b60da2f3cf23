//! Images as files: what is saved is what was loaded, also by way of others (skopeo, umoci, podman),
//! and bad archives leave the store as it was. Copies to other machines; histories and file lists.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    case::{Case, Outcome, finish, shared},
    image::{Image, Layer, busybox_layer},
};

cases! {
    every_format_there_and_back: root ordinary single;
    same_images_same_bytes: root ordinary;
    names_and_ids: root ordinary;
    layers_are_packed_otherwise: root ordinary;
    packed_archives_and_pipes: root ordinary;
    pipes_by_name: root ordinary;
    others_read_what_is_saved: root ordinary;
    what_others_write_is_loaded: root ordinary;
    a_damaged_blob_is_not_saved: root ordinary;
    bad_targets: root ordinary;
    bad_archives: root ordinary;
    to_another_machine_and_back: root ordinary;
    steps_and_files_of_an_image: root ordinary single;
}

const NAME: &str = "localhost/busybox:latest";

fn digest_and_id(case: &Case, name: &str) -> String {
    let format = "{{.Digest}} {{.ID}}";
    let outcome = case.words(&["images", "--no-trunc", "--format", format, name]);
    outcome.ok().first().to_owned()
}

fn id(case: &Case, name: &str) -> String {
    let both = digest_and_id(case, name);
    both.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A place for files that the user of the case may write to.
fn place(case: &Case, name: &str) -> PathBuf {
    case.make_dir("out").join(name)
}

fn save(case: &Case, file: &Path, words: &[&str]) -> Outcome {
    let mut all = vec!["save", "-o", text(file)];
    all.extend(words);
    case.words(&all)
}

fn load(case: &Case, file: &Path) -> Outcome {
    case.words(&["load", "-i", text(file)])
}

fn every_format_there_and_back(case: &Case) {
    case.load_busybox();
    let before = digest_and_id(case, NAME);
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let file = place(case, format);
        save(case, &file, &["--format", format, NAME])
            .ok()
            .prints("");
        case.words(&["rmi", NAME]).ok();
        load(case, &file)
            .ok()
            .prints(&format!("Loaded image: {NAME}"));
        assert_eq!(digest_and_id(case, NAME), before, "{format}");
        case.shell("", "cat /var/www/index.html")
            .ok()
            .prints("hello");
    }
    // Podman's directory has no place for names.
    let before = id(case, NAME);
    let folder = place(case, "dir");
    save(case, &folder, &["--format=docker-dir", NAME]).ok();
    case.words(&["rmi", NAME]).ok();
    load(case, &folder)
        .ok()
        .prints(&format!("Loaded image ID: {before}"));
}

fn same_images_same_bytes(case: &Case) {
    case.load_busybox();
    case.words(&["tag", NAME, "localhost/again:2"]).ok();
    let (one, two, three) = (place(case, "one"), place(case, "two"), place(case, "three"));
    let images = [NAME, "localhost/again:2"];
    save(case, &one, &images).ok();
    // Over another file, and through a pipe.
    fs::write(&two, "what was there").unwrap();
    save(case, &two, &images).ok();
    let words = case.engine_words().join(" ");
    let script = format!("{words} save {} | cat >{}", images.join(" "), text(&three));
    let mut shell = case.program("sh");
    shell.args(["-c", &script]);
    finish(shell).ok();
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    assert!(fs::read(&one).unwrap() == fs::read(&three).unwrap());
    // The layer of both is there once.
    let mut tar = case.program("tar");
    tar.arg("tf").arg(&one);
    let members = finish(tar).ok().stdout;
    let mut unique: Vec<&str> = members.lines().collect();
    let count = unique.len();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), count, "{members}");
}

fn names_and_ids(case: &Case) {
    case.load_busybox();
    case.words(&["tag", NAME, "localhost/many:1"]).ok();
    case.words(&["tag", NAME, "localhost/many:2"]).ok();
    let file = place(case, "file");
    let clear = || {
        case.words(&["rmi", "-f", &id(case, "localhost/busybox")])
            .ok();
        case.words(&["images", "-q"]).ok().prints("");
    };
    // A name without a tag is all its tags, as docker has it.
    save(case, &file, &["localhost/many"]).ok();
    clear();
    load(case, &file)
        .ok()
        .prints("Loaded image: localhost/many:1\nLoaded image: localhost/many:2");
    case.words(&["tag", "localhost/many:1", NAME]).ok();
    let own = id(case, "localhost/busybox");
    save(case, &file, &[&own]).ok();
    clear();
    load(case, &file)
        .ok()
        .prints(&format!("Loaded image ID: {own}"));
    save(case, &file, &["localhost/none"]).fails(1, "localhost/none");
    let events = case.words(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=save",
    ]);
    assert_eq!(events.ok().stdout.lines().count(), 2);
}

fn layers_are_packed_otherwise(case: &Case) {
    case.load_busybox();
    let before = id(case, NAME);
    for flag in ["--uncompressed", "--compress"] {
        for format in ["docker-archive", "oci-archive", "docker-dir"] {
            let file = place(case, &format!("{flag}{format}"));
            save(case, &file, &[flag, "--format", format, NAME]).ok();
            case.words(&["rmi", &before]).ok();
            load(case, &file).ok().contains("Loaded image");
            assert_eq!(
                case.words(&["images", "-q", "--no-trunc"]).ok().first(),
                before
            );
            case.words(&["tag", &before, NAME]).ok();
        }
    }
    case.words(&["save", "--compress", "--uncompressed", NAME])
        .fails(125, "contradict");
}

fn packed_archives_and_pipes(case: &Case) {
    let archive = shared().join("images/busybox.tar");
    for packer in ["gzip -c", "zstd -qc", "xz -0c", "bzip2 -c", "cat"] {
        let packed = place(case, "packed");
        let script = format!("{packer} {} >{}", text(&archive), text(&packed));
        let mut shell = case.program("sh");
        shell.args(["-c", &script]);
        let packed_so = finish(shell);
        if packed_so.code == 127 {
            case.skip(packer);
            continue;
        }
        packed_so.ok();
        load(case, &packed)
            .ok()
            .prints(&format!("Loaded image: {NAME}"));
        case.shell("", "true").ok();
        case.words(&["rmi", NAME]).ok();
        case.with_input(&["load", "-q"], fs::read(&packed).unwrap())
            .ok()
            .prints(&format!("Loaded image: {NAME}"));
        case.shell("", "true").ok();
        case.words(&["rmi", NAME]).ok();
    }
}

/// Named as files: the writer comes late, and pauses.
fn pipes_by_name(case: &Case) {
    let archive = shared().join("images/busybox.tar");
    let words = case.engine_words().join(" ");
    let fifo = place(case, "fifo");
    let script = format!(
        "mkfifo {0} && {{ {{ head -c 700 {1}; {words} images -q; tail -c +701 {1}; }} >{0} & }} && \
         {words} load -i {0}; {words} run --rm --network none {NAME} cat /var/www/index.html",
        text(&fifo),
        text(&archive),
    );
    let mut shell = case.program("sh");
    shell.args(["-c", &script]);
    finish(shell)
        .ok()
        .prints(&format!("Loaded image: {NAME}\nhello"));
    // In a folder there are files.
    let layout = place(case, "layout");
    save(case, &layout, &["--format", "oci-dir", NAME]).ok();
    let script = format!("rm {0}/index.json; mkfifo {0}/index.json", text(&layout));
    let mut shell = case.program("sh");
    shell.args(["-c", &script]);
    finish(shell).ok();
    load(case, &layout).fails(1, "no regular file");
}

fn tool(case: &Case, program: &str, args: &[&str]) -> Option<Outcome> {
    let mut command = case.installed(program)?;
    command.args(args);
    Some(finish(command))
}

fn others_read_what_is_saved(case: &Case) {
    case.load_busybox();
    let before = digest_and_id(case, NAME);
    let (manifest, image) = before.split_once(' ').unwrap();
    let docker = place(case, "docker.tar");
    let oci = place(case, "oci.tar");
    let layout = place(case, "layout");
    let dir = place(case, "dir");
    save(case, &docker, &[NAME]).ok();
    save(case, &oci, &["--format", "oci-archive", NAME]).ok();
    save(case, &layout, &["--format", "oci-dir", NAME]).ok();
    save(case, &dir, &["--format", "docker-dir", NAME]).ok();
    for (place, keeps) in [
        (format!("docker-archive:{}:{NAME}", text(&docker)), false),
        (format!("oci-archive:{}:{NAME}", text(&oci)), true),
        (format!("oci-archive:{}:{NAME}", text(&docker)), true),
        (format!("oci:{}:{NAME}", text(&layout)), true),
        (format!("dir:{}", text(&dir)), false),
    ] {
        let Some(seen) = tool(case, "skopeo", &["inspect", &place]) else {
            break;
        };
        let seen = seen.ok();
        assert!(seen.json()["Architecture"].as_str().is_some(), "{seen}");
        if keeps {
            assert_eq!(seen.json()["Digest"], manifest, "{place}");
        }
        // Every byte, and the configuration, which is the ID.
        let copy = crate::archives::place(case, "copy");
        let target = format!("dir:{}", text(&copy));
        let args = ["--insecure-policy", "copy", "-q", &place, &target];
        tool(case, "skopeo", &args).unwrap().ok();
        let copied = fs::read_to_string(copy.join("manifest.json")).unwrap();
        let copied: serde_json::Value = serde_json::from_str(&copied).unwrap();
        assert_eq!(copied["config"]["digest"], image, "{place}");
    }
    let bundle = place(case, "bundle");
    let source = format!("{}:{NAME}", text(&layout));
    let unpacked = tool(
        case,
        "umoci",
        &["unpack", "--rootless", "--image", &source, text(&bundle)],
    );
    if let Some(unpacked) = unpacked {
        unpacked.ok();
        let page = fs::read_to_string(bundle.join("rootfs/var/www/index.html")).unwrap();
        assert_eq!(page.trim_end(), "hello");
    }
    if case.is_root() {
        // Podman wants a short path.
        let short = tempfile::tempdir_in("/tmp").unwrap();
        let root = format!("--root={}/root", text(short.path()));
        let run = format!("--runroot={}/run", text(short.path()));
        for archive in [&docker, &oci] {
            let args = [
                &root[..],
                &run,
                "--storage-driver=vfs",
                "load",
                "-q",
                "-i",
                text(archive),
            ];
            if let Some(loaded) = tool(case, "podman", &args) {
                loaded.ok().contains(NAME);
            }
        }
    }
}

fn what_others_write_is_loaded(case: &Case) {
    case.load_busybox();
    let before = id(case, NAME);
    let layout = shared().join("images/busybox");
    let source = format!("oci:{}:{NAME}", text(&layout));
    let mut written: Vec<(PathBuf, bool)> = Vec::new();
    for (transport, more) in [
        ("docker-archive", &[][..]),
        ("oci-archive", &[][..]),
        ("oci-archive", &["--dest-compress-format", "zstd"][..]),
        ("oci", &[][..]),
        ("dir", &[][..]),
        ("dir", &["--dest-decompress"][..]),
    ] {
        let file = place(case, &format!("{transport}{}", more.join("")));
        let target = match transport {
            "dir" => format!("dir:{}", text(&file)),
            _ => format!("{transport}:{}:{NAME}", text(&file)),
        };
        let mut args = vec!["--insecure-policy", "copy", "-q"];
        args.extend(more);
        args.extend([&source[..], &target]);
        match tool(case, "skopeo", &args) {
            Some(copied) => drop(copied.ok()),
            None => return,
        }
        written.push((file, transport != "dir"));
    }
    if case.is_root() {
        // Podman wants a short path.
        let short = tempfile::tempdir_in("/tmp").unwrap();
        let root = format!("--root={}/root", text(short.path()));
        let run = format!("--runroot={}/run", text(short.path()));
        let podman = |words: &[&str]| {
            let mut args = vec![&root[..], &run, "--storage-driver=vfs"];
            args.extend(words);
            tool(case, "podman", &args)
        };
        // It keeps the configuration only in the format that it has the image in.
        let archive = shared().join("images/busybox.oci.tar");
        if podman(&["load", "-q", "-i", text(&archive)]).is_some() {
            for format in ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] {
                let file = place(case, &format!("podman-{format}"));
                let saved = podman(&["save", "-q", "--format", format, "-o", text(&file), NAME]);
                saved.unwrap().ok();
                written.push((file, format != "docker-dir"));
            }
        }
    }
    for (file, has_name) in written {
        let all = || {
            case.words(&["images", "-q", "--no-trunc"])
                .ok()
                .first()
                .to_owned()
        };
        case.words(&["rmi", "-f", &all()]).ok();
        let loaded = load(case, &file).ok();
        assert_eq!(loaded.stdout.contains(NAME), has_name, "{loaded}");
        // And writes another one for Docker's formats.
        if !text(&file).contains("podman-docker") {
            assert_eq!(all(), before, "{loaded}");
        }
        case.words(&[
            "run",
            "--rm",
            "--network=none",
            &all(),
            "cat",
            "/var/www/index.html",
        ])
        .ok()
        .prints("hello");
    }
}

fn a_damaged_blob_is_not_saved(case: &Case) {
    case.load_busybox();
    let inspect = case.words(&["image", "inspect", NAME]).ok().json();
    let manifest = inspect[0]["Descriptor"]["digest"].as_str().unwrap();
    let blobs = case.root().join("blobs/sha256");
    let manifest = fs::read_to_string(blobs.join(&manifest[7..])).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = blobs.join(&layer[7..]);
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let file = place(case, "file");
    fs::write(&file, "what was there").unwrap();
    save(case, &file, &[NAME]).fails(1, "damaged");
    assert_eq!(fs::read_to_string(&file).unwrap(), "what was there");
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    let layout = place(case, "layout");
    save(case, &layout, &["--format=oci-dir", NAME]).fails(1, "damaged");
    assert!(!layout.join("index.json").exists());
}

fn bad_targets(case: &Case) {
    case.load_busybox();
    save(case, Path::new("/no/such/folder/file"), &[NAME]).fails(1, "/no/such/folder");
    let folder = case.make_dir("folder");
    save(case, &folder, &[NAME]).fails(1, "directory");
    fs::write(folder.join("mine"), "").unwrap();
    save(case, &folder, &["--format=oci-dir", NAME]).fails(1, "other files");
    case.words(&["save", "--format=oci-dir", NAME])
        .fails(125, "-o");
    case.words(&["save", "--format=x", NAME])
        .fails(125, "oci-archive");
    case.words(&["save", "--platform=linux/s390x", NAME])
        .fails(1, "s390x");
    case.words(&["save", "-o", "/dev/full", NAME])
        .fails(1, "/dev/full");
    case.words(&["save", "-o", "/dev/null", NAME]).ok();
    assert!(!Path::new("/dev/null").is_file());
}

fn bad_archives(case: &Case) {
    let good = Image::new("localhost/bad:1", vec![busybox_layer().bytes()]).archive();
    let list = |config: &str, layer: &str| {
        format!(r#"[{{"Config":"{config}","RepoTags":["a:1"],"Layers":["{layer}"]}}]"#)
    };
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#;
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let archives: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "no image"),
        ("words", b"this is no archive at all".repeat(100), "tar"),
        ("cut", good[..good.len() / 2].to_vec(), ""),
        ("flipped", flipped, "digest"),
        ("nothing", Layer::new().file("a", "b").bytes(), "no image"),
        (
            "no configuration",
            Layer::new()
                .file("manifest.json", &list("c.json", "l.tar"))
                .bytes(),
            "c.json",
        ),
        (
            "no layer",
            Layer::new()
                .file("c.json", config)
                .file("manifest.json", &list("c.json", "l.tar"))
                .bytes(),
            "l.tar",
        ),
        (
            "another layer",
            Layer::new()
                .file("c.json", config)
                .file("l.tar", "x")
                .file("manifest.json", &list("c.json", "l.tar"))
                .bytes(),
            "",
        ),
        (
            "a circle",
            Layer::new()
                .file("c.json", config)
                .symlink("l.tar", "m.tar")
                .symlink("m.tar", "l.tar")
                .file("manifest.json", &list("c.json", "l.tar"))
                .bytes(),
            "circle",
        ),
        (
            "outside",
            Layer::new()
                .file("c.json", config)
                .symlink("l.tar", "../../../../etc/passwd")
                .file("manifest.json", &list("c.json", "l.tar"))
                .bytes(),
            "l.tar",
        ),
        (
            "escapes",
            Layer::new()
                .file("manifest.json", &list("\\u001b[2Jc", "l"))
                .bytes(),
            "u{1b}",
        ),
    ];
    case.load_busybox();
    // A begun blob may stay, empty.
    let listing = || {
        let all = case.store_listing();
        let kept = all.lines().filter(|line| !line.contains("./partial"));
        kept.map(|line| format!("{line}\n")).collect::<String>()
    };
    let before = listing();
    for (what, archive, says) in archives {
        let file = case.make_file("bad.tar", &archive);
        let by_file = load(case, &file).fails(1, says);
        assert!(!by_file.stderr.contains('\x1b'), "{what}");
        if !archive.is_empty() {
            case.with_input(&["load"], archive).fails(1, "");
        }
        assert!(listing() == before, "{what}");
    }
}

/// A stand-in for ssh: it runs the command here, where `coracle` has another store.
fn to_another_machine_and_back(case: &Case) {
    case.load_busybox();
    let before = digest_and_id(case, NAME);
    let tools = case.make_dir("tools");
    let far = case.make_dir("far");
    let program = |name: &str, script: String| {
        let path = case.make_file(&format!("tools/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let engine = &case.engine_words()[0];
    let (far_root, log) = (text(&far), text(&tools).to_owned() + "/log");
    program(
        "coracle",
        format!(
            "#!/bin/sh\nexec {engine} --root {far_root}/root --runroot {far_root}/run \"$@\"\n"
        ),
    );
    program(
        "ssh",
        format!(
            "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\necho \"$2\" >>{log}\n\
             case $2 in *gone*) echo 'no route' >&2; exit 255;; esac\n\
             shift 2\nexec sh -c \"$1\"\n"
        ),
    );
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", text(&tools));
    case.set("PATH", &path);
    let there = |words: &[&str]| {
        let mut command = case.program(text(&tools.join("coracle")));
        command.args(words);
        finish(command).ok()
    };
    case.words(&["image", "scp", NAME, "me@far.example::"])
        .ok()
        .prints(&format!("Loaded image: {NAME}"));
    let format = "{{.Digest}} {{.ID}}";
    let seen = there(&["images", "--no-trunc", "--format", format, NAME]);
    assert_eq!(seen.first(), before);
    // Under another name, and back.
    case.words(&[
        "image",
        "scp",
        "-q",
        NAME,
        "far.example:2222::localhost/new:1",
    ])
    .ok()
    .prints("");
    there(&["image", "inspect", "localhost/new:1"]);
    case.words(&["image", "scp", "far.example::localhost/new:1"])
        .ok()
        .prints("Loaded image: localhost/new:1");
    case.words(&[
        "image",
        "scp",
        "far.example::localhost/new:1",
        "localhost/newer:2",
    ])
    .ok()
    .prints("Loaded image: localhost/newer:2");
    case.words(&[
        "image",
        "scp",
        "far.example::localhost/new:1",
        "b.example::localhost/third:3",
    ])
    .ok();
    there(&["image", "inspect", "localhost/third:3"]);
    let hosts = fs::read_to_string(&log).unwrap();
    let hosts: Vec<&str> = hosts.lines().collect();
    assert_eq!(hosts[..2], ["me@far.example", "far.example"]);
    // What goes wrong there is said here, and nothing is left.
    let before = case.store_listing();
    case.words(&["image", "scp", "far.example::localhost/none"])
        .exits(1);
    case.words(&["image", "scp", "gone.example::localhost/new:1"])
        .exits(1);
    case.words(&["image", "scp", NAME, "gone.example::"])
        .exits(1);
    case.words(&["image", "scp", "x'; touch y; '::i"])
        .fails(1, "host");
    case.words(&["image", "scp", NAME]).fails(1, "this store");
    assert_eq!(case.store_listing(), before);
}

fn steps_and_files_of_an_image(case: &Case) {
    let below = busybox_layer()
        .dir("etc/")
        .file("etc/old", "one")
        .file("etc/kept", "x");
    let top = Layer::new()
        .dir("etc/")
        .file("etc/old", "changed")
        .file("etc/new\nname", "two")
        .file("etc/.wh.kept", "");
    let image = Image::new("localhost/steps:1", vec![below.bytes(), top.bytes()]);
    let file = case.make_file("image.tar", image.archive());
    load(case, &file).ok();
    let other = Image::new("localhost/base:1", vec![image.layers[0].clone()]);
    let file = case.make_file("base.tar", other.archive());
    load(case, &file).ok();

    case.words(&["image", "diff", "localhost/steps:1"])
        .ok()
        .prints("C /etc\nD /etc/kept\nA /etc/new\\nname\nC /etc/old");
    case.words(&["image", "diff", "localhost/base:1", "localhost/steps:1"])
        .ok()
        .contains("A /etc/kept");
    let json = case.words(&["image", "diff", "--format=json", "localhost/steps:1"]);
    assert_eq!(json.ok().json()["deleted"][0], "/etc/kept");
    case.words(&["image", "ls-files", "localhost/steps:1", "/etc"])
        .ok()
        .prints("/etc/new\\nname\n/etc/old");
    case.words(&["image", "ls-files", "-l", "localhost/steps:1", "bin/sh"])
        .ok()
        .contains("/bin/sh -> busybox");
    case.words(&["image", "ls-files", "localhost/steps:1", "/nothing"])
        .fails(1, "/nothing");

    let history = case.words(&[
        "history",
        "--format",
        "{{.ID}} {{.Size}}",
        "-H=false",
        "localhost/steps:1",
    ]);
    let history = history.ok().stdout;
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].ends_with(" 10") && lines[1].starts_with("<missing> "),
        "{history}"
    );
    let table = case.words(&["history", "localhost/steps:1"]).ok();
    let headings: Vec<&str> = table.first().split_whitespace().collect();
    let words = "IMAGE CREATED CREATED BY SIZE COMMENT";
    assert_eq!(headings.join(" "), words, "{table}");
    table.contains("10B");
    case.words(&["history", "-q", "localhost/base:1"]).ok();
    case.words(&["history", "localhost/none"])
        .fails(1, "localhost/none");

    case.words(&["image", "tree", "localhost/steps:1"])
        .ok()
        .contains("└── ID: ")
        .contains("Top Layer of: [localhost/base:1]");
    let dependents = case
        .words(&["image", "tree", "--whatrequires", "localhost/base:1"])
        .ok();
    dependents
        .contains("    └── ID: ")
        .contains("Top Layer of: [localhost/steps:1]");
}
