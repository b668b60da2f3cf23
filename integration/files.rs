//! `cp`, `export` and `diff`: what is copied and where it lands, running and stopped, and whose it is.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::case::{Case, Outcome, collect};

cases! {
    where_a_copy_lands: root ordinary single;
    into_folders_that_are_not_there: root ordinary;
    what_a_copy_keeps: root ordinary single;
    owners: root ordinary;
    through_the_mounts: root ordinary;
    archives_through_pipes: root ordinary single;
    stopped_and_never_started: root ordinary single;
    links: root ordinary;
    from_container_to_container: root ordinary;
    read_only_containers: root ordinary;
    own_ids: root ordinary;
    copied_layers: root ordinary single;
    messages: root ordinary;
    exported_files: root ordinary single;
    changes: root ordinary single;
    changes_of_folders: root ordinary;
    killed_while_copying: root ordinary;
    others_wait_for_a_copy: root ordinary single;
    a_copy_outlives_its_container: root ordinary;
}

/// A container called `box` that waits, with flags before the image.
fn waiting(case: &Case, flags: &str) {
    let line = format!("run -d --network none --name box {flags} localhost/busybox sleep 1000");
    case.engine(&line).ok();
}

fn gone(case: &Case) {
    case.engine("rm -f box").ok();
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn copy(case: &Case, from: &str, to: &str) -> Outcome {
    case.words(&["cp", from, to])
}

fn inside(case: &Case, script: &str) -> String {
    let outcome = case.words(&["exec", "box", "sh", "-c", script]).ok();
    outcome.stdout.trim_end().to_owned()
}

/// `tree/` with a file, a folder, a link, two names of one file and a pipe.
fn tree(case: &Case) -> PathBuf {
    let tree = case.make_dir("tree");
    case.make_file("tree/one", "1\n");
    case.make_dir("tree/sub");
    case.make_file("tree/sub/two", "2\n");
    let script = "cd tree && ln one other && ln -s /etc/passwd link && mkfifo pipe && \
         chmod 4750 sub/two && chmod 700 sub && touch -d @1000000000 sub/two sub && \
         truncate -s 4M hole";
    let status = case
        .program("sh")
        .args(["-c", script])
        .current_dir(&case.dir)
        .status();
    assert!(status.unwrap().success());
    tree
}

/// Docker's table, in and out.
fn where_a_copy_lands(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    let file = path(&case.make_file("file", "text\n"));
    let folder = path(&tree(case));
    inside(case, "mkdir /d; echo old > /old");
    copy(case, &file, "box:/new").ok();
    copy(case, &file, "box:/old").ok();
    copy(case, &file, "box:/d").ok();
    copy(case, &folder, "box:/d").ok();
    copy(case, &folder, "box:/made").ok();
    copy(case, &format!("{folder}/."), "box:/d/tree/sub").ok();
    assert_eq!(inside(case, "cat /new /old /d/file"), "text\ntext\ntext");
    assert_eq!(
        inside(case, "cat /d/tree/one /made/sub/two /d/tree/sub/one"),
        "1\n2\n1"
    );
    let refused = |from: &str, to: &str, says: &str| {
        copy(case, from, to).fails(1, says);
    };
    refused(&file, "box:/nowhere/", "no such directory");
    refused(&folder, "box:/old", "cannot copy directory");
    refused(
        &file,
        "box:/a/b",
        "Could not find the file /a/b in container box",
    );
    refused(
        "box:/nowhere",
        ".",
        "Could not find the file /nowhere in container box",
    );
    refused(&format!("{folder}/nope"), "box:/", "lstat");
    case.words(&["cp", "--overwrite", &folder, "box:/old"]).ok();
    assert_eq!(inside(case, "cat /old/one"), "1");

    let out = case.make_dir("out");
    let out = path(&out);
    copy(case, "box:/new", &out).ok();
    copy(case, "box:/new", &format!("{out}/called")).ok();
    copy(case, "box:/made", &out).ok();
    copy(case, "box:/made/.", &format!("{out}/content")).ok();
    for (name, text) in [
        ("new", "text\n"),
        ("called", "text\n"),
        ("made/one", "1\n"),
        ("content/sub/two", "2\n"),
    ] {
        let read = fs::read_to_string(format!("{out}/{name}"));
        assert_eq!(read.unwrap(), text, "{name}");
    }
    refused(
        "box:/made",
        &format!("{out}/called"),
        "cannot copy directory",
    );
    refused(
        "box:/new",
        &format!("{out}/no/such"),
        "invalid output path: directory",
    );
    refused("box:/new", &format!("{out}/missing/"), "no such directory");
    gone(case);
}

fn into_folders_that_are_not_there(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    let file = path(&case.make_file("file", "text\n"));
    inside(
        case,
        "ln -s /made/by/link /dangling; ln -s /tmp /folder; mkdir /made; mkdir /made/by",
    );
    copy(case, &file, "box:/dangling").ok();
    copy(case, &file, "box:/folder").ok();
    copy(case, &file, "box:relative").ok();
    assert_eq!(
        inside(case, "cat /made/by/link /tmp/file /relative"),
        "text\ntext\ntext"
    );
    assert_eq!(inside(case, "readlink /dangling"), "/made/by/link");
    gone(case);
}

/// Content, modes, times, links of both sorts, pipes, holes.
fn what_a_copy_keeps(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    let folder = path(&tree(case));
    copy(case, &folder, "box:/").ok();
    let script = "cd /tree && stat -c '%a %Y %F' sub/two sub && readlink link && \
         test one -ef other && test -p pipe && stat -c %s hole";
    assert_eq!(
        inside(case, script),
        "4750 1000000000 regular file\n700 1000000000 directory\n/etc/passwd\n4194304"
    );
    let out = case.make_dir("out");
    copy(case, "box:/tree", &path(&out)).ok();
    let at = |name: &str| out.join("tree").join(name).symlink_metadata().unwrap();
    // What the container has made does not run with the caller's rights for everybody.
    assert_eq!(at("sub/two").permissions().mode() & 0o7777, 0o750);
    let kept = out.join("kept");
    case.words(&["cp", "-a", "box:/tree/sub/two", &path(&kept)])
        .ok();
    let mode = if case.is_root() { 0o4750 } else { 0o750 };
    assert_eq!(kept.metadata().unwrap().mode() & 0o7777, mode);
    assert_eq!(at("sub").mtime(), 1_000_000_000);
    assert_eq!(at("one").ino(), at("other").ino());
    assert!(at("link").is_symlink());
    assert!(at("hole").len() == 4 << 20 && at("hole").blocks() < 1024);
    assert_eq!(at("one").uid(), case.user.uid);
    gone(case);
}

/// Without -a the container's root, or whoever copies; with it and in streams as they were.
fn owners(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    let file = path(&case.make_file("file", "text\n"));
    copy(case, &file, "box:/plain").ok();
    case.words(&["cp", "-a", &file, "box:/kept"]).ok();
    assert_eq!(inside(case, "stat -c %u:%g /plain"), "0:0");
    let mine = format!("{}:{}", case.user.uid, case.user.gid);
    assert_eq!(inside(case, "stat -c %u:%g /kept"), mine);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_uid(33);
    header.set_gid(44);
    header.set_mode(0o600);
    header.set_size(1);
    archive
        .append_data(&mut header, "streamed", &b"x"[..])
        .unwrap();
    let archive = archive.into_inner().unwrap();
    case.with_input(&["cp", "-", "box:/"], archive).ok();
    assert_eq!(inside(case, "stat -c '%u:%g %a' /streamed"), "33:44 600");
    let out = case.make_dir("out");
    case.words(&["cp", "-a", "box:/streamed", &path(&out)]).ok();
    let owner = out.join("streamed").metadata().unwrap().uid();
    assert_eq!(owner, if case.is_root() { 33 } else { case.user.uid });
    gone(case);
}

/// A running container's volumes, binds and memory; a paused one's, too.
fn through_the_mounts(case: &Case) {
    case.load_busybox();
    let bound = case.make_dir("bound");
    let flags = format!(
        "-v data:/data --tmpfs /memory -v {}:/bound",
        bound.display()
    );
    waiting(case, &flags);
    let file = path(&case.make_file("file", "text\n"));
    for to in ["/data", "/memory", "/bound", "/etc/hosts"] {
        copy(case, &file, &format!("box:{to}")).ok();
    }
    let script =
        "cat /data/file /memory/file /bound/file /etc/hosts; grep -c /etc/hosts /proc/mounts";
    assert_eq!(inside(case, script), "text\ntext\ntext\ntext\n1");
    assert_eq!(fs::read_to_string(bound.join("file")).unwrap(), "text\n");
    let paused = case.engine("pause box");
    if paused.code == 0 {
        copy(case, &file, "box:/data/paused").ok();
        let out = path(&case.dir_path("out"));
        copy(case, "box:/memory/file", &out).ok();
        assert_eq!(fs::read_to_string(&out).unwrap(), "text\n");
        case.engine("unpause box").ok();
        assert_eq!(inside(case, "cat /data/paused"), "text");
    }
    case.engine("rm -f box").ok();
    let words = "run --rm --network none -v data:/data localhost/busybox cat /data/file";
    case.engine(words).ok().prints("text");
    gone(case);
}

fn archives_through_pipes(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    let folder = path(&tree(case));
    copy(case, &folder, "box:/").ok();
    let mut command = case.command(&["cp", "box:/tree", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let mut archive = tar::Archive::new(&output.stdout[..]);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names[0], "tree/");
    assert!(names.contains(&"tree/sub/two".to_owned()), "{names:?}");
    inside(case, "mkdir /again");
    case.with_input(&["cp", "-", "box:/again"], &output.stdout)
        .ok();
    assert_eq!(inside(case, "cat /again/tree/sub/two"), "2");
    case.with_input(&["cp", "-", "box:/etc/passwd"], &output.stdout)
        .fails(1, "must be a directory");
    case.with_input(&["cp", "-", "box:/again"], "this is no archive")
        .fails(1, "archive");
    gone(case);
}

/// Volumes count although nothing runs; a never started one is filled from the image before.
fn stopped_and_never_started(case: &Case) {
    case.load_busybox();
    case.engine(
        "create --network none --name box -v data:/data localhost/busybox cat /data/file /new",
    )
    .ok();
    let file = path(&case.make_file("file", "text\n"));
    copy(case, &file, "box:/data").ok();
    copy(case, &file, "box:/new").ok();
    assert!(case.mounts().is_empty());
    let out = path(&case.dir_path("out"));
    copy(case, "box:/data/file", &out).ok();
    assert_eq!(fs::read_to_string(&out).unwrap(), "text\n");
    let state = case.words(&["inspect", "-f", "{{.State.Status}}", "box"]);
    state.ok().prints("created");
    case.engine("start -a box").ok().prints("text\ntext");
    copy(case, &file, "box:/after").ok();
    copy(case, "box:/after", &out).ok();
    let state = case.words(&["inspect", "-f", "{{.State.Status}}", "box"]);
    state.ok().prints("exited");
    let volume = "run --rm --network none -v data:/data localhost/busybox cat /data/file";
    case.engine(volume).ok().prints("text");
    gone(case);
}

fn links(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    inside(
        case,
        "mkdir /d; echo text > /d/f; ln -s f /d/link; ln -s d /folder",
    );
    let out = case.make_dir("out");
    let to = |name: &str| path(&out.join(name));
    copy(case, "box:/d/link", &to("link")).ok();
    assert!(out.join("link").is_symlink());
    case.words(&["cp", "-L", "box:/d/link", &to("file")]).ok();
    assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "text\n");
    copy(case, "box:/folder/", &to("")).ok();
    assert_eq!(fs::read_to_string(out.join("folder/f")).unwrap(), "text\n");
    let local = case.make_file("target", "local\n");
    std::os::unix::fs::symlink(&local, out.join("of-mine")).unwrap();
    case.words(&["cp", &to("of-mine"), "box:/as-link"]).ok();
    case.words(&["cp", "-L", &to("of-mine"), "box:/as-file"])
        .ok();
    assert_eq!(inside(case, "readlink /as-link"), path(&local));
    assert_eq!(inside(case, "cat /as-file"), "local");
    gone(case);
}

fn from_container_to_container(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    case.engine("create --network none --name other localhost/busybox cat /d/f")
        .ok();
    inside(case, "mkdir /d; echo text > /d/f");
    copy(case, "box:/d", "other:/").ok();
    case.engine("start -a other").ok().prints("text");
    gone(case);
}

fn read_only_containers(case: &Case) {
    case.load_busybox();
    waiting(case, "--read-only -v data:/data -v fixed:/fixed:ro");
    let file = path(&case.make_file("file", "text\n"));
    for _ in 0..2 {
        copy(case, &file, "box:/file").fails(1, "marked read-only");
        copy(case, &file, "box:/fixed").fails(1, "marked read-only");
        copy(case, &file, "box:/data").ok();
        // The same again of a stopped one.
        case.engine("stop -t 0 box");
    }
    gone(case);
}

/// Files belong to the container's ids, whether they are mapped by the mounts or on the disk.
fn own_ids(case: &Case) {
    case.load_busybox();
    let mode = if case.is_root() { "auto" } else { "keep-id" };
    waiting(case, &format!("--userns {mode} -v data:/data"));
    let file = path(&case.make_file("file", "text\n"));
    copy(case, &file, "box:/data").ok();
    copy(case, &file, "box:/running").ok();
    inside(case, "id -u; touch /tmp/mine");
    case.engine("stop -t 0 box").ok();
    copy(case, &file, "box:/stopped").ok();
    let exported = case.command(&["export", "box"]).output().unwrap();
    let mut archive = tar::Archive::new(&exported.stdout[..]);
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        if ["running", "stopped", "bin/busybox"].contains(&name.as_str()) {
            assert_eq!(entry.header().uid().unwrap(), 0, "{name}");
        }
    }
    let changes = case.engine("diff box").ok().stdout;
    assert!(!changes.contains("/bin"), "{changes}");
    assert!(changes.contains("A /stopped"), "{changes}");
    case.engine("start box").ok();
    let script = "stat -c %u:%g /data/file /running /stopped";
    assert_eq!(inside(case, script), "0:0\n0:0\n0:0");
    let running = case.engine("diff box").ok().stdout;
    assert_eq!(running, changes);
    gone(case);
}

