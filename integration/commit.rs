//! `commit` and `container clone`: what an image made of a container has in it, whoever makes it and
//! whatever the container does meanwhile.

use std::{fs, io::Read, path::PathBuf};

use crate::case::Case;

cases! {
    changed_files_only: root ordinary single;
    nothing_changed: root ordinary single;
    configuration: root ordinary;
    while_it_runs: root ordinary;
    paused_by_hand: root;
    owners_of_its_own_ids: root ordinary;
    a_root_that_is_a_copy: root ordinary;
    on_top_of_each_other: root ordinary;
    squashed: root ordinary;
    formats: root;
    of_an_image_that_is_gone: root ordinary;
    loaded_elsewhere: root ordinary;
    words_of_refusal: root ordinary;
    clone: root ordinary;
    clone_and_destroy: root;
}

const CHANGES: &str = "echo new > /new; chmod 4755 /new; echo more >> /var/www/index.html; \
    rm /etc/passwd; mkdir -p /d/e; echo f > /d/e/f; ln /d/e/f /d/hard; ln -s /etc/nowhere /d/soft; \
    mkfifo /d/pipe; mv /var/www /var/moved; mkdir /var/www; echo fresh > /var/www/fresh";

/// Makes them in a container called `made`.
fn change(case: &Case, flags: &str) {
    let mut words = vec!["run", "--name", "made", "--network", "none"];
    words.extend(flags.split_whitespace());
    words.extend(["localhost/busybox", "sh", "-c", CHANGES]);
    case.words(&words).ok();
}

const LOOK: &str = "cat /new /d/soft 2>/dev/null; stat -c %a /new; stat -c %h /d/e/f; test -p /d/pipe && echo pipe; \
    ls /var/www; tail -n 1 /var/moved/index.html; test -e /etc/passwd || echo gone; readlink /d/soft";
const SEEN: &str = "new\n4755\n2\npipe\nfresh\nmore\ngone\n/etc/nowhere";

fn look(case: &Case, image: &str) {
    case.words(&["run", "--rm", "--network=none", image, "sh", "-c", LOOK])
        .ok()
        .prints(SEEN);
}

fn commit(case: &Case, words: &[&str]) -> String {
    let all = [&["commit"], words].concat();
    let id = case.words(&all).ok().first().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id:?}");
    id
}