/// Where the kernel stacks no layers.
fn copied_layers(case: &Case) {
    case.load_busybox();
    let line =
        "--storage-driver copy run -d --network none --name box localhost/busybox sleep 1000";
    case.engine(line).ok();
    let file = path(&case.make_file("file", "text\n"));
    copy(case, &file, "box:/file").ok();
    inside(case, "rm /bin/cat");
    case.engine("stop -t 0 box").ok();
    copy(case, &file, "box:/later").ok();
    let changes = case.engine("diff box").ok().stdout;
    assert_eq!(changes, "C /bin\nD /bin/cat\nA /file\nA /later\n");
    gone(case);
}

/// On standard error, and to a terminal only unless it is asked for.
fn messages(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    let file = path(&case.make_file("file", "text\n"));
    let quiet = copy(case, &file, "box:/f").ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let said = case.words(&["cp", "--quiet=false", &file, "box:/f"]).ok();
    assert_eq!(said.stdout, "");
    assert_eq!(said.stderr, "Successfully copied 2.05kB to box:/f\n");
    copy(case, &file, "other").fails(1, "must specify at least one container source");
    copy(case, "", "box:/").fails(1, "source can not be empty");
    copy(case, &file, "nobody:/").fails(1, "No such container: nobody");
    case.words(&["cp", &file]).fails(1, "requires 2 arguments");
    gone(case);
}