/// Names in the archive of the image's topmost layer.
fn top_layer(case: &Case, image: &str) -> Vec<String> {
    let manifest = blob(case, &inspect(case, "{{.Descriptor.digest}}", image));
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let digest = layers.last().unwrap()["digest"].as_str().unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(blob(case, digest).as_slice())
        .read_to_end(&mut plain)
        .unwrap();
    let mut archive = tar::Archive::new(plain.as_slice());
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

fn blob(case: &Case, digest: &str) -> Vec<u8> {
    let hex = digest.trim_start_matches("sha256:");
    let path: PathBuf = case.root().join("blobs/sha256").join(hex);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn inspect(case: &Case, format: &str, image: &str) -> String {
    let words = ["image", "inspect", "--format", format, image];
    case.words(&words).ok().stdout.trim().to_owned()
}

fn layers(case: &Case, image: &str) -> usize {
    inspect(case, "{{len .RootFS.Layers}}", image)
        .parse()
        .unwrap()
}

fn changed_files_only(case: &Case) {
    case.load_busybox();
    change(case, "");
    let before = layers(case, "localhost/busybox");
    commit(case, &["made", "localhost/new:v1"]);
    look(case, "localhost/new:v1");
    assert_eq!(layers(case, "localhost/new:v1"), before + 1);
    let names = top_layer(case, "localhost/new:v1");
    for name in ["new", "d/e/f", "etc/.wh.passwd", "var/www/fresh"] {
        assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
    }
    // Neither what the image has already nor what the engine put there.
    let foreign = |name: &&String| {
        ["bin", "proc", "sys", "dev"]
            .iter()
            .any(|place| name.starts_with(place))
            || name.ends_with("resolv.conf")
            || name.ends_with("hostname")
    };
    assert_eq!(names.iter().find(foreign), None, "{names:?}");
    // The container is as it was.
    case.engine("start made").ok();
    case.engine("rm -f made").ok();
}

fn nothing_changed(case: &Case) {
    case.load_busybox();
    case.engine("run --name made --network none localhost/busybox true")
        .ok();
    let id = commit(case, &["made", "localhost/same"]);
    assert_eq!(inspect(case, "{{.Id}}", "localhost/same"), id);
    let of_parent = layers(case, "localhost/busybox");
    assert_eq!(layers(case, "localhost/same"), of_parent);
    case.engine("run --rm --network none localhost/same cat /var/www/index.html")
        .ok()
        .prints("hello");
}

fn configuration(case: &Case) {
    case.load_busybox();
    let run = "run --name made --network none -e A=1 -e B=2 -l x=y -w /tmp -u 0:0 -v /data --stop-signal 10 localhost/busybox true";
    case.engine(run).ok();
    commit(
        case,
        &[
            "-a=Me <me@example.org>",
            "-m=why",
            "-c=ENV B=3",
            "--change=LABEL z=1",
            "-c=EXPOSE 80",
            "-c=HEALTHCHECK --interval=1m CMD true",
            "-c=ENTRYPOINT [\"env\"]",
            "made",
            "localhost/new",
        ],
    );
    let config = |field: &str| {
        inspect(
            case,
            &format!("{{{{json .Config.{field}}}}}"),
            "localhost/new",
        )
    };
    assert_eq!(config("WorkingDir"), "\"/tmp\"");
    assert_eq!(config("User"), "\"0:0\"");
    assert_eq!(config("StopSignal"), "\"SIGUSR1\"");
    assert_eq!(config("Volumes"), "{\"/data\":{}}");
    assert_eq!(config("ExposedPorts"), "{\"80/tcp\":{}}");
    assert_eq!(config("Entrypoint"), "[\"env\"]");
    // As in a Dockerfile, an entrypoint drops the command.
    assert_eq!(config("Cmd"), "null");
    let labels = config("Labels");
    assert!(
        labels.contains("\"x\":\"y\"") && labels.contains("\"z\":\"1\""),
        "{labels}"
    );
    assert!(config("Healthcheck").contains("60000000000"));
    assert_eq!(
        inspect(case, "{{.Author}} {{.Comment}}", "localhost/new"),
        "Me <me@example.org> why"
    );
    let env = case
        .engine("run --rm --network none localhost/new")
        .ok()
        .stdout;
    let has = |line: &str| env.lines().any(|other| other == line);
    assert!(has("A=1") && has("B=3") && !has("B=2"), "{env}");
}

/// The container changes its files all the time; the image runs nevertheless, and the container
/// goes on.
fn while_it_runs(case: &Case) {
    case.load_busybox();
    let script = "echo here > /here; i=0; while true; do i=$((i+1)); echo $i > /f$((i%50)); \
        mkdir -p /x; rm -rf /x/y; mkdir /x/y; mv /x/y /x/z; rmdir /x/z; ln -sf /etc/passwd /x/y; rm /x/y; echo $i > /count; done";
    let run = ["run", "-d", "--name=busy", "--network=none"];
    let program = ["localhost/busybox", "sh", "-c", script];
    case.words(&[&run[..], &program[..]].concat()).ok();
    case.eventually("it has begun", || {
        case.engine("exec busy test -e /count").code == 0
    });
    for flag in ["--pause=true", "--pause=false", "--no-pause", "-p"] {
        commit(case, &[flag, "busy", "localhost/busy"]);
        case.engine("run --rm --network none localhost/busy cat /here")
            .ok()
            .prints("here");
    }
    let state = ["inspect", "--format", "{{.State.Status}}", "busy"];
    case.words(&state).ok().prints("running");
    let count = || case.engine("exec busy cat /count").ok().stdout;
    let before = count();
    case.eventually("it goes on", || count() != before);
    case.engine("rm -f busy").ok();
}

fn paused_by_hand(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name still --network none localhost/busybox sleep 100")
        .ok();
    if case.engine("pause still").code != 0 {
        case.skip("there is no cgroup that could be frozen");
        case.engine("rm -f still").ok();
        return;
    }
    commit(case, &["still"]);
    let state = ["inspect", "--format", "{{.State.Status}}", "still"];
    case.words(&state).ok().prints("paused");
    case.engine("rm -f still").ok();
}

/// In the image files are owned as the container saw them.
fn owners_of_its_own_ids(case: &Case) {
    case.load_busybox();
    let userns = if case.is_root() {
        "--userns=auto"
    } else {
        "--userns=keep-id"
    };
    let script = "echo x > /x; chown 33:44 /x; mkdir /y; chown 5 /y";
    let run = ["run", "--name=made", "--network=none", userns, "-u=0"];
    let program = ["localhost/busybox", "sh", "-c", script];
    case.words(&[&run[..], &program[..]].concat()).ok();
    commit(case, &["made", "localhost/owned"]);
    for flags in ["", userns] {
        let mut words = vec!["run", "--rm", "--network=none", "-u=0"];
        words.extend(flags.split_whitespace());
        words.extend(["localhost/owned", "stat", "-c", "%u:%g", "/x", "/y", "/bin"]);
        case.words(&words).ok().prints("33:44\n5:0\n0:0");
    }
}

fn a_root_that_is_a_copy(case: &Case) {
    case.load_busybox();
    let run = |name: &str, script: &str| {
        let words = ["--storage-driver=copy", "run", "--network=none", "--name"];
        let program = ["localhost/busybox", "sh", "-c", script];
        case.words(&[&words[..], &[name], &program[..]].concat())
            .ok();
    };
    run("made", CHANGES);
    commit(case, &["made", "localhost/copied"]);
    look(case, "localhost/copied");
    let names = top_layer(case, "localhost/copied");
    assert!(
        !names.iter().any(|name| name.starts_with("bin")),
        "{names:?}"
    );
    run("idle", "true");
    commit(case, &["idle", "localhost/idle"]);
    let of_parent = layers(case, "localhost/busybox");
    assert_eq!(layers(case, "localhost/idle"), of_parent);
}

fn on_top_of_each_other(case: &Case) {
    case.load_busybox();
    let mut image = "localhost/busybox".to_owned();
    for n in 0..4 {
        let name = format!("c{n}");
        let script =
            format!("rm -f /last; ls /n* 2>/dev/null | wc -l; echo {n} > /n{n}; echo {n} > /last");
        let words = [
            "run",
            "--network=none",
            "--name",
            &name,
            &image,
            "sh",
            "-c",
            &script,
        ];
        case.words(&words).ok().prints(&n.to_string());
        image = format!("localhost/top:{n}");
        commit(case, &[&name, &image]);
    }
    let words = [
        "run",
        "--rm",
        "--network=none",
        &image,
        "cat",
        "/last",
        "/n0",
    ];
    case.words(&words).ok().prints("3\n0");
    let same = |index: usize, of: &str| {
        let format = format!("{{{{index .RootFS.Layers {index}}}}}");
        inspect(case, &format, of)
    };
    assert_eq!(same(0, "localhost/top:3"), same(0, "localhost/busybox"));
    assert_eq!(same(1, "localhost/top:3"), same(1, "localhost/top:0"));
}

fn squashed(case: &Case) {
    case.load_busybox();
    change(case, "");
    commit(case, &["--squash", "made", "localhost/flat"]);
    assert_eq!(layers(case, "localhost/flat"), 1);
    look(case, "localhost/flat");
    // It needs nothing of the image it comes from.
    case.engine("rm made").ok();
    case.engine("rmi -f localhost/busybox").ok();
    look(case, "localhost/flat");
}

fn formats(case: &Case) {
    case.load_busybox();
    change(case, "");
    commit(case, &["-f", "docker", "made", "localhost/docker"]);
    look(case, "localhost/docker");
    let kind = |image: &str| inspect(case, "{{.Descriptor.mediaType}}", image);
    assert!(kind("localhost/docker").contains("docker.distribution.manifest.v2"));
    commit(case, &["made", "localhost/oci"]);
    assert!(kind("localhost/oci").contains("oci.image.manifest.v1"));
    let file = case.dir_path("id");
    let file = file.to_str().unwrap();
    let id = commit(case, &["--iidfile", file, "-q", "made"]);
    assert_eq!(fs::read_to_string(file).unwrap(), id);
    case.words(&["commit", "-f", "tar", "made"])
        .fails(125, "expected oci or docker");
}

/// Its layers are still there, its archives are not.
fn of_an_image_that_is_gone(case: &Case) {
    case.load_busybox();
    change(case, "");
    case.engine("rmi -f localhost/busybox").ok();
    commit(case, &["made", "localhost/orphan"]);
    case.engine("rm made").ok();
    look(case, "localhost/orphan");
    case.engine("rmi localhost/orphan").ok();
    let blobs = fs::read_dir(case.root().join("blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 0);
}

/// What the archive says is what the layer in the store says: another store that has nothing but the
/// archives gets the same files.
fn loaded_elsewhere(case: &Case) {
    case.load_busybox();
    change(case, "");
    let id = commit(case, &["made", "localhost/moved"]);
    let layout = case.make_dir("layout");
    let to = layout.join("blobs/sha256");
    fs::create_dir_all(&to).unwrap();
    let digest = inspect(case, "{{.Descriptor.digest}}", "localhost/moved");
    for entry in fs::read_dir(case.root().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    let size = blob(case, &digest).len();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "localhost/elsewhere:latest"}}]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(
        layout.join("oci-layout"),
        "{\"imageLayoutVersion\":\"1.0.0\"}",
    )
    .unwrap();
    if !case.is_root() {
        let user = Some(case.user.uid);
        for path in walkdir::WalkDir::new(&layout) {
            let _ = std::os::unix::fs::chown(path.unwrap().path(), user, Some(case.user.gid));
        }
    }
    case.engine("rm made").ok();
    case.engine("rmi -f localhost/moved localhost/busybox").ok();
    case.words(&["load", "-i", layout.to_str().unwrap()]).ok();
    look(case, &id);
}

fn words_of_refusal(case: &Case) {
    case.load_busybox();
    case.engine("create --name made --network none localhost/busybox")
        .ok();
    case.engine("commit nobody localhost/x")
        .fails(1, "No such container: nobody");
    case.engine("commit made LOCALHOST/Bad")
        .fails(1, "invalid image reference");
    case.words(&["commit", "-c", "RUN true", "made"])
        .fails(1, "RUN is not a valid change command");
    case.words(&["commit", "-c", "EXPOSE many", "made"])
        .fails(1, "invalid change");
    case.engine("commit").fails(1, "requires at least 1");
    let images = case.engine("images -q").ok().stdout;
    assert_eq!(images.lines().count(), 1);
    let folder = case.make_dir("root");
    let folder = folder.to_str().unwrap();
    case.words(&[
        "create",
        "--name=own",
        "--network=none",
        "--rootfs",
        folder,
        "true",
    ])
    .ok();
    case.engine("commit own").fails(1, "it has no image");
}

fn clone(case: &Case) {
    case.load_busybox();
    let run =
        "run --name first --network none -e A=1 -v data:/d --pids-limit 50 localhost/busybox sh -c";
    let mut words: Vec<&str> = run.split_whitespace().collect();
    words.push("echo $A >> /d/lines; echo x >> /x; wc -l < /x");
    case.words(&words).ok().prints("1");
    let id = case.engine("container clone first").ok().first().to_owned();
    assert_eq!(id.len(), 64);
    case.engine("start -a first-clone").ok().prints("1");
    case.engine("container clone first").ok();
    case.engine("container clone --pids-limit 60 first second")
        .ok();
    case.engine("container clone --name third --run first").ok();
    case.engine("wait third").ok().prints("0");
    case.engine("logs third").ok().prints("1");
    case.shell("-v data:/d", "wc -l < /d/lines")
        .ok()
        .prints("3");
    let names = case
        .words(&["ps", "-a", "--format", "{{.Names}}"])
        .ok()
        .stdout;
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["first", "first-clone", "first-clone1", "second", "third"]
    );
    let limit = |name: &str| {
        let words = ["inspect", "--format", "{{.HostConfig.PidsLimit}}", name];
        case.words(&words).ok().stdout.trim().to_owned()
    };
    assert_eq!([limit("first-clone"), limit("second")], ["50", "60"]);
    case.engine("container clone nobody")
        .fails(125, "No such container");
    case.engine("container clone first second")
        .fails(125, "already in use");
    case.engine("container clone -f first")
        .fails(125, "--destroy");
    case.engine("rm first first-clone first-clone1 second third")
        .ok();
}

fn clone_and_destroy(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name old --network none localhost/busybox sleep 100")
        .ok();
    case.engine("container clone --destroy old new")
        .fails(125, "it is running");
    case.engine("container clone --destroy -f --run old new")
        .ok();
    let listed = case.words(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    listed.ok().prints("new running");
    case.engine("rm -f new").ok();
}