/// Everything but what is mounted, running and stopped.
fn exported_files(case: &Case) {
    case.load_busybox();
    waiting(case, "-v data:/data");
    inside(
        case,
        "echo text > /new; echo hidden > /data/hidden; rm /bin/cat; ln /new /same",
    );
    let file = case.dir_path("out.tar");
    case.make_file("out.tar", "");
    for _ in 0..2 {
        case.words(&["export", "-o", &path(&file), "box"]).ok();
        let bytes = fs::read(&file).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let has = |name: &str| names.iter().any(|found| found == name);
        assert!(has("./") && has("new") && has("same") && has("data/") && has("proc/"));
        assert!(
            !has("data/hidden") && !has("bin/cat") && !has("proc/self"),
            "{names:?}"
        );
        case.engine("stop -t 0 box");
    }
    case.words(&["import", &path(&file), "localhost/again"])
        .ok();
    let again = "run --rm --network none localhost/again /bin/busybox cat /same";
    case.engine(again).ok().prints("text");
    case.engine("export nobody")
        .fails(1, "No such container: nobody");
    gone(case);
}

fn changes(case: &Case) {
    case.load_busybox();
    waiting(case, "-v data:/data");
    inside(
        case,
        "echo text > /new; rm /bin/cat; mkdir -p /a/b; touch /a/b/c; touch /data/hidden",
    );
    let expected = "A /a\nA /a/b\nA /a/b/c\nC /bin\nD /bin/cat\nA /data\nA /new\n";
    case.engine("diff box").ok().prints(expected.trim_end());
    case.engine("stop -t 0 box").ok();
    case.engine("container diff box")
        .ok()
        .prints(expected.trim_end());
    let json = case.engine("diff --format json box").ok().json();
    assert_eq!(json["deleted"], serde_json::json!(["/bin/cat"]));
    assert_eq!(json["changed"], serde_json::json!(["/bin"]));
    case.engine("create --name fresh localhost/busybox true")
        .ok();
    case.engine("diff fresh").ok().prints("");
    case.engine("diff --format nonsense box")
        .fails(125, "nonsense");
    gone(case);
}

/// A folder that was removed and made anew, and one that was moved.
fn changes_of_folders(case: &Case) {
    case.load_busybox();
    waiting(case, "");
    inside(case, "mkdir /d; touch /d/x");
    let archive = case.command(&["export", "box"]).output().unwrap().stdout;
    let archive = case.make_file("image.tar", archive);
    case.words(&["import", &path(&archive), "localhost/with-d"])
        .ok();
    case.engine("rm -f box").ok();
    case.engine("run -d --network none --name box localhost/with-d /bin/busybox sleep 1000")
        .ok();
    inside(case, "rm -r /d; mkdir /d; touch /d/y");
    case.engine("diff box").ok().prints("C /d\nD /d/x\nA /d/y");
    inside(case, "mv /d /e");
    case.engine("diff box").ok().prints("D /d\nA /e\nA /e/y");
    gone(case);
}

/// A copy that is killed leaves a part of the copy, and a container that works.
fn killed_while_copying(case: &Case) {
    case.load_busybox();
    case.engine("create --network none --name box localhost/busybox echo works")
        .ok();
    let big = case.make_file("big", vec![7_u8; 64 << 20]);
    for _ in 0..3 {
        let mut copying = case.start(&["cp", &path(&big), "box:/big"]);
        case.eventually("the copy has begun", || {
            let ended = copying.try_wait().unwrap().is_some();
            ended || case.engine("diff box").stdout.contains("/big")
        });
        let _ = copying.kill();
        let _ = copying.wait();
        // The lock goes with the last process of the copy.
        case.eventually("the container can be had", || {
            case.words(&["cp", "box:/bin/busybox", "-"]).code == 0
        });
        case.eventually("it starts", || {
            case.engine("start -a box").stdout.trim_end() == "works"
        });
    }
    copy(case, &path(&big), "box:/big").ok();
    assert!(case.mounts().is_empty());
    gone(case);
}

/// A copy into a stopped container that lasts: it is stopped for whoever looks, and what would change
/// it waits.
fn others_wait_for_a_copy(case: &Case) {
    use std::io::Write;
    case.load_busybox();
    case.engine("create --network none --name box -v data:/data localhost/busybox cat /data/f")
        .ok();
    case.engine("create --network none --name other localhost/busybox cat /data/f")
        .ok();
    let begin = || {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_mode(0o644);
        header.set_size(5);
        for name in ["begun", "data/f"] {
            let added = archive.append_data(&mut header, name, &b"text\n"[..]);
            added.unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let mut copying = case.start(&["cp", "-", "box:/"]);
        let mut input = copying.stdin.take().unwrap();
        // But for the end, which is two blocks.
        input.write_all(&archive[..archive.len() - 1024]).unwrap();
        case.eventually("the copy has begun", || {
            case.engine("diff box").stdout.contains("/begun")
        });
        (copying, input)
    };

    let (copying, mut input) = begin();
    let starting = case.start(&["start", "-a", "box"]);
    let reading = case.start(&["cp", "box:/data", "other:/"]);
    let state = ["inspect", "-f", "{{.State.Status}}", "box"];
    case.words(&state).ok().prints("created");
    assert!(
        !case
            .engine("ps -q")
            .ok()
            .stdout
            .contains(|c: char| c != '\n')
    );
    input.write_all(&[0; 1024]).unwrap();
    drop(input);
    collect("cp".to_owned(), copying).ok();
    collect("start".to_owned(), starting).ok().prints("text");
    collect("cp out".to_owned(), reading).ok();
    case.engine("start -a other").ok().prints("text");

    // Killed, it is not waited for.
    case.engine("rm box").ok();
    case.engine("create --network none --name box -v data:/data localhost/busybox true")
        .ok();
    let (mut copying, input) = begin();
    let removing = case.start(&["rm", "-f", "box"]);
    copying.kill().unwrap();
    copying.wait().unwrap();
    drop(input);
    collect("rm".to_owned(), removing).ok();
    case.engine("start box").fails(1, "No such container");
}

/// A container that ends while it is copied from keeps its volumes for that copy.
fn a_copy_outlives_its_container(case: &Case) {
    use std::io::Read;
    case.load_busybox();
    waiting(case, "-v one:/srv/1 -v two:/srv/2");
    let size = 4 << 20;
    inside(
        case,
        &format!("for at in 1 2; do head -c {size} /dev/zero > /srv/$at/f; done"),
    );
    // More than the pipe holds: it waits in the first volume or the second.
    let mut copying = case.start(&["cp", "box:/srv", "-"]);
    let mut archive = vec![0; 4096];
    let mut output = copying.stdout.take().unwrap();
    output.read_exact(&mut archive).unwrap();
    case.engine("kill box").ok();
    let state = ["inspect", "-f", "{{.State.Status}}", "box"];
    case.eventually("the container has ended", || {
        case.words(&state).stdout == "exited\n"
    });
    output.read_to_end(&mut archive).unwrap();
    collect("cp".to_owned(), copying).ok();
    let mut archive = tar::Archive::new(&archive[..]);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let files: Vec<_> = entries.filter(|entry| entry.size() > 0).collect();
    assert_eq!(files.len(), 2, "both volumes are in the archive");
    assert!(files.iter().all(|entry| entry.size() == size));
    gone(case);
}
